import package::common::eight::{Eight, bytes_minus, eight_element, eight_from_i8, eight_scaled};
import package::common::f16::half_to_f32;
import super::weight_body::{body_pair, body_word};
import super::weight_head::head_bits;

// TQ1_0: 256 elements, value = d * (q - 1), q in 0..2, five of them in a byte.
// Body words: 0..7 elements 0 to 159, 8..11 elements 160 to 239, 12 the rest.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 256u;
const GROUP_LEN: u32 = 32u;

// (scale, 0) of a part; the same for the whole block.
fn affine(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_to_f32(head_bits(block)), 0.0);
}

// Three to the power of 0 to 4.
fn power_of_three(n: u32) -> u32 {
    let low = select(1u, 3u, (n & 1u) != 0u) * select(1u, 9u, (n & 2u) != 0u);
    return select(low, 81u, n == 4u);
}

// The digits that a power of three moves to the top of four bytes, a byte each.
fn digits(word: u32, power: u32) -> u32 {
    let moved = (unpack4xU8(word) * power) & vec4<u32>(0xffu);
    let top = (moved * 3u) >> vec4<u32>(8u);
    return top.x | (top.y << 8u) | (top.z << 16u) | (top.w << 24u);
}

// The quants of part `part`, one per byte, signed.
fn packed8(block: u32, part: u32) -> vec2<u32> {
    // A byte's digits are as far apart as its run is long: 32, 16 or 4 bytes.
    let at = block * 13u;
    var quants: vec2<u32>;
    if part >= 30u {
        let word = body_word(at + 12u);
        let first = (part & 1u) * 2u;
        quants = vec2<u32>(
            digits(word, power_of_three(first)), digits(word, power_of_three(first + 1u)),
        );
    } else {
        let short = part >= 20u;
        let rest = part - select(0u, 20u, short);
        let power = power_of_three(select(rest >> 2u, rest >> 1u, short));
        let words = body_pair(at + select((rest & 3u) * 2u, 8u + (rest & 1u) * 2u, short));
        quants = vec2<u32>(digits(words.x, power), digits(words.y, power));
    }
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
