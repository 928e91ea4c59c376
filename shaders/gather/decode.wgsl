import package::common::eight::eight_element;
import package::gather::pick::{params, source_row};
@if(interleaved) import package::config::TOGETHER;
@if(interleaved) import package::weight::{BLOCK_LEN, decode8};
@if(!interleaved) import package::weight::{decode8_at, element};

// Gathers rows of a weight: one invocation for eight elements.

@group(0) @binding(1) var<storage, read_write> result: array<f32>;

// Where a block lies: TOGETHER rows take turns.
@if(interleaved) fn place_of(block: u32) -> u32 {
    let row = block / params.row_blocks;
    let turn = row % TOGETHER;
    return (row - turn) * params.row_blocks + (block % params.row_blocks) * TOGETHER + turn;
}

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
    // Rows of blocks are whole groups of eight.
    @if(interleaved) {
        let eight = decode8(place_of(source / BLOCK_LEN), (source % BLOCK_LEN) >> 3u);
        for (var i = 0u; i < 8u; i++) {
            result[sink + i] = eight_element(eight, i);
        }
    }
    @if(!interleaved) if column + 8u <= params.inner {
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
