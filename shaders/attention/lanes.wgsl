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

// Where the first key is whose products are computed, and the last one there is.
struct Keys {
    first: u32,
    last: u32,
}

fn key(keys: Keys, i: u32, at: u32) -> vec4<f32> {
    return keys4_at(min(keys.first + i, keys.last) * FOURS + at);
}

fn score(lane: u32, to: u32, keys: Keys) {
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    for (var at = 0u; at < FOURS; at++) {
        let k0 = key(keys, 0u, at);
        let k1 = key(keys, 1u, at);
        let k2 = key(keys, 2u, at);
        let k3 = key(keys, 3u, at);
        let k4 = key(keys, 4u, at);
        let k5 = key(keys, 5u, at);
        let k6 = key(keys, 6u, at);
        let k7 = key(keys, 7u, at);
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
    let first = to * WORKGROUP + lane;
    weights[first] = s0;
    weights[first + WORKGROUP] = s1;
    weights[first + 2u * WORKGROUP] = s2;
    weights[first + 3u * WORKGROUP] = s3;
    weights[first + 4u * WORKGROUP] = s4;
    weights[first + 5u * WORKGROUP] = s5;
    weights[first + 6u * WORKGROUP] = s6;
    weights[first + 7u * WORKGROUP] = s7;
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

// Rows 4 * pair to 4 * pair + 7, over keys from row `first` of the cache on.
fn sum(part: Part, pair: u32, first: u32, count: u32) {
    var a0 = vec4<f32>();
    var a1 = vec4<f32>();
    var a2 = vec4<f32>();
    var a3 = vec4<f32>();
    var a4 = vec4<f32>();
    var a5 = vec4<f32>();
    var a6 = vec4<f32>();
    var a7 = vec4<f32>();
    var b0 = vec4<f32>();
    var b1 = vec4<f32>();
    var b2 = vec4<f32>();
    var b3 = vec4<f32>();
    var b4 = vec4<f32>();
    var b5 = vec4<f32>();
    var b6 = vec4<f32>();
    var b7 = vec4<f32>();
    // Past the last element the last one is summed again, and not written.
    let c0 = min(part.column, TWOS - 1u);
    let c1 = min(part.column + WORKGROUP, TWOS - 1u);
    @if(!narrow) let c2 = min(part.column + 2u * WORKGROUP, TWOS - 1u);
    @if(!narrow) let c3 = min(part.column + 3u * WORKGROUP, TWOS - 1u);
    for (var j = 0u; j < count; j++) {
        let at = (first + j) * TWOS;
        let w = weights[j * WORKGROUP + pair];
        let z = weights[j * WORKGROUP + pair + 1u];
        let a = vec4(values2_at(at + c0), values2_at(at + c1));
        a0 = fma(vec4(w.x), a, a0);
        a1 = fma(vec4(w.y), a, a1);
        a2 = fma(vec4(w.z), a, a2);
        a3 = fma(vec4(w.w), a, a3);
        a4 = fma(vec4(z.x), a, a4);
        a5 = fma(vec4(z.y), a, a5);
        a6 = fma(vec4(z.z), a, a6);
        a7 = fma(vec4(z.w), a, a7);
        @if(!narrow) {
            let b = vec4(values2_at(at + c2), values2_at(at + c3));
            b0 = fma(vec4(w.x), b, b0);
            b1 = fma(vec4(w.y), b, b1);
            b2 = fma(vec4(w.z), b, b2);
            b3 = fma(vec4(w.w), b, b3);
            b4 = fma(vec4(z.x), b, b4);
            b5 = fma(vec4(z.y), b, b5);
            b6 = fma(vec4(z.z), b, b6);
            b7 = fma(vec4(z.w), b, b7);
        }
    }
    let keep = kept[pair];
    let keep_next = kept[pair + 1u];
    let share = shares[pair];
    let share_next = shares[pair + 1u];
    add_row(part, pair * 4u, a0, b0, keep.x, share.x);
    add_row(part, pair * 4u + 1u, a1, b1, keep.y, share.y);
    add_row(part, pair * 4u + 2u, a2, b2, keep.z, share.z);
    add_row(part, pair * 4u + 3u, a3, b3, keep.w, share.w);
    add_row(part, pair * 4u + 4u, a4, b4, keep_next.x, share_next.x);
    add_row(part, pair * 4u + 5u, a5, b5, keep_next.y, share_next.y);
    add_row(part, pair * 4u + 6u, a6, b6, keep_next.z, share_next.z);
    add_row(part, pair * 4u + 7u, a7, b7, keep_next.w, share_next.w);
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
            score(lane, j, Keys(slab + start + j, slab + end - 1u));
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
