// activate(x): the function of `Unary` (src/ops/elementwise/unary.rs) that the
// feature `act_...` selects. `Unary::configure` gives the feature and the two
// constants. The formulas are those of src/ops/elementwise/math.rs, except that
// `exp` is the built-in one. Finite wherever the exact value is.

import package::config::{ACT_A, ACT_B};

// e^x for x <= 0; 0 below -87, where some drivers return their smallest number.
fn exp_negative(x: f32) -> f32 {
    return select(0.0, exp(max(x, -87.0)), x >= -87.0);
}

// e^x - 1 for x < 0, accurate near 0.
fn exp_m1_negative(x: f32) -> f32 {
    let t = clamp(x, -0.5, 0.0);
    var p = 1.0 / 40320.0;
    p = p * t + 1.0 / 5040.0;
    p = p * t + 1.0 / 720.0;
    p = p * t + 1.0 / 120.0;
    p = p * t + 1.0 / 24.0;
    p = p * t + 1.0 / 6.0;
    p = p * t + 0.5;
    return select(exp_negative(x) - 1.0, t * t * p + t, x > -0.5);
}

// ln(1 + t) for t from 0 to 1.
fn ln_1p_unit(t: f32) -> f32 {
    let s = t / (2.0 + t);
    let z = s * s;
    var p = 1.0 / 13.0;
    p = p * z + 1.0 / 11.0;
    p = p * z + 1.0 / 9.0;
    p = p * z + 1.0 / 7.0;
    p = p * z + 1.0 / 5.0;
    p = p * z + 1.0 / 3.0;
    return 2.0 * (s * z * p + s);
}

fn sigmoid(x: f32) -> f32 {
    let e = exp_negative(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

fn softplus(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0) + ln_1p_unit(exp_negative(-abs(x)));
}

// The built-in tanh overflows on some drivers and has a large absolute error.
fn tanh_safe(x: f32) -> f32 {
    let z = min(x * x, 1.0);
    var p = -5.70498872745e-3;
    p = p * z + 2.06390887954e-2;
    p = p * z - 5.37397155531e-2;
    p = p * z + 1.33314422036e-1;
    p = p * z - 3.33332819422e-1;
    let a = abs(x);
    let large = sign(x) * (1.0 - 2.0 / (exp(2.0 * min(a, 10.0)) + 1.0));
    return select(large, p * z * x + x, a < 0.625);
}

fn erf(x: f32) -> f32 {
    let size = abs(x);
    // Keeps what is no number; min need not.
    let a = select(size, 4.0, size > 4.0);
    let z = a * a;
    var p = 7.853861353153693e-5;
    p = p * z - 8.010193625184903e-4;
    p = p * z + 5.188327685732524e-3;
    p = p * z - 2.685381193529856e-2;
    p = p * z + 1.128358514861418e-1;
    p = p * z - 3.761262582423300e-1;
    p = p * z + 1.128379165726710;
    let t = 1.0 / (1.0 + 0.3275911 * a);
    var q = 1.061405429;
    q = q * t - 1.453152027;
    q = q * t + 1.421413741;
    q = q * t - 0.284496736;
    q = q * t + 0.254829592;
    // At 4 the tail is below half a unit in the last place of 1.
    let value = select(1.0 - q * t * exp(-z), a * p, a < 1.0);
    return select(value, -value, x < 0.0);
}

// Sine of x plus `quarters` right angles. The built-in functions are coarse
// (2^-11) and undefined beyond a turn; this reduces by right angles held in
// three parts (Cody and Waite; the parts are those of Cephes, `sinf.c`).
fn sine(x: f32, quarters: i32) -> f32 {
    let n = clamp(round(x * 0.636619772367581), -1.0e9, 1.0e9);
    var r = x - n * 1.5703125;
    r = r - n * 4.837512969970703125e-4;
    r = clamp(r - n * 7.549789954891882e-8, -0.8, 0.8);
    let z = r * r;
    let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2)
        * z * z - 0.5 * z + 1.0;
    let k = (i32(n) + quarters) & 3;
    let value = select(s, c, (k & 1) == 1);
    return select(value, -value, k >= 2);
}

// Inverse sine, cosine and tangent are Cephes' polynomials (`asinf.c`, `atanf.c`) after reductions to
// where they hold.

fn asin_near(x: f32) -> f32 {
    let z = x * x;
    var p = 4.2163199048e-2;
    p = p * z + 2.4181311049e-2;
    p = p * z + 4.5470025998e-2;
    p = p * z + 7.4953002686e-2;
    p = p * z + 1.6666752422e-1;
    return p * z * x + x;
}

