import package::config::{HEAD, WORKGROUP};

// One invocation takes a column of the state of one sequence and key head
// through all tokens: the columns do not know of each other.
//
// q is [B, T, H, HEAD], k [B, T, G, HEAD], v [B, T, G, value], y [B, T, H, value],
// states [B, G, HEAD, value].

struct Params {
    // Columns of this part, and the first sequence of it counted from the bound one.
    columns: u32,
    tokens: u32,
    // The tokens of this dispatch.
    first: u32,
    count: u32,
    heads: u32,
    groups: u32,
    value: u32,
    scale: f32,
    // Elements of a token in decay and beta.
    @if(decay) decays: u32,
    @if(beta) betas: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> present: array<f32>;
@if(past) @group(0) @binding(6) var<storage, read> past: array<f32>;
@if(decay) @group(0) @binding(7) var<storage, read> decay: array<f32>;
@if(beta) @group(0) @binding(8) var<storage, read> beta: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = (group.x + group.y * groups.x) * WORKGROUP + lane;
    if number >= params.columns {
        return;
    }
    let column = number % params.value;
    let slab = number / params.value;
    let g = slab % params.groups;
    let b = slab / params.groups;
    let at = slab * HEAD * params.value + column;
    var state: array<f32, HEAD>;
    for (var i = 0u; i < HEAD; i++) {
        @if(resumed) state[i] = present[at + i * params.value];
        @if(!resumed && past) state[i] = past[at + i * params.value];
        @if(!resumed && !past) state[i] = 0.0;
    }
    let share = params.heads / params.groups;
    for (var t = params.first; t < min(params.first + params.count, params.tokens); t++) {
        let token = b * params.tokens + t;
        let key = (token * params.groups + g) * HEAD;
        var u = v[(token * params.groups + g) * params.value + column];
        @if(decay) {
            @if(each) {
                for (var i = 0u; i < HEAD; i++) {
                    state[i] *= exp(decay[token * params.decays + g * HEAD + i]);
                }
            }
            @if(!each) {
                let factor = exp(decay[token * params.decays + g]);
                for (var i = 0u; i < HEAD; i++) {
                    state[i] *= factor;
                }
            }
        }
        @if(beta) {
            var held = 0.0;
            for (var i = 0u; i < HEAD; i++) {
                held = fma(state[i], k[key + i], held);
            }
            u = beta[token * params.betas + min(g, params.betas - 1u)] * (u - held);
        }
        for (var i = 0u; i < HEAD; i++) {
            state[i] = fma(k[key + i], u, state[i]);
        }
        for (var h = g * share; h < (g + 1u) * share; h++) {
            let query = (token * params.heads + h) * HEAD;
            var sum = 0.0;
            for (var i = 0u; i < HEAD; i++) {
                sum = fma(q[query + i], state[i], sum);
            }
            y[(token * params.heads + h) * params.value + column] = sum * params.scale;
        }
    }
    for (var i = 0u; i < HEAD; i++) {
        present[at + i * params.value] = state[i];
    }
}
