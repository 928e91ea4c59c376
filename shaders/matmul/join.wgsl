@if(activated) import package::common::activation::activate;
import package::config::{SPLIT, WORKGROUP};

// C[m, n] = activation(sums + bias), where the sums over k are in SPLIT parts one matrix apart.

struct Params {
    // Elements of C.
    elements: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@if(bias) @group(0) @binding(3) var<storage, read> bias: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let at = (group.x + group.y * groups.x) * WORKGROUP + index;
    if at >= params.elements {
        return;
    }
    var sum = partial[at];
    for (var part = 1u; part < SPLIT; part++) {
        sum += partial[part * params.elements + at];
    }
    @if(bias) {
        sum += bias[at % params.n];
    }
    @if(activated) {
        sum = activate(sum);
    }
    c[at] = sum;
}
