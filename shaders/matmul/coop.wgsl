import package::common::eight::Eight;
import package::config::{LANES, SIZE};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left8};
import package::matmul::params::{params, tile_of};
import package::matmul::right::{right_column, right8};
@if(gated) import package::matmul::right::up8;

enable f16;
enable wgpu_cooperative_matrix;

// Cooperative matrices of SIZE by SIZE, f16 in and f32 out. Four subgroups
// share a tile of 4 SIZE rows and columns; each computes a quarter, as 2 by 2
// matrices. Steps of 32 along k are decoded to workgroup memory as f16. If
// `gated`, the second half of the tile's columns are those of the second B.
//
// A workgroup has four subgroups of the adapter's largest size (LANES). Where
// subgroups are smaller there are more of them, and some compute the same
// quarter: slower, and still right.
//
// Accumulators are named, not an array: naga's SPIR-V has no arrays of
// cooperative matrices.

const THREADS: u32 = 4u * LANES;
const SIDE: u32 = 4u * SIZE;
// Columns of C in a tile.
@if(gated) const WIDTH: u32 = 2u * SIZE;
@if(!gated) const WIDTH: u32 = SIDE;
const STEP: u32 = 32u;

@if(size_16) alias MatrixA = coop_mat16x16<f16, A>;
@if(size_16) alias MatrixB = coop_mat16x16<f16, B>;
@if(size_16) alias MatrixC = coop_mat16x16<f32, C>;
@if(!size_16) alias MatrixA = coop_mat8x8<f16, A>;
@if(!size_16) alias MatrixB = coop_mat8x8<f16, B>;
@if(!size_16) alias MatrixC = coop_mat8x8<f32, C>;

// Rows of A and columns of B, each STEP long.
var<workgroup> tile_a: array<f16, SIDE * STEP>;
var<workgroup> tile_b: array<f16, SIDE * STEP>;
var<workgroup> tile_c: array<f32, SIDE * SIDE>;
@if(experts) var<workgroup> has_work: u32;

fn load(base_a: u32, base_b: u32, row: u32, column: u32, k0: u32, index: u32) {
    for (var i = index; i < SIDE * 4u; i += THREADS) {
        let line = i >> 2u;
        let k = k0 + (i & 3u) * 8u;
        var x = Eight();
        var w = Eight();
        if k < params.k {
            x = left8(left_row(base_a, min(row + line, params.m - 1u)), k);
            let start = right_column(base_b, min(column + line % WIDTH, params.n - 1u));
            @if(!gated) {
                w = right8(start, k);
            }
            @if(gated) {
                if line < WIDTH {
                    w = right8(start, k);
                } else {
                    w = up8(start, k);
                }
            }
        }
        let at = i * 8u;
        for (var j = 0u; j < 4u; j++) {
            tile_a[at + j] = f16(x.lo[j]);
            tile_a[at + 4u + j] = f16(x.hi[j]);
            tile_b[at + j] = f16(w.lo[j]);
            tile_b[at + 4u + j] = f16(w.hi[j]);
        }
    }
}

@compute @workgroup_size(4 * LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, SIDE, WIDTH);
    @if(experts) {
        // Cooperative matrices need to be told that all invocations agree.
        if index == 0u {
            has_work = u32(tile.here);
        }
        if workgroupUniformLoad(&has_work) == 0u {
            return;
        }
    }
    let quarter = subgroup & 3u;
    let down = (quarter >> 1u) * 2u * SIZE;
    let right = (quarter & 1u) * 2u * SIZE;
    var c00 = MatrixC();
    var c01 = MatrixC();
    var c10 = MatrixC();
    var c11 = MatrixC();
    for (var k0 = 0u; k0 < params.k; k0 += STEP) {
        load(tile.a, tile.b, tile.row, tile.column, k0, index);
        workgroupBarrier();
        for (var k = 0u; k < STEP; k += SIZE) {
            let a0 = coopLoadT<MatrixA>(&tile_a[down * STEP + k], STEP);
            let a1 = coopLoadT<MatrixA>(&tile_a[(down + SIZE) * STEP + k], STEP);
            let b0 = coopLoad<MatrixB>(&tile_b[right * STEP + k], STEP);
            let b1 = coopLoad<MatrixB>(&tile_b[(right + SIZE) * STEP + k], STEP);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
        }
        workgroupBarrier();
    }
    coopStoreT(c00, &tile_c[down * SIDE + right], SIDE);
    coopStoreT(c01, &tile_c[down * SIDE + right + SIZE], SIDE);
    coopStoreT(c10, &tile_c[(down + SIZE) * SIDE + right], SIDE);
    coopStoreT(c11, &tile_c[(down + SIZE) * SIDE + right + SIZE], SIDE);
    workgroupBarrier();
    for (var i = index; i < SIDE * WIDTH; i += THREADS) {
        let row = i / WIDTH;
        let column = i % WIDTH;
        if tile.row + row < params.m && tile.column + column < params.n {
            let sum = tile_c[row * SIDE + column];
            @if(!gated) {
                finish(tile.c, tile.row + row, tile.column + column, sum);
            }
            @if(gated) {
                let up = tile_c[row * SIDE + column + WIDTH];
                finish_gated(tile.c, tile.row + row, tile.column + column, sum, up);
            }
        }
    }
}
