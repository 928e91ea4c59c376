@if(eights && !quads && !lanes) import package::matmul::direct_tile::Slabs;
import package::matmul::direct_tile::{Lefts, Slab, Sums, Tile};
@if(!lanes) import package::matmul::left::left4;
@if(lanes && !a_pairs) import package::matmul::left::left1;
@if(lanes && a_pairs) import package::matmul::left::left2;

// How a tile of `matmul/direct` grows by the products of some k.

fn products(sum: vec4<f32>, x: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    @if(!quads) return sum + x.x * b[0] + x.y * b[1] + x.z * b[2] + x.w * b[3];
    @if(quads) return sum + x * b;
}

fn plus(sums: Sums, x: vec4<f32>, slab: Slab) -> Sums {
    var s: Sums;
    s.a = products(sums.a, x, slab.a);
    @if(wide_2) {
        s.b = products(sums.b, x, slab.b);
    }
    return s;
}

// Adds the products of four k. A is read before anything is multiplied: where reading and
// multiplying take turns, Mesa's compiler keeps products and elements on the stack.
@if(!eights && !quads && !lanes) fn times(t: Tile, at: Lefts, k: u32, b: Slab) -> Tile {
    let x0 = left4(at.r0, k);
    @if(rows_8) let x1 = left4(at.r1, k);
    @if(rows_8) let x2 = left4(at.r2, k);
    @if(rows_8) let x3 = left4(at.r3, k);
    @if(rows_8) let x4 = left4(at.r4, k);
    @if(rows_8) let x5 = left4(at.r5, k);
    @if(rows_8) let x6 = left4(at.r6, k);
    @if(rows_8) let x7 = left4(at.r7, k);
    @if(rows_16) let x8 = left4(at.r8, k);
    @if(rows_16) let x9 = left4(at.r9, k);
    @if(rows_16) let x10 = left4(at.r10, k);
    @if(rows_16) let x11 = left4(at.r11, k);
    @if(rows_16) let x12 = left4(at.r12, k);
    @if(rows_16) let x13 = left4(at.r13, k);
    @if(rows_16) let x14 = left4(at.r14, k);
    @if(rows_16) let x15 = left4(at.r15, k);
    @if(rows_32) let x16 = left4(at.r16, k);
    @if(rows_32) let x17 = left4(at.r17, k);
    @if(rows_32) let x18 = left4(at.r18, k);
    @if(rows_32) let x19 = left4(at.r19, k);
    @if(rows_32) let x20 = left4(at.r20, k);
    @if(rows_32) let x21 = left4(at.r21, k);
    @if(rows_32) let x22 = left4(at.r22, k);
    @if(rows_32) let x23 = left4(at.r23, k);
    @if(rows_32) let x24 = left4(at.r24, k);
    @if(rows_32) let x25 = left4(at.r25, k);
    @if(rows_32) let x26 = left4(at.r26, k);
    @if(rows_32) let x27 = left4(at.r27, k);
    @if(rows_32) let x28 = left4(at.r28, k);
    @if(rows_32) let x29 = left4(at.r29, k);
    @if(rows_32) let x30 = left4(at.r30, k);
    @if(rows_32) let x31 = left4(at.r31, k);
    var s: Tile;
    s.r0 = plus(t.r0, x0, b);
    @if(rows_8) {
        s.r1 = plus(t.r1, x1, b);
        s.r2 = plus(t.r2, x2, b);
        s.r3 = plus(t.r3, x3, b);
        s.r4 = plus(t.r4, x4, b);
        s.r5 = plus(t.r5, x5, b);
        s.r6 = plus(t.r6, x6, b);
        s.r7 = plus(t.r7, x7, b);
    }
    @if(rows_16) {
        s.r8 = plus(t.r8, x8, b);
        s.r9 = plus(t.r9, x9, b);
        s.r10 = plus(t.r10, x10, b);
        s.r11 = plus(t.r11, x11, b);
        s.r12 = plus(t.r12, x12, b);
        s.r13 = plus(t.r13, x13, b);
        s.r14 = plus(t.r14, x14, b);
        s.r15 = plus(t.r15, x15, b);
    }
    @if(rows_32) {
        s.r16 = plus(t.r16, x16, b);
        s.r17 = plus(t.r17, x17, b);
        s.r18 = plus(t.r18, x18, b);
        s.r19 = plus(t.r19, x19, b);
        s.r20 = plus(t.r20, x20, b);
        s.r21 = plus(t.r21, x21, b);
        s.r22 = plus(t.r22, x22, b);
        s.r23 = plus(t.r23, x23, b);
        s.r24 = plus(t.r24, x24, b);
        s.r25 = plus(t.r25, x25, b);
        s.r26 = plus(t.r26, x26, b);
        s.r27 = plus(t.r27, x27, b);
        s.r28 = plus(t.r28, x28, b);
        s.r29 = plus(t.r29, x29, b);
        s.r30 = plus(t.r30, x30, b);
        s.r31 = plus(t.r31, x31, b);
    }
    return s;
}

