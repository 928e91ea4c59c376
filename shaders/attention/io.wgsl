import package::common::f16::{half_to_f32, words_to_half4};
@if(pairs || eights) import package::common::eight::Eight;
@if(pairs) import package::common::pairs::eight_numbers;
@if(pairs && !half) import package::common::pairs::four_numbers;
import package::config::{HEAD, VALUE};

// What the attention kernels read, and the score of a key.
//
// q is [B, Q, H, HEAD], k [B, G, C, HEAD], v [B, G, C, VALUE]. Caches of f16
// are read as words of two.
//
// `wide`: keys and values are read by fours, of which HEAD and VALUE are multiples.
// `eights`, with `wide`: by eights, of which they are multiples.
//
// `pairs`, with `wide`: words of 64 bits (`common/pairs`), queries and keys by eights, of
// which HEAD is a multiple. Some drivers go through the lanes for each load, whatever its width.
//
// `split`: a part of the rows of the caches, of the elements of the mask and of
// the sequences of `past` is bound. A query takes the keys that are there and
// hands its maximum, sum and output to the dispatch that has the next ones.

struct Params {
    // Tokens of this part and the number of its first one; a token is a query
    // of a sequence.
    tokens: u32,
    first: u32,
    queries: u32,
    heads: u32,
    groups: u32,
    capacity: u32,
    scale: f32,
    @if(window) window: u32,
    @if(softcap) softcap: f32,
    @if(masked) mask_batch: u32,
    @if(masked) mask_head: u32,
    @if(masked) mask_query: u32,
    @if(masked) mask_key: u32,
    @if(split) first_row: u32,
    @if(split) rows: u32,
    @if(split) first_past: u32,
    @if(split) pasts: u32,
    @if(split && masked) first_mask: u32,
    @if(split && masked) masks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@if(!pairs) @group(0) @binding(1) var<storage, read> q: array<f32>;
@if(pairs) @group(0) @binding(1) var<storage, read> q: array<vec4<u64>>;
@if(half && pairs) @group(0) @binding(2) var<storage, read> k: array<vec2<u64>>;
@elif(pairs) @group(0) @binding(2) var<storage, read> k: array<vec4<u64>>;
@elif(half && eights) @group(0) @binding(2) var<storage, read> k: array<vec4<u32>>;
@elif(half && wide) @group(0) @binding(2) var<storage, read> k: array<vec2<u32>>;
@elif(half) @group(0) @binding(2) var<storage, read> k: array<u32>;
@elif(wide) @group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@else @group(0) @binding(2) var<storage, read> k: array<f32>;
@if(half && pairs) @group(0) @binding(3) var<storage, read> v: array<u64>;
@elif(pairs) @group(0) @binding(3) var<storage, read> v: array<vec2<u64>>;
@elif(half && eights) @group(0) @binding(3) var<storage, read> v: array<vec4<u32>>;
@elif(half && wide) @group(0) @binding(3) var<storage, read> v: array<vec2<u32>>;
@elif(half) @group(0) @binding(3) var<storage, read> v: array<u32>;
@elif(wide) @group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@else @group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> past: array<i32>;
@if(!pairs) @group(0) @binding(5) var<storage, read_write> y: array<f32>;
@if(pairs) @group(0) @binding(5) var<storage, read_write> y: array<vec2<u64>>;
@if(masked) @group(0) @binding(6) var<storage, read> mask: array<f32>;
// The maximum and the sum of each query and head, while more keys follow.
@if(split) @group(0) @binding(7) var<storage, read_write> carried: array<f32>;
// A score of each head that has no value.
@if(sinks) @group(0) @binding(9) var<storage, read> sinks: array<f32>;

// Finite: WGSL may assume there is no infinity. No score of a key that is seen
// is below it; a key that the mask hides has `HIDDEN_SCORE`.
const LEAST_SCORE: f32 = -1e38;
const HIDDEN_SCORE: f32 = -2e38;

// A query of a sequence under one head.
struct Row {
    batch: u32,
    query: u32,
    head: u32,
    // The row of the caches that has key 0, counted from the first bound one.
    slab: u32,
    // The keys it sees and this dispatch has.
    begin: u32,
    end: u32,
    // All keys it sees, and whether other dispatches have all of them.
    @if(split) first: u32,
    @if(split) last: u32,
    @if(split) idle: bool,
}

fn above(a: u32, b: u32) -> u32 {
    return a - min(a, b);
}

// A query with the keys it sees in the caches, whatever part of the mask is bound.
fn keys_of(batch: u32, query: u32, head: u32) -> Row {
    var row: Row;
    row.batch = batch;
    row.query = query;
    row.head = head;
    row.slab = (batch * params.groups + head / (params.heads / params.groups)) * params.capacity;
    var sequence = batch;
    @if(split) {
        sequence -= params.first_past;
        row.idle = sequence >= params.pasts;
        if row.idle {
            return row;
        }
    }
    // What is out of range is brought into it: a shader cannot report it.
    let queries = i32(params.queries);
    let before = clamp(past[sequence], -queries, i32(params.capacity) - queries);
    @if(causal || window) let after = max(before + i32(query) + 1, 0);
    @if(causal) row.end = min(u32(after), params.capacity);
    @else row.end = u32(before + queries);
    row.begin = 0u;
    @if(window) row.begin = min(above(u32(after), params.window), row.end);
    @if(split) {
        row.first = row.begin;
        row.last = row.end;
        row.begin = max(row.begin, above(params.first_row, row.slab));
        row.end = min(row.end, above(params.first_row + params.rows, row.slab));
        // Wraps where the slab begins before; adding a bound key wraps back.
        row.slab -= params.first_row;
    }
    return row;
}

@if(masked) fn mask_start(row: Row) -> u32 {
    return row.batch * params.mask_batch + row.head * params.mask_head
        + row.query * params.mask_query;
}

fn row_of(batch: u32, query: u32, head: u32) -> Row {
    var row = keys_of(batch, query, head);
    @if(split && masked) {
        let start = mask_start(row);
        if params.mask_key != 0u {
            row.begin = max(row.begin, above(params.first_mask, start));
            row.end = min(row.end, above(params.first_mask + params.masks, start));
        } else if start - params.first_mask >= params.masks {
            row.end = row.begin;
        }
    }
    @if(split) {
        // The first of all dispatches writes the zeros of a query that sees nothing.
        var opening = params.first_row == 0u;
        @if(masked) opening = opening && params.first_mask == 0u;
        let blind = row.first >= row.last;
        row.idle = row.idle || select(row.begin >= row.end, !opening, blind);
    }
    return row;
}

// Whether earlier dispatches have seen keys of this query.
@if(split) fn resumed(row: Row) -> bool {
    return row.begin > row.first;
}

// Whether later dispatches will see keys of this query.
@if(split) fn unfinished(row: Row) -> bool {
    return row.end < row.last;
}

@if(split) fn carried_peak(row: u32) -> f32 {
    return carried[row * 2u];
}

@if(split) fn carried_sum(row: u32) -> f32 {
    return carried[row * 2u + 1u];
}

@if(split) fn carry(row: u32, peak: f32, sum: f32) {
    carried[row * 2u] = peak;
    carried[row * 2u + 1u] = sum;
}

// Four elements of the keys and of the values, by number of fours.
@if(wide && !pairs && !eights) fn keys4_at(i: u32) -> vec4<f32> {
    @if(half) return words_to_half4(k[i]);
    @else return k[i];
}

@if(wide && !eights) fn values4_at(i: u32) -> vec4<f32> {
    @if(half && pairs) return words_to_half4(words_of(v[i]));
    @elif(half) return words_to_half4(v[i]);
    @elif(pairs) return four_numbers(v[i]);
    @else return v[i];
}

// Eight elements of the queries and of the keys, by number of eights.
@if(pairs) fn queries8_at(i: u32) -> Eight {
    return eight_numbers(q[i]);
}

@if(pairs) fn keys8_at(i: u32) -> Eight {
    @if(!half) return eight_numbers(k[i]);
    @if(half) {
        let words = k[i];
        return Eight(words_to_half4(words_of(words.x)), words_to_half4(words_of(words.y)));
    }
}

@if(eights) fn keys8_at(i: u32) -> Eight {
    @if(half) return Eight(words_to_half4(k[i].xy), words_to_half4(k[i].zw));
    @else return Eight(k[2u * i], k[2u * i + 1u]);
}

// Eight elements of the values, by number of eights.
@if(eights) fn values8_at(i: u32) -> Eight {
    @if(half) return Eight(words_to_half4(v[i].xy), words_to_half4(v[i].zw));
    @else return Eight(v[2u * i], v[2u * i + 1u]);
}

@if(pairs && half) fn words_of(pair: u64) -> vec2<u32> {
    return vec2<u32>(u32(pair), u32(pair >> 32u));
}

// What the weighted sum of values is multiplied with at the end. A query that sees
// no key gives zeros.
@if(!sinks) fn final_share(peak: f32, sum: f32, head: u32) -> f32 {
    return select(0.0, 1.0 / sum, sum > 0.0);
}

@if(sinks) fn final_share(peak: f32, sum: f32, head: u32) -> f32 {
    let sink = max(sinks[head], LEAST_SCORE);
    let higher = max(peak, sink);
    let kept = exp(peak - higher);
    return kept / (sum * kept + exp(sink - higher));
}

@if(half && !wide) fn key_at(i: u32) -> f32 {
    return half_to_f32((k[i >> 1u] >> ((i & 1u) << 4u)) & 0xffffu);
}

@if(half && !wide) fn value_at(i: u32) -> f32 {
    return half_to_f32((v[i >> 1u] >> ((i & 1u) << 4u)) & 0xffffu);
}

@if(!half && !wide) fn key_at(i: u32) -> f32 {
    return k[i];
}

@if(!half && !wide) fn value_at(i: u32) -> f32 {
    return v[i];
}

// Queries under the heads of one group are rows that see the same keys: row `i`
// is query `i / share` under the group's head `i % share`.
fn share_of() -> u32 {
    return params.heads / params.groups;
}

fn grouped_row(batch: u32, group: u32, i: u32) -> Row {
    return row_of(batch, i / share_of(), group * share_of() + i % share_of());
}

// The number of a row among all queries and heads.
fn number_of(row: Row) -> u32 {
    return (row.batch * params.queries + row.query) * params.heads + row.head;
}

// A key that a mask has an element for, as it may end with those that the row sees.
fn within(row: Row, j: u32) -> u32 {
    @if(masked) return min(j, max(row.end, 1u) - 1u);
    @else return j;
}

// The scores of a key for four rows; hidden where a row does not see it.
fn scores_of(products: vec4<f32>, a: Row, b: Row, c: Row, d: Row, j: u32) -> vec4<f32> {
    let scores = vec4(
        score_of(products.x, a, within(a, j)),
        score_of(products.y, b, within(b, j)),
        score_of(products.z, c, within(c, j)),
        score_of(products.w, d, within(d, j)),
    );
    let begin = vec4(a.begin, b.begin, c.begin, d.begin);
    let end = vec4(a.end, b.end, c.end, d.end);
    let at = vec4(j);
    return select(vec4(HIDDEN_SCORE), scores, (at >= begin) & (at < end));
}

// What the keys weigh, given the largest score of each row.
fn weights_of(scores: vec4<f32>, peak: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(), exp(scores - peak), scores >= vec4(LEAST_SCORE));
}

// The score of key `j` from its product with the query.
fn score_of(product: f32, row: Row, j: u32) -> f32 {
    var s = product * params.scale;
    // Beyond 10, tanh is 1 in f32; some drivers overflow far out.
    @if(softcap) s = params.softcap * tanh(clamp(s / params.softcap, -10.0, 10.0));
    @if(masked) {
        var at = mask_start(row) + j * params.mask_key;
        // Tiles score keys that not all of their queries have, too.
        @if(split) at = min(at - params.first_mask, params.masks - 1u);
        // Minus infinity, told by its bits.
        if bitcast<u32>(mask[at]) == 0xff800000u {
            return HIDDEN_SCORE;
        }
        s += mask[at];
    }
    return max(s, LEAST_SCORE);
}
