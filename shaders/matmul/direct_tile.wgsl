import package::common::eight::Eight;
import package::config::LANES;
import package::matmul::left::left_row;
import package::matmul::params::params;
import package::matmul::right::right_column;
@if(eights) import package::matmul::right::right8;
@if(!eights) import package::matmul::right::right4;
@if(gated && eights) import package::matmul::right::up8;
@if(gated && !eights) import package::matmul::right::up4;

// What `matmul/direct` holds of a tile of C, and of A and B for it.

@if(gated) const FOUR: u32 = 2u;
@if(!gated) const FOUR: u32 = 4u;
@if(!wide_2) const FOURS: u32 = 1u;
@if(wide_2) const FOURS: u32 = 2u;
@if(!rows_8) const ROWS: u32 = 1u;
@if(rows_8 && !rows_16) const ROWS: u32 = 8u;
@if(rows_16 && !rows_32) const ROWS: u32 = 16u;
@if(rows_32) const ROWS: u32 = 32u;

// The sums of a row.
struct Sums {
    a: vec4<f32>,
    @if(wide_2) b: vec4<f32>,
}

// Where columns start in B.
struct Columns {
    a: vec4<u32>,
    @if(wide_2) b: vec4<u32>,
}

// Four k of all columns: see `by_k`.
struct Slab {
    a: mat4x4<f32>,
    @if(wide_2) b: mat4x4<f32>,
}

// Where the rows of A start. Of those that lanes read for each other, only the lane's own.
struct Lefts {
    r0: u32,
    @if(rows_8 && !quads && !lanes) r1: u32,
    @if(rows_8 && !quads && !(lanes && a_pairs)) r2: u32,
    @if(rows_8 && !quads && !lanes) r3: u32,
    @if(rows_8) r4: u32,
    @if(rows_8 && !quads && !lanes) r5: u32,
    @if(rows_8 && !quads && !(lanes && a_pairs)) r6: u32,
    @if(rows_8 && !quads && !lanes) r7: u32,
    @if(rows_16) r8: u32,
    @if(rows_16 && !quads && !lanes) r9: u32,
    @if(rows_16 && !quads && !(lanes && a_pairs)) r10: u32,
    @if(rows_16 && !quads && !lanes) r11: u32,
    @if(rows_16) r12: u32,
    @if(rows_16 && !quads && !lanes) r13: u32,
    @if(rows_16 && !quads && !(lanes && a_pairs)) r14: u32,
    @if(rows_16 && !quads && !lanes) r15: u32,
    @if(rows_32) r16: u32,
    @if(rows_32 && !quads && !lanes) r17: u32,
    @if(rows_32 && !quads && !(lanes && a_pairs)) r18: u32,
    @if(rows_32 && !quads && !lanes) r19: u32,
    @if(rows_32) r20: u32,
    @if(rows_32 && !quads && !lanes) r21: u32,
    @if(rows_32 && !quads && !(lanes && a_pairs)) r22: u32,
    @if(rows_32 && !quads && !lanes) r23: u32,
    @if(rows_32) r24: u32,
    @if(rows_32 && !quads && !lanes) r25: u32,
    @if(rows_32 && !quads && !(lanes && a_pairs)) r26: u32,
    @if(rows_32 && !quads && !lanes) r27: u32,
    @if(rows_32) r28: u32,
    @if(rows_32 && !quads && !lanes) r29: u32,
    @if(rows_32 && !quads && !(lanes && a_pairs)) r30: u32,
    @if(rows_32 && !quads && !lanes) r31: u32,
}

