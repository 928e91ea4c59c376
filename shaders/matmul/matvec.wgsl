import package::common::eight::Eight;
import package::config::{ROWS, THREADS};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left8};
import package::matmul::params::{params, tile_of};
import package::matmul::right::{right_column, right8};
@if(gated) import package::matmul::right::up8;

// A few rows of A (ROWS of 1, 2, 4 or 8 at a time) times B as [n, k]. The
// invocations of a workgroup share four rows of B along k; if `gated`, two of
// each B. Their sums meet in workgroup memory, or first in their subgroup if
// `subgroups`, whatever its size.

@if(gated) const WIDTH: u32 = 2u;
@if(!gated) const WIDTH: u32 = 4u;

// Sums of the four columns, for each row of A and each invocation or subgroup.
var<workgroup> partial: array<vec4<f32>, ROWS * THREADS>;

fn dot8(x: Eight, w: Eight) -> f32 {
    return dot(x.lo, w.lo) + dot(x.hi, w.hi);
}

fn four(x: Eight, w0: Eight, w1: Eight, w2: Eight, w3: Eight) -> vec4<f32> {
    return vec4<f32>(dot8(x, w0), dot8(x, w1), dot8(x, w2), dot8(x, w3));
}

fn row_start(base: u32, row: u32) -> u32 {
    return left_row(base, min(row, params.m - 1u));
}

fn column_start(base: u32, column: u32) -> u32 {
    return right_column(base, min(column, params.n - 1u));
}

fn write(base: u32, row: u32, column: u32, sums: vec4<f32>) {
    if row >= params.m {
        return;
    }
    @if(!gated) {
        for (var j = 0u; j < 4u; j++) {
            if column + j < params.n {
                finish(base, row, column + j, sums[j]);
            }
        }
    }
    @if(gated) {
        for (var j = 0u; j < 2u; j++) {
            if column + j < params.n {
                finish_gated(base, row, column + j, sums[j], sums[j + 2u]);
            }
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @if(subgroups) @builtin(subgroup_id) subgroup: u32,
    @if(subgroups) @builtin(num_subgroups) subgroups_here: u32,
    @if(subgroups) @builtin(subgroup_invocation_id) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, ROWS, WIDTH);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let b0 = column_start(tile.b, tile.column);
    let b1 = column_start(tile.b, tile.column + 1u);
    @if(!gated) let b2 = column_start(tile.b, tile.column + 2u);
    @if(!gated) let b3 = column_start(tile.b, tile.column + 3u);
    let a0 = row_start(tile.a, tile.row);
    let a1 = row_start(tile.a, tile.row + 1u);
    let a2 = row_start(tile.a, tile.row + 2u);
    let a3 = row_start(tile.a, tile.row + 3u);
    let a4 = row_start(tile.a, tile.row + 4u);
    let a5 = row_start(tile.a, tile.row + 5u);
    let a6 = row_start(tile.a, tile.row + 6u);
    let a7 = row_start(tile.a, tile.row + 7u);
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    for (var k = index * 8u; k < params.k; k += THREADS * 8u) {
        let w0 = right8(b0, k);
        let w1 = right8(b1, k);
        @if(!gated) let w2 = right8(b2, k);
        @if(!gated) let w3 = right8(b3, k);
        @if(gated) let w2 = up8(b0, k);
        @if(gated) let w3 = up8(b1, k);
        s0 += four(left8(a0, k), w0, w1, w2, w3);
        if ROWS > 1u {
            s1 += four(left8(a1, k), w0, w1, w2, w3);
        }
        if ROWS > 2u {
            s2 += four(left8(a2, k), w0, w1, w2, w3);
            s3 += four(left8(a3, k), w0, w1, w2, w3);
        }
        if ROWS > 4u {
            s4 += four(left8(a4, k), w0, w1, w2, w3);
            s5 += four(left8(a5, k), w0, w1, w2, w3);
            s6 += four(left8(a6, k), w0, w1, w2, w3);
            s7 += four(left8(a7, k), w0, w1, w2, w3);
        }
    }
    @if(subgroups) {
        s0 = subgroupAdd(s0);
        if ROWS > 1u {
            s1 = subgroupAdd(s1);
        }
        if ROWS > 2u {
            s2 = subgroupAdd(s2);
            s3 = subgroupAdd(s3);
        }
        if ROWS > 4u {
            s4 = subgroupAdd(s4);
            s5 = subgroupAdd(s5);
            s6 = subgroupAdd(s6);
            s7 = subgroupAdd(s7);
        }
    }
    @if(subgroups) let slot = subgroup;
    @if(!subgroups) let slot = index;
    @if(subgroups) let writes = lane == 0u;
    @if(!subgroups) let writes = true;
    if writes {
        partial[slot] = s0;
        if ROWS > 1u {
            partial[THREADS + slot] = s1;
        }
        if ROWS > 2u {
            partial[2u * THREADS + slot] = s2;
            partial[3u * THREADS + slot] = s3;
        }
        if ROWS > 4u {
            partial[4u * THREADS + slot] = s4;
            partial[5u * THREADS + slot] = s5;
            partial[6u * THREADS + slot] = s6;
            partial[7u * THREADS + slot] = s7;
        }
    }
    workgroupBarrier();
    @if(subgroups) let slots = subgroups_here;
    @if(!subgroups) {
        for (var half = THREADS / 2u; half >= 8u; half /= 2u) {
            if index < half {
                for (var r = 0u; r < ROWS; r++) {
                    partial[r * THREADS + index] += partial[r * THREADS + index + half];
                }
            }
            workgroupBarrier();
        }
    }
    @if(!subgroups) let slots = 8u;
    if index < ROWS {
        var sums = partial[index * THREADS];
        for (var i = 1u; i < slots; i++) {
            sums += partial[index * THREADS + i];
        }
        write(tile.c, tile.row + index, tile.column, sums);
    }
}
