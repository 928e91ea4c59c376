// The remainder of x / y with the sign of x, exactly: a long division of the
// significands, 8 bits at a time. (`x - y * trunc(x / y)` is off by y where the
// quotient is rounded over a whole number.)
fn fmod_exact(x: f32, y: f32) -> f32 {
    let sign = bitcast<u32>(x) & 0x80000000u;
    let a = bitcast<u32>(x) & 0x7fffffffu;
    let b = bitcast<u32>(y) & 0x7fffffffu;
    if a >= 0x7f800000u || b > 0x7f800000u || b == 0u {
        return bitcast<f32>(sign | 0x7fc00000u);
    }
    if a < b {
        return x;
    }
    // Subnormal numbers have the exponent of the smallest normal ones.
    let exponent_a = max(a >> 23u, 1u);
    let exponent_b = max(b >> 23u, 1u);
    let divisor = (b & 0x7fffffu) | select(0u, 0x800000u, b >= 0x800000u);
    var rest = ((a & 0x7fffffu) | select(0u, 0x800000u, a >= 0x800000u)) % divisor;
    var left = exponent_a - exponent_b;
    for (var step = 0u; step < 32u && left > 0u; step++) {
        let bits = min(left, 8u);
        rest = (rest << bits) % divisor;
        left -= bits;
    }
    if rest == 0u {
        return bitcast<f32>(sign);
    }
    // The leading bit goes where the hidden one is, as far as the exponent lets it.
    let lift = min(countLeadingZeros(rest) - 8u, exponent_b - 1u);
    let lifted = rest << lift;
    let exponent = select(0u, exponent_b - lift, lifted >= 0x800000u);
    return bitcast<f32>(sign | (exponent << 23u) | (lifted & 0x7fffffu));
}
