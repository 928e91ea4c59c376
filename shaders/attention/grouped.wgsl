import package::attention::io::{Row, params, scores_of, share_of, weights_of, y};
import package::common::eight::Eight;
@if(pairs) import package::common::pairs::{eight_numbers, four_numbers, joined_eight, joined_four};
import package::config::{HEAD, KEYS, VALUE, WORKGROUP};

// What the ways of a workgroup with many rows have in common.

const ROWS: u32 = WORKGROUP * 4u;
const FOURS: u32 = HEAD / 4u;
const VALUE_FOURS: u32 = VALUE / 4u;

// Rows 4i to 4i + 3 in one vector: their queries, then what a key weighs.
@if(!pairs) var<workgroup> queries: array<vec4<f32>, HEAD * WORKGROUP>;
@if(!pairs) var<workgroup> weights: array<vec4<f32>, KEYS * WORKGROUP>;
// With `pairs` two elements of the head, or two keys, in words of 64 bits.
@if(pairs) var<workgroup> queries: array<vec4<u64>, HEAD / 2u * WORKGROUP>;
@if(pairs) var<workgroup> weights: array<vec4<u64>, KEYS / 2u * WORKGROUP>;
// Keys whose scores are in registers at once, and what weights before a slab are
// multiplied with from it on.
@if(slabs) const SLAB: u32 = 32u;
@if(slabs) var<workgroup> kept_of_slab: array<f32, KEYS / SLAB * ROWS>;
// What of earlier keys is kept, and what results are divided by in the end.
var<workgroup> kept: array<f32, ROWS>;
var<workgroup> shares: array<f32, ROWS>;
// Each lane's sums: of eight rows, or of all of them.
@if(!slabs) var<workgroup> done: array<vec4<f32>, 16u * WORKGROUP>;

// Four vectors: four elements of the head for four rows, or four keys' values.
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// The rows of a lane.
struct Rows {
    a: Row,
    b: Row,
    c: Row,
    d: Row,
}

// What is known of four rows so far: their largest scores, and the sums of what the keys
// weigh against these.
struct Known {
    peak: vec4<f32>,
    sums: vec4<f32>,
}

// Elements `d` of the head and the next one, of a lane's rows: `d` is even.
fn set_queries(lane: u32, d: u32, x: Eight) {
    @if(pairs) {
        queries[d / 2u * WORKGROUP + lane] = joined_eight(x);
    }
    @if(!pairs) {
        queries[d * WORKGROUP + lane] = x.lo;
        queries[(d + 1u) * WORKGROUP + lane] = x.hi;
    }
}

fn queries_at(lane: u32, d: u32) -> Eight {
    @if(pairs) return eight_numbers(queries[d / 2u * WORKGROUP + lane]);
    @if(!pairs) return Eight(queries[d * WORKGROUP + lane], queries[(d + 1u) * WORKGROUP + lane]);
}

// What keys `j` and the next one weigh for a lane's rows: `j` is even.
fn set_weights(lane: u32, j: u32, x: Eight) {
    @if(pairs) {
        weights[j / 2u * WORKGROUP + lane] = joined_eight(x);
    }
    @if(!pairs) {
        weights[j * WORKGROUP + lane] = x.lo;
        weights[(j + 1u) * WORKGROUP + lane] = x.hi;
    }
}

fn weights_at(lane: u32, j: u32) -> Eight {
    @if(pairs) return eight_numbers(weights[j / 2u * WORKGROUP + lane]);
    @if(!pairs) return Eight(weights[j * WORKGROUP + lane], weights[(j + 1u) * WORKGROUP + lane]);
}

// Makes weights of the stored products of four times `fours` keys, from key `key` on. A key
// that a row does not see weighs nothing.
fn weigh_stored(
    lane: u32, to: u32, fours: u32, rows: Rows, key: u32, known: ptr<function, Known>,
) {
    var peak = (*known).peak;
    for (var i = 0u; i < fours; i++) {
        let at = to + i * 4u;
        let j = key + i * 4u;
        let near = weights_at(lane, at);
        let far = weights_at(lane, at + 2u);
        let s0 = own_scores(near.lo, rows, j);
        let s1 = own_scores(near.hi, rows, j + 1u);
        let s2 = own_scores(far.lo, rows, j + 2u);
        let s3 = own_scores(far.hi, rows, j + 3u);
        set_weights(lane, at, Eight(s0, s1));
        set_weights(lane, at + 2u, Eight(s2, s3));
        peak = max(peak, max(max(s0, s1), max(s2, s3)));
    }
    var sums = (*known).sums * exp((*known).peak - peak);
    for (var i = 0u; i < fours; i++) {
        let at = to + i * 4u;
        let near = weights_at(lane, at);
        let far = weights_at(lane, at + 2u);
        let w0 = weights_of(near.lo, peak);
        let w1 = weights_of(near.hi, peak);
        let w2 = weights_of(far.lo, peak);
        let w3 = weights_of(far.hi, peak);
        set_weights(lane, at, Eight(w0, w1));
        set_weights(lane, at + 2u, Eight(w2, w3));
        sums += (w0 + w1) + (w2 + w3);
    }
    (*known).peak = peak;
    (*known).sums = sums;
}

fn own_scores(products: vec4<f32>, rows: Rows, key: u32) -> vec4<f32> {
    return scores_of(products, rows.a, rows.b, rows.c, rows.d, key);
}

// What is being summed and where it goes.
struct Part {
    batch: u32,
    group: u32,
    // The first row of the tile, and how many there are in all.
    first: u32,
    rows: u32,
    // The first four elements of this lane, by number.
    column: u32,
    // Whether there are sums of earlier keys.
    resumed: bool,
}

fn add(part: Part, row: u32, column: u32, sums: vec4<f32>, keep: f32, share: f32) {
    let i = part.first + row;
    if i >= part.rows || column >= VALUE_FOURS {
        return;
    }
    let query = part.batch * params.queries + i / share_of();
    let to = (query * params.heads + part.group * share_of() + i % share_of()) * VALUE + column * 4u;
    var all = sums;
    @if(pairs) {
        if part.resumed {
            all = fma(vec4(keep), four_numbers(y[to / 4u]), sums);
        }
        y[to / 4u] = joined_four(all * share);
    }
    @if(!pairs) {
        if part.resumed {
            all = fma(vec4(keep), vec4(y[to], y[to + 1u], y[to + 2u], y[to + 3u]), sums);
        }
        y[to] = all.x * share;
        y[to + 1u] = all.y * share;
        y[to + 2u] = all.z * share;
        y[to + 3u] = all.w * share;
    }
}
