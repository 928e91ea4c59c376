import package::common::eight::{Eight, bits_to_bytes, eight_element, eight_from_i8, eight_scaled};
import package::common::codes::{eight_twos, even_signs, negated};
import package::common::f16::half_to_f32;
import super::weight_body::body_word;
import super::weight_head::head_bits;
import super::weight_table::table_entry;

// IQ2_XS: 256 elements in 16 groups, value = d * (s + 1/2) / 4 * q as in IQ2_XXS.
// Body words: 0..15 indices of 9 bits with 7 signs, 16..17 s.
// Exact: 11 + 5 + 6 significant bits at most.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 16u;

// (scale, 0) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let scale = (body_word(block * 18u + 16u + (part >> 4u)) >> ((part & 14u) << 1u)) & 0xfu;
    return vec2<f32>(half_to_f32(head_bits(block)) * (f32(2u * scale + 1u) * 0.125), 0.0);
}

// Eight codes as 8, 25 or 43, some of them negative.
fn signed_values(codes: u32, signs: u32) -> vec2<u32> {
    let q = eight_twos(codes);
    let values = vec2<u32>(0x08080808u) + q * 17u + ((q >> vec2<u32>(1u)) & vec2<u32>(0x01010101u));
    return negated(values, bits_to_bytes(signs));
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    let q = (body_word(block * 18u + (part >> 1u)) >> ((part & 1u) << 4u)) & 0xffffu;
    return signed_values(table_entry(q & 0x1ffu), even_signs(q >> 9u));
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
