// x / y rounded to nearest, ties to even, as IEEE 754 has it: WGSL's own quotient may
// be 2.5 units in the last place off, which is seen where a half is rounded. A long
// division of the significands; results below the smallest normal number become 0.
fn divide_exact(x: f32, y: f32) -> f32 {
    let sign = (bitcast<u32>(x) ^ bitcast<u32>(y)) & 0x80000000u;
    let a = bitcast<u32>(x) & 0x7fffffffu;
    let b = bitcast<u32>(y) & 0x7fffffffu;
    if a > 0x7f800000u || b > 0x7f800000u || (a | b) == 0u || (a & b) == 0x7f800000u {
        return bitcast<f32>(sign | 0x7fc00000u);
    }
    if b == 0u || a == 0x7f800000u {
        return bitcast<f32>(sign | 0x7f800000u);
    }
    if a == 0u || b == 0x7f800000u {
        return bitcast<f32>(sign);
    }
    // Significands with their leading bit where the hidden one is.
    let raw_a = (a & 0x7fffffu) | select(0u, 0x800000u, a >= 0x800000u);
    let raw_b = (b & 0x7fffffu) | select(0u, 0x800000u, b >= 0x800000u);
    let lift_a = countLeadingZeros(raw_a) - 8u;
    let lift_b = countLeadingZeros(raw_b) - 8u;
    let divisor = raw_b << lift_b;
    var rest = raw_a << lift_a;
    let one = rest / divisor;
    var quotient = one;
    rest = rest % divisor;
    for (var step = 0u; step < 3u; step++) {
        rest <<= 8u;
        quotient = (quotient << 8u) | (rest / divisor);
        rest = rest % divisor;
    }
    rest <<= 2u;
    quotient = (quotient << 2u) | (rest / divisor);
    rest = rest % divisor;
    // 26 bits behind the point; 24 in all are kept.
    let cut = 2u + one;
    let kept = quotient >> cut;
    let lost = quotient & ((1u << cut) - 1u);
    let half = 1u << (cut - 1u);
    let up = lost > half || (lost == half && (rest != 0u || (kept & 1u) == 1u));
    let exponent_a = i32(max(a >> 23u, 1u)) - i32(lift_a);
    let exponent_b = i32(max(b >> 23u, 1u)) - i32(lift_b);
    let exponent = exponent_a - exponent_b + 126 + i32(one);
    if exponent >= 255 {
        return bitcast<f32>(sign | 0x7f800000u);
    }
    if exponent <= 0 {
        return bitcast<f32>(sign);
    }
    // A carry out of the significand counts the exponent up by itself.
    let bits = (u32(exponent) << 23u) + (kept - 0x800000u) + select(0u, 1u, up);
    return bitcast<f32>(sign | bits);
}
