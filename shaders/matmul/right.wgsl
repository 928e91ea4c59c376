import package::common::eight::Eight;
import package::matmul::params::params;
@if(quantised) import package::config::TOGETHER;
@if(quantised) import package::weight::{BLOCK_LEN, decode8};
@if(!quantised) import package::weight::{decode8_at, element};
@if(!quantised && body_pairs) import package::weight_body::body_pair;
@if(gated && quantised) import package::up::weight::decode8 as up_decode8;
@if(gated && !quantised) import package::up::weight::{decode8_at as up_decode8_at, element as up_element};
@if(gated && !quantised && body_pairs) import package::up::weight_body::body_pair as up_body_pair;

// Reading B: [n, k] if `rows_b`, else [k, n]. What is decoded is `package::weight`;
// if `gated`, `package::up::weight` is a second B of the same shape. Blocks of TOGETHER
// rows take turns (`src/kernels/interleave.rs`). `body_pairs` without `quantised`: words
// are F32, and rows are whole groups of four. `body_quads` without `quantised`: rows are
// whole groups of eight.

// Where a column of C starts in B.
fn right_column(base: u32, column: u32) -> u32 {
    @if(quantised) {
        let turn = column % TOGETHER;
        return base + (column - turn) * params.b_stride + turn;
    }
    @if(!quantised && rows_b) return base + column * params.b_stride;
    @if(!quantised && !rows_b) return base + column;
}

// Eight elements of a column from `k`, a multiple of 8; zero past the end.
@if(quantised) fn right8(start: u32, k: u32) -> Eight {
    return decode8(start + k / BLOCK_LEN * TOGETHER, (k % BLOCK_LEN) >> 3u);
}

@if(!quantised && rows_b) fn right8(start: u32, k: u32) -> Eight {
    @if(k_tail) {
        if k + 8u > params.k {
            return Eight(
                vec4<f32>(right1(start, k), right1(start, k + 1u), right1(start, k + 2u), right1(start, k + 3u)),
                vec4<f32>(right1(start, k + 4u), right1(start, k + 5u), right1(start, k + 6u), right1(start, k + 7u)),
            );
        }
    }
    return decode8_at(start + k);
}

@if(!quantised && !rows_b) fn right8(start: u32, k: u32) -> Eight {
    return Eight(
        vec4<f32>(right1(start, k), right1(start, k + 1u), right1(start, k + 2u), right1(start, k + 3u)),
        vec4<f32>(right1(start, k + 4u), right1(start, k + 5u), right1(start, k + 6u), right1(start, k + 7u)),
    );
}

// Four elements of a column from `k`; zero past the end.
@if(!quantised && body_pairs) fn right4(start: u32, k: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(body_pair(start + k), body_pair(start + k + 2u)));
}

@if(!quantised && !body_pairs) fn right4(start: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(right1(start, k), right1(start, k + 1u), right1(start, k + 2u), right1(start, k + 3u));
}

// One element of a column; zero past the end.
@if(!quantised) fn right1(start: u32, k: u32) -> f32 {
    // What is past the end of the column may be past that of the buffer.
    @if(k_tail) let at = min(k, params.k - 1u);
    @if(!k_tail) let at = k;
    @if(rows_b) let value = element(start + at);
    @if(!rows_b) let value = element(start + at * params.b_stride);
    @if(k_tail) return select(0.0, value, k < params.k);
    @if(!k_tail) return value;
}

// The same of the second B.
@if(gated && quantised) fn up8(start: u32, k: u32) -> Eight {
    return up_decode8(start + k / BLOCK_LEN * TOGETHER, (k % BLOCK_LEN) >> 3u);
}

@if(gated && !quantised) fn up8(start: u32, k: u32) -> Eight {
    @if(k_tail) {
        if k + 8u > params.k {
            return Eight(
                vec4<f32>(up1(start, k), up1(start, k + 1u), up1(start, k + 2u), up1(start, k + 3u)),
                vec4<f32>(up1(start, k + 4u), up1(start, k + 5u), up1(start, k + 6u), up1(start, k + 7u)),
            );
        }
    }
    return up_decode8_at(start + k);
}

@if(gated && !quantised && body_pairs) fn up4(start: u32, k: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(up_body_pair(start + k), up_body_pair(start + k + 2u)));
}

@if(gated && !quantised && !body_pairs) fn up4(start: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(up1(start, k), up1(start, k + 1u), up1(start, k + 2u), up1(start, k + 3u));
}

@if(gated && !quantised) fn up1(start: u32, k: u32) -> f32 {
    @if(k_tail) return select(0.0, up_element(start + min(k, params.k - 1u)), k < params.k);
    @if(!k_tail) return up_element(start + k);
}
