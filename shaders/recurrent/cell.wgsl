import package::config::{HIDDEN, WORKGROUP};
import package::recurrent::io::{GATES, end_of, gate_at, gates, params, position, region, state, y, y_at};
@if(lstm) import package::recurrent::io::lstm;
@if(gru) import package::recurrent::io::{gru, gru_gate};
@if(!lstm && !gru) import package::recurrent::io::{both_biases, f};

// An invocation brings one unit of one sequence to the next step, once the
// products of the state are there. A GRU that resets the state before its third
// product (not `linear`) does it in two halves: the first (`opening`) keeps the
// update gate and the reset state in the second and third region of the state.

// [D, B, GATES * HIDDEN]: the products of the state.
@group(0) @binding(7) var<storage, read> sums: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = (group.x + group.y * groups.x) * WORKGROUP + lane;
    if number >= params.rows * HIDDEN {
        return;
    }
    let d = params.direction + number / HIDDEN / params.batch;
    let b = number / HIDDEN % params.batch;
    let j = number % HIDDEN;
    let p = position(d, params.first);
    if p >= params.steps {
        return;
    }
    if p >= end_of(b) {
        y[y_at(d, p, b) + j] = 0.0;
        return;
    }
    let start = gate_at(d, p, b) + j;
    let product = (d * params.batch + b) * GATES * HIDDEN + j;
    let own = (d * params.batch + b) * HIDDEN + j;
    @if(lstm) {
        let all = vec4(
            gates[start] + sums[product],
            gates[start + HIDDEN] + sums[product + HIDDEN],
            gates[start + 2u * HIDDEN] + sums[product + 2u * HIDDEN],
            gates[start + 3u * HIDDEN] + sums[product + 3u * HIDDEN],
        );
        let next = lstm(d, j, all, state[region() + own]);
        state[region() + own] = next.y;
        let fresh = next.x;
        state[own] = fresh;
        y[y_at(d, p, b) + j] = fresh;
    }
    @if(gru && linear) {
        let update = gru_gate(d, 0u, j, gates[start] + sums[product]);
        let reset = gru_gate(d, 1u, j, gates[start + HIDDEN] + sums[product + HIDDEN]);
        let given = gates[start + 2u * HIDDEN];
        let fresh = gru(d, j, update, reset, given, sums[product + 2u * HIDDEN], state[own]);
        state[own] = fresh;
        y[y_at(d, p, b) + j] = fresh;
    }
    @if(gru && !linear && opening) {
        let reset = gru_gate(d, 1u, j, gates[start + HIDDEN] + sums[product + HIDDEN]);
        state[region() + own] = gru_gate(d, 0u, j, gates[start] + sums[product]);
        state[2u * region() + own] = reset * state[own];
    }
    @if(gru && !linear && !opening) {
        let given = gates[start + 2u * HIDDEN];
        let update = state[region() + own];
        let fresh = gru(d, j, update, 0.0, given, sums[product + 2u * HIDDEN], state[own]);
        state[own] = fresh;
        y[y_at(d, p, b) + j] = fresh;
    }
    @if(!lstm && !gru) {
        let fresh = f(d, gates[start] + sums[product] + both_biases(d, 0u, j));
        state[own] = fresh;
        y[y_at(d, p, b) + j] = fresh;
    }
}
