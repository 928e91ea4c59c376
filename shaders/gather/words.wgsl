import package::gather::pick::{params, source_row};

// Gathers rows of 4-byte elements as they are: one invocation for four of them.

@group(0) @binding(1) var<storage, read_write> result: array<u32>;
@group(0) @binding(3) var<storage, read> data: array<u32>;

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
    let result_row = unit / params.row_groups;
    let row = source_row(result_row);
    if row >= params.rows {
        return;
    }
    let column = (unit % params.row_groups) * 4u;
    let source = params.data_base + row * params.inner + column;
    let sink = params.result_base + result_row * params.inner + column;
    for (var i = 0u; i < min(4u, params.inner - column); i++) {
        result[sink + i] = data[source + i];
    }
}
