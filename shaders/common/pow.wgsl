// x^y. The built-in function is undefined for negative x and for zero; here whole
// exponents give such x its sign, a negative exponent of zero infinity, and what has
// no real power is no number: by its bits, as WGSL has no such constant.
fn pow_signed(x: f32, y: f32) -> f32 {
    let a = abs(x);
    var size = select(pow(a, y), 0.0, x == 0.0 && y > 0.0);
    size = select(size, 1.0 / a, x == 0.0 && y < 0.0);
    let whole = floor(y) == y;
    let odd = floor(y * 0.5) * 2.0 != y && whole;
    let signed = select(size, -size, x < 0.0 && odd);
    let none = bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u);
    let real = select(signed, none, x < 0.0 && bitcast<u32>(x) != 0xff800000u && !whole);
    return select(select(real, x * x, y == 2.0), 1.0, y == 0.0 || x == 1.0);
}
