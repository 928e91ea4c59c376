import package::common::eight::{Eight, bytes_minus, eight_element, eight_from_i8, eight_scaled};
import package::common::codes::eight_twos;
import package::common::f16::half_to_f32;
import super::weight_body::body_word;
import super::weight_head::head_bits;
import super::weight_table::table_entry;

// IQ1_S: 256 elements in 8 groups, value = d * (2s + 1) * (q + 1/8) or (q - 1/8), s in
// 0..7, q one of -1, 0 and 1. Eight elements are an entry of the codebook.
// Body words: 0..7 indices, 8..11 for each group 16 bits: high bits of the indices,
// s, and which of the two. Exact: 11 + 4 + 4 significant bits at most.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 32u;

// The 16 bits of the group that has part `part`.
fn group_bits(block: u32, part: u32) -> u32 {
    return (body_word(block * 12u + 8u + (part >> 3u)) >> ((part & 4u) << 2u)) & 0xffffu;
}

// What is added to the quants of part `part`: an eighth, or its negative.
fn delta(block: u32, part: u32) -> f32 {
    return select(0.125, -0.125, (group_bits(block, part) & 0x8000u) != 0u);
}

// (scale, offset) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let bits = group_bits(block, part);
    let scale = half_to_f32(head_bits(block)) * f32(((bits >> 11u) & 14u) + 1u);
    return vec2<f32>(scale, scale * delta(block, part));
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    let low = (body_word(block * 12u + (part >> 2u)) >> ((part & 3u) << 3u)) & 0xffu;
    let high = (group_bits(block, part) >> ((part & 3u) * 3u)) & 7u;
    return bytes_minus(eight_twos(table_entry(low | (high << 8u))), 0x01010101u);
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
