import package::config::{GATES, HIDDEN, WORKGROUP};

// The recurrent weights [D, GATES, HIDDEN (unit), HIDDEN (k)] as
// [D, HIDDEN (k), HIDDEN (unit), GATES].

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> turned: array<f32>;

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
    let gate = at % GATES;
    let unit = at / GATES % HIDDEN;
    let k = at / GATES / HIDDEN % HIDDEN;
    let d = at / GATES / HIDDEN / HIDDEN;
    turned[at] = r[((d * GATES + gate) * HIDDEN + unit) * HIDDEN + k];
}
