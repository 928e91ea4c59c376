import package::common::f16::half_to_f32;
import package::config::{HEAD, VALUE};

// What the attention kernels read, and the score of a key.
//
// q is [B, Q, H, HEAD], k [B, G, C, HEAD], v [B, G, C, VALUE]. Caches of f16
// are read as words of two.

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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@if(half) @group(0) @binding(2) var<storage, read> k: array<u32>;
@else @group(0) @binding(2) var<storage, read> k: array<f32>;
@if(half) @group(0) @binding(3) var<storage, read> v: array<u32>;
@else @group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> past: array<i32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@if(masked) @group(0) @binding(6) var<storage, read> mask: array<f32>;

// Finite: WGSL may assume there is no infinity. No score is below it.
const LEAST_SCORE: f32 = -1e38;

// A query of a sequence under one head.
struct Row {
    batch: u32,
    query: u32,
    head: u32,
    // The row of the caches that has key 0.
    slab: u32,
    // The keys it sees.
    begin: u32,
    end: u32,
}

fn row_of(batch: u32, query: u32, head: u32) -> Row {
    var row: Row;
    row.batch = batch;
    row.query = query;
    row.head = head;
    row.slab = (batch * params.groups + head / (params.heads / params.groups)) * params.capacity;
    // What is out of range is brought into it: a shader cannot report it.
    let most = params.capacity - min(params.queries, params.capacity);
    let before = min(u32(max(past[batch], 0)), most);
    @if(causal) row.end = min(before + query + 1u, params.capacity);
    @else row.end = min(before + params.queries, params.capacity);
    row.begin = 0u;
    @if(window) {
        let after = before + query + 1u;
        row.begin = min(after - min(after, params.window), row.end);
    }
    return row;
}

@if(half) fn key_at(i: u32) -> f32 {
    return half_to_f32((k[i >> 1u] >> ((i & 1u) << 4u)) & 0xffffu);
}

@if(half) fn value_at(i: u32) -> f32 {
    return half_to_f32((v[i >> 1u] >> ((i & 1u) << 4u)) & 0xffffu);
}

@if(!half) fn key_at(i: u32) -> f32 {
    return k[i];
}

@if(!half) fn value_at(i: u32) -> f32 {
    return v[i];
}

// The score of key `j` from its product with the query.
fn score_of(product: f32, row: Row, j: u32) -> f32 {
    var s = product * params.scale;
    // Beyond 10, tanh is 1 in f32; some drivers overflow far out.
    @if(softcap) s = params.softcap * tanh(clamp(s / params.softcap, -10.0, 10.0));
    @if(masked) {
        let at = row.batch * params.mask_batch + row.head * params.mask_head
            + row.query * params.mask_query + j * params.mask_key;
        s += mask[at];
    }
    return max(s, LEAST_SCORE);
}
