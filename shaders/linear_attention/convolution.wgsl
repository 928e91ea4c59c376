import package::config::{TAPS, WORKGROUP};

// One invocation takes a channel of one sequence through all tokens.
//
// x and y are [B, T, C], weight [C, TAPS], state [B, TAPS - 1, C].

struct Params {
    // Channels of all sequences of this part.
    columns: u32,
    tokens: u32,
    // The tokens of this dispatch.
    first: u32,
    count: u32,
    channels: u32,
    // The first sequence of this part.
    first_sequence: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> state: array<f32>;
// For each sequence, tokens before this step, and rows of padding before its tokens in it.
@group(0) @binding(5) var<storage, read> span: array<i32>;
@if(bias) @group(0) @binding(6) var<storage, read> bias: array<f32>;

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
    let c = number % params.channels;
    let b = number / params.channels;
    let sequence = params.first_sequence + b;
    let skip = max(span[2u * sequence + 1u], 0);
    // No token came before this step, and none in the pieces of it before.
    let fresh = span[2u * sequence] == 0 && i32(params.first) <= skip && skip < i32(params.tokens);
    let kept = b * (TAPS - 1u) * params.channels + c;
    var taps: array<f32, TAPS>;
    // The latest tokens, the current one last.
    var latest: array<f32, TAPS>;
    for (var j = 0u; j < TAPS; j++) {
        taps[j] = weight[c * TAPS + j];
    }
    for (var j = 0u; j < TAPS - 1u; j++) {
        latest[j] = select(state[kept + j * params.channels], 0.0, fresh);
    }
    var start = 0.0;
    @if(bias) start = bias[c];
    for (var t = params.first; t < min(params.first + params.count, params.tokens); t++) {
        let at = (b * params.tokens + t) * params.channels + c;
        if i32(t) < skip {
            y[at] = 0.0;
            continue;
        }
        latest[TAPS - 1u] = x[at];
        var sum = start;
        for (var j = 0u; j < TAPS; j++) {
            sum = fma(taps[j], latest[j], sum);
        }
        y[at] = sum;
        for (var j = 0u; j < TAPS - 1u; j++) {
            latest[j] = latest[j + 1u];
        }
    }
    for (var j = 0u; j < TAPS - 1u; j++) {
        state[kept + j * params.channels] = latest[j];
    }
}
