import package::config::WORKGROUP;

// The state after the last step as results.

struct Params {
    // Elements of a region of the state.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read_write> y_h: array<f32>;
@if(lstm) @group(0) @binding(3) var<storage, read_write> y_c: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.x + group.y * groups.x) * WORKGROUP + lane;
    if at >= params.count {
        return;
    }
    y_h[at] = state[at];
    @if(lstm) y_c[at] = state[params.count + at];
}
