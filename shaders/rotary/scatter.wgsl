import package::state::encode::f32_to_half;

// Queries and keys normalised and turned, keys and values put into their caches: one
// invocation for four elements of a head. Everything is read and written by two
// neighbouring elements, a cell.

struct Params {
    // Invocations with work: tokens, times those of a token.
    units: u32,
    // Invocations for a token, and those of queries, and of queries and keys.
    token_units: u32,
    query_units: u32,
    key_units: u32,
    // Invocations for a head of queries and keys, and of values: some may have no work.
    lanes: u32,
    value_lanes: u32,
    // The first token that is bound, counted over all of them.
    first_token: u32,
    // Tokens of a sequence.
    tokens: u32,
    // The rows that are bound, of so many in all.
    first_row: u32,
    bound_rows: u32,
    rows: u32,
    // Cells of a row that has queries, keys or values, and of the row before them.
    query_row: u32,
    query_offset: u32,
    key_row: u32,
    key_offset: u32,
    value_row: u32,
    value_offset: u32,
    // Cells of a head.
    width: u32,
    value_width: u32,
    // Pairs that are turned, by two.
    turned: u32,
    // 1: a pair is a cell; 0: its elements are apart.
    interleaved: u32,
    heads: u32,
    groups: u32,
    // Slots of the caches.
    capacity: u32,
    // Positions of the whole table.
    positions_end: u32,
    // The rows of the table that are bound.
    table_first: u32,
    table_rows: u32,
    // The cells of the caches that are bound.
    key_first: u32,
    key_cells: u32,
    value_first: u32,
    value_cells: u32,
    // 0: another dispatch writes the queries.
    with_queries: u32,
    epsilon: f32,
}

@if(queries) @group(0) @binding(0) var<storage, read> queries: array<vec2<f32>>;
@if(own_keys) @group(0) @binding(1) var<storage, read> keys: array<vec2<f32>>;
@if(own_values) @group(0) @binding(2) var<storage, read> values: array<vec2<f32>>;
@if(turns) @group(0) @binding(3) var<storage, read> cosines: array<vec2<f32>>;
@if(turns) @group(0) @binding(4) var<storage, read> sines: array<vec2<f32>>;
@if(turns) @group(0) @binding(5) var<storage, read> positions: array<i32>;
@if(appends) @group(0) @binding(6) var<storage, read> write_indices: array<i32>;
@if(normed && queries) @group(0) @binding(7) var<storage, read> query_norm: array<vec2<f32>>;
@if(normed && keys) @group(0) @binding(8) var<storage, read> key_norm: array<vec2<f32>>;
@if(gathered && queries) @group(0) @binding(9) var<storage, read> query_rows: array<i32>;
@if(gathered && appends) @group(0) @binding(10) var<storage, read> new_rows: array<i32>;
@if(queries) @group(0) @binding(11) var<storage, read_write> result: array<vec2<f32>>;
@if(keys && halves) @group(0) @binding(12) var<storage, read_write> key_cache: array<u32>;
@if(keys && !halves) @group(0) @binding(12) var<storage, read_write> key_cache: array<vec2<f32>>;
@if(values && halves) @group(0) @binding(13) var<storage, read_write> value_cache: array<u32>;
@if(values && !halves) @group(0) @binding(13) var<storage, read_write> value_cache: array<vec2<f32>>;
@group(0) @binding(14) var<uniform> params: Params;

const NOWHERE: u32 = 0xffffffffu;

// Two cells of a head.
struct Four {
    first: vec2<f32>,
    second: vec2<f32>,
}

// Squares of the workgroup's elements, a sum for each invocation.
@if(normed) var<workgroup> squares: array<f32, 64>;

fn halves_of(cell: vec2<f32>) -> u32 {
    return f32_to_half(cell.x) | (f32_to_half(cell.y) << 16u);
}

// Which cells of a head an invocation has.
fn places(unit: u32) -> vec2<u32> {
    if unit >= params.turned || params.interleaved != 0u {
        return vec2<u32>(2u * unit, 2u * unit + 1u);
    }
    return vec2<u32>(unit, params.turned + unit);
}

// The bound row of a token; NOWHERE if another dispatch has it.
@if(gathered)
fn bound_row(row: i32) -> u32 {
    // Rows out of range are clamped; the host refuses them before.
    let at = u32(clamp(row, 0, i32(params.rows) - 1)) - params.first_row;
    return select(NOWHERE, at, at < params.bound_rows);
}

@if(queries)
fn query_source(local: u32) -> u32 {
    @if(gathered) return bound_row(query_rows[local]);
    @else return local;
}

@if(appends)
fn new_source(local: u32) -> u32 {
    @if(gathered) return bound_row(new_rows[local]);
    @else return local;
}

// The row of the table that is bound, for a bound row; NOWHERE if another dispatch has it.
@if(turns)
fn table_row(source: u32) -> u32 {
    // Positions out of range are clamped as well.
    let last = i32(params.positions_end) - 1;
    let row = u32(clamp(positions[source], 0, last)) - params.table_first;
    return select(NOWHERE, row, row < params.table_rows);
}

