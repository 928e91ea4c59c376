import package::common::eight::{Block32, Eight, block32_from_i8, eight_element, eight_from_i8, eight_scaled};
import package::common::f16::half_to_f32;
import package::common::codes::{IQ4, eight_of_table, sixteen_of_table};
import super::weight_body::{body_pair, body_quad};
import super::weight_head::head_word;

// IQ4_XS: 256 elements in 8 groups, value = d * (s - 32) * table[q], s in 0..63.
// Head: d, the high bits of s, and a word of their low bits. Body words: 0..31 q.
// Exact: 11 + 5 + 7 significant bits at most.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 32u;

// (scale, 0) of the group that has part `part`.
fn affine(block: u32, part: u32) -> vec2<f32> {
    let group = part >> 2u;
    let head = head_word(2u * block);
    let low = (head_word(2u * block + 1u) >> (group << 2u)) & 0xfu;
    let high = (head >> (16u + (group << 1u))) & 3u;
    let scale = f32(low | (high << 4u)) - 32.0;
    return vec2<f32>(half_to_f32(head & 0xffffu) * scale, 0.0);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // Of 16 bytes, byte j has elements j (low nibble) and j + 16 (high nibble).
    let words = body_pair(block * 32u + (part >> 2u) * 4u + (part & 1u) * 2u);
    let nibbles = (words >> vec2<u32>((part & 2u) << 1u)) & vec2<u32>(0x0f0f0f0fu);
    return eight_of_table(nibbles, IQ4);
}

// 32 elements whose quants are in four words: 16 from `strip_start` on, and 16 more
// STRIP_APART behind them.
const STRIP_APART: u32 = 16u;

fn strip_start(step: u32) -> u32 {
    return step << 5u;
}

fn strips(block: u32, step: u32) -> Block32 {
    let words = body_quad(block * 32u + step * 4u);
    let mask = vec4<u32>(0x0f0f0f0fu);
    return block32_from_i8(
        sixteen_of_table(words & mask, IQ4),
        sixteen_of_table((words >> vec4<u32>(4u)) & mask, IQ4),
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
