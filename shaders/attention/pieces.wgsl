import package::attention::io::{
    LEAST_SCORE, Row, final_share, grouped_row, keys4_at, number_of, params, q, scores_of, share_of, values4_at,
    weights_of,
};
@if(!pieced) import package::attention::io::y;
import package::config::{HEAD, KEYS, VALUE, WORKGROUP};

// For few queries: a workgroup computes four rows over a piece of KEYS keys. Its
// invocations are keys while these are scored and elements of the values while
// these are summed. What it has goes to `partial`, and `attention/join` puts the
// pieces together; without `pieced` there is only one.

const FOURS: u32 = HEAD / 4u;
const VALUE_FOURS: u32 = VALUE / 4u;
// Of a row and a piece: the sums, then the largest score and the sum of weights.
const RECORD: u32 = VALUE + 2u;

@if(pieced) @group(0) @binding(8) var<storage, read_write> partial: array<f32>;

// Elements of four queries, then what keys weigh for these.
var<workgroup> queries: array<vec4<f32>, HEAD>;
// Up to three more weigh nothing, so that they are a multiple of four.
var<workgroup> weights: array<vec4<f32>, KEYS + 3u>;
var<workgroup> lanes: array<vec4<f32>, WORKGROUP>;

fn largest(mine: vec4<f32>, lane: u32) -> vec4<f32> {
    lanes[lane] = mine;
    workgroupBarrier();
    var all = lanes[0];
    for (var i = 1u; i < WORKGROUP; i++) {
        all = max(all, lanes[i]);
    }
    workgroupBarrier();
    return all;
}

fn total(mine: vec4<f32>, lane: u32) -> vec4<f32> {
    lanes[lane] = mine;
    workgroupBarrier();
    var all = lanes[0];
    for (var i = 1u; i < WORKGROUP; i++) {
        all += lanes[i];
    }
    workgroupBarrier();
    return all;
}

fn four(sum: vec4<f32>, key: u32, at: u32) -> vec4<f32> {
    let k = keys4_at(key * FOURS + at);
    var s = fma(queries[at * 4u], vec4(k.x), sum);
    s = fma(queries[at * 4u + 1u], vec4(k.y), s);
    s = fma(queries[at * 4u + 2u], vec4(k.z), s);
    return fma(queries[at * 4u + 3u], vec4(k.w), s);
}

fn product(key: u32) -> vec4<f32> {
    // Shorter chains of additions are faster and err less.
    var even = vec4<f32>();
    var odd = vec4<f32>();
    for (var at = 0u; at + 3u < FOURS; at += 4u) {
        even = four(even, key, at);
        odd = four(odd, key, at + 1u);
        even = four(even, key, at + 2u);
        odd = four(odd, key, at + 3u);
    }
    // Not a second loop: lavapipe was seen to crash with two of them in a loop.
    if FOURS % 4u >= 1u {
        even = four(even, key, FOURS - FOURS % 4u);
    }
    if FOURS % 4u >= 2u {
        odd = four(odd, key, FOURS - FOURS % 4u + 1u);
    }
    if FOURS % 4u == 3u {
        even = four(even, key, FOURS - 1u);
    }
    return even + odd;
}

// Sums for four rows: of four elements, and of four more.
struct Sums {
    a0: vec4<f32>,
    a1: vec4<f32>,
    a2: vec4<f32>,
    a3: vec4<f32>,
    b0: vec4<f32>,
    b1: vec4<f32>,
    b2: vec4<f32>,
    b3: vec4<f32>,
}

// With row `row` of the values, which weighs what is in `weights[j]`.
fn with_key(sums: Sums, columns: vec2<u32>, row: u32, j: u32) -> Sums {
    var s = sums;
    let w = weights[j];
    let at = row * VALUE_FOURS;
    let a = values4_at(at + columns.x);
    s.a0 = fma(vec4(w.x), a, s.a0);
    s.a1 = fma(vec4(w.y), a, s.a1);
    s.a2 = fma(vec4(w.z), a, s.a2);
    s.a3 = fma(vec4(w.w), a, s.a3);
    @if(many) {
        let b = values4_at(at + columns.y);
        s.b0 = fma(vec4(w.x), b, s.b0);
        s.b1 = fma(vec4(w.y), b, s.b1);
        s.b2 = fma(vec4(w.z), b, s.b2);
        s.b3 = fma(vec4(w.w), b, s.b3);
    }
    return s;
}

// Where the sums of a row go.
fn target_of(row: Row, piece: u32, pieces: u32) -> u32 {
    @if(pieced) return (number_of(row) * pieces + piece) * RECORD;
    @else return number_of(row) * VALUE;
}

fn put(to: u32, column: u32, sums: vec4<f32>, share: f32) {
    let at = to + column * 4u;
    @if(pieced) {
        partial[at] = sums.x;
        partial[at + 1u] = sums.y;
        partial[at + 2u] = sums.z;
        partial[at + 3u] = sums.w;
    }
    @else {
        y[at] = sums.x * share;
        y[at + 1u] = sums.y * share;
        y[at + 2u] = sums.z * share;
        y[at + 3u] = sums.w * share;
    }
}

