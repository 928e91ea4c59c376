import package::config::{HEAD, WORKGROUP};

// One invocation takes a column of the state of one sequence and key head
// through all tokens: the columns do not know of each other.
//
// q is [B, T, queries, HEAD], k [B, T, keys, HEAD], v [B, T, G, value],
// y [B, T, H, value], states [B, G, HEAD, value]. Where keys are fewer than states, each
// has a query, and states share them.

struct Params {
    // Columns of this part.
    columns: u32,
    tokens: u32,
    // The tokens of this dispatch.
    first: u32,
    count: u32,
    heads: u32,
    groups: u32,
    keys: u32,
    queries: u32,
    // Whether states that share a key are `keys` apart.
    tiled: u32,
    value: u32,
    scale: f32,
    // Elements of a token in decay and beta.
    @if(decay) decays: u32,
    @if(beta) betas: u32,
    // The first sequence of this part.
    @if(span) first_sequence: u32,
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
// For each sequence, tokens before this step, and rows of padding before its tokens in it.
@if(span) @group(0) @binding(9) var<storage, read> span: array<i32>;
// For each token a vector of each state that is read, and behind all of them one of each
// state that what was read is written at.
@if(erase) @group(0) @binding(10) var<storage, read> erase: array<f32>;

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
    let own = select(g / (params.groups / params.keys), g % params.keys, params.tiled == 1u);
    let shared_query = params.keys != params.groups;
    @if(span) let sequence = params.first_sequence + b;
    @if(span) let skip = max(span[2u * sequence + 1u], 0);
    // No token came before this step, and none in the pieces of it before.
    @if(span) let fresh = span[2u * sequence] == 0 && i32(params.first) <= skip
        && skip < i32(params.tokens);
    var state: array<f32, HEAD>;
    for (var i = 0u; i < HEAD; i++) {
        @if(resumed && span) state[i] = select(present[at + i * params.value], 0.0, fresh);
        @if(resumed && !span) state[i] = present[at + i * params.value];
        @if(!resumed && past) state[i] = past[at + i * params.value];
        @if(!resumed && !past) state[i] = 0.0;
    }
    let share = params.heads / params.groups;
    for (var t = params.first; t < min(params.first + params.count, params.tokens); t++) {
        let token = b * params.tokens + t;
        @if(span) {
            if i32(t) < skip {
                for (var h = g * share; h < (g + 1u) * share; h++) {
                    y[(token * params.heads + h) * params.value + column] = 0.0;
                }
                continue;
            }
        }
        let key = (token * params.keys + own) * HEAD;
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
        @if(erase) {
            let read = (token * 2u * params.groups + g) * HEAD;
            let write = read + params.groups * HEAD;
            var held = 0.0;
            for (var i = 0u; i < HEAD; i++) {
                held = fma(state[i], erase[read + i], held);
            }
            for (var i = 0u; i < HEAD; i++) {
                state[i] = fma(erase[write + i], held, state[i]);
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
            let query = (token * params.queries + select(h, own, shared_query)) * HEAD;
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
