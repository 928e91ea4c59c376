import package::common::k_scales::{k_scale_min, k_strip_scales};
import package::common::eight::{Block32, Eight, block32_from_u8, eight_affine, eight_element, eight_from_u8};
import package::common::f16::word_to_half2;
import super::weight_body::{body_pair, body_quad};
import super::weight_head::head_quad;

// Q5_K: 256 elements in 8 groups, value = d * s * q - dmin * m,
// q in 0..31, s and m in 0..63.
// Head: d and dmin, then three words of the 6-bit s and m.
// Body words: 0..7 bit 4 of the quants, 8..39 bits 0 to 3.
// Exact: d * s has 11 + 6 significant bits, times q 22; dmin * m has 17. Only the
// difference rounds, fused or not.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 32u;

// (scale, minus the minimum) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let head = head_quad(block);
    let factors = k_scale_min(head.yzw, part >> 2u);
    let d = word_to_half2(head.x);
    return vec2<f32>(d.x * factors.x, -(d.y * factors.y));
}

// The quants of part `part`, one per byte, unsigned.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // Low bits: 32 bytes have 64 elements, byte l has l (low nibble) and l + 32
    // (high nibble). High bits: bit j of byte l is element 32j + l of all 256.
    let at = block * 40u + (part & 3u) * 2u;
    let low = body_pair(at + 8u + (part >> 3u) * 8u) >> vec2<u32>(part & 4u);
    let high = body_pair(at) >> vec2<u32>(part >> 2u);
    return (low & vec2<u32>(0x0f0f0f0fu)) | ((high & vec2<u32>(0x01010101u)) << vec2<u32>(4u));
}

// 32 elements whose low bits are in four words: 16 from `strip_start` on, and 16 more
// STRIP_APART behind them.
const STRIP_APART: u32 = 32u;

fn strip_start(step: u32) -> u32 {
    return ((step >> 1u) << 6u) | ((step & 1u) << 4u);
}

// Scale and minus the minimum of the first 16 elements, then of the others.
fn strip_scales(block: u32, step: u32) -> vec4<f32> {
    return k_strip_scales(head_quad(block), step);
}

fn strips(block: u32, step: u32) -> Block32 {
    let at = block * 40u;
    let low = body_quad(at + 8u + step * 4u);
    let high = body_quad(at + (step & 1u) * 4u) >> vec4<u32>(step & 6u);
    let mask = vec4<u32>(0x0f0f0f0fu);
    let bit = vec4<u32>(0x10101010u);
    return block32_from_u8(
        (low & mask) | ((high << vec4<u32>(4u)) & bit),
        ((low >> vec4<u32>(4u)) & mask) | ((high << vec4<u32>(3u)) & bit),
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
