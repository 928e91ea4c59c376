import package::state::rows::{NOWHERE, params, target_row, updates};

// Writes new rows into a cache of F32: one invocation for each element.

@group(0) @binding(0) var<storage, read_write> cache: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = (group.x + group.y * groups.x) * 64u + lane;
    if unit >= params.units {
        return;
    }
    let row = target_row(params.first_row + unit / params.width);
    if row == NOWHERE {
        return;
    }
    let at = row * params.width + unit % params.width - params.window_first;
    if at < params.window_words {
        cache[at] = updates[params.base + unit];
    }
}
