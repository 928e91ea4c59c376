import package::attention::io::{
    HIDDEN_SCORE, LEAST_SCORE, Row, final_share, grouped_row, params, q, score_of, share_of, y,
};
@if(!eights) import package::attention::io::{keys4_at, values4_at};
@if(eights) import package::attention::io::{keys8_at, values8_at};
@if(eights) import package::common::eight::Eight;
import package::config::{HEAD, KEYS, LANES, SIZE, VALUE};

enable f16;
enable wgpu_cooperative_matrix;

// Scores and outputs by cooperative matrices of SIZE by SIZE, f16 in and f32 out, in one
// pass over the keys (FlashAttention-2, arXiv 2307.08691). A workgroup has four subgroups;
// each has a strip of SIZE rows, or with `halved` half the elements of the values of one.
//
// What a subgroup holds of its outputs can only be scaled through workgroup memory. So a
// row's maximum is raised only when a score is more than SLACK above it: weights are then
// at most exp(SLACK), which f16 has room for, and most steps scale nothing.
//
// A workgroup has four subgroups of the adapter's largest size (LANES). Where
// subgroups are smaller there are more of them, and some compute the same.
//
// Outputs are named, not an array: naga's SPIR-V has no arrays of cooperative matrices.

const THREADS: u32 = 4u * LANES;
@if(halved) const HALVES: u32 = 2u;
@if(!halved) const HALVES: u32 = 1u;
const ROWS: u32 = 4u / HALVES * SIZE;
const PARTS: u32 = THREADS / ROWS;
const PER_PART: u32 = KEYS / PARTS;
// Matrices of a subgroup's outputs.
@if(columns_8) const COLUMNS: u32 = 8u;
@if(columns_4 && !columns_8) const COLUMNS: u32 = 4u;
@if(!columns_4) const COLUMNS: u32 = 2u;
// The head and the values of a key as whole matrices.
const DEEP: u32 = (HEAD + SIZE - 1u) / SIZE * SIZE;
const WIDE: u32 = HALVES * COLUMNS * SIZE;
const ONE: u32 = SIZE * SIZE;
// From one row to the next in workgroup memory: an odd number of vectors of eight elements,
// or neighbouring rows would meet in the same banks.
const DEEP_PITCH: u32 = ((DEEP / 8u) | 1u) * 8u;
const WIDE_PITCH: u32 = ((WIDE / 8u) | 1u) * 8u;
const KEYS_PITCH: u32 = ((KEYS / 8u) | 1u) * 8u;
const SLACK: f32 = 8.0;

@if(size_16) alias MatrixA = coop_mat16x16<f16, A>;
@if(size_16) alias MatrixB = coop_mat16x16<f16, B>;
@if(size_16) alias MatrixC = coop_mat16x16<f32, C>;
@if(!size_16) alias MatrixA = coop_mat8x8<f16, A>;
@if(!size_16) alias MatrixB = coop_mat8x8<f16, B>;
@if(!size_16) alias MatrixC = coop_mat8x8<f32, C>;

var<workgroup> queries: array<f16, ROWS * DEEP_PITCH>;
// Keys first, then the values in their place.
var<workgroup> tile: array<f16, KEYS * max(DEEP_PITCH, WIDE_PITCH)>;
// The scores of KEYS keys for each row; then a matrix of each subgroup's outputs.
var<workgroup> scores: array<f32, ROWS * KEYS>;
var<workgroup> weights: array<f16, ROWS * KEYS_PITCH>;
// The maximum that each invocation found, and in the end its sum.
var<workgroup> found: array<f32, THREADS>;
// What a row's earlier outputs are multiplied with, and in the end its share.
var<workgroup> kept: array<f32, ROWS>;
var<workgroup> raised: atomic<u32>;
var<workgroup> any_raised: u32;

fn load_queries(batch: u32, group: u32, first: u32, last: u32, index: u32) {
    for (var i = index * 4u; i < ROWS * DEEP; i += THREADS * 4u) {
        // Past the last row the last one is repeated, and not written.
        let row = min(first + i / DEEP, last);
        let head = group * share_of() + row % share_of();
        let number = (batch * params.queries + row / share_of()) * params.heads + head;
        let d = i % DEEP;
        let at = i / DEEP * DEEP_PITCH + d;
        for (var j = 0u; j < 4u; j++) {
            // Heads are of whole groups of four.
            var x = 0.0;
            if d < HEAD {
                x = q[number * HEAD + d + j];
            }
            queries[at + j] = f16(x);
        }
    }
}

