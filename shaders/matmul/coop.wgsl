import package::config::{LANES, SIZE};
import package::matmul::coop_tile::{
    MatrixA, MatrixB, MatrixC, PITCH, SIDE, STEP, THREADS, WIDTH, load, tile_a, tile_b,
};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::params::{params, tile_of};

enable f16;
enable wgpu_cooperative_matrix;

// Cooperative matrices of SIZE by SIZE, f16 in and f32 out. Four subgroups share a
// tile of 4 SIZE rows and columns; each computes a quarter, as 2 by 2 matrices.

var<workgroup> tile_c: array<f32, SIDE * SIDE>;

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
        // Cooperative matrices need to be told that all invocations agree. In the tile's
        // memory, as what lies behind a word of its own is not aligned for them.
        if index == 0u {
            tile_c[0] = f32(tile.here);
        }
        if workgroupUniformLoad(&tile_c[0]) == 0.0 {
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
            let a0 = coopLoadT<MatrixA>(&tile_a[down * PITCH + k], PITCH);
            let a1 = coopLoadT<MatrixA>(&tile_a[(down + SIZE) * PITCH + k], PITCH);
            let b0 = coopLoad<MatrixB>(&tile_b[right * PITCH + k], PITCH);
            let b1 = coopLoad<MatrixB>(&tile_b[(right + SIZE) * PITCH + k], PITCH);
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
