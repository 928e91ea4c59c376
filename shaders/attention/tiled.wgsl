import package::attention::io::{
    LEAST_SCORE, Row, final_share, key_at, keys_of, params, q, row_of, score_of, value_at, y,
};
@if(split) import package::attention::io::{carried_peak, carried_sum, carry, resumed, unfinished};
import package::config::{HEAD, KEYS, QUERIES, VALUE, WORKGROUP};

// A workgroup computes the outputs of a tile of queries under one head, with
// keys and values loaded once for all of them (FlashAttention-2, arXiv
// 2307.08691). PARTS invocations share a query: each scores some of the keys
// and updates every PARTS-th element of the output.

const PARTS: u32 = WORKGROUP / QUERIES;
const PER_PART: u32 = (VALUE + PARTS - 1u) / PARTS;

var<workgroup> queries: array<f32, QUERIES * HEAD>;
// Keys first, then the values in their place.
var<workgroup> keys: array<f32, KEYS * max(HEAD, VALUE)>;
var<workgroup> scores: array<f32, QUERIES * KEYS>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    let head = number % params.heads;
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let batch = number / params.heads / tiles;
    let first = number / params.heads % tiles * QUERIES;
    if batch * params.queries >= params.tokens {
        return;
    }
    let last = min(first + QUERIES, params.queries) - 1u;
    let begin = keys_of(batch, first, head).begin;
    let end = keys_of(batch, last, head).end;
    for (var i = index; i < QUERIES * HEAD; i += WORKGROUP) {
        // Past the last query the last one is repeated, and not written.
        let query = min(first + i / HEAD, last);
        queries[i] = q[((batch * params.queries + query) * params.heads + head) * HEAD + i % HEAD];
    }
    let mine = index / PARTS;
    let part = index % PARTS;
    let row = row_of(batch, min(first + mine, last), head);
    var mixed: array<f32, PER_PART>;
    for (var i = 0u; i < PER_PART; i++) {
        mixed[i] = 0.0;
    }
    var peak = LEAST_SCORE;
    var sum = 0.0;
    let target_row = (batch * params.queries + row.query) * params.heads + head;
    @if(split) {
        if resumed(row) && !row.idle {
            peak = carried_peak(target_row);
            sum = carried_sum(target_row);
            for (var i = 0u; i < PER_PART; i++) {
                let d = i * PARTS + part;
                if d < VALUE {
                    mixed[i] = y[target_row * VALUE + d];
                }
            }
        }
    }
    for (var start = begin; start < end; start += KEYS) {
        let count = min(KEYS, end - start);
        for (var i = index; i < count * HEAD; i += WORKGROUP) {
            keys[i] = key_at((row.slab + start) * HEAD + i);
        }
        workgroupBarrier();
        for (var t = part; t < count; t += PARTS) {
            var product = 0.0;
            for (var d = 0u; d < HEAD; d++) {
                product = fma(queries[mine * HEAD + d], keys[t * HEAD + d], product);
            }
            scores[mine * KEYS + t] = score_of(product, row, start + t);
        }
        workgroupBarrier();
        for (var i = index; i < count * VALUE; i += WORKGROUP) {
            keys[i] = value_at((row.slab + start) * VALUE + i);
        }
        workgroupBarrier();
        var higher = peak;
        for (var t = 0u; t < count; t++) {
            let seen = start + t >= row.begin && start + t < row.end;
            higher = select(higher, max(higher, scores[mine * KEYS + t]), seen);
        }
        let kept = exp(peak - higher);
        peak = higher;
        sum *= kept;
        for (var i = 0u; i < PER_PART; i++) {
            mixed[i] *= kept;
        }
        for (var t = 0u; t < count; t++) {
            let seen = start + t >= row.begin && start + t < row.end;
            let s = scores[mine * KEYS + t];
            let weight = select(0.0, exp(s - peak), seen && s >= LEAST_SCORE);
            sum += weight;
            for (var i = 0u; i < PER_PART; i++) {
                let d = i * PARTS + part;
                if d < VALUE {
                    mixed[i] = fma(weight, keys[t * VALUE + d], mixed[i]);
                }
            }
        }
        workgroupBarrier();
    }
    if first + mine > last {
        return;
    }
    @if(split) {
        if row.idle {
            return;
        }
    }
    var share = final_share(peak, sum, head);
    @if(split) {
        if unfinished(row) {
            share = 1.0;
            if part == 0u {
                carry(target_row, peak, sum);
            }
        }
    }
    for (var i = 0u; i < PER_PART; i++) {
        let d = i * PARTS + part;
        if d < VALUE {
            y[target_row * VALUE + d] = mixed[i] * share;
        }
    }
}
