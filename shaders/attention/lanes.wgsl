import package::attention::io::{
    LEAST_SCORE, Row, grouped_row, keys4_at, number_of, params, q, scores_of, share_of, values2_at,
    weights_of, y,
};
import package::config::{HEAD, KEYS, VALUE, WORKGROUP};

// A workgroup is one SIMD vector of a CPU and computes four rows for each of its
// lanes. Lanes are rows while keys are scored, so that a key is read once for
// all of them; they are elements of the values while these are summed, so that
// a weight is. Products are in named registers, and loops have long bodies:
// drivers that run on a CPU spend more on a loop's end than on 50 products.

const ROWS: u32 = WORKGROUP * 4u;
const FOURS: u32 = HEAD / 4u;
const TWOS: u32 = VALUE / 2u;

// Rows 4i to 4i + 3 in one vector: their queries, then what a key weighs.
var<workgroup> queries: array<vec4<f32>, HEAD * WORKGROUP>;
var<workgroup> weights: array<vec4<f32>, KEYS * WORKGROUP>;
// What of earlier keys is kept, and what results are divided by in the end.
var<workgroup> kept: array<vec4<f32>, WORKGROUP>;
var<workgroup> shares: array<vec4<f32>, WORKGROUP>;

// The products of eight keys from row `first` of the cache on, where `last` is the
// last one there is.
fn score(lane: u32, to: u32, first: u32, last: u32) {
    let key0 = first * FOURS;
    let key1 = min(first + 1u, last) * FOURS;
    let key2 = min(first + 2u, last) * FOURS;
    let key3 = min(first + 3u, last) * FOURS;
    let key4 = min(first + 4u, last) * FOURS;
    let key5 = min(first + 5u, last) * FOURS;
    let key6 = min(first + 6u, last) * FOURS;
    let key7 = min(first + 7u, last) * FOURS;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    for (var at = 0u; at < FOURS; at++) {
        let k0 = keys4_at(key0 + at);
        let k1 = keys4_at(key1 + at);
        let k2 = keys4_at(key2 + at);
        let k3 = keys4_at(key3 + at);
        let k4 = keys4_at(key4 + at);
        let k5 = keys4_at(key5 + at);
        let k6 = keys4_at(key6 + at);
        let k7 = keys4_at(key7 + at);
        let base = at * 4u * WORKGROUP + lane;
        let a = queries[base];
        s0 = fma(a, vec4(k0.x), s0);
        s1 = fma(a, vec4(k1.x), s1);
        s2 = fma(a, vec4(k2.x), s2);
        s3 = fma(a, vec4(k3.x), s3);
        s4 = fma(a, vec4(k4.x), s4);
        s5 = fma(a, vec4(k5.x), s5);
        s6 = fma(a, vec4(k6.x), s6);
        s7 = fma(a, vec4(k7.x), s7);
        let b = queries[base + WORKGROUP];
        s0 = fma(b, vec4(k0.y), s0);
        s1 = fma(b, vec4(k1.y), s1);
        s2 = fma(b, vec4(k2.y), s2);
        s3 = fma(b, vec4(k3.y), s3);
        s4 = fma(b, vec4(k4.y), s4);
        s5 = fma(b, vec4(k5.y), s5);
        s6 = fma(b, vec4(k6.y), s6);
        s7 = fma(b, vec4(k7.y), s7);
        let c = queries[base + 2u * WORKGROUP];
        s0 = fma(c, vec4(k0.z), s0);
        s1 = fma(c, vec4(k1.z), s1);
        s2 = fma(c, vec4(k2.z), s2);
        s3 = fma(c, vec4(k3.z), s3);
        s4 = fma(c, vec4(k4.z), s4);
        s5 = fma(c, vec4(k5.z), s5);
        s6 = fma(c, vec4(k6.z), s6);
        s7 = fma(c, vec4(k7.z), s7);
        let d = queries[base + 3u * WORKGROUP];
        s0 = fma(d, vec4(k0.w), s0);
        s1 = fma(d, vec4(k1.w), s1);
        s2 = fma(d, vec4(k2.w), s2);
        s3 = fma(d, vec4(k3.w), s3);
        s4 = fma(d, vec4(k4.w), s4);
        s5 = fma(d, vec4(k5.w), s5);
        s6 = fma(d, vec4(k6.w), s6);
        s7 = fma(d, vec4(k7.w), s7);
    }
    let place = to * WORKGROUP + lane;
    weights[place] = s0;
    weights[place + WORKGROUP] = s1;
    weights[place + 2u * WORKGROUP] = s2;
    weights[place + 3u * WORKGROUP] = s3;
    weights[place + 4u * WORKGROUP] = s4;
    weights[place + 5u * WORKGROUP] = s5;
    weights[place + 6u * WORKGROUP] = s6;
    weights[place + 7u * WORKGROUP] = s7;
}

