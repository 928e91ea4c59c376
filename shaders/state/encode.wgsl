// binary32 to binary16 by integer operations: `pack2x16float` may round either
// way and is undefined beyond the largest half.

// The nearest half in the low 16 bits, ties to even. What is beyond the
// largest half becomes the largest; NaN stays NaN.
fn f32_to_half(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let sign = (bits >> 16u) & 0x8000u;
    let whole = bits & 0x7fffffffu;
    let magnitude = min(whole, 0x477fe000u);
    // Normal: rebias the exponent by 112 and round 13 bits away.
    let normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
    // Subnormal: a multiple of 2^-24. `round` takes ties to even.
    let small = u32(round(bitcast<f32>(magnitude) * 16777216.0));
    let finite = select(normal, small, magnitude < 0x38800000u);
    return sign | select(finite, 0x7e00u, whole > 0x7f800000u);
}