@if(pieced) fn put_state(to: u32, peak: f32, sum: f32) {
    partial[to + VALUE] = peak;
    partial[to + VALUE + 1u] = sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) place: vec3<u32>,
    @builtin(num_workgroups) places: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = place.x + place.y * places.x;
    let pieces = (params.capacity + KEYS - 1u) / KEYS;
    let piece = number % pieces;
    let group = number / pieces % params.groups;
    let rows = params.queries * share_of();
    let tiles = (rows + 3u) / 4u;
    let first = number / pieces / params.groups % tiles * 4u;
    let batch = number / pieces / params.groups / tiles;
    if batch * params.queries >= params.tokens {
        return;
    }
    let last = rows - 1u;
    // Past the last row the last one is repeated, and not written.
    let r0 = grouped_row(batch, group, first);
    let r1 = grouped_row(batch, group, min(first + 1u, last));
    let r2 = grouped_row(batch, group, min(first + 2u, last));
    let r3 = grouped_row(batch, group, min(first + 3u, last));
    let begin = max(r0.begin, piece * KEYS);
    let end = min(r3.end, (piece + 1u) * KEYS);
    // Not with the loops below, none of which would begin: lavapipe was seen to crash. What
    // pieces have is not read of rows that see nothing.
    if begin >= end {
        @if(!pieced) {
            for (var column = lane; column < VALUE_FOURS; column += WORKGROUP) {
                put(target_of(r0, piece, pieces), column, vec4<f32>(), 0.0);
                if first + 1u <= last {
                    put(target_of(r1, piece, pieces), column, vec4<f32>(), 0.0);
                }
                if first + 2u <= last {
                    put(target_of(r2, piece, pieces), column, vec4<f32>(), 0.0);
                }
                if first + 3u <= last {
                    put(target_of(r3, piece, pieces), column, vec4<f32>(), 0.0);
                }
            }
        }
        return;
    }
    for (var d = lane; d < HEAD; d += WORKGROUP) {
        queries[d] = vec4(
            q[number_of(r0) * HEAD + d],
            q[number_of(r1) * HEAD + d],
            q[number_of(r2) * HEAD + d],
            q[number_of(r3) * HEAD + d],
        );
    }
    workgroupBarrier();
    var mine = vec4(LEAST_SCORE);
    // Loops that have loops inside are the same for all invocations: lavapipe was
    // seen to crash where all of a subgroup had left such a one.
    for (var start = begin; start < end; start += WORKGROUP) {
        let j = start + lane;
        let s = scores_of(product(r0.slab + min(j, end - 1u)), r0, r1, r2, r3, j);
        if j < end {
            weights[j - begin] = s;
            mine = max(mine, s);
        }
    }
    let peak = largest(mine, lane);
    var sum = vec4<f32>();
    for (var j = begin + lane; j < end; j += WORKGROUP) {
        let w = weights_of(weights[j - begin], peak);
        weights[j - begin] = w;
        sum += w;
    }
    let count = end - begin;
    if lane < 3u {
        weights[count + lane] = vec4<f32>();
    }
    let sums = total(sum, lane);
    let share = vec4(
        final_share(peak.x, sums.x, r0.head), final_share(peak.y, sums.y, r1.head),
        final_share(peak.z, sums.z, r2.head), final_share(peak.w, sums.w, r3.head),
    );
    let t0 = target_of(r0, piece, pieces);
    let t1 = target_of(r1, piece, pieces);
    let t2 = target_of(r2, piece, pieces);
    let t3 = target_of(r3, piece, pieces);
    let values = r0.slab + begin;
    let final_row = values + count - 1u;
    for (var base = 0u; base < VALUE_FOURS; base += COLUMNS) {
        let column = base + lane;
        // Past the last element the last one is summed again, and not written.
        let columns = min(vec2(column) + vec2(0u, WORKGROUP), vec2(VALUE_FOURS - 1u));
        var s = Sums();
        for (var j = 0u; j < count; j += 4u) {
            s = with_key(s, columns, values + j, j);
            s = with_key(s, columns, min(values + j + 1u, final_row), j + 1u);
            s = with_key(s, columns, min(values + j + 2u, final_row), j + 2u);
            s = with_key(s, columns, min(values + j + 3u, final_row), j + 3u);
        }
        put_row(t0, column, s.a0, s.b0, share.x);
        if first + 1u <= last {
            put_row(t1, column, s.a1, s.b1, share.y);
        }
        if first + 2u <= last {
            put_row(t2, column, s.a2, s.b2, share.z);
        }
        if first + 3u <= last {
            put_row(t3, column, s.a3, s.b3, share.w);
        }
    }
    @if(pieced) {
        if lane == 0u {
            put_state(t0, peak.x, sums.x);
            put_state(t1, peak.y, sums.y);
            put_state(t2, peak.z, sums.z);
            put_state(t3, peak.w, sums.w);
        }
    }
}

@if(many) const COLUMNS: u32 = 2u * WORKGROUP;
@else const COLUMNS: u32 = WORKGROUP;

fn put_row(to: u32, column: u32, a: vec4<f32>, b: vec4<f32>, share: f32) {
    if column < VALUE_FOURS {
        put(to, column, a, share);
    }
    @if(many) {
        if column + WORKGROUP < VALUE_FOURS {
            put(to, column + WORKGROUP, b, share);
        }
    }
}