// The sums of all rows.
struct Tile {
    r0: Sums,
    @if(rows_8) r1: Sums,
    @if(rows_8) r2: Sums,
    @if(rows_8) r3: Sums,
    @if(rows_8) r4: Sums,
    @if(rows_8) r5: Sums,
    @if(rows_8) r6: Sums,
    @if(rows_8) r7: Sums,
    @if(rows_16) r8: Sums,
    @if(rows_16) r9: Sums,
    @if(rows_16) r10: Sums,
    @if(rows_16) r11: Sums,
    @if(rows_16) r12: Sums,
    @if(rows_16) r13: Sums,
    @if(rows_16) r14: Sums,
    @if(rows_16) r15: Sums,
    @if(rows_32) r16: Sums,
    @if(rows_32) r17: Sums,
    @if(rows_32) r18: Sums,
    @if(rows_32) r19: Sums,
    @if(rows_32) r20: Sums,
    @if(rows_32) r21: Sums,
    @if(rows_32) r22: Sums,
    @if(rows_32) r23: Sums,
    @if(rows_32) r24: Sums,
    @if(rows_32) r25: Sums,
    @if(rows_32) r26: Sums,
    @if(rows_32) r27: Sums,
    @if(rows_32) r28: Sums,
    @if(rows_32) r29: Sums,
    @if(rows_32) r30: Sums,
    @if(rows_32) r31: Sums,
}

fn row_start(base: u32, row: u32) -> u32 {
    return left_row(base, min(row, params.m - 1u));
}

// Where the columns LANES apart from `column` start; if `gated` there are two.
fn columns_from(base: u32, column: u32) -> vec4<u32> {
    let last = params.n - 1u;
    let near = right_column(base, min(column, last));
    let next = right_column(base, min(column + LANES, last));
    @if(gated) return vec4<u32>(near, next, near, next);
    @if(!gated) return vec4<u32>(
        near, next,
        right_column(base, min(column + 2u * LANES, last)),
        right_column(base, min(column + 3u * LANES, last)),
    );
}

// Four k of four columns: a vector for each k, or with `quads` for each column. Lavapipe is
// faster where sums grow by one k after another, SwiftShader where four become one first.
fn by_k(x: vec4<f32>, y: vec4<f32>, z: vec4<f32>, w: vec4<f32>) -> mat4x4<f32> {
    @if(!quads) return transpose(mat4x4<f32>(x, y, z, w));
    @if(quads) return mat4x4<f32>(x, y, z, w);
}

@if(!eights) fn four(at: vec4<u32>, k: u32) -> mat4x4<f32> {
    @if(!gated) return by_k(right4(at.x, k), right4(at.y, k), right4(at.z, k), right4(at.w, k));
    @if(gated) return by_k(right4(at.x, k), right4(at.y, k), up4(at.x, k), up4(at.y, k));
}

@if(!eights) fn slab(at: Columns, k: u32) -> Slab {
    var slab: Slab;
    slab.a = four(at.a, k);
    @if(wide_2) {
        slab.b = four(at.b, k);
    }
    return slab;
}

// Two slabs: eight k.
@if(eights) struct Slabs {
    lo: Slab,
    hi: Slab,
}

@if(eights) struct Eights {
    lo: mat4x4<f32>,
    hi: mat4x4<f32>,
}

@if(eights) fn eight(at: vec4<u32>, k: u32) -> Eights {
    let x = right8(at.x, k);
    let y = right8(at.y, k);
    @if(!gated) let z = right8(at.z, k);
    @if(!gated) let w = right8(at.w, k);
    @if(gated) let z = up8(at.x, k);
    @if(gated) let w = up8(at.y, k);
    return Eights(by_k(x.lo, y.lo, z.lo, w.lo), by_k(x.hi, y.hi, z.hi, w.hi));
}

@if(eights) fn slabs(at: Columns, k: u32) -> Slabs {
    var slabs: Slabs;
    let a = eight(at.a, k);
    slabs.lo.a = a.lo;
    slabs.hi.a = a.hi;
    @if(wide_2) {
        let b = eight(at.b, k);
        slabs.lo.b = b.lo;
        slabs.hi.b = b.hi;
    }
    return slabs;
}

