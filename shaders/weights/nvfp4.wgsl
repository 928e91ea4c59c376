import package::common::eight::{Eight, eight_element, eight_from_i8, eight_scaled};
import package::common::codes::{FP4, eight_of_table};
import super::weight_body::body_pair;
import super::weight_head::head_word;

// NVFP4: 64 elements in 4 groups, value = s * q, s a float of 8 bits, q one of 4.
// Exact: 4 + 2 significant bits.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 64u;
const GROUP_LEN: u32 = 16u;

// (scale, 0) of the group that has part `part`. Half of the scale, for the quants
// are doubled.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let bits = (head_word(block) >> ((part >> 1u) << 3u)) & 0xffu;
    let exponent = (bits >> 3u) & 0xfu;
    let small = f32(bits & 7u) * 0.0009765625;
    let normal = bitcast<f32>(((exponent + 119u) << 23u) | ((bits & 7u) << 20u));
    let scale = select(normal, small, exponent == 0u);
    return vec2<f32>(select(scale, 0.0, bits == 0x7fu), 0.0);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // Of 8 bytes, the low nibbles come first.
    let words = body_pair(block * 8u + (part & 6u));
    let nibbles = (words >> vec2<u32>((part & 1u) << 2u)) & vec2<u32>(0x0f0f0f0fu);
    return eight_of_table(nibbles, FP4);
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
