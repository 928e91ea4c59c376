//! Approximations shared, formula by formula, with
//! `shaders/common/activation.wgsl`, and the f64 functions `std` lacks.
//!
//! The f32 functions are branch-free, so loops over them vectorise.

use std::f32::consts::LOG2_E;

/// Below this, [`exp`] is 0; `e^EXP_LOW` is still a normal number.
pub const EXP_LOW: f32 = -87.0;
/// Above this, [`exp`] no longer grows; `e^EXP_HIGH` is still finite.
pub const EXP_HIGH: f32 = 88.5;

/// `e^x`, 0 below [`EXP_LOW`] and constant above [`EXP_HIGH`].
///
/// Splits `x = n ln 2 + r` and sums the Taylor series of `e^r` to degree 7,
/// whose remainder for `|r| <= ln 2 / 2` is below `2^-27`.
#[inline]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number, left in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 as a number of few bits, so that n * HIGH is exact, and the rest.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    let t = x.clamp(EXP_LOW, EXP_HIGH);
    let shifted = t * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = t - n * HIGH - n * LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // n is -126 to 128: two factors, since 2^128 is not a finite number.
    let k = shifted.to_bits() as i32 - ROUND.to_bits() as i32;
    let half = k >> 1;
    let power = |k: i32| f32::from_bits(((k + 127) << 23) as u32);
    let y = p * power(half) * power(k - half);
    if x < EXP_LOW { 0.0 } else { y }
}

/// `e^x - 1` for negative `x`, accurate near 0.
#[inline]
pub fn exp_m1_negative(x: f32) -> f32 {
    let t = x.clamp(-0.5, 0.0);
    let mut p = 1.0 / 40320.0;
    p = p * t + 1.0 / 5040.0;
    p = p * t + 1.0 / 720.0;
    p = p * t + 1.0 / 120.0;
    p = p * t + 1.0 / 24.0;
    p = p * t + 1.0 / 6.0;
    p = p * t + 0.5;
    let near = t * t * p + t;
    if x > -0.5 { near } else { exp(x) - 1.0 }
}

/// `ln(1 + t)` for `t` from 0 to 1: twice the series of the inverse hyperbolic
/// tangent of `t / (2 + t)`, whose remainder is below `2^-26` of the value.
#[inline]
pub fn ln_1p_unit(t: f32) -> f32 {
    let s = t / (2.0 + t);
    let z = s * s;
    let mut p = 1.0 / 13.0;
    p = p * z + 1.0 / 11.0;
    p = p * z + 1.0 / 9.0;
    p = p * z + 1.0 / 7.0;
    p = p * z + 1.0 / 5.0;
    p = p * z + 1.0 / 3.0;
    2.0 * (s * z * p + s)
}

/// The hyperbolic tangent. Polynomial for small arguments: Cephes, `tanhf.c`.
#[inline]
pub fn tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3;
    p = p * z + 2.063_908_8e-2;
    p = p * z - 5.373_971_6e-2;
    p = p * z + 1.333_144_2e-1;
    p = p * z - 3.333_328e-1;
    let small = p * z * x + x;
    let large = (1.0 - 2.0 / (exp(2.0 * x.abs().min(10.0)) + 1.0)).copysign(x);
    if x.abs() < 0.625 { small } else { large }
}

/// The error function. Below 1: the polynomial of Cephes, `ndtrf.c`. From 1:
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26, whose
/// absolute error is at most 1.5e-7. From 4: 1, which is the nearest f32.
#[inline]
pub fn erf(x: f32) -> f32 {
    let z = x * x;
    let mut p = 7.853_861_4e-5;
    p = p * z - 8.010_193_5e-4;
    p = p * z + 5.188_327_7e-3;
    p = p * z - 2.685_381_2e-2;
    p = p * z + 1.128_358_5e-1;
    p = p * z - 3.761_262_6e-1;
    p = p * z + std::f32::consts::FRAC_2_SQRT_PI;
    let small = x * p;
    let a = x.abs().min(4.0);
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let mut q = 1.061_405_4;
    q = q * t - 1.453_152;
    q = q * t + 1.421_413_7;
    q = q * t - 0.284_496_74;
    q = q * t + 0.254_829_6;
    let tail = q * t * exp(-a * a);
    let large = if a < 4.0 { 1.0 - tail } else { 1.0 };
    if x.abs() < 1.0 { small } else { large.copysign(x) }
}

