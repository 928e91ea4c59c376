import package::config::{LANES, SIZE};
import package::matmul::coop_tile::{
    MatrixA, MatrixB, MatrixC, PITCH, SIDE, STEP, THREADS, WIDTH, load, tile_a, tile_b,
};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::params::{Tile, params, tile_of};

enable f16;
enable wgpu_cooperative_matrix;

// As `matmul/coop`, with a tile of 8 SIZE rows and columns, of which each subgroup computes
// a quarter as 4 by 4 matrices: half as many loads for each product.

const ACROSS: u32 = 4u * SIZE;
const STRIP: u32 = SIZE * ACROSS;

// One row of matrices of each subgroup.
var<workgroup> tile_c: array<f32, 4u * STRIP>;

// Writes the rows of C that are in `tile_c`, from row `down` of each quarter on.
fn write(tile: Tile, down: u32, index: u32) {
    for (var i = index; i < 2u * SIZE * WIDTH; i += THREADS) {
        let half = i / (SIZE * WIDTH);
        let across = i % WIDTH;
        let at = i / WIDTH % SIZE;
        let row = tile.row + half * ACROSS + down + at;
        let column = tile.column + across;
        if row < params.m && column < params.n {
            let place = (half * 2u + across / ACROSS) * STRIP + at * ACROSS + across % ACROSS;
            @if(!gated) {
                finish(tile.c, row, column, tile_c[place]);
            }
            @if(gated) {
                finish_gated(tile.c, row, column, tile_c[place], tile_c[place + STRIP]);
            }
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
    let down = (quarter >> 1u) * 4u * SIZE;
    let right = (quarter & 1u) * 4u * SIZE;
    var c00 = MatrixC();
    var c01 = MatrixC();
    var c02 = MatrixC();
    var c03 = MatrixC();
    var c10 = MatrixC();
    var c11 = MatrixC();
    var c12 = MatrixC();
    var c13 = MatrixC();
    var c20 = MatrixC();
    var c21 = MatrixC();
    var c22 = MatrixC();
    var c23 = MatrixC();
    var c30 = MatrixC();
    var c31 = MatrixC();
    var c32 = MatrixC();
    var c33 = MatrixC();
    for (var k0 = 0u; k0 < params.k; k0 += STEP) {
        load(tile.a, tile.b, tile.row, tile.column, k0, index);
        workgroupBarrier();
        for (var k = 0u; k < STEP; k += SIZE) {
            let b0 = coopLoad<MatrixB>(&tile_b[right * PITCH + k], PITCH);
            let b1 = coopLoad<MatrixB>(&tile_b[(right + 1u * SIZE) * PITCH + k], PITCH);
            let b2 = coopLoad<MatrixB>(&tile_b[(right + 2u * SIZE) * PITCH + k], PITCH);
            let b3 = coopLoad<MatrixB>(&tile_b[(right + 3u * SIZE) * PITCH + k], PITCH);
            let a0 = coopLoadT<MatrixA>(&tile_a[down * PITCH + k], PITCH);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c02 = coopMultiplyAdd(a0, b2, c02);
            c03 = coopMultiplyAdd(a0, b3, c03);
            let a1 = coopLoadT<MatrixA>(&tile_a[(down + 1u * SIZE) * PITCH + k], PITCH);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            c12 = coopMultiplyAdd(a1, b2, c12);
            c13 = coopMultiplyAdd(a1, b3, c13);
            let a2 = coopLoadT<MatrixA>(&tile_a[(down + 2u * SIZE) * PITCH + k], PITCH);
            c20 = coopMultiplyAdd(a2, b0, c20);
            c21 = coopMultiplyAdd(a2, b1, c21);
            c22 = coopMultiplyAdd(a2, b2, c22);
            c23 = coopMultiplyAdd(a2, b3, c23);
            let a3 = coopLoadT<MatrixA>(&tile_a[(down + 3u * SIZE) * PITCH + k], PITCH);
            c30 = coopMultiplyAdd(a3, b0, c30);
            c31 = coopMultiplyAdd(a3, b1, c31);
            c32 = coopMultiplyAdd(a3, b2, c32);
            c33 = coopMultiplyAdd(a3, b3, c33);
        }
        workgroupBarrier();
    }
    let mine = quarter * STRIP;
    coopStoreT(c00, &tile_c[mine], ACROSS);
    coopStoreT(c01, &tile_c[mine + 1u * SIZE], ACROSS);
    coopStoreT(c02, &tile_c[mine + 2u * SIZE], ACROSS);
    coopStoreT(c03, &tile_c[mine + 3u * SIZE], ACROSS);
    workgroupBarrier();
    write(tile, 0u, index);
    workgroupBarrier();
    coopStoreT(c10, &tile_c[mine], ACROSS);
    coopStoreT(c11, &tile_c[mine + 1u * SIZE], ACROSS);
    coopStoreT(c12, &tile_c[mine + 2u * SIZE], ACROSS);
    coopStoreT(c13, &tile_c[mine + 3u * SIZE], ACROSS);
    workgroupBarrier();
    write(tile, 1u * SIZE, index);
    workgroupBarrier();
    coopStoreT(c20, &tile_c[mine], ACROSS);
    coopStoreT(c21, &tile_c[mine + 1u * SIZE], ACROSS);
    coopStoreT(c22, &tile_c[mine + 2u * SIZE], ACROSS);
    coopStoreT(c23, &tile_c[mine + 3u * SIZE], ACROSS);
    workgroupBarrier();
    write(tile, 2u * SIZE, index);
    workgroupBarrier();
    coopStoreT(c30, &tile_c[mine], ACROSS);
    coopStoreT(c31, &tile_c[mine + 1u * SIZE], ACROSS);
    coopStoreT(c32, &tile_c[mine + 2u * SIZE], ACROSS);
    coopStoreT(c33, &tile_c[mine + 3u * SIZE], ACROSS);
    workgroupBarrier();
    write(tile, 3u * SIZE, index);
}
