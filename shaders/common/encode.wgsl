// A value as bits of the word it is stored in. The features `out_...` name the
// storage type; `Out` is what the shader computes. One invocation writes whole
// words, so values that share a word never race.

import package::common::half_bits::{bf16_bits, f16_bits};

@if(out_f32 || out_f16 || out_bf16) alias Out = f32;
@if(out_i32 || out_i16 || out_i8) alias Out = i32;
@if(out_u32 || out_u16 || out_u8) alias Out = u32;

// Elements per word.
@if(out_f32 || out_i32 || out_u32) const LANES: u32 = 1u;
@if(out_f16 || out_bf16 || out_i16 || out_u16) const LANES: u32 = 2u;
@if(out_i8 || out_u8) const LANES: u32 = 4u;

@if(out_f32) fn encode(value: f32, lane: u32) -> u32 {
    return bitcast<u32>(value);
}

@if(out_f16) fn encode(value: f32, lane: u32) -> u32 {
    return f16_bits(value) << (lane << 4u);
}

@if(out_bf16) fn encode(value: f32, lane: u32) -> u32 {
    return bf16_bits(value) << (lane << 4u);
}

@if(out_i32) fn encode(value: i32, lane: u32) -> u32 {
    return bitcast<u32>(value);
}

@if(out_u32) fn encode(value: u32, lane: u32) -> u32 {
    return value;
}

@if(out_i16) fn encode(value: i32, lane: u32) -> u32 {
    return (bitcast<u32>(value) & 0xffffu) << (lane << 4u);
}

@if(out_u16) fn encode(value: u32, lane: u32) -> u32 {
    return (value & 0xffffu) << (lane << 4u);
}

@if(out_i8) fn encode(value: i32, lane: u32) -> u32 {
    return (bitcast<u32>(value) & 0xffu) << (lane << 3u);
}

@if(out_u8) fn encode(value: u32, lane: u32) -> u32 {
    return (value & 0xffu) << (lane << 3u);
}
