import package::common::eight::Eight;
import super::weight_body::{body_quad, body_word};

// F32: plain. A block is 8 consecutive elements of the whole tensor, a word each.
// The interface is described in `src/quant/mod.rs`.

const BLOCK_LEN: u32 = 8u;
const GROUP_LEN: u32 = 8u;

// Four elements from any number, or from a multiple of 4 if words are read four at a time.
@if(body_quads) fn words4(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(body_quad(at));
}

@if(!body_quads) fn words4(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(body_word(at), body_word(at + 1u), body_word(at + 2u), body_word(at + 3u)));
}

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
    let at = block * 8u;
    return Eight(words4(at), words4(at + 4u));
}

// Eight elements from global element `index`, as `words4`.
fn decode8_at(index: u32) -> Eight {
    return Eight(words4(index), words4(index + 4u));
}

// One element, by global index.
fn element(index: u32) -> f32 {
    return bitcast<f32>(body_word(index));
}