// The inverse sine of sqrt((1 - a) / 2): half the angle whose cosine is a.
fn half_acos(a: f32) -> f32 {
    return asin_near(sqrt(max(0.5 * (1.0 - a), 0.0)));
}

fn asin_whole(x: f32) -> f32 {
    let far = sign(x) * (1.5707963267948966 - 2.0 * half_acos(abs(x)));
    return select(asin_near(x), far, abs(x) > 0.5);
}

fn acos_whole(x: f32) -> f32 {
    let far = 2.0 * half_acos(abs(x));
    let outer = select(far, 3.141592653589793 - far, x < 0.0);
    return select(1.5707963267948966 - asin_near(x), outer, abs(x) > 0.5);
}

fn atan_whole(x: f32) -> f32 {
    let a = min(abs(x), 1.0e30);
    let far = a > 2.414213562373095;
    let middle = a > 0.4142135623730950;
    let t = select(select(a, (a - 1.0) / (a + 1.0), middle), -1.0 / max(a, 1.0), far);
    let base = select(select(0.0, 0.7853981633974483, middle), 1.5707963267948966, far);
    let z = t * t;
    var p = 8.05374449538e-2;
    p = p * z - 1.38776856032e-1;
    p = p * z + 1.99777106478e-1;
    p = p * z - 3.33329491539e-1;
    return sign(x) * (base + (p * z * t + t));
}

// e^a as a product of its roots, which does not overflow before the value does:
// half of it and of its inverse.
fn half_powers(a: f32) -> vec2<f32> {
    let root = exp(0.5 * min(a, 100.0));
    return vec2<f32>((0.5 * root) * root, 0.5 / root / root);
}

fn sinh_whole(x: f32) -> f32 {
    let a = abs(x);
    let t = min(a, 1.0);
    let z = t * t;
    var p = 1.0 / 362880.0;
    p = p * z + 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z + 1.0 / 6.0;
    let halves = half_powers(a);
    return sign(x) * select(halves.x - halves.y, p * z * t + t, a < 1.0);
}

fn cosh_whole(x: f32) -> f32 {
    let halves = half_powers(abs(x));
    return halves.x + halves.y;
}

// Beyond 10^15 the 1 under the root no longer counts, and its square would overflow.
fn asinh_whole(x: f32) -> f32 {
    let a = abs(x);
    let t = min(a, 1.0e15);
    let root = sqrt(t * t + 1.0);
    let near = ln_1p_unit(min(t + t * t / (1.0 + root), 1.0));
    let far = select(log(t + root), log(a) + 0.6931471805599453, a > 1.0e15);
    return sign(x) * select(far, near, a <= 0.5);
}

fn acosh_whole(x: f32) -> f32 {
    let t = clamp(x, 1.0, 1.0e15);
    let u = t - 1.0;
    let near = ln_1p_unit(min(u + sqrt(u * (u + 2.0)), 1.0));
    let far = select(log(t + sqrt(t * t - 1.0)), log(x) + 0.6931471805599453, x > 1.0e15);
    return select(far, near, x < 1.25);
}

fn atanh_whole(x: f32) -> f32 {
    let a = abs(x);
    let near = ln_1p_unit(min(2.0 * a / (1.0 - min(a, 0.5)), 1.0));
    let far = log((1.0 + a) / (1.0 - a));
    return sign(x) * 0.5 * select(far, near, a <= 0.33333334);
}

@if(act_identity) fn activate(x: f32) -> f32 {
    return x;
}

@if(act_neg) fn activate(x: f32) -> f32 {
    return -x;
}

@if(act_abs) fn activate(x: f32) -> f32 {
    return abs(x);
}

// Zero and what is no number stay what they are.
@if(act_sign) fn activate(x: f32) -> f32 {
    return select(select(x, -1.0, x < 0.0), 1.0, x > 0.0);
}

@if(act_exp) fn activate(x: f32) -> f32 {
    return exp(x);
}

@if(act_log) fn activate(x: f32) -> f32 {
    return log(x);
}

@if(act_sqrt) fn activate(x: f32) -> f32 {
    return sqrt(x);
}

@if(act_reciprocal) fn activate(x: f32) -> f32 {
    return 1.0 / x;
}

@if(act_sigmoid) fn activate(x: f32) -> f32 {
    return sigmoid(x);
}

@if(act_tanh) fn activate(x: f32) -> f32 {
    return tanh_safe(x);
}

// Comparisons keep what is no number; WGSL's max need not.
@if(act_relu) fn activate(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0);
}

@if(act_leaky_relu) fn activate(x: f32) -> f32 {
    return select(x, ACT_A * x, x < 0.0);
}

