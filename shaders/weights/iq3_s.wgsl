import package::common::eight::{Eight, bits_to_bytes, eight_element, eight_from_i8, eight_scaled};
import package::common::codes::{negated, threes_to_bytes};
import package::common::f16::half_to_f32;
import super::weight_body::body_word;
import super::weight_head::head_bits;
import super::weight_table::table_entry;

// IQ3_S: 256 elements in 8 groups, value = d * (2s + 1) * q, s in 0..15, q one of 1,
// 3, 5, ... 15 with a sign. Four elements are an entry of the codebook.
// Body words: 0..15 indices, 16..17 their ninth bits, 18..25 signs, 26 s.
// Exact: 11 + 5 + 4 significant bits at most.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 32u;

// (scale, 0) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let scale = (body_word(block * 27u + 26u) >> ((part >> 2u) << 2u)) & 0xfu;
    return vec2<f32>(half_to_f32(head_bits(block)) * f32(2u * scale + 1u), 0.0);
}

// A byte of the block, `at` bytes from the word `start`.
fn body_byte(start: u32, at: u32) -> u32 {
    return (body_word(start + (at >> 2u)) >> ((at & 3u) << 3u)) & 0xffu;
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    let at = block * 27u;
    let low = body_word(at + (part >> 1u)) >> ((part & 1u) << 4u);
    let high = body_word(at + 16u + (part >> 4u)) >> ((part & 15u) << 1u);
    let q = vec2<u32>(
        threes_to_bytes(table_entry((low & 0xffu) | ((high & 1u) << 8u))),
        threes_to_bytes(table_entry(((low >> 8u) & 0xffu) | ((high & 2u) << 7u))),
    );
    let values = vec2<u32>(0x01010101u) + (q << vec2<u32>(1u));
    return negated(values, bits_to_bytes(body_byte(at + 18u, part)));
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
