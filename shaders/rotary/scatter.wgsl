import package::state::encode::f32_to_half;

// Queries and keys turned, keys and values put into their caches: one invocation for
// four elements. Everything is read and written by two neighbouring elements, a cell.

struct Params {
    // Invocations with work: tokens, times those of a token.
    units: u32,
    // Invocations for a token, and those of queries, and of queries and keys.
    token_units: u32,
    query_units: u32,
    key_units: u32,
    // The first token that is bound, counted over all of them.
    first_token: u32,
    // Tokens of a sequence.
    tokens: u32,
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
}

@if(queries) @group(0) @binding(0) var<storage, read> queries: array<vec2<f32>>;
@if(own_keys) @group(0) @binding(1) var<storage, read> keys: array<vec2<f32>>;
@if(own_values) @group(0) @binding(2) var<storage, read> values: array<vec2<f32>>;
@if(turns) @group(0) @binding(3) var<storage, read> cosines: array<vec2<f32>>;
@if(turns) @group(0) @binding(4) var<storage, read> sines: array<vec2<f32>>;
@if(turns) @group(0) @binding(5) var<storage, read> positions: array<i32>;
@if(appends) @group(0) @binding(6) var<storage, read> write_indices: array<i32>;
@if(queries) @group(0) @binding(7) var<storage, read_write> result: array<vec2<f32>>;
@if(keys && halves) @group(0) @binding(8) var<storage, read_write> key_cache: array<u32>;
@if(keys && !halves) @group(0) @binding(8) var<storage, read_write> key_cache: array<vec2<f32>>;
@if(values && halves) @group(0) @binding(9) var<storage, read_write> value_cache: array<u32>;
@if(values && !halves) @group(0) @binding(9) var<storage, read_write> value_cache: array<vec2<f32>>;
@group(0) @binding(10) var<uniform> params: Params;

const NOWHERE: u32 = 0xffffffffu;

// Two cells of a head.
struct Four {
    first: vec2<f32>,
    second: vec2<f32>,
}

fn halves_of(cell: vec2<f32>) -> u32 {
    return f32_to_half(cell.x) | (f32_to_half(cell.y) << 16u);
}

// Which cells of a head a unit has.
fn places(unit: u32) -> vec2<u32> {
    if unit >= params.turned || params.interleaved != 0u {
        return vec2<u32>(2u * unit, 2u * unit + 1u);
    }
    return vec2<u32>(unit, params.turned + unit);
}

// The row of the table that is bound, for a token; NOWHERE if another dispatch has it.
@if(turns)
fn table_row(local: u32) -> u32 {
    // Positions out of range are clamped; the host refuses them before.
    let last = i32(params.positions_end) - 1;
    let row = u32(clamp(positions[local], 0, last)) - params.table_first;
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
fn put_query(local: u32, unit: u32) {
    let row = table_row(local);
    if params.with_queries == 0u || row == NOWHERE {
        return;
    }
    let of_head = params.width / 2u;
    let head = unit / of_head;
    let at = places(unit % of_head);
    let start = local * params.query_row + params.query_offset + head * params.width;
    let x = turn(Four(queries[start + at.x], queries[start + at.y]), unit % of_head, row);
    let to = (local * params.heads + head) * params.width;
    result[to + at.x] = x.first;
    result[to + at.y] = x.second;
}

@if(keys)
fn put_key(local: u32, unit: u32) {
    let row = table_row(local);
    let of_head = params.width / 2u;
    let group = unit / of_head;
    let start = cached(params.first_token + local, group, params.width);
    if row == NOWHERE || start == NOWHERE {
        return;
    }
    let at = places(unit % of_head);
    let source = local * params.key_row + params.key_offset + group * params.width;
    @if(own_keys) let x = Four(keys[source + at.x], keys[source + at.y]);
    @else let x = Four(queries[source + at.x], queries[source + at.y]);
    let turned = turn(x, unit % of_head, row);
    let to = start + at - params.key_first;
    if to.x < params.key_cells {
        @if(halves) key_cache[to.x] = halves_of(turned.first);
        @else key_cache[to.x] = turned.first;
    }
    if to.y < params.key_cells {
        @if(halves) key_cache[to.y] = halves_of(turned.second);
        @else key_cache[to.y] = turned.second;
    }
}

@if(values)
fn value_cell(at: u32) -> vec2<f32> {
    @if(own_values) return values[at];
    @if(!own_values && own_keys) return keys[at];
    @if(!own_values && !own_keys) return queries[at];
}

@if(values)
fn put_value(local: u32, unit: u32) {
    let of_head = params.value_width / 2u;
    let group = unit / of_head;
    let start = cached(params.first_token + local, group, params.value_width);
    if start == NOWHERE {
        return;
    }
    let cell = 2u * (unit % of_head);
    let source = local * params.value_row + params.value_offset + group * params.value_width;
    for (var i = cell; i < cell + 2u; i++) {
        let to = start + i - params.value_first;
        if to < params.value_cells {
            @if(halves) value_cache[to] = halves_of(value_cell(source + i));
            @else value_cache[to] = value_cell(source + i);
        }
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = (group.x + group.y * groups.x) * 64u + lane;
    if unit >= params.units {
        return;
    }
    let local = unit / params.token_units;
    let own = unit % params.token_units;
    if own < params.query_units {
        @if(queries) put_query(local, own);
    } else if own < params.key_units {
        @if(keys) put_key(local, own - params.query_units);
    } else {
        @if(values) put_value(local, own - params.key_units);
    }
}
