// A value as bits of the word it is stored in. The features `out_...` name the
// storage type; `Out` is what the shader computes. One invocation writes whole
// words, so values that share a word never race.

import package::common::half_bits::{bf16_bits, f16_bits};
import package::common::small_bits::{
    e2m1_bits, e4m3fn_bits, e4m3fnuz_bits, e5m2_bits, e5m2fnuz_bits, e8m0_bits,
};

@if(out_f32 || out_f16 || out_bf16) alias Out = f32;
@if(out_f8e4m3fn || out_f8e4m3fnuz || out_f8e5m2 || out_f8e5m2fnuz || out_f8e8m0 || out_f4e2m1) alias Out = f32;
@if(out_i32 || out_i16 || out_i8 || out_i4 || out_i2) alias Out = i32;
@if(out_u32 || out_u16 || out_u8 || out_u4 || out_u2) alias Out = u32;

// Elements per word.
@if(out_f32 || out_i32 || out_u32) const LANES: u32 = 1u;
@if(out_f16 || out_bf16 || out_i16 || out_u16) const LANES: u32 = 2u;
@if(out_i8 || out_u8 || out_i4 || out_u4 || out_i2 || out_u2) const LANES: u32 = 4u;
@if(out_f8e4m3fn || out_f8e4m3fnuz || out_f8e5m2 || out_f8e5m2fnuz || out_f8e8m0 || out_f4e2m1) const LANES: u32 = 4u;

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

// Below 8 bits: a byte for each, the sign of signed ones extended.
@if(out_i4) fn encode(value: i32, lane: u32) -> u32 {
    return (bitcast<u32>((value << 28u) >> 28u) & 0xffu) << (lane << 3u);
}

@if(out_u4) fn encode(value: u32, lane: u32) -> u32 {
    return (value & 15u) << (lane << 3u);
}

@if(out_i2) fn encode(value: i32, lane: u32) -> u32 {
    return (bitcast<u32>((value << 30u) >> 30u) & 0xffu) << (lane << 3u);
}

@if(out_u2) fn encode(value: u32, lane: u32) -> u32 {
    return (value & 3u) << (lane << 3u);
}

@if(out_f8e4m3fn) fn encode(value: f32, lane: u32) -> u32 {
    return e4m3fn_bits(value) << (lane << 3u);
}

@if(out_f8e4m3fnuz) fn encode(value: f32, lane: u32) -> u32 {
    return e4m3fnuz_bits(value) << (lane << 3u);
}

@if(out_f8e5m2) fn encode(value: f32, lane: u32) -> u32 {
    return e5m2_bits(value) << (lane << 3u);
}

@if(out_f8e5m2fnuz) fn encode(value: f32, lane: u32) -> u32 {
    return e5m2fnuz_bits(value) << (lane << 3u);
}

@if(out_f8e8m0) fn encode(value: f32, lane: u32) -> u32 {
    return e8m0_bits(value) << (lane << 3u);
}

@if(out_f4e2m1) fn encode(value: f32, lane: u32) -> u32 {
    return e2m1_bits(value) << (lane << 3u);
}
