import package::common::eight::{Eight, bytes_minus, eight_element, eight_from_i8, eight_scaled};
import package::common::codes::eight_twos;
import package::common::f16::half_to_f32;
import super::weight_body::body_word;
import super::weight_table::table_entry;

// IQ1_M: 256 elements in 16 groups of one scale, value = d * (2s + 1) * (q + 1/8) or
// (q - 1/8) as in IQ1_S; which of the two differs between eights.
// Body words: 0..7 indices, 8..11 a nibble for each: high bits, and which of the two,
// 12..13 s, of three bits, with four bits of d after each four of them.
// Exact: 11 + 4 + 4 significant bits at most.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 8u;

// The scale of a block, from the top of four half words.
fn block_scale(block: u32) -> f32 {
    let first = body_word(block * 14u + 12u);
    let second = body_word(block * 14u + 13u);
    let low = ((first >> 12u) & 0xfu) | ((first >> 24u) & 0xf0u);
    return half_to_f32(low | ((second >> 4u) & 0xf00u) | ((second >> 16u) & 0xf000u));
}

// The nibble of part `part`.
fn nibble(block: u32, part: u32) -> u32 {
    return (body_word(block * 14u + 8u + (part >> 3u)) >> ((part & 7u) << 2u)) & 0xfu;
}

// What is added to the quants of part `part`: an eighth, or its negative.
fn delta(block: u32, part: u32) -> f32 {
    return select(0.125, -0.125, (nibble(block, part) & 8u) != 0u);
}

// (scale, offset) of part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let group = part >> 1u;
    let half = body_word(block * 14u + 12u + (group >> 3u)) >> ((group & 4u) << 2u);
    let s = (half >> ((group & 3u) * 3u)) & 7u;
    let scale = block_scale(block) * f32(2u * s + 1u);
    return vec2<f32>(scale, scale * delta(block, part));
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    let low = (body_word(block * 14u + (part >> 2u)) >> ((part & 3u) << 3u)) & 0xffu;
    let index = low | ((nibble(block, part) & 7u) << 8u);
    return bytes_minus(eight_twos(table_entry(index)), 0x01010101u);
}

// The quants of part `part`, as floats.
fn quants8(block: u32, part: u32) -> Eight {
    return eight_from_i8(packed8(block, part));
}

// Elements 8 * part .. 8 * part + 7 of a block.
fn decode8(block: u32, part: u32) -> Eight {
    // The sum is exact, and the product keeps the sign of a zero.
    let q = quants8(block, part);
    let moved = vec4<f32>(delta(block, part));
    return eight_scaled(Eight(q.lo + moved, q.hi + moved), affine(block, part).x);
}

// Eight elements from global element `index`, a multiple of 8.
fn decode8_at(index: u32) -> Eight {
    return decode8(index / BLOCK_LEN, (index % BLOCK_LEN) / 8u);
}

// One element, by global index.
fn element(index: u32) -> f32 {
    return eight_element(decode8_at(index & ~7u), index);
}
