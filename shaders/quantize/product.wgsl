// Products of matrices of whole numbers, summed up in 32 bits that wrap around. A
// workgroup of SIDE * SIDE invocations computes a square of 4 * SIDE rows and columns,
// 4 * 4 of them each. Operands are bytes, or words with `wide_a` and `wide_b`; both are
// moved by their zero points on the way to workgroup memory.

import package::config::SIDE;

const TILE: u32 = SIDE * 4u;
const DEPTH: u32 = 16u;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    // Elements from one row of A to the next.
    pitch: u32,
    // Elements of what is bound before the first one.
    a_base: u32,
    b_base: u32,
    c_base: u32,
    // Whether sums go on from what C holds.
    more: u32,
    // The first row and column in the whole, and how many zero points there are.
    @if(zero_a) first_row: u32,
    @if(zero_a) a_zeros: u32,
    @if(zero_b) b_zeros: u32,
    // The extents of the batch but for the outermost, and elements of A and B between
    // neighbours along each.
    @if(batched) n1: u32,
    @if(batched) n2: u32,
    @if(batched) a0: u32,
    @if(batched) a1: u32,
    @if(batched) a2: u32,
    @if(batched) b0: u32,
    @if(batched) b1: u32,
    @if(batched) b2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@if(zero_a) @group(0) @binding(3) var<storage, read> a_zero: array<u32>;
@if(zero_b) @group(0) @binding(4) var<storage, read> b_zero: array<u32>;
@group(0) @binding(5) var<storage, read_write> c: array<i32>;

var<workgroup> tile_a: array<i32, TILE * DEPTH>;
var<workgroup> tile_b: array<i32, TILE * DEPTH>;

fn byte(word: u32, i: u32) -> u32 {
    return (word >> ((i & 3u) << 3u)) & 0xffu;
}

fn signed_byte(word: u32, i: u32) -> i32 {
    return bitcast<i32>(word << (24u - ((i & 3u) << 3u))) >> 24u;
}

fn value_a(i: u32) -> i32 {
    @if(wide_a) return bitcast<i32>(a[i]);
    @elif(signed_a) return signed_byte(a[i >> 2u], i);
    @else return i32(byte(a[i >> 2u], i));
}

fn value_b(i: u32) -> i32 {
    @if(wide_b) return bitcast<i32>(b[i]);
    @elif(signed_b) return signed_byte(b[i >> 2u], i);
    @else return i32(byte(b[i >> 2u], i));
}

fn zero_of_a(row: u32) -> i32 {
    @if(zero_a) {
        let i = (row + params.first_row) % params.a_zeros;
        @if(wide_a) return bitcast<i32>(a_zero[i]);
        @elif(signed_a) return signed_byte(a_zero[i >> 2u], i);
        @else return i32(byte(a_zero[i >> 2u], i));
    }
    @else return 0;
}

fn zero_of_b(column: u32) -> i32 {
    @if(zero_b) {
        let i = column % params.b_zeros;
        @if(wide_b) return bitcast<i32>(b_zero[i]);
        @elif(signed_b) return signed_byte(b_zero[i >> 2u], i);
        @else return i32(byte(b_zero[i >> 2u], i));
    }
    @else return 0;
}

@compute @workgroup_size(SIDE, SIDE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_row = group.y * TILE;
    let first_column = group.x * TILE;
    var at_a = params.a_base;
    var at_b = params.b_base;
    @if(batched) {
        let z2 = group.z % params.n2;
        let z1 = group.z / params.n2 % params.n1;
        let z0 = group.z / params.n2 / params.n1;
        at_a += z0 * params.a0 + z1 * params.a1 + z2 * params.a2;
        at_b += z0 * params.b0 + z1 * params.b1 + z2 * params.b2;
    }
    var sums0 = vec4<i32>();
    var sums1 = vec4<i32>();
    var sums2 = vec4<i32>();
    var sums3 = vec4<i32>();
    for (var k = 0u; k < params.k; k += DEPTH) {
        for (var i = lane; i < TILE * DEPTH; i += SIDE * SIDE) {
            let row = first_row + i / DEPTH;
            let column = k + i % DEPTH;
            var value = 0;
            if row < params.m && column < params.k {
                value = value_a(at_a + row * params.pitch + column) - zero_of_a(row);
            }
            tile_a[i] = value;
        }
        for (var i = lane; i < TILE * DEPTH; i += SIDE * SIDE) {
            let row = k + i / TILE;
            let column = first_column + i % TILE;
            var value = 0;
            if row < params.k && column < params.n {
                value = value_b(at_b + row * params.n + column) - zero_of_b(column);
            }
            tile_b[i] = value;
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let rows = local.y * 4u * DEPTH + d;
            let columns = d * TILE + local.x;
            let right = vec4<i32>(
                tile_b[columns],
                tile_b[columns + SIDE],
                tile_b[columns + 2u * SIDE],
                tile_b[columns + 3u * SIDE],
            );
            sums0 += tile_a[rows] * right;
            sums1 += tile_a[rows + DEPTH] * right;
            sums2 += tile_a[rows + 2u * DEPTH] * right;
            sums3 += tile_a[rows + 3u * DEPTH] * right;
        }
        workgroupBarrier();
    }
    var sums = array<vec4<i32>, 4>(sums0, sums1, sums2, sums3);
    for (var i = 0u; i < 4u; i++) {
        let row = first_row + local.y * 4u + i;
        if row < params.m {
            let mine = sums[i];
            write(group.z, row, first_column + local.x, mine.x);
            write(group.z, row, first_column + local.x + SIDE, mine.y);
            write(group.z, row, first_column + local.x + 2u * SIDE, mine.z);
            write(group.z, row, first_column + local.x + 3u * SIDE, mine.w);
        }
    }
}

fn write(matrix: u32, row: u32, column: u32, sum: i32) {
    if column < params.n {
        let at = params.c_base + (matrix * params.m + row) * params.n + column;
        c[at] = sum + select(0, c[at], params.more != 0u);
    }
}