@if(turns)
fn turn(x: Four, unit: u32, row: u32) -> Four {
    if unit >= params.turned {
        return x;
    }
    let c = cosines[row * params.turned + unit];
    let s = sines[row * params.turned + unit];
    if params.interleaved != 0u {
        let a = vec2<f32>(x.first.x, x.second.x);
        let b = vec2<f32>(x.first.y, x.second.y);
        let p = a * c - b * s;
        let q = a * s + b * c;
        return Four(vec2<f32>(p.x, q.x), vec2<f32>(p.y, q.y));
    }
    return Four(x.first * c - x.second * s, x.first * s + x.second * c);
}

// The first cell of a token's row in a cache; NOWHERE if its slot is out of range.
@if(appends)
fn cached(token: u32, group: u32, width: u32) -> u32 {
    let sequence = token / params.tokens;
    let slot = write_indices[sequence] + i32(token % params.tokens);
    if slot < 0 || u32(slot) >= params.capacity {
        return NOWHERE;
    }
    return ((sequence * params.groups + group) * params.capacity + u32(slot)) * width;
}

@if(queries)
fn query(source: u32, head: u32, at: vec2<u32>) -> Four {
    let start = source * params.query_row + params.query_offset + head * params.width;
    return Four(queries[start + at.x], queries[start + at.y]);
}

@if(keys)
fn key(source: u32, head: u32, at: vec2<u32>) -> Four {
    let start = source * params.key_row + params.key_offset + head * params.width;
    @if(own_keys) return Four(keys[start + at.x], keys[start + at.y]);
    @else return Four(queries[start + at.x], queries[start + at.y]);
}

@if(values)
fn value_cell(at: u32) -> vec2<f32> {
    @if(own_values) return values[at];
    @if(!own_values && own_keys) return keys[at];
    @if(!own_values && !own_keys) return queries[at];
}

@if(keys)
fn put_key(token: u32, head: u32, at: vec2<u32>, x: Four) {
    let start = cached(token, head, params.width);
    if start == NOWHERE {
        return;
    }
    let to = start + at - params.key_first;
    if to.x < params.key_cells {
        @if(halves) key_cache[to.x] = halves_of(x.first);
        @else key_cache[to.x] = x.first;
    }
    if to.y < params.key_cells {
        @if(halves) key_cache[to.y] = halves_of(x.second);
        @else key_cache[to.y] = x.second;
    }
}

@if(values)
fn put_value(local: u32, unit: u32) {
    let head = unit / params.value_lanes;
    let cell = 2u * (unit % params.value_lanes);
    let start = cached(params.first_token + local, head, params.value_width);
    let row = new_source(local);
    if cell >= params.value_width || start == NOWHERE || row == NOWHERE {
        return;
    }
    let source = row * params.value_row + params.value_offset + head * params.value_width;
    for (var i = cell; i < cell + 2u; i++) {
        let to = start + i - params.value_first;
        if to < params.value_cells {
            @if(halves) value_cache[to] = halves_of(value_cell(source + i));
            @else value_cache[to] = value_cell(source + i);
        }
    }
}

// The sum of the squares of a head, whose invocations are neighbours.
@if(normed)
fn sum_of_head(lane: u32, x: Four) -> f32 {
    squares[lane] = dot(x.first, x.first) + dot(x.second, x.second);
    workgroupBarrier();
    let first = lane - lane % params.lanes;
    var sum = 0.0;
    for (var i = 0u; i < params.lanes; i++) {
        sum += squares[first + i];
    }
    return sum;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = (group.x + group.y * groups.x) * 64u + lane;
    let here = number < params.units;
    let local = number / params.token_units;
    let own = number % params.token_units;
    @if(turns) {
        let is_query = own < params.query_units;
        let first = select(params.query_units, 0u, is_query);
        let head = (own - first) / params.lanes;
        let unit = (own - first) % params.lanes;
        let at = places(unit);
        var source = NOWHERE;
        var x = Four();
        if here && own < params.key_units && 2u * unit < params.width {
            if is_query {
                @if(queries) source = query_source(local);
            } else {
                @if(keys) source = new_source(local);
            }
            if source != NOWHERE {
                if is_query {
                    @if(queries) x = query(source, head, at);
                } else {
                    @if(keys) x = key(source, head, at);
                }
            }
        }
        @if(normed) {
            // All of a head's invocations have the same source.
            let mean = sum_of_head(lane, x) / f32(2u * params.width);
            let factor = 1.0 / sqrt(mean + params.epsilon);
            if source != NOWHERE {
                if is_query {
                    @if(queries) x = Four(x.first * factor * query_norm[at.x], x.second * factor * query_norm[at.y]);
                } else {
                    @if(keys) x = Four(x.first * factor * key_norm[at.x], x.second * factor * key_norm[at.y]);
                }
            }
        }
        if source != NOWHERE {
            let row = table_row(source);
            if row == NOWHERE {
                return;
            }
            x = turn(x, unit, row);
            if is_query {
                @if(queries) {
                    if params.with_queries != 0u {
                        let to = (local * params.heads + head) * params.width;
                        result[to + at.x] = x.first;
                        result[to + at.y] = x.second;
                    }
                }
            } else {
                @if(keys) put_key(params.first_token + local, head, at, x);
            }
            return;
        }
    }
    @if(values) {
        if here && own >= params.key_units {
            put_value(local, own - params.key_units);
        }
    }
}
