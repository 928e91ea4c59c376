import package::common::eight::{Block32, Eight, block32_from_u8, eight_affine, eight_element, eight_from_u8};
import package::common::f16::word_to_half2;
import super::weight_body::{body_pair, body_quad, body_word};
import super::weight_head::head_word;

// Q2_K: 256 elements in 16 groups, value = d * s * q - dmin * m,
// q in 0..3, s and m in 0..15.
// Body words: 0..3 a byte per group (s low nibble, m high), 4..19 quants.
// Exact: d * s has 11 + 4 significant bits, times q 17; dmin * m has 15. Only the
// difference rounds, fused or not.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 16u;

// (scale, minus the minimum) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let byte = body_word(block * 20u + (part >> 3u)) >> ((part & 6u) << 2u);
    let d = word_to_half2(head_word(block));
    return vec2<f32>(d.x * f32(byte & 0xfu), -(d.y * f32((byte >> 4u) & 0xfu)));
}

// The quants of part `part`, one per byte, unsigned.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // 32 bytes have 128 elements: bits 2j and 2j + 1 of byte l are element 32j + l.
    let words = body_pair(block * 20u + 4u + (part >> 4u) * 8u + (part & 3u) * 2u);
    return (words >> vec2<u32>((part >> 1u) & 6u)) & vec2<u32>(0x03030303u);
}

// 32 elements of the 64 whose quants are in four words: 16 from `strip_start` on, and 16
// more STRIP_APART behind them.
const STRIP_APART: u32 = 32u;

fn strip_start(step: u32) -> u32 {
    return ((step >> 1u) << 6u) | ((step & 1u) << 4u);
}

fn strips(block: u32, step: u32) -> Block32 {
    let at = block * 20u + 4u + (step >> 2u) * 8u + (step & 1u) * 4u;
    let words = body_quad(at) >> vec4<u32>((step & 2u) << 1u);
    let mask = vec4<u32>(0x03030303u);
    return block32_from_u8(words & mask, (words >> vec4<u32>(2u)) & mask);
}

// The quants of part `part`, as floats.
fn quants8(block: u32, part: u32) -> Eight {
    return eight_from_u8(packed8(block, part));
}

// Elements 8 * part .. 8 * part + 7 of a block.
fn decode8(block: u32, part: u32) -> Eight {
    return eight_affine(quants8(block, part), affine(block, part));
}

// Eight elements from global element `index`, a multiple of 8.
fn decode8_at(index: u32) -> Eight {
    return decode8(index / BLOCK_LEN, (index % BLOCK_LEN) / 8u);
}

// One element, by global index.
fn element(index: u32) -> f32 {
    return eight_element(decode8_at(index & ~7u), index);
}
