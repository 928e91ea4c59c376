import package::attention::io::{Row, params, scores_of, share_of, weights_of, y};
@if(pairs) import package::common::pairs::{four_numbers, joined_four};
import package::config::{HEAD, KEYS, VALUE, WORKGROUP};

// What the ways of a workgroup with many rows have in common.

const ROWS: u32 = WORKGROUP * 4u;
const FOURS: u32 = HEAD / 4u;
const VALUE_FOURS: u32 = VALUE / 4u;

// Rows 4i to 4i + 3 in one vector: their queries, then what a key weighs.
// With `pairs` as words of 64 bits.
@if(pairs) alias Stored = vec2<u64>;
@else alias Stored = vec4<f32>;
var<workgroup> queries: array<Stored, HEAD * WORKGROUP>;
var<workgroup> weights: array<Stored, KEYS * WORKGROUP>;
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

fn stored(x: vec4<f32>) -> Stored {
    @if(pairs) return joined_four(x);
    @else return x;
}

fn query_at(at: u32) -> vec4<f32> {
    @if(pairs) return four_numbers(queries[at]);
    @else return queries[at];
}

fn weight_at(at: u32) -> vec4<f32> {
    @if(pairs) return four_numbers(weights[at]);
    @else return weights[at];
}

// Makes weights of the stored products of four times `fours` keys, from key `key` on. A key
// that a row does not see weighs nothing.
fn weigh_stored(
    lane: u32, to: u32, fours: u32, rows: Rows, key: u32, known: ptr<function, Known>,
) {
    var peak = (*known).peak;
    for (var i = 0u; i < fours; i++) {
        let at = (to + i * 4u) * WORKGROUP + lane;
        let j = key + i * 4u;
        let s0 = own_scores(weight_at(at), rows, j);
        let s1 = own_scores(weight_at(at + WORKGROUP), rows, j + 1u);
        let s2 = own_scores(weight_at(at + 2u * WORKGROUP), rows, j + 2u);
        let s3 = own_scores(weight_at(at + 3u * WORKGROUP), rows, j + 3u);
        weights[at] = stored(s0);
        weights[at + WORKGROUP] = stored(s1);
        weights[at + 2u * WORKGROUP] = stored(s2);
        weights[at + 3u * WORKGROUP] = stored(s3);
        peak = max(peak, max(max(s0, s1), max(s2, s3)));
    }
    var sums = (*known).sums * exp((*known).peak - peak);
    for (var i = 0u; i < fours; i++) {
        let at = (to + i * 4u) * WORKGROUP + lane;
        let w0 = weights_of(weight_at(at), peak);
        let w1 = weights_of(weight_at(at + WORKGROUP), peak);
        let w2 = weights_of(weight_at(at + 2u * WORKGROUP), peak);
        let w3 = weights_of(weight_at(at + 3u * WORKGROUP), peak);
        weights[at] = stored(w0);
        weights[at + WORKGROUP] = stored(w1);
        weights[at + 2u * WORKGROUP] = stored(w2);
        weights[at + 3u * WORKGROUP] = stored(w3);
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
    if part.resumed {
        all = fma(vec4(keep), vec4(y[to], y[to + 1u], y[to + 2u], y[to + 3u]), sums);
    }
    y[to] = all.x * share;
    y[to + 1u] = all.y * share;
    y[to + 2u] = all.z * share;
    y[to + 3u] = all.w * share;
}
