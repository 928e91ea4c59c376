import package::config::WORKGROUP;

// One invocation computes a row whose elements are `inner` apart: one pass
// for the maximum, one for the sum, one for the results; with `logarithm`, the
// logarithm of the softmax.

struct Params {
    rows: u32,
    // Elements before the first row.
    base: u32,
    n: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.x + group.y * groups.x) * WORKGROUP + lane;
    if row >= params.rows {
        return;
    }
    let slab = row / params.inner * params.n * params.inner;
    let start = params.base + slab + row % params.inner;
    var peak = x[start];
    for (var j = 1u; j < params.n; j++) {
        peak = max(peak, x[start + j * params.inner]);
    }
    var sum = 0.0;
    for (var j = 0u; j < params.n; j++) {
        let at = start + j * params.inner;
        let e = exp(x[at] - peak);
        @if(!logarithm) y[at] = e;
        sum += e;
    }
    // The largest element has put a 1 into the sum.
    @if(logarithm) let log_sum = log(sum);
    for (var j = 0u; j < params.n; j++) {
        let at = start + j * params.inner;
        @if(logarithm) y[at] = (x[at] - peak) - log_sum;
        @else y[at] = y[at] / sum;
    }
}