// The same of eight k.
@if(eights && !quads && !lanes) fn times8(t: Tile, at: Lefts, k: u32, b: Slabs) -> Tile {
    let x0 = left4(at.r0, k);
    @if(rows_8) let x1 = left4(at.r1, k);
    @if(rows_8) let x2 = left4(at.r2, k);
    @if(rows_8) let x3 = left4(at.r3, k);
    @if(rows_8) let x4 = left4(at.r4, k);
    @if(rows_8) let x5 = left4(at.r5, k);
    @if(rows_8) let x6 = left4(at.r6, k);
    @if(rows_8) let x7 = left4(at.r7, k);
    @if(rows_16) let x8 = left4(at.r8, k);
    @if(rows_16) let x9 = left4(at.r9, k);
    @if(rows_16) let x10 = left4(at.r10, k);
    @if(rows_16) let x11 = left4(at.r11, k);
    @if(rows_16) let x12 = left4(at.r12, k);
    @if(rows_16) let x13 = left4(at.r13, k);
    @if(rows_16) let x14 = left4(at.r14, k);
    @if(rows_16) let x15 = left4(at.r15, k);
    @if(rows_32) let x16 = left4(at.r16, k);
    @if(rows_32) let x17 = left4(at.r17, k);
    @if(rows_32) let x18 = left4(at.r18, k);
    @if(rows_32) let x19 = left4(at.r19, k);
    @if(rows_32) let x20 = left4(at.r20, k);
    @if(rows_32) let x21 = left4(at.r21, k);
    @if(rows_32) let x22 = left4(at.r22, k);
    @if(rows_32) let x23 = left4(at.r23, k);
    @if(rows_32) let x24 = left4(at.r24, k);
    @if(rows_32) let x25 = left4(at.r25, k);
    @if(rows_32) let x26 = left4(at.r26, k);
    @if(rows_32) let x27 = left4(at.r27, k);
    @if(rows_32) let x28 = left4(at.r28, k);
    @if(rows_32) let x29 = left4(at.r29, k);
    @if(rows_32) let x30 = left4(at.r30, k);
    @if(rows_32) let x31 = left4(at.r31, k);
    let y0 = left4(at.r0, k + 4u);
    @if(rows_8) let y1 = left4(at.r1, k + 4u);
    @if(rows_8) let y2 = left4(at.r2, k + 4u);
    @if(rows_8) let y3 = left4(at.r3, k + 4u);
    @if(rows_8) let y4 = left4(at.r4, k + 4u);
    @if(rows_8) let y5 = left4(at.r5, k + 4u);
    @if(rows_8) let y6 = left4(at.r6, k + 4u);
    @if(rows_8) let y7 = left4(at.r7, k + 4u);
    @if(rows_16) let y8 = left4(at.r8, k + 4u);
    @if(rows_16) let y9 = left4(at.r9, k + 4u);
    @if(rows_16) let y10 = left4(at.r10, k + 4u);
    @if(rows_16) let y11 = left4(at.r11, k + 4u);
    @if(rows_16) let y12 = left4(at.r12, k + 4u);
    @if(rows_16) let y13 = left4(at.r13, k + 4u);
    @if(rows_16) let y14 = left4(at.r14, k + 4u);
    @if(rows_16) let y15 = left4(at.r15, k + 4u);
    @if(rows_32) let y16 = left4(at.r16, k + 4u);
    @if(rows_32) let y17 = left4(at.r17, k + 4u);
    @if(rows_32) let y18 = left4(at.r18, k + 4u);
    @if(rows_32) let y19 = left4(at.r19, k + 4u);
    @if(rows_32) let y20 = left4(at.r20, k + 4u);
    @if(rows_32) let y21 = left4(at.r21, k + 4u);
    @if(rows_32) let y22 = left4(at.r22, k + 4u);
    @if(rows_32) let y23 = left4(at.r23, k + 4u);
    @if(rows_32) let y24 = left4(at.r24, k + 4u);
    @if(rows_32) let y25 = left4(at.r25, k + 4u);
    @if(rows_32) let y26 = left4(at.r26, k + 4u);
    @if(rows_32) let y27 = left4(at.r27, k + 4u);
    @if(rows_32) let y28 = left4(at.r28, k + 4u);
    @if(rows_32) let y29 = left4(at.r29, k + 4u);
    @if(rows_32) let y30 = left4(at.r30, k + 4u);
    @if(rows_32) let y31 = left4(at.r31, k + 4u);
    var s: Tile;
    s.r0 = plus(plus(t.r0, x0, b.lo), y0, b.hi);
    @if(rows_8) {
        s.r1 = plus(plus(t.r1, x1, b.lo), y1, b.hi);
        s.r2 = plus(plus(t.r2, x2, b.lo), y2, b.hi);
        s.r3 = plus(plus(t.r3, x3, b.lo), y3, b.hi);
        s.r4 = plus(plus(t.r4, x4, b.lo), y4, b.hi);
        s.r5 = plus(plus(t.r5, x5, b.lo), y5, b.hi);
        s.r6 = plus(plus(t.r6, x6, b.lo), y6, b.hi);
        s.r7 = plus(plus(t.r7, x7, b.lo), y7, b.hi);
    }
    @if(rows_16) {
        s.r8 = plus(plus(t.r8, x8, b.lo), y8, b.hi);
        s.r9 = plus(plus(t.r9, x9, b.lo), y9, b.hi);
        s.r10 = plus(plus(t.r10, x10, b.lo), y10, b.hi);
        s.r11 = plus(plus(t.r11, x11, b.lo), y11, b.hi);
        s.r12 = plus(plus(t.r12, x12, b.lo), y12, b.hi);
        s.r13 = plus(plus(t.r13, x13, b.lo), y13, b.hi);
        s.r14 = plus(plus(t.r14, x14, b.lo), y14, b.hi);
        s.r15 = plus(plus(t.r15, x15, b.lo), y15, b.hi);
    }
    @if(rows_32) {
        s.r16 = plus(plus(t.r16, x16, b.lo), y16, b.hi);
        s.r17 = plus(plus(t.r17, x17, b.lo), y17, b.hi);
        s.r18 = plus(plus(t.r18, x18, b.lo), y18, b.hi);
        s.r19 = plus(plus(t.r19, x19, b.lo), y19, b.hi);
        s.r20 = plus(plus(t.r20, x20, b.lo), y20, b.hi);
        s.r21 = plus(plus(t.r21, x21, b.lo), y21, b.hi);
        s.r22 = plus(plus(t.r22, x22, b.lo), y22, b.hi);
        s.r23 = plus(plus(t.r23, x23, b.lo), y23, b.hi);
        s.r24 = plus(plus(t.r24, x24, b.lo), y24, b.hi);
        s.r25 = plus(plus(t.r25, x25, b.lo), y25, b.hi);
        s.r26 = plus(plus(t.r26, x26, b.lo), y26, b.hi);
        s.r27 = plus(plus(t.r27, x27, b.lo), y27, b.hi);
        s.r28 = plus(plus(t.r28, x28, b.lo), y28, b.hi);
        s.r29 = plus(plus(t.r29, x29, b.lo), y29, b.hi);
        s.r30 = plus(plus(t.r30, x30, b.lo), y30, b.hi);
        s.r31 = plus(plus(t.r31, x31, b.lo), y31, b.hi);
    }
    return s;
}

