import package::common::eight::Eight;
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left8};
import package::matmul::params::{Tile, params, tile_of};
import package::matmul::right::{right_column, right8};
@if(gated) import package::matmul::right::up8;

// A workgroup of 16 by 16 computes a tile of 128 by 128. Steps of 16 along k are decoded
// to workgroup memory, the next one while this one is multiplied: each invocation has eight
// elements of A and of B on the way. It adds up 8 by 8 elements, 16 apart. If
// `gated`, the second half of the tile's columns are those of the second B.
//
// In workgroup memory a row is 4 vectors of 4 consecutive k, at positions exclusive-ored
// with bits of the row: neither the stores of a row nor the loads of a column meet in a bank.

const SIDE: u32 = 128u;
const STEP: u32 = 16u;
// Columns of C in a tile.
@if(gated) const WIDTH: u32 = 64u;
@if(!gated) const WIDTH: u32 = SIDE;

var<workgroup> tile_a: array<vec4<f32>, SIDE * 4u>;
var<workgroup> tile_b: array<vec4<f32>, SIDE * 4u>;

// The row and the group of eight along k that an invocation loads: neighbours read
// what is next to each other in memory.
fn along_k(index: u32) -> vec2<u32> {
    return vec2<u32>(index >> 1u, index & 1u);
}

fn across_k(index: u32) -> vec2<u32> {
    return vec2<u32>(index % SIDE, index / SIDE);
}

fn place_a(index: u32) -> vec2<u32> {
    @if(!trans_a) return along_k(index);
    @if(trans_a) return across_k(index);
}

fn place_b(index: u32) -> vec2<u32> {
    @if(rows_b) return along_k(index);
    @if(!rows_b) return across_k(index);
}

fn load_a(tile: Tile, k0: u32, index: u32) -> Eight {
    let at = place_a(index);
    let k = k0 + at.y * 8u;
    if k >= params.k {
        return Eight();
    }
    return left8(left_row(tile.a, min(tile.row + at.x, params.m - 1u)), k);
}

fn load_b(tile: Tile, k0: u32, index: u32) -> Eight {
    let at = place_b(index);
    let k = k0 + at.y * 8u;
    if k >= params.k {
        return Eight();
    }
    let start = right_column(tile.b, min(tile.column + at.x % WIDTH, params.n - 1u));
    @if(gated) {
        if at.x >= WIDTH {
            return up8(start, k);
        }
    }
    return right8(start, k);
}

fn vector_of(row: u32, step: u32) -> u32 {
    return row * 4u + (step ^ ((row >> 1u) & 3u));
}

fn store_a(e: Eight, index: u32) {
    let at = place_a(index);
    tile_a[vector_of(at.x, at.y * 2u)] = e.lo;
    tile_a[vector_of(at.x, at.y * 2u + 1u)] = e.hi;
}

fn store_b(e: Eight, index: u32) {
    let at = place_b(index);
    tile_b[vector_of(at.x, at.y * 2u)] = e.lo;
    tile_b[vector_of(at.x, at.y * 2u + 1u)] = e.hi;
}

// Four elements along k of eight columns of B.
struct Columns {
    b0: vec4<f32>,
    b1: vec4<f32>,
    b2: vec4<f32>,
    b3: vec4<f32>,
    b4: vec4<f32>,
    b5: vec4<f32>,
    b6: vec4<f32>,
    b7: vec4<f32>,
}

// Rows are sixteen apart, which leaves alone what positions are exclusive-ored with.
fn columns(at: u32) -> Columns {
    return Columns(
        tile_b[at],
        tile_b[at + 64u],
        tile_b[at + 128u],
        tile_b[at + 192u],
        tile_b[at + 256u],
        tile_b[at + 320u],
        tile_b[at + 384u],
        tile_b[at + 448u],
    );
}

// The sums of a row: columns 0 to 48 from the invocation's, and 64 to 112.
struct Sums {
    lo: vec4<f32>,
    hi: vec4<f32>,
}

// The sums with the products of the vector of A at `at`.
fn add(sums: Sums, at: u32, c: Columns) -> Sums {
    let a = tile_a[at];
    return Sums(
        sums.lo + vec4<f32>(dot(a, c.b0), dot(a, c.b1), dot(a, c.b2), dot(a, c.b3)),
        sums.hi + vec4<f32>(dot(a, c.b4), dot(a, c.b5), dot(a, c.b6), dot(a, c.b7)),
    );
}

fn write(base: u32, row: u32, column: u32, sums: Sums) {
    if row >= params.m {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        let at = column + j * 16u;
        @if(!gated) {
            if at < params.n {
                finish(base, row, at, sums.lo[j]);
            }
            if at + 64u < params.n {
                finish(base, row, at + 64u, sums.hi[j]);
            }
        }
        @if(gated) {
            if at < params.n {
                finish_gated(base, row, at, sums.lo[j], sums.hi[j]);
            }
        }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, SIDE, WIDTH);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let x = index % 16u;
    let y = index / 16u;
    var s0 = Sums();
    var s1 = Sums();
    var s2 = Sums();
    var s3 = Sums();
    var s4 = Sums();
    var s5 = Sums();
    var s6 = Sums();
    var s7 = Sums();
    var next_a = load_a(tile, 0u, index);
    var next_b = load_b(tile, 0u, index);
    for (var k0 = 0u; k0 < params.k; k0 += STEP) {
        store_a(next_a, index);
        store_b(next_b, index);
        workgroupBarrier();
        next_a = load_a(tile, k0 + STEP, index);
        next_b = load_b(tile, k0 + STEP, index);
        for (var step = 0u; step < 4u; step++) {
            let c = columns(vector_of(x, step));
            let at = vector_of(y, step);
            s0 = add(s0, at, c);
            s1 = add(s1, at + 64u, c);
            s2 = add(s2, at + 128u, c);
            s3 = add(s3, at + 192u, c);
            s4 = add(s4, at + 256u, c);
            s5 = add(s5, at + 320u, c);
            s6 = add(s6, at + 384u, c);
            s7 = add(s7, at + 448u, c);
        }
        workgroupBarrier();
    }
    write(tile.c, tile.row + y, tile.column + x, s0);
    write(tile.c, tile.row + y + 16u, tile.column + x, s1);
    write(tile.c, tile.row + y + 32u, tile.column + x, s2);
    write(tile.c, tile.row + y + 48u, tile.column + x, s3);
    write(tile.c, tile.row + y + 64u, tile.column + x, s4);
    write(tile.c, tile.row + y + 80u, tile.column + x, s5);
    write(tile.c, tile.row + y + 96u, tile.column + x, s6);
    write(tile.c, tile.row + y + 112u, tile.column + x, s7);
}
