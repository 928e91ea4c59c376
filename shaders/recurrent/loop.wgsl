import package::config::{HIDDEN, WORKGROUP};
import package::recurrent::io::{end_of, gate_at, gates, params, position, region, state, y, y_at};
@if(lstm) import package::recurrent::io::lstm;
@if(gru) import package::recurrent::io::{gru, gru_gate};
@if(!lstm && !gru) import package::recurrent::io::{both_biases, f};

// A workgroup takes one sequence in one direction through all steps; each of
// its invocations has every WORKGROUP-th unit. The hidden state stays in
// workgroup memory.

const PER_LANE: u32 = (HIDDEN + WORKGROUP - 1u) / WORKGROUP;

// The recurrent weights as [D, HIDDEN (k), HIDDEN (unit), GATES], so that
// neighbouring invocations read neighbouring elements.
@if(lstm) @group(0) @binding(7) var<storage, read> turned: array<vec4<f32>>;
@else @group(0) @binding(7) var<storage, read> turned: array<f32>;

var<workgroup> hidden: array<f32, HIDDEN>;
@if(gru && !linear) var<workgroup> held: array<f32, HIDDEN>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.rows {
        return;
    }
    let d = params.direction + number / params.batch;
    let b = number % params.batch;
    let end = end_of(b);
    let own = (d * params.batch + b) * HIDDEN;
    let weights = d * HIDDEN * HIDDEN;
    for (var j = index; j < HIDDEN; j += WORKGROUP) {
        hidden[j] = state[own + j];
    }
    @if(lstm) var cell: array<f32, PER_LANE>;
    @if(lstm) {
        for (var i = 0u; i < PER_LANE; i++) {
            let j = i * WORKGROUP + index;
            cell[i] = 0.0;
            if j < HIDDEN {
                cell[i] = state[region() + own + j];
            }
        }
    }
    workgroupBarrier();
    var fresh: array<f32, PER_LANE>;
    @if(gru) var update: array<f32, PER_LANE>;
    for (var s = params.first; s < params.first + params.count; s++) {
        let p = position(d, s);
        if p >= params.steps {
            continue;
        }
        let to = y_at(d, p, b);
        if p >= end {
            for (var j = index; j < HIDDEN; j += WORKGROUP) {
                y[to + j] = 0.0;
            }
            continue;
        }
        let start = gate_at(d, p, b);
        @if(gru && !linear) {
            for (var i = 0u; i < PER_LANE; i++) {
                let j = i * WORKGROUP + index;
                if j < HIDDEN {
                    var sums = vec2(0.0);
                    for (var k = 0u; k < HIDDEN; k++) {
                        let at = (weights + k * HIDDEN + j) * 3u;
                        sums = fma(vec2(turned[at], turned[at + 1u]), vec2(hidden[k]), sums);
                    }
                    update[i] = gru_gate(d, 0u, j, gates[start + j] + sums.x);
                    let reset = gru_gate(d, 1u, j, gates[start + HIDDEN + j] + sums.y);
                    held[j] = reset * hidden[j];
                }
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < PER_LANE; i++) {
            let j = i * WORKGROUP + index;
            if j < HIDDEN {
                @if(lstm) {
                    var sums = vec4(0.0);
                    for (var k = 0u; k < HIDDEN; k++) {
                        sums = fma(turned[weights + k * HIDDEN + j], vec4(hidden[k]), sums);
                    }
                    sums += vec4(
                        gates[start + j],
                        gates[start + HIDDEN + j],
                        gates[start + 2u * HIDDEN + j],
                        gates[start + 3u * HIDDEN + j],
                    );
                    let next = lstm(d, j, sums, cell[i]);
                    fresh[i] = next.x;
                    cell[i] = next.y;
                }
                @if(gru && linear) {
                    var sums = vec3(0.0);
                    for (var k = 0u; k < HIDDEN; k++) {
                        let at = (weights + k * HIDDEN + j) * 3u;
                        let row = vec3(turned[at], turned[at + 1u], turned[at + 2u]);
                        sums = fma(row, vec3(hidden[k]), sums);
                    }
                    update[i] = gru_gate(d, 0u, j, gates[start + j] + sums.x);
                    let reset = gru_gate(d, 1u, j, gates[start + HIDDEN + j] + sums.y);
                    let given = gates[start + 2u * HIDDEN + j];
                    fresh[i] = gru(d, j, update[i], reset, given, sums.z, hidden[j]);
                }
                @if(gru && !linear) {
                    var sum = 0.0;
                    for (var k = 0u; k < HIDDEN; k++) {
                        sum = fma(turned[(weights + k * HIDDEN + j) * 3u + 2u], held[k], sum);
                    }
                    let given = gates[start + 2u * HIDDEN + j];
                    fresh[i] = gru(d, j, update[i], 0.0, given, sum, hidden[j]);
                }
                @if(!lstm && !gru) {
                    var sum = 0.0;
                    for (var k = 0u; k < HIDDEN; k++) {
                        sum = fma(turned[weights + k * HIDDEN + j], hidden[k], sum);
                    }
                    fresh[i] = f(d, gates[start + j] + sum + both_biases(d, 0u, j));
                }
            }
        }
        workgroupBarrier();
        for (var i = 0u; i < PER_LANE; i++) {
            let j = i * WORKGROUP + index;
            if j < HIDDEN {
                hidden[j] = fresh[i];
                y[to + j] = fresh[i];
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < PER_LANE; i++) {
        let j = i * WORKGROUP + index;
        if j < HIDDEN {
            state[own + j] = hidden[j];
            @if(lstm) state[region() + own + j] = cell[i];
        }
    }
}