// Four k of one of two rows, of which each lane of eight has read one k.
@if(lanes && !a_pairs) fn first_row(x: f32) -> vec4<f32> {
    return vec4<f32>(
        subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u),
        subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u),
    );
}

@if(lanes && !a_pairs) fn second_row(x: f32) -> vec4<f32> {
    return vec4<f32>(
        subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u),
        subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u),
    );
}

// Four k of one of four rows, of which each lane of eight has read two k.
@if(lanes && a_pairs) fn first_row(x: vec2<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u));
}

@if(lanes && a_pairs) fn second_row(x: vec2<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u));
}

@if(lanes && a_pairs) fn third_row(x: vec2<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u));
}

@if(lanes && a_pairs) fn fourth_row(x: vec2<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u));
}

// Four k where each lane of eight has read one of them, or two, of its own row. `k` is its own.
@if(lanes && !a_pairs) fn times(t: Tile, at: Lefts, k: u32, slab: Slab) -> Tile {
    let x0 = left1(at.r0, k);
    @if(rows_8) let x2 = left1(at.r2, k);
    @if(rows_8) let x4 = left1(at.r4, k);
    @if(rows_8) let x6 = left1(at.r6, k);
    @if(rows_16) let x8 = left1(at.r8, k);
    @if(rows_16) let x10 = left1(at.r10, k);
    @if(rows_16) let x12 = left1(at.r12, k);
    @if(rows_16) let x14 = left1(at.r14, k);
    @if(rows_32) let x16 = left1(at.r16, k);
    @if(rows_32) let x18 = left1(at.r18, k);
    @if(rows_32) let x20 = left1(at.r20, k);
    @if(rows_32) let x22 = left1(at.r22, k);
    @if(rows_32) let x24 = left1(at.r24, k);
    @if(rows_32) let x26 = left1(at.r26, k);
    @if(rows_32) let x28 = left1(at.r28, k);
    @if(rows_32) let x30 = left1(at.r30, k);
    var s: Tile;
    s.r0 = plus(t.r0, first_row(x0), slab);
    @if(rows_8) {
        s.r1 = plus(t.r1, second_row(x0), slab);
        s.r2 = plus(t.r2, first_row(x2), slab);
        s.r3 = plus(t.r3, second_row(x2), slab);
        s.r4 = plus(t.r4, first_row(x4), slab);
        s.r5 = plus(t.r5, second_row(x4), slab);
        s.r6 = plus(t.r6, first_row(x6), slab);
        s.r7 = plus(t.r7, second_row(x6), slab);
    }
    @if(rows_16) {
        s.r8 = plus(t.r8, first_row(x8), slab);
        s.r9 = plus(t.r9, second_row(x8), slab);
        s.r10 = plus(t.r10, first_row(x10), slab);
        s.r11 = plus(t.r11, second_row(x10), slab);
        s.r12 = plus(t.r12, first_row(x12), slab);
        s.r13 = plus(t.r13, second_row(x12), slab);
        s.r14 = plus(t.r14, first_row(x14), slab);
        s.r15 = plus(t.r15, second_row(x14), slab);
    }
    @if(rows_32) {
        s.r16 = plus(t.r16, first_row(x16), slab);
        s.r17 = plus(t.r17, second_row(x16), slab);
        s.r18 = plus(t.r18, first_row(x18), slab);
        s.r19 = plus(t.r19, second_row(x18), slab);
        s.r20 = plus(t.r20, first_row(x20), slab);
        s.r21 = plus(t.r21, second_row(x20), slab);
        s.r22 = plus(t.r22, first_row(x22), slab);
        s.r23 = plus(t.r23, second_row(x22), slab);
        s.r24 = plus(t.r24, first_row(x24), slab);
        s.r25 = plus(t.r25, second_row(x24), slab);
        s.r26 = plus(t.r26, first_row(x26), slab);
        s.r27 = plus(t.r27, second_row(x26), slab);
        s.r28 = plus(t.r28, first_row(x28), slab);
        s.r29 = plus(t.r29, second_row(x28), slab);
        s.r30 = plus(t.r30, first_row(x30), slab);
        s.r31 = plus(t.r31, second_row(x30), slab);
    }
    return s;
}

