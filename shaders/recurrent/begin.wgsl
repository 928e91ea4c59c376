import package::config::WORKGROUP;

// The state before the first step: what the caller gives, or zeros.

struct Params {
    // Elements of a region of the state.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> state: array<f32>;
@if(given_h) @group(0) @binding(2) var<storage, read> initial_h: array<f32>;
@if(given_c) @group(0) @binding(3) var<storage, read> initial_c: array<f32>;

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
    @if(given_h) state[at] = initial_h[at];
    @else state[at] = 0.0;
    @if(lstm) {
        @if(given_c) state[params.count + at] = initial_c[at];
        @else state[params.count + at] = 0.0;
    }
}
