import package::common::eight::Eight;
import package::config::LANES;
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left8};
import package::matmul::params::{params, tile_of};
import package::matmul::right::{right_column, right8};
@if(gated) import package::matmul::right::up8;

// For software adapters and B as [n, k]. An invocation computes 8 rows by 8
// columns straight from storage: no workgroup memory, no barriers. The columns
// of an invocation are LANES apart, and all invocations of a workgroup have the
// same rows, so that A is read once for a whole vector of invocations. Eight
// weights are decoded once and used for eight rows. If `gated`, four of the
// columns are those of the second B.

@if(gated) const PER_LANE: u32 = 4u;
@if(!gated) const PER_LANE: u32 = 8u;

// Eight rows of A from the same k.
struct Rows {
    r0: Eight, r1: Eight, r2: Eight, r3: Eight,
    r4: Eight, r5: Eight, r6: Eight, r7: Eight,
}

fn dot8(x: Eight, w: Eight) -> f32 {
    return dot(x.lo, w.lo) + dot(x.hi, w.hi);
}

// Adds to the sums of eight rows in one column.
fn column(sums: Eight, x: Rows, w: Eight) -> Eight {
    return Eight(
        sums.lo + vec4<f32>(dot8(x.r0, w), dot8(x.r1, w), dot8(x.r2, w), dot8(x.r3, w)),
        sums.hi + vec4<f32>(dot8(x.r4, w), dot8(x.r5, w), dot8(x.r6, w), dot8(x.r7, w)),
    );
}

fn row_start(base: u32, row: u32) -> u32 {
    return left_row(base, min(row, params.m - 1u));
}

fn column_start(base: u32, at: u32) -> u32 {
    return right_column(base, min(at, params.n - 1u));
}

@if(!gated) fn write(base: u32, row: u32, at: u32, sums: Eight) {
    if at >= params.n {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.m {
            finish(base, row + i, at, sums.lo[i]);
        }
        if row + i + 4u < params.m {
            finish(base, row + i + 4u, at, sums.hi[i]);
        }
    }
}

@if(gated) fn write(base: u32, row: u32, at: u32, gate: Eight, up: Eight) {
    if at >= params.n {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.m {
            finish_gated(base, row + i, at, gate.lo[i], up.lo[i]);
        }
        if row + i + 4u < params.m {
            finish_gated(base, row + i + 4u, at, gate.hi[i], up.hi[i]);
        }
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, 8u, PER_LANE * LANES);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let a0 = row_start(tile.a, tile.row);
    let a1 = row_start(tile.a, tile.row + 1u);
    let a2 = row_start(tile.a, tile.row + 2u);
    let a3 = row_start(tile.a, tile.row + 3u);
    let a4 = row_start(tile.a, tile.row + 4u);
    let a5 = row_start(tile.a, tile.row + 5u);
    let a6 = row_start(tile.a, tile.row + 6u);
    let a7 = row_start(tile.a, tile.row + 7u);
    let first = tile.column + lane;
    let b0 = column_start(tile.b, first);
    let b1 = column_start(tile.b, first + LANES);
    let b2 = column_start(tile.b, first + 2u * LANES);
    let b3 = column_start(tile.b, first + 3u * LANES);
    @if(!gated) let b4 = column_start(tile.b, first + 4u * LANES);
    @if(!gated) let b5 = column_start(tile.b, first + 5u * LANES);
    @if(!gated) let b6 = column_start(tile.b, first + 6u * LANES);
    @if(!gated) let b7 = column_start(tile.b, first + 7u * LANES);
    var s0 = Eight();
    var s1 = Eight();
    var s2 = Eight();
    var s3 = Eight();
    var s4 = Eight();
    var s5 = Eight();
    var s6 = Eight();
    var s7 = Eight();
    for (var k = 0u; k < params.k; k += 8u) {
        let x = Rows(
            left8(a0, k), left8(a1, k), left8(a2, k), left8(a3, k),
            left8(a4, k), left8(a5, k), left8(a6, k), left8(a7, k),
        );
        s0 = column(s0, x, right8(b0, k));
        s1 = column(s1, x, right8(b1, k));
        s2 = column(s2, x, right8(b2, k));
        s3 = column(s3, x, right8(b3, k));
        @if(!gated) {
            s4 = column(s4, x, right8(b4, k));
            s5 = column(s5, x, right8(b5, k));
            s6 = column(s6, x, right8(b6, k));
            s7 = column(s7, x, right8(b7, k));
        }
        @if(gated) {
            s4 = column(s4, x, up8(b0, k));
            s5 = column(s5, x, up8(b1, k));
            s6 = column(s6, x, up8(b2, k));
            s7 = column(s7, x, up8(b3, k));
        }
    }
    @if(!gated) {
        write(tile.c, tile.row, first, s0);
        write(tile.c, tile.row, first + LANES, s1);
        write(tile.c, tile.row, first + 2u * LANES, s2);
        write(tile.c, tile.row, first + 3u * LANES, s3);
        write(tile.c, tile.row, first + 4u * LANES, s4);
        write(tile.c, tile.row, first + 5u * LANES, s5);
        write(tile.c, tile.row, first + 6u * LANES, s6);
        write(tile.c, tile.row, first + 7u * LANES, s7);
    }
    @if(gated) {
        write(tile.c, tile.row, first, s0, s4);
        write(tile.c, tile.row, first + LANES, s1, s5);
        write(tile.c, tile.row, first + 2u * LANES, s2, s6);
        write(tile.c, tile.row, first + 3u * LANES, s3, s7);
    }
}