@if(lanes && a_pairs) fn times(t: Tile, at: Lefts, k: u32, slab: Slab) -> Tile {
    let x0 = left2(at.r0, k);
    @if(rows_8) let x4 = left2(at.r4, k);
    @if(rows_16) let x8 = left2(at.r8, k);
    @if(rows_16) let x12 = left2(at.r12, k);
    @if(rows_32) let x16 = left2(at.r16, k);
    @if(rows_32) let x20 = left2(at.r20, k);
    @if(rows_32) let x24 = left2(at.r24, k);
    @if(rows_32) let x28 = left2(at.r28, k);
    var s: Tile;
    s.r0 = plus(t.r0, first_row(x0), slab);
    @if(rows_8) {
        s.r1 = plus(t.r1, second_row(x0), slab);
        s.r2 = plus(t.r2, third_row(x0), slab);
        s.r3 = plus(t.r3, fourth_row(x0), slab);
        s.r4 = plus(t.r4, first_row(x4), slab);
        s.r5 = plus(t.r5, second_row(x4), slab);
        s.r6 = plus(t.r6, third_row(x4), slab);
        s.r7 = plus(t.r7, fourth_row(x4), slab);
    }
    @if(rows_16) {
        s.r8 = plus(t.r8, first_row(x8), slab);
        s.r9 = plus(t.r9, second_row(x8), slab);
        s.r10 = plus(t.r10, third_row(x8), slab);
        s.r11 = plus(t.r11, fourth_row(x8), slab);
        s.r12 = plus(t.r12, first_row(x12), slab);
        s.r13 = plus(t.r13, second_row(x12), slab);
        s.r14 = plus(t.r14, third_row(x12), slab);
        s.r15 = plus(t.r15, fourth_row(x12), slab);
    }
    @if(rows_32) {
        s.r16 = plus(t.r16, first_row(x16), slab);
        s.r17 = plus(t.r17, second_row(x16), slab);
        s.r18 = plus(t.r18, third_row(x16), slab);
        s.r19 = plus(t.r19, fourth_row(x16), slab);
        s.r20 = plus(t.r20, first_row(x20), slab);
        s.r21 = plus(t.r21, second_row(x20), slab);
        s.r22 = plus(t.r22, third_row(x20), slab);
        s.r23 = plus(t.r23, fourth_row(x20), slab);
        s.r24 = plus(t.r24, first_row(x24), slab);
        s.r25 = plus(t.r25, second_row(x24), slab);
        s.r26 = plus(t.r26, third_row(x24), slab);
        s.r27 = plus(t.r27, fourth_row(x24), slab);
        s.r28 = plus(t.r28, first_row(x28), slab);
        s.r29 = plus(t.r29, second_row(x28), slab);
        s.r30 = plus(t.r30, third_row(x28), slab);
        s.r31 = plus(t.r31, fourth_row(x28), slab);
    }
    return s;
}

