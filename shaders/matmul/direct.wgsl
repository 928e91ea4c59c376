import package::config::LANES;
import package::matmul::direct_tile::{
    Columns, FOUR, FOURS, Lefts, ROWS, Sums, Tile, columns_from, row_start,
};
@if(eights) import package::matmul::direct_tile::slabs;
@if(!eights) import package::matmul::direct_tile::slab;
@if(!eights || quads || lanes) import package::matmul::direct_times::times;
@if(eights && !quads && !lanes) import package::matmul::direct_times::times8;
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::params::{params, tile_of};

// For software adapters: an invocation computes a tile of C straight from storage,
// without workgroup memory or barriers. The columns of an invocation are LANES
// apart, and all invocations of a workgroup have the same rows, so that A is read
// once for a whole vector of invocations.
//
// A tile has one row, 8, 16 or 32 of them, and 4 columns for each lane, or 8; a
// feature for more rows comes with those for fewer. Sums of four columns are a
// vector, and what four k of B hold for them is a matrix: a row of A times the
// matrix adds to the sums (`matmul/direct_times`). With `eights` B is decoded eight k at a
// time. If `gated`, the second half of each four columns is of the second B. `quads`: each
// of four lanes reads one of four rows of A for all four, for drivers whose loads are dear.
// `lanes`: each of eight lanes reads one of four k of one of two rows of A for all eight,
// or with `a_pairs` two of them, of one of four rows.

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
    @if(quads || lanes) @builtin(subgroup_invocation_id) in_subgroup: u32,
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
    @if(!quads && !lanes) let mine = row;
    @if(quads) let mine = row + in_subgroup % 4u;
    @if(lanes && !a_pairs) let mine = row + in_subgroup / 4u;
    @if(lanes && a_pairs) let mine = row + in_subgroup / 2u;
    var left: Lefts;
    left.r0 = row_start(tile.a, mine);
    @if(rows_8) {
        @if(!quads && !lanes) left.r1 = row_start(tile.a, mine + 1u);
        @if(!quads && !(lanes && a_pairs)) left.r2 = row_start(tile.a, mine + 2u);
        @if(!quads && !lanes) left.r3 = row_start(tile.a, mine + 3u);
        left.r4 = row_start(tile.a, mine + 4u);
        @if(!quads && !lanes) left.r5 = row_start(tile.a, mine + 5u);
        @if(!quads && !(lanes && a_pairs)) left.r6 = row_start(tile.a, mine + 6u);
        @if(!quads && !lanes) left.r7 = row_start(tile.a, mine + 7u);
    }
    @if(rows_16) {
        left.r8 = row_start(tile.a, mine + 8u);
        @if(!quads && !lanes) left.r9 = row_start(tile.a, mine + 9u);
        @if(!quads && !(lanes && a_pairs)) left.r10 = row_start(tile.a, mine + 10u);
        @if(!quads && !lanes) left.r11 = row_start(tile.a, mine + 11u);
        left.r12 = row_start(tile.a, mine + 12u);
        @if(!quads && !lanes) left.r13 = row_start(tile.a, mine + 13u);
        @if(!quads && !(lanes && a_pairs)) left.r14 = row_start(tile.a, mine + 14u);
        @if(!quads && !lanes) left.r15 = row_start(tile.a, mine + 15u);
    }
    @if(rows_32) {
        left.r16 = row_start(tile.a, mine + 16u);
        @if(!quads && !lanes) left.r17 = row_start(tile.a, mine + 17u);
        @if(!quads && !(lanes && a_pairs)) left.r18 = row_start(tile.a, mine + 18u);
        @if(!quads && !lanes) left.r19 = row_start(tile.a, mine + 19u);
        left.r20 = row_start(tile.a, mine + 20u);
        @if(!quads && !lanes) left.r21 = row_start(tile.a, mine + 21u);
        @if(!quads && !(lanes && a_pairs)) left.r22 = row_start(tile.a, mine + 22u);
        @if(!quads && !lanes) left.r23 = row_start(tile.a, mine + 23u);
        left.r24 = row_start(tile.a, mine + 24u);
        @if(!quads && !lanes) left.r25 = row_start(tile.a, mine + 25u);
        @if(!quads && !(lanes && a_pairs)) left.r26 = row_start(tile.a, mine + 26u);
        @if(!quads && !lanes) left.r27 = row_start(tile.a, mine + 27u);
        left.r28 = row_start(tile.a, mine + 28u);
        @if(!quads && !lanes) left.r29 = row_start(tile.a, mine + 29u);
        @if(!quads && !(lanes && a_pairs)) left.r30 = row_start(tile.a, mine + 30u);
        @if(!quads && !lanes) left.r31 = row_start(tile.a, mine + 31u);
    }
    let first = tile.column + lane;
    var right: Columns;
    right.a = columns_from(tile.b, first);
    @if(wide_2) {
        right.b = columns_from(tile.b, first + FOUR * LANES);
    }
    @if(lanes && !a_pairs) let own = in_subgroup % 4u;
    @if(lanes && a_pairs) let own = in_subgroup % 2u * 2u;
    @if(!lanes) let own = 0u;
    var s = Tile();
    @if(!eights) {
        for (var k = 0u; k < params.k; k += 4u) {
            s = times(s, left, k + own, slab(right, k));
        }
    }
    @if(eights) {
        for (var k = 0u; k < params.k; k += 8u) {
            let both = slabs(right, k);
            @if(quads || lanes) {
                s = times(s, left, k + own, both.lo);
                s = times(s, left, k + 4u + own, both.hi);
            }
            @if(!quads && !lanes) s = times8(s, left, k, both);
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
