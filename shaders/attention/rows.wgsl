import package::attention::io::{
    LEAST_SCORE, Row, final_share, key_at, params, q, row_of, score_of, value_at, y,
};
@if(split) import package::attention::io::{carried_peak, carried_sum, carry, resumed, unfinished};
import package::common::reduce::{Lane, workgroup_max, workgroup_sum};
import package::config::{HEAD, VALUE, WORKGROUP};

// A workgroup computes the output of a query and head. It takes as many keys
// at a time as it has invocations: each scores one key, then each updates its
// own elements of the output.

const PER_LANE: u32 = (VALUE + WORKGROUP - 1u) / WORKGROUP;

var<workgroup> weights: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @if(subgroups) @builtin(subgroup_invocation_id) in_subgroup: u32,
    @if(subgroups) @builtin(subgroup_id) subgroup: u32,
    @if(subgroups) @builtin(num_subgroups) subgroups: u32,
) {
    let number = group.x + group.y * groups.x;
    let local = number / params.heads;
    if local >= params.tokens {
        return;
    }
    @if(subgroups) let lane = Lane(index, in_subgroup, subgroup, subgroups);
    @else let lane = Lane(index, 0u, 0u, 0u);
    let token = params.first + local;
    let row = row_of(token / params.queries, token % params.queries, number % params.heads);
    @if(split) {
        if row.idle {
            return;
        }
    }
    let query = number * HEAD;
    var mixed: array<f32, PER_LANE>;
    for (var i = 0u; i < PER_LANE; i++) {
        mixed[i] = 0.0;
    }
    var peak = LEAST_SCORE;
    var sum = 0.0;
    @if(split) {
        if resumed(row) {
            peak = carried_peak(number);
            sum = carried_sum(number);
            for (var i = 0u; i < PER_LANE; i++) {
                let d = i * WORKGROUP + index;
                if d < VALUE {
                    mixed[i] = y[number * VALUE + d];
                }
            }
        }
    }
    for (var start = row.begin; start < row.end; start += WORKGROUP) {
        let j = start + index;
        var s = LEAST_SCORE;
        if j < row.end {
            let key = (row.slab + j) * HEAD;
            var product = 0.0;
            for (var d = 0u; d < HEAD; d++) {
                product = fma(q[query + d], key_at(key + d), product);
            }
            s = score_of(product, row, j);
        }
        let higher = max(peak, workgroup_max(s, lane));
        let kept = exp(peak - higher);
        let weight = select(0.0, exp(s - higher), j < row.end && s >= LEAST_SCORE);
        peak = higher;
        weights[index] = weight;
        sum = sum * kept + workgroup_sum(weight, lane);
        let count = min(WORKGROUP, row.end - start);
        for (var i = 0u; i < PER_LANE; i++) {
            let d = i * WORKGROUP + index;
            if d < VALUE {
                var m = mixed[i] * kept;
                for (var t = 0u; t < count; t++) {
                    m = fma(weights[t], value_at((row.slab + start + t) * VALUE + d), m);
                }
                mixed[i] = m;
            }
        }
        workgroupBarrier();
    }
    var share = final_share(peak, sum, number % params.heads);
    @if(split) {
        if unfinished(row) {
            share = 1.0;
            if index == 0u {
                carry(number, peak, sum);
            }
        }
    }
    for (var i = 0u; i < PER_LANE; i++) {
        let d = i * WORKGROUP + index;
        if d < VALUE {
            y[number * VALUE + d] = mixed[i] * share;
        }
    }
}
