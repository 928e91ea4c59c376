import package::common::reduce::{Lane, workgroup_max, workgroup_sum};
import package::config::WORKGROUP;

// A workgroup computes a contiguous row; with `logarithm`, the logarithm of the
// softmax.

struct Params {
    rows: u32,
    // Elements before the first row.
    base: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Masked with a finite value: WGSL may assume there is no infinity.
const LOWEST: f32 = -3.4028234e38;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @if(subgroups) @builtin(subgroup_invocation_id) in_subgroup: u32,
    @if(subgroups) @builtin(subgroup_id) subgroup: u32,
    @if(subgroups) @builtin(num_subgroups) subgroups: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    @if(subgroups) let lane = Lane(index, in_subgroup, subgroup, subgroups);
    @else let lane = Lane(index, 0u, 0u, 0u);
    let start = params.base + row * params.n;
    var peak = LOWEST;
    for (var j = index; j < params.n; j += WORKGROUP) {
        peak = max(peak, x[start + j]);
    }
    peak = workgroup_max(peak, lane);
    var sum = 0.0;
    for (var j = index; j < params.n; j += WORKGROUP) {
        let e = exp(x[start + j] - peak);
        @if(!logarithm) y[start + j] = e;
        sum += e;
    }
    sum = workgroup_sum(sum, lane);
    // The largest element has put a 1 into the sum.
    @if(logarithm) let log_sum = log(sum);
    // Each invocation scales what it wrote itself.
    for (var j = index; j < params.n; j += WORKGROUP) {
        @if(logarithm) y[start + j] = (x[start + j] - peak) - log_sum;
        @else y[start + j] = y[start + j] / sum;
    }
}
