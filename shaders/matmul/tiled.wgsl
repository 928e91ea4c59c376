import package::common::eight::Eight;
import package::config::{TX, TY};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left8};
import package::matmul::params::{params, tile_of};
import package::matmul::right::{right_column, right8};
@if(gated) import package::matmul::right::up8;

@if(f16) enable f16;

// A workgroup of TX by TY computes a tile of 4 TX columns and 4 TY rows. Steps
// of 32 along k are decoded to workgroup memory; each invocation adds up 4 by 4
// elements, TX and TY apart. If `gated`, the second half of the tile's columns
// are those of the second B.
//
// In workgroup memory a row is 8 vectors of 4 consecutive k, at positions
// exclusive-ored with the row's low bits: neither the stores of a row nor the
// loads of a column meet in a bank.

@if(f16) alias Stored = vec4<f16>;
@if(!f16) alias Stored = vec4<f32>;

const THREADS: u32 = TX * TY;
const ROWS: u32 = 4u * TY;
const COLUMNS: u32 = 4u * TX;
// Columns of C in a tile.
@if(gated) const WIDTH: u32 = 2u * TX;
@if(!gated) const WIDTH: u32 = COLUMNS;

var<workgroup> tile_a: array<Stored, ROWS * 8u>;
var<workgroup> tile_b: array<Stored, COLUMNS * 8u>;

// The row and the group of eight along k that an invocation loads as its `i`-th.
// Neighbours read what is next to each other in memory.
fn along_k(i: u32) -> vec2<u32> {
    return vec2<u32>(i >> 2u, i & 3u);
}

fn load_a(base: u32, row: u32, k0: u32, index: u32) {
    for (var i = index; i < ROWS * 4u; i += THREADS) {
        @if(!trans_a) let at = along_k(i);
        @if(trans_a) let at = vec2<u32>(i % ROWS, i / ROWS);
        let k = k0 + at.y * 8u;
        var e = Eight();
        if k < params.k {
            e = left8(left_row(base, min(row + at.x, params.m - 1u)), k);
        }
        let place = at.x * 8u;
        let turn = at.x & 7u;
        tile_a[place + ((at.y * 2u) ^ turn)] = Stored(e.lo);
        tile_a[place + ((at.y * 2u + 1u) ^ turn)] = Stored(e.hi);
    }
}

fn load_b(base: u32, column: u32, k0: u32, index: u32) {
    for (var i = index; i < COLUMNS * 4u; i += THREADS) {
        @if(rows_b) let at = along_k(i);
        @if(!rows_b) let at = vec2<u32>(i % COLUMNS, i / COLUMNS);
        let k = k0 + at.y * 8u;
        let start = right_column(base, min(column + at.x % WIDTH, params.n - 1u));
        var e = Eight();
        if k < params.k {
            @if(!gated) {
                e = right8(start, k);
            }
            @if(gated) {
                if at.x < WIDTH {
                    e = right8(start, k);
                } else {
                    e = up8(start, k);
                }
            }
        }
        let place = at.x * 8u;
        let turn = at.x & 7u;
        tile_b[place + ((at.y * 2u) ^ turn)] = Stored(e.lo);
        tile_b[place + ((at.y * 2u + 1u) ^ turn)] = Stored(e.hi);
    }
}

// Rows and columns that are multiples of eight apart have the same low bits, so what an
// invocation reads is as far apart.
const_assert TX % 8u == 0u && TY % 8u == 0u;

fn vector_of(row: u32, step: u32) -> u32 {
    return row * 8u + (step ^ (row & 7u));
}

fn from_a(at: u32) -> vec4<f32> {
    return vec4<f32>(tile_a[at]);
}

fn from_b(at: u32) -> vec4<f32> {
    return vec4<f32>(tile_b[at]);
}

fn write(base: u32, row: u32, column: u32, sums: vec4<f32>) {
    if row >= params.m {
        return;
    }
    @if(!gated) {
        for (var j = 0u; j < 4u; j++) {
            if column + j * TX < params.n {
                finish(base, row, column + j * TX, sums[j]);
            }
        }
    }
    @if(gated) {
        for (var j = 0u; j < 2u; j++) {
            if column + j * TX < params.n {
                finish_gated(base, row, column + j * TX, sums[j], sums[j + 2u]);
            }
        }
    }
}

@compute @workgroup_size(TX * TY)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, ROWS, WIDTH);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let x = index % TX;
    let y = index / TX;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var k0 = 0u; k0 < params.k; k0 += 32u) {
        load_a(tile.a, tile.row, k0, index);
        load_b(tile.b, tile.column, k0, index);
        workgroupBarrier();
        for (var step = 0u; step < 8u; step++) {
            let at_b = vector_of(x, step);
            let b0 = from_b(at_b);
            let b1 = from_b(at_b + 8u * TX);
            let b2 = from_b(at_b + 16u * TX);
            let b3 = from_b(at_b + 24u * TX);
            let at_a = vector_of(y, step);
            let a0 = from_a(at_a);
            s0 += vec4<f32>(dot(a0, b0), dot(a0, b1), dot(a0, b2), dot(a0, b3));
            let a1 = from_a(at_a + 8u * TY);
            s1 += vec4<f32>(dot(a1, b0), dot(a1, b1), dot(a1, b2), dot(a1, b3));
            let a2 = from_a(at_a + 16u * TY);
            s2 += vec4<f32>(dot(a2, b0), dot(a2, b1), dot(a2, b2), dot(a2, b3));
            let a3 = from_a(at_a + 24u * TY);
            s3 += vec4<f32>(dot(a3, b0), dot(a3, b1), dot(a3, b2), dot(a3, b3));
        }
        workgroupBarrier();
    }
    write(tile.c, tile.row + y, tile.column + x, s0);
    write(tile.c, tile.row + y + TY, tile.column + x, s1);
    write(tile.c, tile.row + y + 2u * TY, tile.column + x, s2);
    write(tile.c, tile.row + y + 3u * TY, tile.column + x, s3);
}
