import package::common::eight::{
    Block32, Eight, block32_from_i8, bytes_minus, eight_element, eight_from_i8, eight_scaled, sixteen_minus,
};
import package::common::f16::half_to_f32;
import super::weight_body::{body_pair, body_quad, body_word};
import super::weight_head::head_bits;

// Q6_K: 256 elements in 16 groups, value = d * s * (q - 32),
// q in 0..63, s in -128..127.
// Body words: 0..31 bits 0 to 3 of the quants, 32..47 bits 4 and 5, 48..51 s.
// Exact: s * (q - 32) is a whole number of at most 12 significant bits, times 11.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 16u;

// (scale, 0) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let word = body_word(block * 52u + 48u + (part >> 3u));
    let scale = extractBits(bitcast<i32>(word), (part & 6u) << 2u, 8u);
    return vec2<f32>(half_to_f32(head_bits(block)) * f32(scale), 0.0);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // Low bits: 64 bytes have 128 elements, byte l has l (low nibble) and l + 64
    // (high nibble). High bits: 32 bytes have 128 elements, bits 2j and 2j + 1 of
    // byte l are element 32j + l.
    let at = block * 52u;
    let low = body_pair(at + (part >> 4u) * 16u + (part & 7u) * 2u) >> vec2<u32>((part >> 1u) & 4u);
    let high = body_pair(at + 32u + (part >> 4u) * 8u + (part & 3u) * 2u) >> vec2<u32>((part >> 1u) & 6u);
    let quants = (low & vec2<u32>(0x0f0f0f0fu)) | ((high & vec2<u32>(0x03030303u)) << vec2<u32>(4u));
    return bytes_minus(quants, 0x20202020u);
}

// 32 elements whose low bits are in four words: 16 from `strip_start` on, and 16 more
// STRIP_APART behind them.
const STRIP_APART: u32 = 64u;

fn strip_start(step: u32) -> u32 {
    return ((step >> 2u) << 7u) | ((step & 3u) << 4u);
}

fn strips(block: u32, step: u32) -> Block32 {
    let at = block * 52u;
    let low = body_quad(at + step * 4u);
    let high = body_quad(at + 32u + (step >> 2u) * 8u + (step & 1u) * 4u) >> vec4<u32>(step & 2u);
    let mask = vec4<u32>(0x0f0f0f0fu);
    let bits = vec4<u32>(0x30303030u);
    return block32_from_i8(
        sixteen_minus((low & mask) | ((high << vec4<u32>(4u)) & bits), 0x20202020u),
        sixteen_minus(((low >> vec4<u32>(4u)) & mask) | (high & bits), 0x20202020u),
    );
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
