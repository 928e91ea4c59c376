import package::common::eight::Block32;
import package::config::{ROWS, TEAM, THREADS, TOGETHER};
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left4};
import package::matmul::left32::{Left, product, with_sums};
import package::matmul::params::{params, tile_of};
import package::matmul::right::right_column;
import package::weight::{BLOCK_LEN, GROUP_LEN, STRIP_APART, strip_start, strips};
@if(!paired) import package::weight::affine;
@if(paired) import package::weight::strip_scales;
@if(gated) import package::up::weight::strips as up_strips;
@if(gated && !paired) import package::up::weight::affine as up_affine;
@if(gated && paired) import package::up::weight::strip_scales as up_strip_scales;

// For GPUs, one or two rows of A by quantised columns. TEAM invocations share four
// columns, or two of each B if `gated`, and have 32 elements of each at a time: as many
// as four neighbouring words have quants of, which are read at once. Quants are
// multiplied as the whole numbers that they are, and their sums with the scale of their
// group. A waits in workgroup memory, where all columns of the workgroup read it.

@if(gated) const WIDTH: u32 = 2u;
@if(!gated) const WIDTH: u32 = 4u;

// Steps of 32 elements that a block has, and that wait in workgroup memory. Blocks begin
// there at its beginning.
const STEPS: u32 = BLOCK_LEN / 32u;
const WAITING: u32 = 64u;

// Vectors between sixteen elements and the next: one more than they fill, since
// neighbours in a team read what is four or eight vectors apart.
const PITCH: u32 = 5u;
const ROW: u32 = WAITING * 2u * PITCH;

const_assert TEAM % STEPS == 0u && WAITING % STEPS == 0u;

// Whether both halves of 32 elements are of one group.
const ALIKE: bool = STRIP_APART < GROUP_LEN;

// Elements of A, and at the end sums.
var<workgroup> shared_memory: array<vec4<f32>, ROWS * ROW>;

fn column_start(base: u32, column: u32) -> u32 {
    return right_column(base, min(column, params.n - 1u));
}

// Brings the elements of a row of A from `first` on, as many as there are.
fn bring(start: u32, first: u32, to: u32, index: u32) {
    for (var i = index; i < WAITING * 8u; i += THREADS) {
        let k = first + i * 4u;
        if k < params.k {
            shared_memory[to + (i >> 2u) * PITCH + (i & 3u)] = left4(start, k);
        }
    }
}

// 32 elements of a row: 16 from `at` on, and 16 from STRIP_APART behind it.
fn left_strips(row: u32, at: u32) -> Left {
    let near = row + (at >> 4u) * PITCH;
    let far = near + (STRIP_APART >> 4u) * PITCH;
    var l: Left;
    l.a0 = shared_memory[near];
    l.a1 = shared_memory[near + 1u];
    l.a2 = shared_memory[near + 2u];
    l.a3 = shared_memory[near + 3u];
    l.a4 = shared_memory[far];
    l.a5 = shared_memory[far + 1u];
    l.a6 = shared_memory[far + 2u];
    l.a7 = shared_memory[far + 3u];
    return with_sums(l);
}

// The products of the rows with 32 elements of a column.
fn products(l0: Left, l1: Left, r: Block32, near: vec2<f32>, far: vec2<f32>) -> vec2<f32> {
    let first = product(l0, r, near, far, ALIKE);
    if ROWS > 1u {
        return vec2<f32>(first, product(l1, r, near, far, ALIKE));
    }
    return vec2<f32>(first, 0.0);
}

// Scale and offset of each half of 32 elements, if `paired` as the type has them at once.
@if(!paired) fn scales(block: u32, step: u32) -> vec4<f32> {
    let part = strip_start(step) >> 3u;
    return vec4<f32>(affine(block, part), affine(block, part + STRIP_APART / 8u));
}

@if(paired) fn scales(block: u32, step: u32) -> vec4<f32> {
    return strip_scales(block, step);
}

@if(gated && !paired) fn up_scales(block: u32, step: u32) -> vec4<f32> {
    let part = strip_start(step) >> 3u;
    return vec4<f32>(up_affine(block, part), up_affine(block, part + STRIP_APART / 8u));
}

@if(gated && paired) fn up_scales(block: u32, step: u32) -> vec4<f32> {
    return up_strip_scales(block, step);
}

fn right(l0: Left, l1: Left, block: u32, step: u32) -> vec2<f32> {
    let both = scales(block, step);
    return products(l0, l1, strips(block, step), both.xy, both.zw);
}

@if(gated) fn up(l0: Left, l1: Left, block: u32, step: u32) -> vec2<f32> {
    let both = up_scales(block, step);
    return products(l0, l1, up_strips(block, step), both.xy, both.zw);
}

fn write(base: u32, row: u32, column: u32, sums: vec4<f32>) {
    if row >= params.m {
        return;
    }
    for (var j = 0u; j < WIDTH; j++) {
        if column + j < params.n {
            @if(!gated) finish(base, row, column + j, sums[j]);
            @if(gated) finish_gated(base, row, column + j, sums[j], sums[j + 2u]);
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, ROWS, THREADS / TEAM * WIDTH);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let place = index % TEAM;
    let column = tile.column + index / TEAM * WIDTH;
    let b0 = column_start(tile.b, column);
    let b1 = column_start(tile.b, column + 1u);
    @if(!gated) let b2 = column_start(tile.b, column + 2u);
    @if(!gated) let b3 = column_start(tile.b, column + 3u);
    let a0 = left_row(tile.a, tile.row);
    let a1 = left_row(tile.a, min(tile.row + 1u, params.m - 1u));
    // The same for all that an invocation takes, which is whole blocks apart.
    let step = place % STEPS;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    for (var first = 0u; first < params.k; first += WAITING * 32u) {
        workgroupBarrier();
        bring(a0, first, 0u, index);
        if ROWS > 1u {
            bring(a1, first, ROW, index);
        }
        workgroupBarrier();
        let here = min(WAITING, (params.k - first) / 32u);
        for (var i = place; i < here; i += TEAM) {
            let block = (first / 32u + i) / STEPS * TOGETHER;
            let at = (i - step) * 32u + strip_start(step);
            let l0 = left_strips(0u, at);
            var l1: Left;
            if ROWS > 1u {
                l1 = left_strips(ROW, at);
            }
            let p0 = right(l0, l1, b0 + block, step);
            let p1 = right(l0, l1, b1 + block, step);
            @if(!gated) let p2 = right(l0, l1, b2 + block, step);
            @if(!gated) let p3 = right(l0, l1, b3 + block, step);
            @if(gated) let p2 = up(l0, l1, b0 + block, step);
            @if(gated) let p3 = up(l0, l1, b1 + block, step);
            s0 += vec4<f32>(p0.x, p1.x, p2.x, p3.x);
            if ROWS > 1u {
                s1 += vec4<f32>(p0.y, p1.y, p2.y, p3.y);
            }
        }
    }
    workgroupBarrier();
    shared_memory[index] = s0;
    if ROWS > 1u {
        shared_memory[THREADS + index] = s1;
    }
    workgroupBarrier();
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        if place < half {
            for (var r = 0u; r < ROWS; r++) {
                shared_memory[r * THREADS + index] += shared_memory[r * THREADS + index + half];
            }
        }
        workgroupBarrier();
    }
    if place < ROWS {
        let sums = shared_memory[place * THREADS + index - place];
        write(tile.c, tile.row + place, column, sums);
    }
}
