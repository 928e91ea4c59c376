import package::common::eight::{Block32, Eight, block32_from_i8, eight_element, eight_from_i8, eight_scaled};
import package::common::codes::{FP4, eight_of_table, sixteen_of_table};
import super::weight_body::{body_pair, body_quad};
import super::weight_head::head_byte;

// MXFP4: 32 elements, value = 2^(e - 127) * q, q a float of 4 bits.
// Exact: q has 2 significant bits.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 32u;
const GROUP_LEN: u32 = 32u;

// (scale, 0) of a part; the same for the whole block. Half of the power of two, for
// the quants are doubled.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let e = head_byte(block);
    let bits = select((e - 1u) << 23u, 0x00200000u << min(e, 1u), e < 2u);
    return vec2<f32>(bitcast<f32>(bits), 0.0);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    return quants_of(body_pair(block * 4u + (part & 1u) * 2u), part);
}

// The same, from the words of the body that have them.
fn quants_of(words: vec2<u32>, part: u32) -> vec2<u32> {
    // Byte j of the body has elements j (low nibble) and j + 16 (high nibble).
    let nibbles = (words >> vec2<u32>((part >> 1u) * 4u)) & vec2<u32>(0x0f0f0f0fu);
    return eight_of_table(nibbles, FP4);
}

// The quants of a block, each word of it read once.
fn quants32(block: u32) -> Block32 {
    let even = body_pair(block * 4u);
    let odd = body_pair(block * 4u + 2u);
    return Block32(
        eight_from_i8(quants_of(even, 0u)), eight_from_i8(quants_of(odd, 1u)),
        eight_from_i8(quants_of(even, 2u)), eight_from_i8(quants_of(odd, 3u)),
    );
}

// 32 elements whose quants are in four words: 16 from `strip_start` on, and 16 more
// STRIP_APART behind them.
const STRIP_APART: u32 = 16u;

fn strip_start(step: u32) -> u32 {
    return step << 5u;
}

fn strips(block: u32, step: u32) -> Block32 {
    let words = body_quad(block * 4u);
    let mask = vec4<u32>(0x0f0f0f0fu);
    return block32_from_i8(
        sixteen_of_table(words & mask, FP4),
        sixteen_of_table((words >> vec4<u32>(4u)) & mask, FP4),
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