// Keys from row `start` of the cache on; past the last one that is repeated, and weighs nothing.
@if(!eights) fn load_keys(start: u32, last: u32, index: u32) {
    for (var i = index * 4u; i < KEYS * DEEP; i += THREADS * 4u) {
        let d = i % DEEP;
        var x = vec4<f32>();
        if d < HEAD {
            x = keys4_at((min(start + i / DEEP, last) * HEAD + d) / 4u);
        }
        let at = i / DEEP * DEEP_PITCH + d;
        for (var j = 0u; j < 4u; j++) {
            tile[at + j] = f16(x[j]);
        }
    }
}

@if(!eights) fn load_values(start: u32, last: u32, index: u32) {
    for (var i = index * 4u; i < KEYS * WIDE; i += THREADS * 4u) {
        let d = i % WIDE;
        var x = vec4<f32>();
        if d < VALUE {
            x = values4_at((min(start + i / WIDE, last) * VALUE + d) / 4u);
        }
        let at = i / WIDE * WIDE_PITCH + d;
        for (var j = 0u; j < 4u; j++) {
            tile[at + j] = f16(x[j]);
        }
    }
}

@if(eights) fn put(at: u32, x: Eight) {
    for (var j = 0u; j < 4u; j++) {
        tile[at + j] = f16(x.lo[j]);
        tile[at + 4u + j] = f16(x.hi[j]);
    }
}

@if(eights) fn load_keys(start: u32, last: u32, index: u32) {
    for (var i = index * 8u; i < KEYS * DEEP; i += THREADS * 8u) {
        let d = i % DEEP;
        var x = Eight();
        if d < HEAD {
            x = keys8_at((min(start + i / DEEP, last) * HEAD + d) / 8u);
        }
        put(i / DEEP * DEEP_PITCH + d, x);
    }
}

@if(eights) fn load_values(start: u32, last: u32, index: u32) {
    for (var i = index * 8u; i < KEYS * WIDE; i += THREADS * 8u) {
        let d = i % WIDE;
        var x = Eight();
        if d < VALUE {
            x = values8_at((min(start + i / WIDE, last) * VALUE + d) / 8u);
        }
        put(i / WIDE * WIDE_PITCH + d, x);
    }
}

// The score of key `j`, hidden where the row does not see it.
fn seen_score(product: f32, row: Row, j: u32) -> f32 {
    let seen = j >= row.begin && j < row.end;
    @if(masked) {
        if !seen {
            return HIDDEN_SCORE;
        }
    }
    return select(HIDDEN_SCORE, score_of(product, row, j), seen);
}

// The row of the tile that an element of the subgroups' matrices in `scores` is in.
fn row_in(element: u32) -> u32 {
    return element / ONE / HALVES * SIZE + element % ONE / SIZE;
}

// Scales a matrix of outputs by what is kept of its rows.
fn scale_outputs(index: u32) {
    for (var i = index; i < 4u * ONE; i += THREADS) {
        scores[i] *= kept[row_in(i)];
    }
}

// Writes matrix number `column` of each subgroup's outputs.
fn write(batch: u32, group: u32, first: u32, last: u32, column: u32, index: u32) {
    for (var i = index; i < 4u * ONE; i += THREADS) {
        let row = first + row_in(i);
        let d = (i / ONE % HALVES * COLUMNS + column) * SIZE + i % SIZE;
        if row <= last && d < VALUE {
            let head = group * share_of() + row % share_of();
            let number = (batch * params.queries + row / share_of()) * params.heads + head;
            y[number * VALUE + d] = scores[i] * kept[row_in(i)];
        }
    }
}

