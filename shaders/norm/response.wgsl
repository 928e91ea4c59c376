// Divides an element by a power of the squares around it in other channels: one
// invocation for an element of [outer, channels, inner].

struct Params {
    count: u32,
    // Elements before the first one.
    base: u32,
    channels: u32,
    inner: u32,
    // Channels in the sum before and after an element's own.
    before: u32,
    after: u32,
    scale: f32,
    bias: f32,
    beta: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 64u + lane;
    if i >= params.count {
        return;
    }
    let channel = i / params.inner % params.channels;
    let start = params.base + i - channel * params.inner;
    let first = channel - min(channel, params.before);
    let end = min(channel + params.after + 1u, params.channels);
    var sum = 0.0;
    for (var c = first; c < end; c++) {
        let v = x[start + c * params.inner];
        sum += v * v;
    }
    let power = exp2(-params.beta * log2(params.bias + params.scale * sum));
    y[params.base + i] = x[params.base + i] * power;
}
