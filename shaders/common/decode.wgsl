// Element `i` out of the word that holds it. The features `in_...` name the
// storage type; `In` is what the shader computes with.

import package::common::f16::half_to_f32;
import package::common::small::{e2m1_value, e4m3fn_value, e8m0_value, fnuz_value};

@if(in_f32 || in_f16 || in_bf16) alias In = f32;
@if(in_f8e4m3fn || in_f8e4m3fnuz || in_f8e5m2 || in_f8e5m2fnuz || in_f8e8m0 || in_f4e2m1) alias In = f32;
@if(in_i32 || in_i16 || in_i8) alias In = i32;
@if(in_u32 || in_u16 || in_u8) alias In = u32;

// Which word holds element `i`.
@if(in_f32 || in_i32 || in_u32) fn word_of(i: u32) -> u32 {
    return i;
}

@if(in_f16 || in_bf16 || in_i16 || in_u16) fn word_of(i: u32) -> u32 {
    return i >> 1u;
}

@if(in_i8 || in_u8) fn word_of(i: u32) -> u32 {
    return i >> 2u;
}

@if(in_f8e4m3fn || in_f8e4m3fnuz || in_f8e5m2 || in_f8e5m2fnuz || in_f8e8m0 || in_f4e2m1) fn word_of(i: u32) -> u32 {
    return i >> 2u;
}

fn byte_at(word: u32, i: u32) -> u32 {
    return (word >> ((i & 3u) << 3u)) & 0xffu;
}

@if(in_f32) fn decode(word: u32, i: u32) -> f32 {
    return bitcast<f32>(word);
}

@if(in_f16) fn decode(word: u32, i: u32) -> f32 {
    return half_to_f32((word >> ((i & 1u) << 4u)) & 0xffffu);
}

@if(in_bf16) fn decode(word: u32, i: u32) -> f32 {
    return bitcast<f32>((word >> ((i & 1u) << 4u)) << 16u);
}

@if(in_i32) fn decode(word: u32, i: u32) -> i32 {
    return bitcast<i32>(word);
}

@if(in_u32) fn decode(word: u32, i: u32) -> u32 {
    return word;
}

@if(in_i16) fn decode(word: u32, i: u32) -> i32 {
    return bitcast<i32>(word << (16u - ((i & 1u) << 4u))) >> 16u;
}

@if(in_u16) fn decode(word: u32, i: u32) -> u32 {
    return (word >> ((i & 1u) << 4u)) & 0xffffu;
}

@if(in_i8) fn decode(word: u32, i: u32) -> i32 {
    return bitcast<i32>(word << (24u - ((i & 3u) << 3u))) >> 24u;
}

@if(in_u8) fn decode(word: u32, i: u32) -> u32 {
    return byte_at(word, i);
}

@if(in_f8e4m3fn) fn decode(word: u32, i: u32) -> f32 {
    return e4m3fn_value(byte_at(word, i));
}

@if(in_f8e4m3fnuz) fn decode(word: u32, i: u32) -> f32 {
    return fnuz_value(byte_at(word, i), 3u, 8u);
}

// The upper half of a binary16.
@if(in_f8e5m2) fn decode(word: u32, i: u32) -> f32 {
    return half_to_f32(byte_at(word, i) << 8u);
}

@if(in_f8e5m2fnuz) fn decode(word: u32, i: u32) -> f32 {
    return fnuz_value(byte_at(word, i), 2u, 16u);
}

@if(in_f8e8m0) fn decode(word: u32, i: u32) -> f32 {
    return e8m0_value(byte_at(word, i));
}

@if(in_f4e2m1) fn decode(word: u32, i: u32) -> f32 {
    return e2m1_value(byte_at(word, i));
}
