// f32 rounded to binary16 and bfloat16, to nearest, ties to even.
//
// `pack2x16float` is not used: WGSL leaves open which way it rounds and what it
// makes of numbers that are too large.

// The binary16 nearest to `x`; infinity from 65520 on.
fn f16_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    let rounded = magnitude + 0xfffu + ((magnitude >> 13u) & 1u);
    // The exponent's bias goes from 127 to 15.
    let normal = (rounded >> 13u) - (112u << 10u);
    // A sum with 0.5 is rounded to multiples of 2^-24, the subnormal halves.
    let subnormal = bitcast<u32>(bitcast<f32>(min(magnitude, 0x38800000u)) + 0.5) - 0x3f000000u;
    var half = select(normal, subnormal, magnitude < 0x38800000u);
    half = select(half, 0x7c00u, magnitude >= 0x477ff000u);
    half = select(half, 0x7e00u, magnitude > 0x7f800000u);
    return half | ((bits >> 16u) & 0x8000u);
}

// The bfloat16 nearest to `x`.
fn bf16_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    return select(rounded, (bits >> 16u) | 0x40u, (bits & 0x7fffffffu) > 0x7f800000u);
}
