import package::config::WORKGROUP;

// A workgroup computes a contiguous row.

struct Params {
    rows: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, WORKGROUP>;

// Masked with a finite value: WGSL may assume there is no infinity.
const LOWEST: f32 = -3.4028234e38;

// With subgroups, one value per subgroup goes through workgroup memory. How
// many subgroups there are is counted, never assumed.
@if(subgroups) fn all_max(value: f32, lane: u32, sg_lane: u32, sg_size: u32, sg: u32, sgs: u32) -> f32 {
    let mine = subgroupMax(value);
    if sg_lane == 0u {
        partial[sg] = mine;
    }
    workgroupBarrier();
    var all = LOWEST;
    for (var i = 0u; i < sgs; i++) {
        all = max(all, partial[i]);
    }
    workgroupBarrier();
    return all;
}

@if(subgroups) fn all_sum(value: f32, lane: u32, sg_lane: u32, sg_size: u32, sg: u32, sgs: u32) -> f32 {
    let mine = subgroupAdd(value);
    if sg_lane == 0u {
        partial[sg] = mine;
    }
    workgroupBarrier();
    var all = 0.0;
    for (var i = 0u; i < sgs; i++) {
        all += partial[i];
    }
    workgroupBarrier();
    return all;
}

@if(!subgroups) fn all_max(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

@if(!subgroups) fn all_sum(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] = partial[lane] + partial[lane + half];
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @if(subgroups) @builtin(subgroup_invocation_id) sg_lane: u32,
    @if(subgroups) @builtin(subgroup_size) sg_size: u32,
    @if(subgroups) @builtin(subgroup_id) sg: u32,
    @if(subgroups) @builtin(num_subgroups) sgs: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.n;
    var peak = LOWEST;
    for (var j = lane; j < params.n; j += WORKGROUP) {
        peak = max(peak, x[start + j]);
    }
    @if(subgroups) peak = all_max(peak, lane, sg_lane, sg_size, sg, sgs);
    @else peak = all_max(peak, lane);
    var sum = 0.0;
    for (var j = lane; j < params.n; j += WORKGROUP) {
        let e = exp(x[start + j] - peak);
        y[start + j] = e;
        sum += e;
    }
    @if(subgroups) sum = all_sum(sum, lane, sg_lane, sg_size, sg, sgs);
    @else sum = all_sum(sum, lane);
    // Each invocation scales what it wrote itself.
    for (var j = lane; j < params.n; j += WORKGROUP) {
        y[start + j] = y[start + j] / sum;
    }
}
