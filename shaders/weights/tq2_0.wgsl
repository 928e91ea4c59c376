import package::common::eight::{Eight, bytes_minus, eight_element, eight_from_i8, eight_scaled};
import package::common::f16::half_to_f32;
import super::weight_body::body_pair;
import super::weight_head::head_bits;

// TQ2_0: 256 elements, value = d * (q - 1), q in 0..2.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 32u;

// (scale, 0) of a part; the same for the whole block.
fn affine(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_to_f32(head_bits(block)), 0.0);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // 32 bytes have 128 elements, bits 2j and 2j + 1 of byte l are element 32j + l.
    let words = body_pair(block * 16u + (part >> 4u) * 8u + (part & 3u) * 2u);
    let quants = (words >> vec2<u32>((part >> 1u) & 6u)) & vec2<u32>(0x03030303u);
    return bytes_minus(quants, 0x01010101u);
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