// What is being summed and where it goes.
struct Part {
    batch: u32,
    group: u32,
    // The first row of the tile, and how many there are in all.
    first: u32,
    rows: u32,
    // The first two elements of this lane.
    column: u32,
    // Whether there are sums of earlier keys.
    resumed: bool,
}

fn add(part: Part, row: u32, column: u32, sums: vec2<f32>, keep: f32, share: f32) {
    let i = part.first + row;
    if i >= part.rows || column >= TWOS {
        return;
    }
    let query = part.batch * params.queries + i / share_of();
    let to = (query * params.heads + part.group * share_of() + i % share_of()) * VALUE + column * 2u;
    var all = sums;
    if part.resumed {
        all = fma(vec2(keep), vec2(y[to], y[to + 1u]), sums);
    }
    y[to] = all.x * share;
    y[to + 1u] = all.y * share;
}

fn add_row(part: Part, row: u32, a: vec4<f32>, b: vec4<f32>, keep: f32, share: f32) {
    add(part, row, part.column, a.xy, keep, share);
    add(part, row, part.column + WORKGROUP, a.zw, keep, share);
    @if(!narrow) add(part, row, part.column + 2u * WORKGROUP, b.xy, keep, share);
    @if(!narrow) add(part, row, part.column + 3u * WORKGROUP, b.zw, keep, share);
}

// Sums for eight rows: of two times two elements, and of two times two more.
struct Sums {
    a0: vec4<f32>,
    a1: vec4<f32>,
    a2: vec4<f32>,
    a3: vec4<f32>,
    a4: vec4<f32>,
    a5: vec4<f32>,
    a6: vec4<f32>,
    a7: vec4<f32>,
    @if(!narrow) b0: vec4<f32>,
    @if(!narrow) b1: vec4<f32>,
    @if(!narrow) b2: vec4<f32>,
    @if(!narrow) b3: vec4<f32>,
    @if(!narrow) b4: vec4<f32>,
    @if(!narrow) b5: vec4<f32>,
    @if(!narrow) b6: vec4<f32>,
    @if(!narrow) b7: vec4<f32>,
}

// Which of a row's twos this lane sums. Past the last one it is summed again, and
// not written.
fn columns_of(part: Part) -> vec4<u32> {
    let first = vec4(part.column);
    return min(first + vec4(0u, 1u, 2u, 3u) * WORKGROUP, vec4(TWOS - 1u));
}

// With row `row` of the values, which weighs what is in row `j` of the weights.
fn with_key(sums: Sums, columns: vec4<u32>, row: u32, j: u32, pair: u32) -> Sums {
    var s = sums;
    let at = row * TWOS;
    let w = weights[j * WORKGROUP + pair];
    let z = weights[j * WORKGROUP + pair + 1u];
    let a = vec4(values2_at(at + columns.x), values2_at(at + columns.y));
    s.a0 = fma(vec4(w.x), a, s.a0);
    s.a1 = fma(vec4(w.y), a, s.a1);
    s.a2 = fma(vec4(w.z), a, s.a2);
    s.a3 = fma(vec4(w.w), a, s.a3);
    s.a4 = fma(vec4(z.x), a, s.a4);
    s.a5 = fma(vec4(z.y), a, s.a5);
    s.a6 = fma(vec4(z.z), a, s.a6);
    s.a7 = fma(vec4(z.w), a, s.a7);
    @if(!narrow) {
        let b = vec4(values2_at(at + columns.z), values2_at(at + columns.w));
        s.b0 = fma(vec4(w.x), b, s.b0);
        s.b1 = fma(vec4(w.y), b, s.b1);
        s.b2 = fma(vec4(w.z), b, s.b2);
        s.b3 = fma(vec4(w.w), b, s.b3);
        s.b4 = fma(vec4(z.x), b, s.b4);
        s.b5 = fma(vec4(z.y), b, s.b5);
        s.b6 = fma(vec4(z.z), b, s.b6);
        s.b7 = fma(vec4(z.w), b, s.b7);
    }
    return s;
}

