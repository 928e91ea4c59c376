// binary16 and bfloat16 stored in u32 words, widened to f32.
//
// Drivers may flush subnormal halves to zero in `unpack2x16float`, and quantised weights
// have subnormal scales. So it is used with `exact_unpack` only, which a device turns on
// after all halves came out right there (see `halves.wgsl`). Else integer operations
// widen: exact for every half, on every driver, because no f32 subnormal appears on the
// way:
//  - a normal half is its bits moved up by 13 and the exponent rebiased by 112;
//  - a subnormal half is its 10 bits times 2^-24, a normal f32;
//  - infinity and NaN need the rebias twice.

// Four halves, one in the low 16 bits of each lane; the high bits must be 0.
@if(!exact_unpack) fn half4_to_f32(h: vec4<u32>) -> vec4<f32> {
    let magnitude = h & vec4<u32>(0x7fffu);
    let normal = (magnitude << vec4<u32>(13u)) + vec4<u32>(0x38000000u);
    let finite = select(normal, normal + vec4<u32>(0x38000000u), magnitude >= vec4<u32>(0x7c00u));
    let small = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 5.9604644775390625e-8);
    let bits = select(finite, small, magnitude < vec4<u32>(0x400u));
    return bitcast<vec4<f32>>(bits | ((h & vec4<u32>(0x8000u)) << vec4<u32>(16u)));
}

// Two halves, one in the low 16 bits of each lane; the high bits must be 0.
@if(!exact_unpack) fn half2_to_f32(h: vec2<u32>) -> vec2<f32> {
    let magnitude = h & vec2<u32>(0x7fffu);
    let normal = (magnitude << vec2<u32>(13u)) + vec2<u32>(0x38000000u);
    let finite = select(normal, normal + vec2<u32>(0x38000000u), magnitude >= vec2<u32>(0x7c00u));
    let small = bitcast<vec2<u32>>(vec2<f32>(magnitude) * 5.9604644775390625e-8);
    let bits = select(finite, small, magnitude < vec2<u32>(0x400u));
    return bitcast<vec2<f32>>(bits | ((h & vec2<u32>(0x8000u)) << vec2<u32>(16u)));
}

// The half in the low 16 bits; the high bits must be 0.
@if(!exact_unpack) fn half_to_f32(h: u32) -> f32 {
    return exact_half(h);
}

// The same with integer operations.
fn exact_half(h: u32) -> f32 {
    let magnitude = h & 0x7fffu;
    let normal = (magnitude << 13u) + 0x38000000u;
    let finite = select(normal, normal + 0x38000000u, magnitude >= 0x7c00u);
    let small = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    let bits = select(finite, small, magnitude < 0x400u);
    return bitcast<f32>(bits | ((h & 0x8000u) << 16u));
}

// Both halves of a word, low one first.
@if(!exact_unpack) fn word_to_half2(word: u32) -> vec2<f32> {
    return half2_to_f32(vec2<u32>(word & 0xffffu, word >> 16u));
}

// The four halves of two words, in memory order.
@if(!exact_unpack) fn words_to_half4(words: vec2<u32>) -> vec4<f32> {
    return half4_to_f32(vec4<u32>(
        words.x & 0xffffu,
        words.x >> 16u,
        words.y & 0xffffu,
        words.y >> 16u,
    ));
}

@if(exact_unpack) fn half4_to_f32(h: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(half_to_f32(h.x), half_to_f32(h.y), half_to_f32(h.z), half_to_f32(h.w));
}

@if(exact_unpack) fn half2_to_f32(h: vec2<u32>) -> vec2<f32> {
    return vec2<f32>(half_to_f32(h.x), half_to_f32(h.y));
}

@if(exact_unpack) fn half_to_f32(h: u32) -> f32 {
    return unpack2x16float(h).x;
}

@if(exact_unpack) fn word_to_half2(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}

@if(exact_unpack) fn words_to_half4(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

// The four bfloat16 of two words, in memory order.
fn words_to_bfloat4(words: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(
        words.x << 16u,
        words.x & 0xffff0000u,
        words.y << 16u,
        words.y & 0xffff0000u,
    ));
}
