import package::common::eight::Eight;
import package::config::LANES;
import package::matmul::finish::finish;
import package::matmul::left::{left_row, left4};
import package::matmul::params::{params, tile_of};
import package::matmul::right::{right_column, right1};

// For software adapters and B as [k, n]. As `direct_rows`, but each k gives one
// element of eight columns; neighbouring invocations read neighbours of B.

// The sums of eight rows, each in eight columns.
struct Sums {
    r0: Eight, r1: Eight, r2: Eight, r3: Eight,
    r4: Eight, r5: Eight, r6: Eight, r7: Eight,
}

// Where eight columns start.
struct Starts {
    lo: vec4<u32>,
    hi: vec4<u32>,
}

fn scaled(sums: Eight, w: Eight, x: f32) -> Eight {
    return Eight(sums.lo + w.lo * x, sums.hi + w.hi * x);
}

// Adds the products of one k.
fn rank_one(s: Sums, w: Eight, lo: vec4<f32>, hi: vec4<f32>) -> Sums {
    return Sums(
        scaled(s.r0, w, lo.x), scaled(s.r1, w, lo.y), scaled(s.r2, w, lo.z), scaled(s.r3, w, lo.w),
        scaled(s.r4, w, hi.x), scaled(s.r5, w, hi.y), scaled(s.r6, w, hi.z), scaled(s.r7, w, hi.w),
    );
}

fn row_start(base: u32, row: u32) -> u32 {
    return left_row(base, min(row, params.m - 1u));
}

fn column_start(base: u32, at: u32) -> u32 {
    return right_column(base, min(at, params.n - 1u));
}

// Row k of B in the eight columns.
fn across(b: Starts, k: u32) -> Eight {
    return Eight(
        vec4<f32>(right1(b.lo.x, k), right1(b.lo.y, k), right1(b.lo.z, k), right1(b.lo.w, k)),
        vec4<f32>(right1(b.hi.x, k), right1(b.hi.y, k), right1(b.hi.z, k), right1(b.hi.w, k)),
    );
}

fn write(base: u32, row: u32, first: u32, sums: Eight) {
    if row >= params.m {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        let near = first + j * LANES;
        let far = near + 4u * LANES;
        if near < params.n {
            finish(base, row, near, sums.lo[j]);
        }
        if far < params.n {
            finish(base, row, far, sums.hi[j]);
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
    let tile = tile_of(number, 8u, 8u * LANES);
    let a0 = row_start(tile.a, tile.row);
    let a1 = row_start(tile.a, tile.row + 1u);
    let a2 = row_start(tile.a, tile.row + 2u);
    let a3 = row_start(tile.a, tile.row + 3u);
    let a4 = row_start(tile.a, tile.row + 4u);
    let a5 = row_start(tile.a, tile.row + 5u);
    let a6 = row_start(tile.a, tile.row + 6u);
    let a7 = row_start(tile.a, tile.row + 7u);
    let first = tile.column + lane;
    let b = Starts(
        vec4<u32>(
            column_start(tile.b, first),
            column_start(tile.b, first + LANES),
            column_start(tile.b, first + 2u * LANES),
            column_start(tile.b, first + 3u * LANES),
        ),
        vec4<u32>(
            column_start(tile.b, first + 4u * LANES),
            column_start(tile.b, first + 5u * LANES),
            column_start(tile.b, first + 6u * LANES),
            column_start(tile.b, first + 7u * LANES),
        ),
    );
    var s = Sums();
    for (var k = 0u; k < params.k; k += 4u) {
        let x0 = left4(a0, k);
        let x1 = left4(a1, k);
        let x2 = left4(a2, k);
        let x3 = left4(a3, k);
        let x4 = left4(a4, k);
        let x5 = left4(a5, k);
        let x6 = left4(a6, k);
        let x7 = left4(a7, k);
        let w0 = across(b, k);
        s = rank_one(s, w0, vec4<f32>(x0.x, x1.x, x2.x, x3.x), vec4<f32>(x4.x, x5.x, x6.x, x7.x));
        let w1 = across(b, k + 1u);
        s = rank_one(s, w1, vec4<f32>(x0.y, x1.y, x2.y, x3.y), vec4<f32>(x4.y, x5.y, x6.y, x7.y));
        let w2 = across(b, k + 2u);
        s = rank_one(s, w2, vec4<f32>(x0.z, x1.z, x2.z, x3.z), vec4<f32>(x4.z, x5.z, x6.z, x7.z));
        let w3 = across(b, k + 3u);
        s = rank_one(s, w3, vec4<f32>(x0.w, x1.w, x2.w, x3.w), vec4<f32>(x4.w, x5.w, x6.w, x7.w));
    }
    write(tile.c, tile.row, first, s.r0);
    write(tile.c, tile.row + 1u, first, s.r1);
    write(tile.c, tile.row + 2u, first, s.r2);
    write(tile.c, tile.row + 3u, first, s.r3);
    write(tile.c, tile.row + 4u, first, s.r4);
    write(tile.c, tile.row + 5u, first, s.r5);
    write(tile.c, tile.row + 6u, first, s.r6);
    write(tile.c, tile.row + 7u, first, s.r7);
}