// Rows 4 * pair to 4 * pair + 7, over keys from row `first` of the cache on.
fn sum(part: Part, pair: u32, first: u32, count: u32) {
    var s = Sums();
    let columns = columns_of(part);
    var j = 0u;
    for (; j + 3u < count; j += 4u) {
        s = with_key(s, columns, first + j, j, pair);
        s = with_key(s, columns, first + j + 1u, j + 1u, pair);
        s = with_key(s, columns, first + j + 2u, j + 2u, pair);
        s = with_key(s, columns, first + j + 3u, j + 3u, pair);
    }
    for (; j < count; j++) {
        s = with_key(s, columns, first + j, j, pair);
    }
    let keep = kept[pair];
    let keep_next = kept[pair + 1u];
    let share = shares[pair];
    let share_next = shares[pair + 1u];
    @if(narrow) add_row(part, pair * 4u, s.a0, vec4<f32>(), keep.x, share.x);
    @else add_row(part, pair * 4u, s.a0, s.b0, keep.x, share.x);
    @if(narrow) add_row(part, pair * 4u + 1u, s.a1, vec4<f32>(), keep.y, share.y);
    @else add_row(part, pair * 4u + 1u, s.a1, s.b1, keep.y, share.y);
    @if(narrow) add_row(part, pair * 4u + 2u, s.a2, vec4<f32>(), keep.z, share.z);
    @else add_row(part, pair * 4u + 2u, s.a2, s.b2, keep.z, share.z);
    @if(narrow) add_row(part, pair * 4u + 3u, s.a3, vec4<f32>(), keep.w, share.w);
    @else add_row(part, pair * 4u + 3u, s.a3, s.b3, keep.w, share.w);
    @if(narrow) add_row(part, pair * 4u + 4u, s.a4, vec4<f32>(), keep_next.x, share_next.x);
    @else add_row(part, pair * 4u + 4u, s.a4, s.b4, keep_next.x, share_next.x);
    @if(narrow) add_row(part, pair * 4u + 5u, s.a5, vec4<f32>(), keep_next.y, share_next.y);
    @else add_row(part, pair * 4u + 5u, s.a5, s.b5, keep_next.y, share_next.y);
    @if(narrow) add_row(part, pair * 4u + 6u, s.a6, vec4<f32>(), keep_next.z, share_next.z);
    @else add_row(part, pair * 4u + 6u, s.a6, s.b6, keep_next.z, share_next.z);
    @if(narrow) add_row(part, pair * 4u + 7u, s.a7, vec4<f32>(), keep_next.w, share_next.w);
    @else add_row(part, pair * 4u + 7u, s.a7, s.b7, keep_next.w, share_next.w);
}

@if(narrow) const COLUMNS: u32 = 2u * WORKGROUP;
@else const COLUMNS: u32 = 4u * WORKGROUP;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) place: vec3<u32>,
    @builtin(num_workgroups) places: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = place.x + place.y * places.x;
    let rows = params.queries * share_of();
    let tiles = (rows + ROWS - 1u) / ROWS;
    let group = number % params.groups;
    let batch = number / params.groups / tiles;
    let first = number / params.groups % tiles * ROWS;
    if batch * params.queries >= params.tokens {
        return;
    }
    // Past the last row the last one is repeated, and not written.
    let last = rows - 1u;
    let r0 = grouped_row(batch, group, min(first + lane * 4u, last));
    let r1 = grouped_row(batch, group, min(first + lane * 4u + 1u, last));
    let r2 = grouped_row(batch, group, min(first + lane * 4u + 2u, last));
    let r3 = grouped_row(batch, group, min(first + lane * 4u + 3u, last));
    let q0 = number_of(r0) * HEAD;
    let q1 = number_of(r1) * HEAD;
    let q2 = number_of(r2) * HEAD;
    let q3 = number_of(r3) * HEAD;
    for (var d = 0u; d < HEAD; d++) {
        queries[d * WORKGROUP + lane] = vec4(q[q0 + d], q[q1 + d], q[q2 + d], q[q3 + d]);
    }
    // Not of this lane's rows, so that drivers see that it is the same for all.
    let begin = grouped_row(batch, group, first).begin;
    let end = grouped_row(batch, group, min(first + ROWS - 1u, last)).end;
    let slab = (batch * params.groups + group) * params.capacity;
    var part = Part(batch, group, first, rows, lane, false);
    var peak = vec4(LEAST_SCORE);
    var sums = vec4<f32>();
    for (var start = begin; start < end; start += KEYS) {
        let count = min(KEYS, end - start);
        for (var j = 0u; j < count; j += 8u) {
            score(lane, j, slab + start + j, slab + end - 1u);
        }
        var higher = peak;
        for (var j = 0u; j < count; j++) {
            let at = j * WORKGROUP + lane;
            let s = scores_of(weights[at], r0, r1, r2, r3, start + j);
            weights[at] = s;
            higher = max(higher, s);
        }
        let keep = exp(peak - higher);
        peak = higher;
        sums *= keep;
        for (var j = 0u; j < count; j++) {
            let at = j * WORKGROUP + lane;
            let w = weights_of(weights[at], peak);
            weights[at] = w;
            sums += w;
        }
        kept[lane] = keep;
        // A row that sees no key gives zeros.
        let whole = select(vec4<f32>(), vec4(1.0) / sums, sums > vec4<f32>());
        shares[lane] = select(vec4(1.0), whole, start + KEYS >= end);
        workgroupBarrier();
        for (var pair = 0u; pair < WORKGROUP; pair += 2u) {
            for (var column = lane; column < TWOS; column += COLUMNS) {
                part.column = column;
                sum(part, pair, slab + start, count);
            }
        }
        part.resumed = true;
        workgroupBarrier();
    }
    if begin >= end {
        for (var i = 0u; i < ROWS; i++) {
            for (var column = lane; column < TWOS; column += WORKGROUP) {
                add(part, i, column, vec2<f32>(), 0.0, 0.0);
            }
        }
    }
}
