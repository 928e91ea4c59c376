import package::attention::io::{
    LEAST_SCORE, Row, final_share, key_at, params, q, row_of, score_of, value_at, y,
};
@if(split) import package::attention::io::{carried_peak, carried_sum, carry, resumed, unfinished};
import package::config::{HEAD, VALUE, WORKGROUP};

// One invocation computes the output of a query and head.

// Lanes of the product: shorter chains of additions are faster and err less.
const WHOLE: u32 = HEAD / 4u * 4u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.x + group.y * groups.x) * WORKGROUP + lane;
    let local = index / params.heads;
    if local >= params.tokens {
        return;
    }
    let token = params.first + local;
    let row = row_of(token / params.queries, token % params.queries, index % params.heads);
    @if(split) {
        if row.idle {
            return;
        }
    }
    let query = index * HEAD;
    var mixed: array<f32, VALUE>;
    for (var d = 0u; d < VALUE; d++) {
        mixed[d] = 0.0;
    }
    var peak = LEAST_SCORE;
    var sum = 0.0;
    @if(split) {
        if resumed(row) {
            peak = carried_peak(index);
            sum = carried_sum(index);
            for (var d = 0u; d < VALUE; d++) {
                mixed[d] = y[index * VALUE + d];
            }
        }
    }
    for (var j = row.begin; j < row.end; j++) {
        let key = (row.slab + j) * HEAD;
        var lanes = vec4<f32>();
        for (var d = 0u; d < WHOLE; d += 4u) {
            let a = vec4(q[query + d], q[query + d + 1u], q[query + d + 2u], q[query + d + 3u]);
            let b = vec4(key_at(key + d), key_at(key + d + 1u), key_at(key + d + 2u), key_at(key + d + 3u));
            lanes = fma(a, b, lanes);
        }
        for (var d = WHOLE; d < HEAD; d++) {
            lanes.x = fma(q[query + d], key_at(key + d), lanes.x);
        }
        let s = score_of(lanes.x + lanes.y + (lanes.z + lanes.w), row, j);
        let higher = max(peak, s);
        let kept = exp(peak - higher);
        let weight = select(0.0, exp(s - higher), s >= LEAST_SCORE);
        peak = higher;
        sum = sum * kept + weight;
        let value = (row.slab + j) * VALUE;
        for (var d = 0u; d < VALUE; d++) {
            mixed[d] = fma(weight, value_at(value + d), mixed[d] * kept);
        }
    }
    var share = final_share(peak, sum, index % params.heads);
    @if(split) {
        if unfinished(row) {
            share = 1.0;
            carry(index, peak, sum);
        }
    }
    for (var d = 0u; d < VALUE; d++) {
        y[index * VALUE + d] = mixed[d] * share;
    }
}
