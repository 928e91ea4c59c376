import package::common::eight::Block32;
import package::config::{LANES, TOGETHER};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left4};
import package::matmul::left32::{Left, product, with_sums};
import package::matmul::params::{params, tile_of};
import package::matmul::right::right_column;
import package::weight::{BLOCK_LEN, GROUP_LEN, affine};
@if(whole) import package::weight::quants32;
@if(!whole) import package::weight::quants8;
@if(gated) import package::up::weight::affine as up_affine;
@if(gated && whole) import package::up::weight::quants32 as up_quants32;
@if(gated && !whole) import package::up::weight::quants8 as up_quants8;

// For software adapters, a row of A by quantised columns: an invocation has four
// columns, LANES apart, and goes along k by 32. Quants are multiplied as the whole
// numbers that they are, and sums of them with the scale of their group: that is less
// work than to decode each element, and what 32 elements have in common is read once.
// `handed`: each of eight lanes reads four of the 32 elements of A, and hands them to all.

const_assert GROUP_LEN >= 16u;

// Whether 32 elements are of one group.
const ALIKE: bool = GROUP_LEN >= 32u;

@if(!handed) fn left32(start: u32, k: u32, lane: u32) -> Left {
    var l: Left;
    l.a0 = left4(start, k);
    l.a1 = left4(start, k + 4u);
    l.a2 = left4(start, k + 8u);
    l.a3 = left4(start, k + 12u);
    l.a4 = left4(start, k + 16u);
    l.a5 = left4(start, k + 20u);
    l.a6 = left4(start, k + 24u);
    l.a7 = left4(start, k + 28u);
    return with_sums(l);
}

@if(handed) fn left32(start: u32, k: u32, lane: u32) -> Left {
    let own = left4(start, k + lane * 4u);
    var l: Left;
    l.a0 = subgroupBroadcast(own, 0u);
    l.a1 = subgroupBroadcast(own, 1u);
    l.a2 = subgroupBroadcast(own, 2u);
    l.a3 = subgroupBroadcast(own, 3u);
    l.a4 = subgroupBroadcast(own, 4u);
    l.a5 = subgroupBroadcast(own, 5u);
    l.a6 = subgroupBroadcast(own, 6u);
    l.a7 = subgroupBroadcast(own, 7u);
    return with_sums(l);
}

// The quants of 32 elements from part `part` of a block on. Blocks of 32 are read whole:
// drivers read what is read twice two times.
@if(whole) fn right_quants(block: u32, part: u32) -> Block32 {
    return quants32(block);
}

@if(!whole) fn right_quants(block: u32, part: u32) -> Block32 {
    return Block32(
        quants8(block, part), quants8(block, part + 1u), quants8(block, part + 2u),
        quants8(block, part + 3u),
    );
}

// The same of the second B.
@if(gated && whole) fn up_quants(block: u32, part: u32) -> Block32 {
    return up_quants32(block);
}

@if(gated && !whole) fn up_quants(block: u32, part: u32) -> Block32 {
    return Block32(
        up_quants8(block, part), up_quants8(block, part + 1u), up_quants8(block, part + 2u),
        up_quants8(block, part + 3u),
    );
}

// The products with the 32 elements from `k` of the column that starts at `start`.
fn right32(l: Left, start: u32, k: u32) -> f32 {
    let block = start + k / BLOCK_LEN * TOGETHER;
    let part = (k % BLOCK_LEN) >> 3u;
    let near = affine(block, part);
    return product(l, right_quants(block, part), near, affine(block, part + 2u), ALIKE);
}

@if(gated) fn up32(l: Left, start: u32, k: u32) -> f32 {
    let block = start + k / BLOCK_LEN * TOGETHER;
    let part = (k % BLOCK_LEN) >> 3u;
    let near = up_affine(block, part);
    return product(l, up_quants(block, part), near, up_affine(block, part + 2u), ALIKE);
}

fn start_of(base: u32, column: u32) -> u32 {
    return right_column(base, min(column, params.n - 1u));
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @if(handed) @builtin(subgroup_invocation_id) in_subgroup: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    @if(gated) let tile = tile_of(number, 1u, 2u * LANES);
    @if(!gated) let tile = tile_of(number, 1u, 4u * LANES);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let left = left_row(tile.a, tile.row);
    let first = tile.column + lane;
    let at0 = start_of(tile.b, first);
    let at1 = start_of(tile.b, first + LANES);
    @if(!gated) let at2 = start_of(tile.b, first + 2u * LANES);
    @if(!gated) let at3 = start_of(tile.b, first + 3u * LANES);
    var s = vec4<f32>();
    for (var k = 0u; k < params.k; k += 32u) {
        @if(handed) let l = left32(left, k, in_subgroup);
        @if(!handed) let l = left32(left, k, lane);
        @if(!gated) {
            s += vec4<f32>(
                right32(l, at0, k), right32(l, at1, k), right32(l, at2, k), right32(l, at3, k),
            );
        }
        @if(gated) {
            s += vec4<f32>(right32(l, at0, k), right32(l, at1, k), up32(l, at0, k), up32(l, at1, k));
        }
    }
    @if(gated) {
        if first < params.n {
            finish_gated(tile.c, tile.row, first, s.x, s.z);
        }
        if first + LANES < params.n {
            finish_gated(tile.c, tile.row, first + LANES, s.y, s.w);
        }
    }
    @if(!gated) {
        for (var j = 0u; j < 4u; j++) {
            if first + j * LANES < params.n {
                finish(tile.c, tile.row, first + j * LANES, s[j]);
            }
        }
    }
}
