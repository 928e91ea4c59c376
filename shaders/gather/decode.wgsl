import package::common::eight::eight_element;
import package::gather::pick::{params, source_row};
import package::weight::{decode8_at, element};

// Gathers rows of a weight: one invocation for eight elements.

@group(0) @binding(1) var<storage, read_write> result: array<f32>;

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
    let column = (unit % params.row_groups) * 8u;
    let source = params.data_base + row * params.inner + column;
    let sink = params.result_base + result_row * params.inner + column;
    if column + 8u <= params.inner {
        let eight = decode8_at(source);
        for (var i = 0u; i < 8u; i++) {
            result[sink + i] = eight_element(eight, i);
        }
    } else {
        for (var i = 0u; i < params.inner - column; i++) {
            result[sink + i] = element(source + i);
        }
    }
}
