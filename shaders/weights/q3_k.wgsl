import package::common::eight::{Eight, bytes_minus, eight_element, eight_from_i8, eight_scaled};
import package::common::f16::half_to_f32;
import super::weight_body::{body_pair, body_word};
import super::weight_head::head_bits;

// Q3_K: 256 elements in 16 groups, value = d * (s - 32) * (q - 4),
// q in 0..7, s in 0..63.
// Body words: 0..7 bit 2 of the quants, 8..23 bits 0 and 1, 24..26 the 6-bit scales.
// Exact: 11 + 5 + 2 significant bits at most.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 16u;

// (scale, 0) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    // Group g: low 4 bits in byte g % 8, shifted by 4 for g >= 8; high 2 bits in
    // byte 8 + g % 4, shifted by 2 * (g / 4).
    let group = part >> 1u;
    let at = block * 27u + 24u;
    let byte = (group & 3u) << 3u;
    let low = (body_word(at + ((group >> 2u) & 1u)) >> (byte + ((group >> 3u) << 2u))) & 0xfu;
    let high = (body_word(at + 2u) >> (byte + ((group >> 2u) << 1u))) & 3u;
    let scale = f32(low | (high << 4u)) - 32.0;
    return vec2<f32>(half_to_f32(head_bits(block)) * scale, 0.0);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // Low bits: 32 bytes have 128 elements, bits 2j and 2j + 1 of byte l are
    // element 32j + l. High bits: bit j of byte l is element 32j + l of all 256.
    let at = block * 27u + (part & 3u) * 2u;
    let low = body_pair(at + 8u + (part >> 4u) * 8u) >> vec2<u32>((part >> 1u) & 6u);
    let high = body_pair(at) >> vec2<u32>(part >> 2u);
    let quants = (low & vec2<u32>(0x03030303u)) | ((high & vec2<u32>(0x01010101u)) << vec2<u32>(2u));
    return bytes_minus(quants, 0x04040404u);
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
