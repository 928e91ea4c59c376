import package::common::eight::Eight;
import package::config::LANES;
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left4};
import package::matmul::params::{params, tile_of};
import package::matmul::right::right_column;
@if(eights) import package::matmul::right::right8;
@if(!eights) import package::matmul::right::right4;
@if(gated && eights) import package::matmul::right::up8;
@if(gated && !eights) import package::matmul::right::up4;

// For software adapters: an invocation computes a tile of C straight from storage,
// without workgroup memory or barriers. The columns of an invocation are LANES
// apart, and all invocations of a workgroup have the same rows, so that A is read
// once for a whole vector of invocations.
//
// A tile has one row, 8, 16 or 32 of them, and 4 columns for each lane, or 8; a
// feature for more rows comes with those for fewer. Sums of four columns are a
// vector, and what four k of B hold for them is a matrix: a row of A times the
// matrix adds to the sums. With `eights` B is decoded eight k at a time. If `gated`,
// the second half of each four columns is of the second B. `quads`: each of four lanes
// reads one of four rows of A for all four, for drivers whose loads are dear.

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

// Four k of all columns.
struct Slab {
    a: mat4x4<f32>,
    @if(wide_2) b: mat4x4<f32>,
}

// Where the rows of A start.
struct Lefts {
    r0: u32,
    @if(rows_8 && !quads) r1: u32,
    @if(rows_8 && !quads) r2: u32,
    @if(rows_8 && !quads) r3: u32,
    @if(rows_8) r4: u32,
    @if(rows_8 && !quads) r5: u32,
    @if(rows_8 && !quads) r6: u32,
    @if(rows_8 && !quads) r7: u32,
    @if(rows_16) r8: u32,
    @if(rows_16 && !quads) r9: u32,
    @if(rows_16 && !quads) r10: u32,
    @if(rows_16 && !quads) r11: u32,
    @if(rows_16) r12: u32,
    @if(rows_16 && !quads) r13: u32,
    @if(rows_16 && !quads) r14: u32,
    @if(rows_16 && !quads) r15: u32,
    @if(rows_32) r16: u32,
    @if(rows_32 && !quads) r17: u32,
    @if(rows_32 && !quads) r18: u32,
    @if(rows_32 && !quads) r19: u32,
    @if(rows_32) r20: u32,
    @if(rows_32 && !quads) r21: u32,
    @if(rows_32 && !quads) r22: u32,
    @if(rows_32 && !quads) r23: u32,
    @if(rows_32) r24: u32,
    @if(rows_32 && !quads) r25: u32,
    @if(rows_32 && !quads) r26: u32,
    @if(rows_32 && !quads) r27: u32,
    @if(rows_32) r28: u32,
    @if(rows_32 && !quads) r29: u32,
    @if(rows_32 && !quads) r30: u32,
    @if(rows_32 && !quads) r31: u32,
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

@if(!eights) fn four(at: vec4<u32>, k: u32) -> mat4x4<f32> {
    @if(!gated) return mat4x4<f32>(right4(at.x, k), right4(at.y, k), right4(at.z, k), right4(at.w, k));
    @if(gated) return mat4x4<f32>(right4(at.x, k), right4(at.y, k), up4(at.x, k), up4(at.y, k));
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
    return Eights(mat4x4<f32>(x.lo, y.lo, z.lo, w.lo), mat4x4<f32>(x.hi, y.hi, z.hi, w.hi));
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

fn plus(sums: Sums, x: vec4<f32>, slab: Slab) -> Sums {
    var s: Sums;
    s.a = sums.a + x * slab.a;
    @if(wide_2) {
        s.b = sums.b + x * slab.b;
    }
    return s;
}

// Adds the products of four k.
@if(!quads) fn times(t: Tile, at: Lefts, k: u32, slab: Slab) -> Tile {
    var s: Tile;
    s.r0 = plus(t.r0, left4(at.r0, k), slab);
    @if(rows_8) {
        s.r1 = plus(t.r1, left4(at.r1, k), slab);
        s.r2 = plus(t.r2, left4(at.r2, k), slab);
        s.r3 = plus(t.r3, left4(at.r3, k), slab);
        s.r4 = plus(t.r4, left4(at.r4, k), slab);
        s.r5 = plus(t.r5, left4(at.r5, k), slab);
        s.r6 = plus(t.r6, left4(at.r6, k), slab);
        s.r7 = plus(t.r7, left4(at.r7, k), slab);
    }
    @if(rows_16) {
        s.r8 = plus(t.r8, left4(at.r8, k), slab);
        s.r9 = plus(t.r9, left4(at.r9, k), slab);
        s.r10 = plus(t.r10, left4(at.r10, k), slab);
        s.r11 = plus(t.r11, left4(at.r11, k), slab);
        s.r12 = plus(t.r12, left4(at.r12, k), slab);
        s.r13 = plus(t.r13, left4(at.r13, k), slab);
        s.r14 = plus(t.r14, left4(at.r14, k), slab);
        s.r15 = plus(t.r15, left4(at.r15, k), slab);
    }
    @if(rows_32) {
        s.r16 = plus(t.r16, left4(at.r16, k), slab);
        s.r17 = plus(t.r17, left4(at.r17, k), slab);
        s.r18 = plus(t.r18, left4(at.r18, k), slab);
        s.r19 = plus(t.r19, left4(at.r19, k), slab);
        s.r20 = plus(t.r20, left4(at.r20, k), slab);
        s.r21 = plus(t.r21, left4(at.r21, k), slab);
        s.r22 = plus(t.r22, left4(at.r22, k), slab);
        s.r23 = plus(t.r23, left4(at.r23, k), slab);
        s.r24 = plus(t.r24, left4(at.r24, k), slab);
        s.r25 = plus(t.r25, left4(at.r25, k), slab);
        s.r26 = plus(t.r26, left4(at.r26, k), slab);
        s.r27 = plus(t.r27, left4(at.r27, k), slab);
        s.r28 = plus(t.r28, left4(at.r28, k), slab);
        s.r29 = plus(t.r29, left4(at.r29, k), slab);
        s.r30 = plus(t.r30, left4(at.r30, k), slab);
        s.r31 = plus(t.r31, left4(at.r31, k), slab);
    }
    return s;
}

// The same where each lane of four has read one of four rows.
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

@if(!gated) fn write_one(base: u32, row: u32, column: u32, sum: f32) {
    if column < params.n {
        finish(base, row, column, sum);
    }
}

@if(gated) fn write_one(base: u32, row: u32, column: u32, gate: f32, up: f32) {
    if column < params.n {
        finish_gated(base, row, column, gate, up);
    }
}

fn write_four(base: u32, row: u32, column: u32, s: vec4<f32>) {
    @if(!gated) {
        write_one(base, row, column, s.x);
        write_one(base, row, column + LANES, s.y);
        write_one(base, row, column + 2u * LANES, s.z);
        write_one(base, row, column + 3u * LANES, s.w);
    }
    @if(gated) {
        write_one(base, row, column, s.x, s.z);
        write_one(base, row, column + LANES, s.y, s.w);
    }
}

fn write(base: u32, row: u32, column: u32, sums: Sums) {
    if row >= params.m {
        return;
    }
    write_four(base, row, column, sums.a);
    @if(wide_2) {
        write_four(base, row, column + FOUR * LANES, sums.b);
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @if(quads) @builtin(subgroup_invocation_id) in_subgroup: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, ROWS, FOURS * FOUR * LANES);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let row = tile.row;
    @if(!quads) let mine = row;
    @if(quads) let mine = row + in_subgroup % 4u;
    var left: Lefts;
    left.r0 = row_start(tile.a, mine);
    @if(rows_8) {
        @if(!quads) left.r1 = row_start(tile.a, mine + 1u);
        @if(!quads) left.r2 = row_start(tile.a, mine + 2u);
        @if(!quads) left.r3 = row_start(tile.a, mine + 3u);
        left.r4 = row_start(tile.a, mine + 4u);
        @if(!quads) left.r5 = row_start(tile.a, mine + 5u);
        @if(!quads) left.r6 = row_start(tile.a, mine + 6u);
        @if(!quads) left.r7 = row_start(tile.a, mine + 7u);
    }
    @if(rows_16) {
        left.r8 = row_start(tile.a, mine + 8u);
        @if(!quads) left.r9 = row_start(tile.a, mine + 9u);
        @if(!quads) left.r10 = row_start(tile.a, mine + 10u);
        @if(!quads) left.r11 = row_start(tile.a, mine + 11u);
        left.r12 = row_start(tile.a, mine + 12u);
        @if(!quads) left.r13 = row_start(tile.a, mine + 13u);
        @if(!quads) left.r14 = row_start(tile.a, mine + 14u);
        @if(!quads) left.r15 = row_start(tile.a, mine + 15u);
    }
    @if(rows_32) {
        left.r16 = row_start(tile.a, mine + 16u);
        @if(!quads) left.r17 = row_start(tile.a, mine + 17u);
        @if(!quads) left.r18 = row_start(tile.a, mine + 18u);
        @if(!quads) left.r19 = row_start(tile.a, mine + 19u);
        left.r20 = row_start(tile.a, mine + 20u);
        @if(!quads) left.r21 = row_start(tile.a, mine + 21u);
        @if(!quads) left.r22 = row_start(tile.a, mine + 22u);
        @if(!quads) left.r23 = row_start(tile.a, mine + 23u);
        left.r24 = row_start(tile.a, mine + 24u);
        @if(!quads) left.r25 = row_start(tile.a, mine + 25u);
        @if(!quads) left.r26 = row_start(tile.a, mine + 26u);
        @if(!quads) left.r27 = row_start(tile.a, mine + 27u);
        left.r28 = row_start(tile.a, mine + 28u);
        @if(!quads) left.r29 = row_start(tile.a, mine + 29u);
        @if(!quads) left.r30 = row_start(tile.a, mine + 30u);
        @if(!quads) left.r31 = row_start(tile.a, mine + 31u);
    }
    let first = tile.column + lane;
    var right: Columns;
    right.a = columns_from(tile.b, first);
    @if(wide_2) {
        right.b = columns_from(tile.b, first + FOUR * LANES);
    }
    var s = Tile();
    @if(!eights) {
        for (var k = 0u; k < params.k; k += 4u) {
            s = times(s, left, k, slab(right, k));
        }
    }
    @if(eights) {
        for (var k = 0u; k < params.k; k += 8u) {
            let both = slabs(right, k);
            s = times(s, left, k, both.lo);
            s = times(s, left, k + 4u, both.hi);
        }
    }
    @if(!rows_8) write(tile.c, row, first, s.r0);
    @if(rows_8) {
        // Sums leave their registers for a loop: what is compiled long is written once.
        var done: array<Sums, ROWS>;
        done[0] = s.r0;
        done[1] = s.r1;
        done[2] = s.r2;
        done[3] = s.r3;
        done[4] = s.r4;
        done[5] = s.r5;
        done[6] = s.r6;
        done[7] = s.r7;
        @if(rows_16) {
            done[8] = s.r8;
            done[9] = s.r9;
            done[10] = s.r10;
            done[11] = s.r11;
            done[12] = s.r12;
            done[13] = s.r13;
            done[14] = s.r14;
            done[15] = s.r15;
        }
        @if(rows_32) {
            done[16] = s.r16;
            done[17] = s.r17;
            done[18] = s.r18;
            done[19] = s.r19;
            done[20] = s.r20;
            done[21] = s.r21;
            done[22] = s.r22;
            done[23] = s.r23;
            done[24] = s.r24;
            done[25] = s.r25;
            done[26] = s.r26;
            done[27] = s.r27;
            done[28] = s.r28;
            done[29] = s.r29;
            done[30] = s.r30;
            done[31] = s.r31;
        }
        let here = min(ROWS, params.m - row);
        for (var i = 0u; i < here; i++) {
            write(tile.c, row + i, first, done[i]);
        }
    }
}
