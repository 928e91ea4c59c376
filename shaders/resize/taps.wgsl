// Resamples x [rows, n, inner] along its middle dimension to [rows, m, inner]:
// each result is a weighted sum of `taps` elements, by tables [m, taps].

struct Params {
    // Elements of this part, and the place of its first one.
    count: u32,
    first: u32,
    // The rows of x that are bound, and elements before them.
    x_first: u32,
    x_live: u32,
    x_base: u32,
    n: u32,
    m: u32,
    inner: u32,
    taps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<i32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

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
    let e = params.first + i;
    let row = e / (params.m * params.inner) - params.x_first;
    if row >= params.x_live {
        return;
    }
    let column = e % params.inner;
    let first = e / params.inner % params.m * params.taps;
    let start = params.x_base + row * params.n * params.inner + column;
    var sum = 0.0;
    for (var t = 0u; t < params.taps; t++) {
        let at = min(u32(indices[first + t]), params.n - 1u);
        sum += weights[first + t] * x[start + at * params.inner];
    }
    y[i] = sum;
}