/// Coefficients of a polynomial p, the constant first, so that `p(a)^-4` is
/// `erfc(a / sqrt(2)) / 2` to 2.5e-8 for a from 0 (least squares with weights, for the
/// smallest largest error up to 6; both are below 1e-9 from there).
pub const GELU_ROOT: [f32; 11] = [
    1.189_207_1,
    0.237_210_98,
    0.118_318_05,
    3.109_323_3e-2,
    6.951_794e-3,
    8.062_995_7e-4,
    1.218_684e-3,
    -5.138_736e-4,
    2.258_841_2e-4,
    -4.432_033_7e-5,
    4.716_942_4e-6,
];

/// `x * (1 + erf(x / sqrt(2))) / 2`: x or 0, less what erfc leaves of it on either side.
#[inline]
pub fn gelu(x: f32) -> f32 {
    // Keeps what is no number; min does not.
    let a = if x.abs() > 20.0 { 20.0 } else { x.abs() };
    let p = GELU_ROOT.iter().rev().fold(0.0, |p, c| p * a + c);
    let q = 1.0 / (p * p);
    let above = if x <= 0.0 { 0.0 } else { x };
    above - a * q * q
}

/// The error function in f64: the series without cancellation, Abramowitz and
/// Stegun 7.1.6. From 6 on it is 1 to the last bit.
pub fn erf64(x: f64) -> f64 {
    let a = x.abs();
    if a >= 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (a, a, 0.0);
    while term > sum * 1e-17 {
        n += 1.0;
        term *= 2.0 * a * a / (2.0 * n + 1.0);
        sum += term;
    }
    (sum * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error relative to the value, in units of 2^-24.
    fn worst(lo: f32, hi: f32, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let steps = 20_001;
        let at = |i: i32| lo + (hi - lo) * (i as f32 / (steps - 1) as f32);
        let off = |x: f32| {
            let want = exact(x.into());
            (f64::from(f(x)) - want).abs() / want.abs().max(1e-300)
        };
        (0..steps).map(|i| off(at(i))).fold(0.0, f64::max) * f64::powi(2.0, 24)
    }

    #[test]
    fn approximations_are_accurate_to_a_few_roundings() {
        assert!(worst(-87.0, 88.5, exp, f64::exp) < 4.0);
        assert!(worst(-20.0, -1e-6, exp_m1_negative, f64::exp_m1) < 6.0);
        assert!(worst(1e-30, 1.0, ln_1p_unit, f64::ln_1p) < 5.0);
        assert!(worst(1e-6, 12.0, tanh, f64::tanh) < 6.0);
        assert!(worst(1e-6, 5.0, erf, erf64) < 8.0);
    }

    #[test]
    fn approximations_are_finite_everywhere() {
        for x in [0.0, 1.0, 87.0, 89.0, 1e4, 1e30, f32::MAX] {
            for x in [x, -x] {
                assert!(exp(x).is_finite() && tanh(x).abs() <= 1.0 && erf(x).abs() <= 1.0, "{x}");
            }
            assert_eq!(erf(-x), -erf(x));
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-88.0), 0.0);
    }

    #[test]
    fn gelu_is_near_and_has_its_limits() {
        let exact = |x: f64| 0.5 * x * (1.0 + erf64(x / std::f64::consts::SQRT_2));
        assert!(worst(1e-6, 6.0, gelu, exact) < 16.0);
        let below = |x: f32| (f64::from(gelu(x)) - exact(x.into())).abs();
        assert!((0..8000).all(|i| below(i as f32 / -1000.0) < 2e-7));
        for x in [20.0, 1e4, f32::MAX, f32::INFINITY] {
            assert_eq!(gelu(x), x);
            assert!(gelu(-x).abs() < 1e-25);
        }
        assert!(gelu(f32::NAN).is_nan());
    }

    #[test]
    fn the_f64_error_function_has_known_values() {
        // Abramowitz and Stegun, table 7.1.
        for (x, want) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf64(x) - want).abs() < 1e-10);
            assert_eq!(erf64(-x), -erf64(x));
        }
    }
}
