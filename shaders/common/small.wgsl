// Floating-point numbers of at most 8 bits, widened to f32; the formats are those of
// src/tensor/small.rs. Exact: no f32 subnormal is computed with on the way.

// What is not a number, out of bits that no compiler knows.
fn not_a_number(code: u32) -> f32 {
    return bitcast<f32>(code | 0x7fc00000u);
}

fn e4m3fn_value(code: u32) -> f32 {
    let magnitude = code & 0x7fu;
    // The exponent's bias goes from 7 to 127.
    let normal = (magnitude << 20u) + (120u << 23u);
    let small = bitcast<u32>(f32(magnitude) * 0.001953125);
    var bits = select(normal, small, magnitude < 8u);
    bits = select(bits, 0x7fc00000u, magnitude == 0x7fu);
    return bitcast<f32>(bits | ((code & 0x80u) << 24u));
}

// Formats without infinity and negative zero, whose code is not a number.
fn fnuz_value(code: u32, mantissa: u32, bias: u32) -> f32 {
    let magnitude = code & 0x7fu;
    let normal = (magnitude << (23u - mantissa)) + ((127u - bias) << 23u);
    // One unit of the last place of a subnormal number.
    let unit = bitcast<f32>((128u - bias - mantissa) << 23u);
    let small = bitcast<u32>(f32(magnitude) * unit);
    let bits = select(normal, small, magnitude < (1u << mantissa));
    return bitcast<f32>(select(bits | ((code & 0x80u) << 24u), 0x7fc00000u, code == 0x80u));
}

// A power of two; the smallest is a subnormal f32.
fn e8m0_value(code: u32) -> f32 {
    let bits = select(code << 23u, 0x00400000u, code == 0u);
    return bitcast<f32>(select(bits, 0x7fc00000u, code == 255u));
}

fn e2m1_value(code: u32) -> f32 {
    let magnitude = code & 7u;
    let normal = (magnitude << 22u) + (126u << 23u);
    let bits = select(normal, select(0u, 0x3f000000u, magnitude == 1u), magnitude < 2u);
    return bitcast<f32>(bits | ((code & 8u) << 28u));
}
