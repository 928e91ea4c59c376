import package::common::eight::Eight;
import package::config::{LANES, SIZE};
import package::matmul::left::{left_row, left8};
import package::matmul::params::params;
import package::matmul::right::{right_column, right8};
@if(gated) import package::matmul::right::up8;

enable f16;
enable wgpu_cooperative_matrix;

// What tiles of cooperative matrices have in common: four subgroups with SIDE rows and
// columns, of which STEP along k are in workgroup memory as f16.
//
// A workgroup has four subgroups of the adapter's largest size (LANES). Where
// subgroups are smaller there are more of them, and some compute the same
// quarter: slower, and still right.
//
// Accumulators are named, not an array: naga's SPIR-V has no arrays of
// cooperative matrices.

const THREADS: u32 = 4u * LANES;
// A quarter of the tile is 2 by 2 matrices, or 4 by 4 if `wide`.
@if(wide) const SIDE: u32 = 8u * SIZE;
@if(!wide) const SIDE: u32 = 4u * SIZE;
// Columns of C in a tile. If `gated`, the second half are those of the second B.
@if(gated) const WIDTH: u32 = SIDE / 2u;
@if(!gated) const WIDTH: u32 = SIDE;
const STEP: u32 = 32u;
// From one row to the next in workgroup memory: eight rows at a distance of STEP would
// meet in the same banks.
const PITCH: u32 = STEP + 8u;

@if(size_16) alias MatrixA = coop_mat16x16<f16, A>;
@if(size_16) alias MatrixB = coop_mat16x16<f16, B>;
@if(size_16) alias MatrixC = coop_mat16x16<f32, C>;
@if(!size_16) alias MatrixA = coop_mat8x8<f16, A>;
@if(!size_16) alias MatrixB = coop_mat8x8<f16, B>;
@if(!size_16) alias MatrixC = coop_mat8x8<f32, C>;

// Rows of A and columns of B, each STEP long.
var<workgroup> tile_a: array<f16, SIDE * PITCH>;
var<workgroup> tile_b: array<f16, SIDE * PITCH>;

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
        let at = line * PITCH + (i & 3u) * 8u;
        for (var j = 0u; j < 4u; j++) {
            tile_a[at + j] = f16(x.lo[j]);
            tile_a[at + 4u + j] = f16(x.hi[j]);
            tile_b[at + j] = f16(w.lo[j]);
            tile_b[at + 4u + j] = f16(w.hi[j]);
        }
    }
}
