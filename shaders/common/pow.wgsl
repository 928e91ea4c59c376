// x^y. The built-in function is undefined for negative x; here whole exponents
// give such x its sign. A negative x with another exponent has no real power.
fn pow_signed(x: f32, y: f32) -> f32 {
    let size = select(pow(abs(x), y), 0.0, x == 0.0 && y > 0.0);
    let odd = floor(y * 0.5) * 2.0 != y && floor(y) == y;
    let signed = select(size, -size, x < 0.0 && odd);
    return select(select(signed, x * x, y == 2.0), 1.0, y == 0.0);
}
