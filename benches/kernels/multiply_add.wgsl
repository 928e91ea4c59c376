// Sixteen chains of multiply-adds for each element, all in registers.

import package::config::{STEPS, WORKGROUP};

struct Params {
    count: u32,
    factor: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i >= params.count {
        return;
    }
    let factor = vec4(params.factor);
    let shift = vec4(params.shift);
    var a = vec4(x[i]) + vec4(0.0, 1.0, 2.0, 3.0);
    var b = a + 4.0;
    var c = a + 8.0;
    var d = a + 12.0;
    // Four steps a turn, so that counting turns costs little.
    for (var turn = 0u; turn < STEPS / 4u; turn++) {
        a = fma(a, factor, shift);
        b = fma(b, factor, shift);
        c = fma(c, factor, shift);
        d = fma(d, factor, shift);
        a = fma(a, factor, shift);
        b = fma(b, factor, shift);
        c = fma(c, factor, shift);
        d = fma(d, factor, shift);
        a = fma(a, factor, shift);
        b = fma(b, factor, shift);
        c = fma(c, factor, shift);
        d = fma(d, factor, shift);
        a = fma(a, factor, shift);
        b = fma(b, factor, shift);
        c = fma(c, factor, shift);
        d = fma(d, factor, shift);
    }
    let all = (a + b) + (c + d);
    y[i] = (all.x + all.y) + (all.z + all.w);
}
