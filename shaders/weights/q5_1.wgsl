import package::common::eight::{Block32, Eight, bits_to_bytes, eight_affine, eight_element, eight_from_u8};
import package::common::f16::word_to_half2;
import super::weight_body::{body_pair, body_word};
import super::weight_head::head_word;

// Q5_1: 32 elements, value = d * q + m, q in 0..31.
// The body's first word has bit 4 of all quants.
// Exact: d * q has 11 + 5 significant bits, so only the sum rounds, fused or not.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 32u;
const GROUP_LEN: u32 = 32u;

// (scale, minimum) of a part; the same for the whole block.
fn affine(block: u32, part: u32) -> vec2<f32> {
    return word_to_half2(head_word(block));
}

// The quants of part `part`, one per byte, unsigned.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    let words = body_pair(block * 5u + 1u + (part & 1u) * 2u);
    return quants_of(words, body_word(block * 5u), part);
}

// The same, from the words of the body that have them and the word of their highest bits.
fn quants_of(words: vec2<u32>, highest: u32, part: u32) -> vec2<u32> {
    // Byte j of the body has elements j (low nibble) and j + 16 (high nibble).
    let nibbles = (words >> vec2<u32>((part >> 1u) * 4u)) & vec2<u32>(0x0f0f0f0fu);
    let high = bits_to_bytes(highest >> (part * 8u));
    return nibbles | (high << vec2<u32>(4u));
}

// The quants of a block, each word of it read once.
fn quants32(block: u32) -> Block32 {
    let highest = body_word(block * 5u);
    let even = body_pair(block * 5u + 1u);
    let odd = body_pair(block * 5u + 3u);
    return Block32(
        eight_from_u8(quants_of(even, highest, 0u)), eight_from_u8(quants_of(odd, highest, 1u)),
        eight_from_u8(quants_of(even, highest, 2u)), eight_from_u8(quants_of(odd, highest, 3u)),
    );
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
