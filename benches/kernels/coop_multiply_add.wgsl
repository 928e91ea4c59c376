// Two matrices of A times four of B, again and again, all in registers: eight sums that
// do not wait for each other. Subgroups of a workgroup compute the same and store it
// apart, so that none of it can be left out.

import package::config::{LANES, SIZE};

enable f16;
enable wgpu_cooperative_matrix;

struct Params {
    steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f16>;
@group(0) @binding(2) var<storage, read> b: array<f16>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@if(size_16) alias MatrixA = coop_mat16x16<f16, A>;
@if(size_16) alias MatrixB = coop_mat16x16<f16, B>;
@if(size_16) alias MatrixC = coop_mat16x16<f32, C>;
@if(!size_16) alias MatrixA = coop_mat8x8<f16, A>;
@if(!size_16) alias MatrixB = coop_mat8x8<f16, B>;
@if(!size_16) alias MatrixC = coop_mat8x8<f32, C>;

const ONE: u32 = SIZE * SIZE;

@compute @workgroup_size(4 * LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
) {
    let a0 = coopLoadT<MatrixA>(&a[0], SIZE);
    let a1 = coopLoadT<MatrixA>(&a[ONE], SIZE);
    let b0 = coopLoad<MatrixB>(&b[0], SIZE);
    let b1 = coopLoad<MatrixB>(&b[ONE], SIZE);
    let b2 = coopLoad<MatrixB>(&b[2u * ONE], SIZE);
    let b3 = coopLoad<MatrixB>(&b[3u * ONE], SIZE);
    var c00 = MatrixC();
    var c01 = MatrixC();
    var c02 = MatrixC();
    var c03 = MatrixC();
    var c10 = MatrixC();
    var c11 = MatrixC();
    var c12 = MatrixC();
    var c13 = MatrixC();
    for (var step = 0u; step < params.steps; step++) {
        c00 = coopMultiplyAdd(a0, b0, c00);
        c01 = coopMultiplyAdd(a0, b1, c01);
        c02 = coopMultiplyAdd(a0, b2, c02);
        c03 = coopMultiplyAdd(a0, b3, c03);
        c10 = coopMultiplyAdd(a1, b0, c10);
        c11 = coopMultiplyAdd(a1, b1, c11);
        c12 = coopMultiplyAdd(a1, b2, c12);
        c13 = coopMultiplyAdd(a1, b3, c13);
    }
    let number = group.x + group.y * groups.x;
    let at = (number * 4u + (subgroup & 3u)) * 8u * ONE;
    coopStoreT(c00, &y[at], SIZE);
    coopStoreT(c01, &y[at + ONE], SIZE);
    coopStoreT(c02, &y[at + 2u * ONE], SIZE);
    coopStoreT(c03, &y[at + 3u * ONE], SIZE);
    coopStoreT(c10, &y[at + 4u * ONE], SIZE);
    coopStoreT(c11, &y[at + 5u * ONE], SIZE);
    coopStoreT(c12, &y[at + 6u * ONE], SIZE);
    coopStoreT(c13, &y[at + 7u * ONE], SIZE);
}