// Four k where each lane of four has read one of four rows.
@if(quads) fn times(t: Tile, at: Lefts, k: u32, slab: Slab) -> Tile {
    var s: Tile;
    @if(rows_8) {
        let x0 = left4(at.r0, k);
        s.r0 = plus(t.r0, quadBroadcast(x0, 0u), slab);
        s.r1 = plus(t.r1, quadBroadcast(x0, 1u), slab);
        s.r2 = plus(t.r2, quadBroadcast(x0, 2u), slab);
        s.r3 = plus(t.r3, quadBroadcast(x0, 3u), slab);
        let x4 = left4(at.r4, k);
        s.r4 = plus(t.r4, quadBroadcast(x4, 0u), slab);
        s.r5 = plus(t.r5, quadBroadcast(x4, 1u), slab);
        s.r6 = plus(t.r6, quadBroadcast(x4, 2u), slab);
        s.r7 = plus(t.r7, quadBroadcast(x4, 3u), slab);
    }
    @if(rows_16) {
        let x8 = left4(at.r8, k);
        s.r8 = plus(t.r8, quadBroadcast(x8, 0u), slab);
        s.r9 = plus(t.r9, quadBroadcast(x8, 1u), slab);
        s.r10 = plus(t.r10, quadBroadcast(x8, 2u), slab);
        s.r11 = plus(t.r11, quadBroadcast(x8, 3u), slab);
        let x12 = left4(at.r12, k);
        s.r12 = plus(t.r12, quadBroadcast(x12, 0u), slab);
        s.r13 = plus(t.r13, quadBroadcast(x12, 1u), slab);
        s.r14 = plus(t.r14, quadBroadcast(x12, 2u), slab);
        s.r15 = plus(t.r15, quadBroadcast(x12, 3u), slab);
    }
    @if(rows_32) {
        let x16 = left4(at.r16, k);
        s.r16 = plus(t.r16, quadBroadcast(x16, 0u), slab);
        s.r17 = plus(t.r17, quadBroadcast(x16, 1u), slab);
        s.r18 = plus(t.r18, quadBroadcast(x16, 2u), slab);
        s.r19 = plus(t.r19, quadBroadcast(x16, 3u), slab);
        let x20 = left4(at.r20, k);
        s.r20 = plus(t.r20, quadBroadcast(x20, 0u), slab);
        s.r21 = plus(t.r21, quadBroadcast(x20, 1u), slab);
        s.r22 = plus(t.r22, quadBroadcast(x20, 2u), slab);
        s.r23 = plus(t.r23, quadBroadcast(x20, 3u), slab);
        let x24 = left4(at.r24, k);
        s.r24 = plus(t.r24, quadBroadcast(x24, 0u), slab);
        s.r25 = plus(t.r25, quadBroadcast(x24, 1u), slab);
        s.r26 = plus(t.r26, quadBroadcast(x24, 2u), slab);
        s.r27 = plus(t.r27, quadBroadcast(x24, 3u), slab);
        let x28 = left4(at.r28, k);
        s.r28 = plus(t.r28, quadBroadcast(x28, 0u), slab);
        s.r29 = plus(t.r29, quadBroadcast(x28, 1u), slab);
        s.r30 = plus(t.r30, quadBroadcast(x28, 2u), slab);
        s.r31 = plus(t.r31, quadBroadcast(x28, 3u), slab);
    }
    return s;
}
