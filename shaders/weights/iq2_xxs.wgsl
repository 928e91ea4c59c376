import package::common::eight::{Eight, bits_to_bytes, eight_element, eight_from_i8, eight_scaled};
import package::common::codes::{eight_twos, even_signs, negated};
import package::common::f16::half_to_f32;
import super::weight_body::body_word;
import super::weight_head::head_bits;
import super::weight_table::table_entry;

// IQ2_XXS: 256 elements in 8 groups, value = d * (s + 1/2) / 4 * q, s in 0..15, q
// one of 8, 25 and 43 with a sign. Eight elements are an entry of the codebook.
// Body words, two for each group: four indices; signs, and s in the top bits.
// Exact: 11 + 5 + 6 significant bits at most.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 32u;

// (scale, 0) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let scale = body_word(block * 16u + (part >> 2u) * 2u + 1u) >> 28u;
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
    let at = block * 16u + (part >> 2u) * 2u;
    let index = (body_word(at) >> ((part & 3u) << 3u)) & 0xffu;
    let signs = even_signs(body_word(at + 1u) >> ((part & 3u) * 7u));
    return signed_values(table_entry(index), signs);
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
