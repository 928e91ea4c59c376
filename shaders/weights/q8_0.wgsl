import package::common::eight::{Block32, Eight, block32_from_i8, eight_element, eight_from_i8, eight_scaled};
import package::common::f16::half_to_f32;
import super::weight_body::{body_pair, body_quad};
import super::weight_head::head_bits;

// Q8_0: 32 elements, value = d * q, q in -128..127.
// Exact: 11 significant bits times at most 8.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 32u;
const GROUP_LEN: u32 = 32u;

// (scale, 0) of a part; the same for the whole block.
fn affine(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_to_f32(head_bits(block)), 0.0);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    return body_pair(block * 8u + part * 2u);
}

// All 32 elements, as the halves of other types are read: 16 from `strip_start` on, and
// 16 more STRIP_APART behind them.
const STRIP_APART: u32 = 16u;

fn strip_start(step: u32) -> u32 {
    return step << 5u;
}

fn strips(block: u32, step: u32) -> Block32 {
    return block32_from_i8(body_quad(block * 8u), body_quad(block * 8u + 4u));
}

// The quants of part `part`, as floats.
fn quants8(block: u32, part: u32) -> Eight {
    return eight_from_i8(packed8(block, part));
}

// Elements 8 * part .. 8 * part + 7 of a block.
fn decode8(block: u32, part: u32) -> Eight {
    return eight_scaled(quants8(block, part), affine(block, part).x);
}

// Eight elements from global element `index`, a multiple of 8.
fn decode8_at(index: u32) -> Eight {
    return decode8(index / BLOCK_LEN, (index % BLOCK_LEN) / 8u);
}

// One element, by global index.
fn element(index: u32) -> f32 {
    return eight_element(decode8_at(index & ~7u), index);
}