@if(act_elu) fn activate(x: f32) -> f32 {
    return select(x, ACT_A * exp_m1_negative(x), x < 0.0);
}

@if(act_selu) fn activate(x: f32) -> f32 {
    return 1.0507010221481323 * select(x, 1.6732631921768188 * exp_m1_negative(x), x < 0.0);
}

@if(act_softplus) fn activate(x: f32) -> f32 {
    return softplus(x);
}

// Division is accurate only for divisors up to 2^126.
@if(act_softsign) fn activate(x: f32) -> f32 {
    let t = clamp(x, -1.0e30, 1.0e30);
    return t / (1.0 + abs(t));
}

@if(act_hard_sigmoid) fn activate(x: f32) -> f32 {
    return clamp(ACT_A * x + ACT_B, 0.0, 1.0);
}

@if(act_hard_swish) fn activate(x: f32) -> f32 {
    return x * clamp(x * (1.0 / 6.0) + 0.5, 0.0, 1.0);
}

@if(act_silu) fn activate(x: f32) -> f32 {
    return x * sigmoid(x);
}

@if(act_mish) fn activate(x: f32) -> f32 {
    return x * tanh_safe(softplus(x));
}

// The part of x that the error function takes away, without an exponential.
@if(act_gelu) fn activate(x: f32) -> f32 {
    let size = abs(x);
    // Keeps what is no number; min need not.
    let a = select(size, 20.0, size > 20.0);
    // In pairs: a long chain would keep a processor waiting.
    let b = a * a;
    let d = b * b;
    let p01 = 1.18920713 + 0.237210975 * a;
    let p23 = 0.118318047 + 3.10932332e-2 * a;
    let p45 = 6.95179402e-3 + 8.06299569e-4 * a;
    let p67 = 1.21868404e-3 - 5.13873555e-4 * a;
    let p89 = 2.2588412e-4 - 4.43203374e-5 * a;
    let high = p89 + 4.71694241e-6 * b;
    let p = p01 + p23 * b + d * (p45 + p67 * b + d * high);
    let q = 1.0 / (p * p);
    return select(x, 0.0, x <= 0.0) - a * q * q;
}

// Beyond 10 the tangent is 1 or -1 to the last bit; the cube may overflow.
@if(act_gelu_tanh) fn activate(x: f32) -> f32 {
    let t = clamp(x, -10.0, 10.0);
    return 0.5 * x * (1.0 + tanh_safe(0.7978845608028654 * (t + 0.044715 * t * t * t)));
}

@if(act_erf) fn activate(x: f32) -> f32 {
    return erf(x);
}

@if(act_floor) fn activate(x: f32) -> f32 {
    return floor(x);
}

@if(act_ceil) fn activate(x: f32) -> f32 {
    return ceil(x);
}

@if(act_round) fn activate(x: f32) -> f32 {
    return round(x);
}

@if(act_sin) fn activate(x: f32) -> f32 {
    return sine(x, 0);
}

@if(act_cos) fn activate(x: f32) -> f32 {
    return sine(x, 1);
}

@if(act_clip) fn activate(x: f32) -> f32 {
    let above = select(x, ACT_A, x < ACT_A);
    return select(above, ACT_B, above > ACT_B);
}

@if(act_tan) fn activate(x: f32) -> f32 {
    return sine(x, 0) / sine(x, 1);
}

@if(act_asin) fn activate(x: f32) -> f32 {
    return asin_whole(x);
}

@if(act_acos) fn activate(x: f32) -> f32 {
    return acos_whole(x);
}

@if(act_atan) fn activate(x: f32) -> f32 {
    return atan_whole(x);
}

@if(act_sinh) fn activate(x: f32) -> f32 {
    return sinh_whole(x);
}

@if(act_cosh) fn activate(x: f32) -> f32 {
    return cosh_whole(x);
}

@if(act_asinh) fn activate(x: f32) -> f32 {
    return asinh_whole(x);
}

@if(act_acosh) fn activate(x: f32) -> f32 {
    return acosh_whole(x);
}

@if(act_atanh) fn activate(x: f32) -> f32 {
    return atanh_whole(x);
}

@if(act_celu) fn activate(x: f32) -> f32 {
    return select(x, ACT_A * exp_m1_negative(min(x, 0.0) / ACT_A), x < 0.0);
}

@if(act_thresholded_relu) fn activate(x: f32) -> f32 {
    return select(0.0, x, x > ACT_A);
}

@if(act_shrink) fn activate(x: f32) -> f32 {
    return select(select(0.0, x - ACT_B, x > ACT_A), x + ACT_B, x < -ACT_A);
}
