import package::config::{HIDDEN, WORKGROUP};
import package::recurrent::products::{params, r, state, state_at, sum_at, sums, weights_at};

// One invocation computes one product of a row with a state, in four chains.

const WHOLE: u32 = HIDDEN / 4u * 4u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = (group.x + group.y * groups.x) * WORKGROUP + lane;
    if number >= params.directions * params.batch * params.rows {
        return;
    }
    let row = params.first_row + number % params.rows;
    let b = number / params.rows % params.batch;
    let d = params.direction + number / params.rows / params.batch;
    let start = state_at(d, b);
    let weights = weights_at(d, row);
    var chains = vec4(0.0);
    for (var k = 0u; k < WHOLE; k += 4u) {
        let w = vec4(r[weights + k], r[weights + k + 1u], r[weights + k + 2u], r[weights + k + 3u]);
        let x = vec4(state[start + k], state[start + k + 1u], state[start + k + 2u], state[start + k + 3u]);
        chains = fma(w, x, chains);
    }
    for (var k = WHOLE; k < HIDDEN; k++) {
        chains.x = fma(r[weights + k], state[start + k], chains.x);
    }
    sums[sum_at(d, b, row)] = chains.x + chains.y + (chains.z + chains.w);
}
