import package::config::{TOGETHER, TX, TY};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::int8_left::RECORD;
import package::matmul::params::{params, tile_of};
import package::matmul::right::right_column;
@if(gated) import package::up::weight::affine as up_affine;
@if(gated) import package::up::weight::packed8 as up_packed8;
import package::weight::{BLOCK_LEN, GROUP_LEN, affine, packed8};

// Products of whole numbers: rows of A rounded to eight bits in blocks of 32
// (`matmul/int8_rows`) by the quants of B as they are. Sums of sixteen products are exact;
// they are scaled and added up in f32.
//
// A workgroup of TX by TY computes a tile of 4 TX columns and 4 TY rows, as `matmul/tiled`.
// If `gated`, the second half of the tile's columns are those of the second B.

const_assert GROUP_LEN >= 16u;

const THREADS: u32 = TX * TY;
const ROWS: u32 = 4u * TY;
const COLUMNS: u32 = 4u * TX;
// Columns of C in a tile.
@if(gated) const WIDTH: u32 = 2u * TX;
@if(!gated) const WIDTH: u32 = COLUMNS;
// Words of 32 quants and one more, so that neighbours do not meet in a bank.
const LINE: u32 = 9u;

@group(0) @binding(1) var<storage, read> rounded: array<u32>;

var<workgroup> quants_a: array<u32, ROWS * LINE>;
var<workgroup> quants_b: array<u32, COLUMNS * LINE>;
// Of a row, the scale and its products with the sums of both halves; of a column, scale and
// offset of both halves.
var<workgroup> scales_a: array<vec3<f32>, ROWS>;
var<workgroup> scales_b: array<vec4<f32>, COLUMNS>;

// The 32 elements from `k` on of the tile's rows.
fn load_a(row: u32, k: u32, index: u32) {
    for (var i = index; i < ROWS * 8u; i += THREADS) {
        let line = i >> 3u;
        let block = min(row + line, params.m - 1u) * (params.k / 32u) + k / 32u;
        quants_a[line * LINE + (i & 7u)] = rounded[block * RECORD + (i & 7u)];
    }
    for (var line = index; line < ROWS; line += THREADS) {
        let block = min(row + line, params.m - 1u) * (params.k / 32u) + k / 32u;
        let at = block * RECORD + 8u;
        scales_a[line] = bitcast<vec3<f32>>(vec3<u32>(rounded[at], rounded[at + 1u], rounded[at + 2u]));
    }
}

fn load_b(base: u32, column: u32, k: u32, index: u32) {
    let part = k % BLOCK_LEN / 8u;
    for (var i = index; i < COLUMNS * 4u; i += THREADS) {
        let line = i >> 2u;
        let start = right_column(base, min(column + line % WIDTH, params.n - 1u));
        let block = start + k / BLOCK_LEN * TOGETHER;
        var words: vec2<u32>;
        @if(!gated) {
            words = packed8(block, part + (i & 3u));
        }
        @if(gated) {
            if line < WIDTH {
                words = packed8(block, part + (i & 3u));
            } else {
                words = up_packed8(block, part + (i & 3u));
            }
        }
        let at = line * LINE + (i & 3u) * 2u;
        quants_b[at] = words.x;
        quants_b[at + 1u] = words.y;
    }
    for (var line = index; line < COLUMNS; line += THREADS) {
        let start = right_column(base, min(column + line % WIDTH, params.n - 1u));
        let block = start + k / BLOCK_LEN * TOGETHER;
        @if(!gated) {
            scales_b[line] = vec4<f32>(affine(block, part), affine(block, part + 2u));
        }
        @if(gated) {
            if line < WIDTH {
                scales_b[line] = vec4<f32>(affine(block, part), affine(block, part + 2u));
            } else {
                scales_b[line] = vec4<f32>(up_affine(block, part), up_affine(block, part + 2u));
            }
        }
    }
}

// The products of a word of A with a word of each of four columns.
fn products(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4<i32>(
        dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w),
    );
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
    let x = index % TX;
    let y = index / TX;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var k = 0u; k < params.k; k += 32u) {
        load_a(tile.row, k, index);
        load_b(tile.b, tile.column, k, index);
        workgroupBarrier();
        for (var half = 0u; half < 2u; half++) {
            var i0 = vec4<i32>();
            var i1 = vec4<i32>();
            var i2 = vec4<i32>();
            var i3 = vec4<i32>();
            for (var word = half * 4u; word < half * 4u + 4u; word++) {
                let b = vec4<u32>(
                    quants_b[x * LINE + word],
                    quants_b[(x + TX) * LINE + word],
                    quants_b[(x + 2u * TX) * LINE + word],
                    quants_b[(x + 3u * TX) * LINE + word],
                );
                i0 += products(quants_a[y * LINE + word], b);
                i1 += products(quants_a[(y + TY) * LINE + word], b);
                i2 += products(quants_a[(y + 2u * TY) * LINE + word], b);
                i3 += products(quants_a[(y + 3u * TY) * LINE + word], b);
            }
            let c0 = scales_b[x];
            let c1 = scales_b[x + TX];
            let c2 = scales_b[x + 2u * TX];
            let c3 = scales_b[x + 3u * TX];
            let near = half == 0u;
            let scale = select(vec4(c0.z, c1.z, c2.z, c3.z), vec4(c0.x, c1.x, c2.x, c3.x), near);
            let offset = select(vec4(c0.w, c1.w, c2.w, c3.w), vec4(c0.y, c1.y, c2.y, c3.y), near);
            let r0 = scales_a[y];
            let r1 = scales_a[y + TY];
            let r2 = scales_a[y + 2u * TY];
            let r3 = scales_a[y + 3u * TY];
            s0 += scale * (r0.x * vec4<f32>(i0)) + offset * select(r0.z, r0.y, near);
            s1 += scale * (r1.x * vec4<f32>(i1)) + offset * select(r1.z, r1.y, near);
            s2 += scale * (r2.x * vec4<f32>(i2)) + offset * select(r2.z, r2.y, near);
            s3 += scale * (r3.x * vec4<f32>(i3)) + offset * select(r3.z, r3.y, near);
        }
        workgroupBarrier();
    }
    write(tile.c, tile.row + y, tile.column + x, s0);
    write(tile.c, tile.row + y + TY, tile.column + x, s1);
    write(tile.c, tile.row + y + 2u * TY, tile.column + x, s2);
    write(tile.c, tile.row + y + 3u * TY, tile.column + x, s3);
}