@compute @workgroup_size(4 * LANES)
fn main(
    @builtin(workgroup_id) place: vec3<u32>,
    @builtin(num_workgroups) places: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let number = place.x + place.y * places.x;
    let rows = params.queries * share_of();
    let tiles = (rows + ROWS - 1u) / ROWS;
    let group = number % params.groups;
    let batch = number / params.groups / tiles;
    // Later queries see more keys where attention is causal: those with most work first.
    let first = (tiles - 1u - number / params.groups % tiles) * ROWS;
    if batch * params.queries >= params.tokens {
        return;
    }
    let last = rows - 1u;
    // Later rows begin and end no earlier.
    let begin = grouped_row(batch, group, first).begin;
    let end = grouped_row(batch, group, min(first + ROWS - 1u, last)).end;
    let slab = (batch * params.groups + group) * params.capacity;
    let quarter = subgroup & 3u;
    let strip = quarter / HALVES * SIZE;
    let half = quarter % HALVES;
    // Each invocation has some of the keys of one row.
    let mine = index % ROWS;
    let part = index / ROWS * PER_PART;
    let row = grouped_row(batch, group, min(first + mine, last));
    var peak = LEAST_SCORE;
    var sum = 0.0;
    var o0 = MatrixC();
    var o1 = MatrixC();
    @if(columns_4) var o2 = MatrixC();
    @if(columns_4) var o3 = MatrixC();
    @if(columns_8) var o4 = MatrixC();
    @if(columns_8) var o5 = MatrixC();
    @if(columns_8) var o6 = MatrixC();
    @if(columns_8) var o7 = MatrixC();
    load_queries(batch, group, first, last, index);
    for (var start = begin; start < end; start += KEYS) {
        load_keys(slab + start, slab + end - 1u, index);
        if index == 0u {
            atomicStore(&raised, 0u);
        }
        workgroupBarrier();
        for (var n = half * SIZE; n < KEYS; n += HALVES * SIZE) {
            var products = MatrixC();
            for (var d = 0u; d < DEEP; d += SIZE) {
                let a = coopLoadT<MatrixA>(&queries[strip * DEEP_PITCH + d], DEEP_PITCH);
                let b = coopLoad<MatrixB>(&tile[n * DEEP_PITCH + d], DEEP_PITCH);
                products = coopMultiplyAdd(a, b, products);
            }
            coopStoreT(products, &scores[strip * KEYS + n], KEYS);
        }
        workgroupBarrier();
        load_values(slab + start, slab + end - 1u, index);
        // Rows begin at different keys, so that neighbours do not meet in a bank.
        var most = HIDDEN_SCORE;
        for (var i = 0u; i < PER_PART; i++) {
            let key = part + (i + mine) % PER_PART;
            let at = mine * KEYS + key;
            let s = seen_score(scores[at], row, start + key);
            scores[at] = s;
            most = max(most, s);
        }
        found[index] = most;
        workgroupBarrier();
        for (var i = mine; i < THREADS; i += ROWS) {
            most = max(most, found[i]);
        }
        // A first maximum is far above what stands for none.
        let higher = select(peak, most, most > peak + SLACK);
        let keep = exp(peak - higher);
        peak = higher;
        sum *= keep;
        if index < ROWS {
            kept[mine] = keep;
            // Before the first step there is nothing to scale.
            if keep != 1.0 && start != begin {
                atomicStore(&raised, 1u);
            }
        }
        for (var i = 0u; i < PER_PART; i++) {
            let key = part + (i + mine) % PER_PART;
            let s = scores[mine * KEYS + key];
            let weight = f16(select(0.0, exp(s - peak), s >= LEAST_SCORE));
            weights[mine * KEYS_PITCH + key] = weight;
            sum += f32(weight);
        }
        workgroupBarrier();
        if index == 0u {
            any_raised = atomicLoad(&raised);
        }
        if workgroupUniformLoad(&any_raised) != 0u {
            coopStoreT(o0, &scores[quarter * ONE], SIZE);
            workgroupBarrier();
            scale_outputs(index);
            workgroupBarrier();
            o0 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
            workgroupBarrier();
            coopStoreT(o1, &scores[quarter * ONE], SIZE);
            workgroupBarrier();
            scale_outputs(index);
            workgroupBarrier();
            o1 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
            workgroupBarrier();
            @if(columns_4) {
                coopStoreT(o2, &scores[quarter * ONE], SIZE);
                workgroupBarrier();
                scale_outputs(index);
                workgroupBarrier();
                o2 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
                workgroupBarrier();
                coopStoreT(o3, &scores[quarter * ONE], SIZE);
                workgroupBarrier();
                scale_outputs(index);
                workgroupBarrier();
                o3 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
                workgroupBarrier();
            }
            @if(columns_8) {
                coopStoreT(o4, &scores[quarter * ONE], SIZE);
                workgroupBarrier();
                scale_outputs(index);
                workgroupBarrier();
                o4 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
                workgroupBarrier();
                coopStoreT(o5, &scores[quarter * ONE], SIZE);
                workgroupBarrier();
                scale_outputs(index);
                workgroupBarrier();
                o5 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
                workgroupBarrier();
                coopStoreT(o6, &scores[quarter * ONE], SIZE);
                workgroupBarrier();
                scale_outputs(index);
                workgroupBarrier();
                o6 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
                workgroupBarrier();
                coopStoreT(o7, &scores[quarter * ONE], SIZE);
                workgroupBarrier();
                scale_outputs(index);
                workgroupBarrier();
                o7 = coopLoadT<MatrixC>(&scores[quarter * ONE], SIZE);
                workgroupBarrier();
            }
        }
        for (var k = 0u; k < KEYS; k += SIZE) {
            let w = coopLoadT<MatrixA>(&weights[strip * KEYS_PITCH + k], KEYS_PITCH);
            let at = k * WIDE_PITCH + half * COLUMNS * SIZE;
            let v0 = coopLoadT<MatrixB>(&tile[at], WIDE_PITCH);
            o0 = coopMultiplyAdd(w, v0, o0);
            let v1 = coopLoadT<MatrixB>(&tile[at + SIZE], WIDE_PITCH);
            o1 = coopMultiplyAdd(w, v1, o1);
            @if(columns_4) {
                let v2 = coopLoadT<MatrixB>(&tile[at + 2u * SIZE], WIDE_PITCH);
                o2 = coopMultiplyAdd(w, v2, o2);
                let v3 = coopLoadT<MatrixB>(&tile[at + 3u * SIZE], WIDE_PITCH);
                o3 = coopMultiplyAdd(w, v3, o3);
            }
            @if(columns_8) {
                let v4 = coopLoadT<MatrixB>(&tile[at + 4u * SIZE], WIDE_PITCH);
                o4 = coopMultiplyAdd(w, v4, o4);
                let v5 = coopLoadT<MatrixB>(&tile[at + 5u * SIZE], WIDE_PITCH);
                o5 = coopMultiplyAdd(w, v5, o5);
                let v6 = coopLoadT<MatrixB>(&tile[at + 6u * SIZE], WIDE_PITCH);
                o6 = coopMultiplyAdd(w, v6, o6);
                let v7 = coopLoadT<MatrixB>(&tile[at + 7u * SIZE], WIDE_PITCH);
                o7 = coopMultiplyAdd(w, v7, o7);
            }
        }
        workgroupBarrier();
    }
    found[index] = sum;
    coopStoreT(o0, &scores[quarter * ONE], SIZE);
    workgroupBarrier();
    if index < ROWS {
        for (var i = mine + ROWS; i < THREADS; i += ROWS) {
            sum += found[i];
        }
        kept[mine] = final_share(peak, sum, row.head);
    }
    workgroupBarrier();
    write(batch, group, first, last, 0u, index);
    workgroupBarrier();
    coopStoreT(o1, &scores[quarter * ONE], SIZE);
    workgroupBarrier();
    write(batch, group, first, last, 1u, index);
    @if(columns_4) {
        workgroupBarrier();
        coopStoreT(o2, &scores[quarter * ONE], SIZE);
        workgroupBarrier();
        write(batch, group, first, last, 2u, index);
        workgroupBarrier();
        coopStoreT(o3, &scores[quarter * ONE], SIZE);
        workgroupBarrier();
        write(batch, group, first, last, 3u, index);
    }
    @if(columns_8) {
        workgroupBarrier();
        coopStoreT(o4, &scores[quarter * ONE], SIZE);
        workgroupBarrier();
        write(batch, group, first, last, 4u, index);
        workgroupBarrier();
        coopStoreT(o5, &scores[quarter * ONE], SIZE);
        workgroupBarrier();
        write(batch, group, first, last, 5u, index);
        workgroupBarrier();
        coopStoreT(o6, &scores[quarter * ONE], SIZE);
        workgroupBarrier();
        write(batch, group, first, last, 6u, index);
        workgroupBarrier();
        coopStoreT(o7, &scores[quarter * ONE], SIZE);
        workgroupBarrier();
        write(batch, group, first, last, 7u, index);
    }
}
