import package::common::eight::Eight;
import package::common::f16::{half_to_f32, words_to_half4};
import super::weight_body::{body_pair, body_quad, body_word};

// F16: plain. A block is 8 consecutive elements of the whole tensor, two per word.
// Exact: every half is an f32.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 8u;
const GROUP_LEN: u32 = 8u;

// (1, 0): plain elements are their own quants.
fn affine(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(1.0, 0.0);
}

// The same as `decode8`.
fn quants8(block: u32, part: u32) -> Eight {
    return decode8(block, part);
}

// Elements 8 * block .. 8 * block + 7; `part` is 0.
fn decode8(block: u32, part: u32) -> Eight {
    let at = block * 4u;
    return Eight(words_to_half4(body_pair(at)), words_to_half4(body_pair(at + 2u)));
}

// Eight elements from global element `index`: any number, or a multiple of 8 if words are
// read four at a time.
@if(body_quads) fn decode8_at(index: u32) -> Eight {
    let words = body_quad(index >> 1u);
    return Eight(words_to_half4(words.xy), words_to_half4(words.zw));
}

@if(!body_quads) fn decode8_at(index: u32) -> Eight {
    let at = index >> 1u;
    var first = vec4<u32>(body_word(at), body_word(at + 1u), body_word(at + 2u), body_word(at + 3u));
    if (index & 1u) != 0u {
        // An odd start: the eight elements straddle five words.
        let next = vec4<u32>(first.yzw, body_word(at + 4u));
        first = (first >> vec4<u32>(16u)) | (next << vec4<u32>(16u));
    }
    return Eight(words_to_half4(first.xy), words_to_half4(first.zw));
}

// One element, by global index.
fn element(index: u32) -> f32 {
    return half_to_f32((body_word(index >> 1u) >> ((index & 1u) << 4u)) & 0xffffu);
}
