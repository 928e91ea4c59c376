import package::common::eight::{Block32, Eight, block32_from_u8, eight_affine, eight_element, eight_from_u8};
import package::common::f16::word_to_half2;
import super::weight_body::{body_pair, body_quad};
import super::weight_head::head_word;

// Q4_1: 32 elements, value = d * q + m, q in 0..15.
// Exact: d has 11 significant bits and q 4, so d * q is exact and only the sum
// rounds; a fused multiply-add gives the same result.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 32u;
const GROUP_LEN: u32 = 32u;

// (scale, minimum) of a part; the same for the whole block.
fn affine(block: u32, part: u32) -> vec2<f32> {
    return word_to_half2(head_word(block));
}

// The quants of part `part`, one per byte, unsigned.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    return quants_of(body_pair(block * 4u + (part & 1u) * 2u), part);
}

// The same, from the words of the body that have them.
fn quants_of(words: vec2<u32>, part: u32) -> vec2<u32> {
    // Byte j of the body has elements j (low nibble) and j + 16 (high nibble).
    let nibbles = (words >> vec2<u32>((part >> 1u) * 4u)) & vec2<u32>(0x0f0f0f0fu);
    return nibbles;
}

// The quants of a block, each word of it read once.
fn quants32(block: u32) -> Block32 {
    let even = body_pair(block * 4u);
    let odd = body_pair(block * 4u + 2u);
    return Block32(
        eight_from_u8(quants_of(even, 0u)), eight_from_u8(quants_of(odd, 1u)),
        eight_from_u8(quants_of(even, 2u)), eight_from_u8(quants_of(odd, 3u)),
    );
}

// 32 elements whose quants are in four words: 16 from `strip_start` on, and 16 more
// STRIP_APART behind them.
const STRIP_APART: u32 = 16u;

fn strip_start(step: u32) -> u32 {
    return step << 5u;
}

fn strips(block: u32, step: u32) -> Block32 {
    let words = body_quad(block * 4u);
    let mask = vec4<u32>(0x0f0f0f0fu);
    return block32_from_u8(words & mask, (words >> vec4<u32>(4u)) & mask);
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
