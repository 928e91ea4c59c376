// f32 rounded to floating-point numbers of at most 8 bits, as ONNX's Cast has it:
// to nearest, ties to even. Out of range: the largest number, or with the feature
// `unsaturated` infinity or, where there is none, what is not a number.

// The code of a magnitude (bits of an f32) in a format that goes on for ever.
fn rounded(magnitude: u32, mantissa: u32, bias: u32) -> u32 {
    let cut = 23u - mantissa;
    let up = magnitude + (1u << (cut - 1u)) - 1u + ((magnitude >> cut) & 1u);
    let normal = (up >> cut) - ((127u - bias) << mantissa);
    // A sum with a number whose last place is that of the subnormals is rounded to it.
    let least = (128u - bias) << 23u;
    let shift = (128u - bias + cut) << 23u;
    let sum = bitcast<f32>(min(magnitude, least)) + bitcast<f32>(shift);
    let subnormal = bitcast<u32>(sum) - shift;
    return select(normal, subnormal, magnitude < least);
}

// The code of a number: `most` is that of the largest, `beyond` what is above it
// without saturation, `nan` what is not a number.
fn small_bits(x: f32, mantissa: u32, bias: u32, sign: u32, most: u32, beyond: u32, nan: u32) -> u32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    let negative = select(0u, sign, (bits >> 31u) != 0u);
    // No format reaches 2^17.
    let code = select(rounded(min(magnitude, 0x48000000u), mantissa, bias), most + 1u, magnitude >= 0x48000000u);
    @if(unsaturated) let over = beyond;
    @else let over = most;
    let result = select(code, over, code > most) | negative;
    return select(result, nan | negative, magnitude > 0x7f800000u);
}

// The same without a negative zero, whose code is not a number.
fn fnuz_bits(x: f32, mantissa: u32, bias: u32) -> u32 {
    let code = small_bits(x, mantissa, bias, 0x80u, 0x7fu, 0x100u, 0x100u);
    return select(select(code, 0u, code == 0x80u), 0x80u, code >= 0x100u);
}

fn e4m3fn_bits(x: f32) -> u32 {
    return small_bits(x, 3u, 7u, 0x80u, 0x7eu, 0x7fu, 0x7fu);
}

fn e4m3fnuz_bits(x: f32) -> u32 {
    return fnuz_bits(x, 3u, 8u);
}

fn e5m2_bits(x: f32) -> u32 {
    return small_bits(x, 2u, 15u, 0x80u, 0x7bu, 0x7cu, 0x7eu);
}

fn e5m2fnuz_bits(x: f32) -> u32 {
    return fnuz_bits(x, 2u, 16u);
}

fn e2m1_bits(x: f32) -> u32 {
    let code = small_bits(x, 1u, 1u, 8u, 7u, 7u, 0x10u);
    return select(code, 8u, code >= 0x10u);
}

// A power of two: the next one up, or with `power_down` and `power_nearest` another.
fn e8m0_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    let part = magnitude & 0x7fffffu;
    let below = magnitude >> 23u;
    var up = 0u;
    // The smallest power is half of the smallest normal f32, so its place is counted
    // in subnormal ones.
    @if(power_nearest) {
        up = select(u32(part >= 0x400000u), u32(part >= 0x600000u), below == 0u);
    }
    @elif(!power_down) {
        up = select(u32(part != 0u), u32(part > 0x400000u), below == 0u);
    }
    let code = below + up;
    @if(unsaturated) {
        let lost = code > 254u || magnitude == 0u || (bits >> 31u) != 0u;
        return select(code, 255u, lost);
    }
    @else {
        let most = select(min(code, 254u), 0u, (bits >> 31u) != 0u);
        return select(most, 255u, magnitude > 0x7f800000u);
    }
}
