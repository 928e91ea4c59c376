//! How far a value may be off: the roundings of the formulas, summed up.

use super::Unary::{self, *};
use super::eval::{SELU_ALPHA, SELU_GAMMA, gelu_inner};
use crate::ops::elementwise::math;
use std::f64::consts::{FRAC_PI_2, PI, SQRT_2};

/// Unit round-off of binary32.
const U: f64 = 5.960_464_477_539_063e-8;
/// The smallest normal binary32; what is smaller may be flushed to zero
/// (WGSL specification, "Differences from IEEE-754").
const TINY: f64 = 1.175_494_350_822_287_5e-38;

impl Unary {
    /// How far an f32 evaluation at exactly `x` may be from [`Unary::eval`]:
    /// the roundings of the formulas in `shaders/common/activation.wgsl`, with
    /// the accuracy the WGSL specification ("Accuracy of concrete
    /// floating-point expressions") gives its built-in functions.
    pub fn error(self, x: f64) -> f64 {
        let f = self.eval(x).abs();
        let a = x.abs();
        let own = match self {
            Identity | Neg | Abs | Relu | Clip { .. } => 0.0,
            // A subnormal input may be taken for 0.
            Sign | Floor | Ceil | Round => f64::from(u8::from(x != 0.0 && a < TINY)),
            Exp => f * exp_error(a),
            Log if (0.5..=2.0).contains(&x) => f64::powi(2.0, -21),
            Log => f * 6.0 * U,
            // Inherited from 1 / inverseSqrt(x): 2 and 2.5 units in the last place.
            Sqrt => f * 9.0 * U,
            Reciprocal => f * DIVISION,
            Sigmoid => sigmoid_error(x),
            Tanh => tanh_error(x),
            LeakyRelu { .. } => f * U,
            Elu { alpha } => elu_error(x, alpha.into()) + f * U,
            Selu => SELU_GAMMA * elu_error(x, SELU_ALPHA) + f * 4.0 * U,
            Softplus => softplus_error(x),
            Softsign => f * (DIVISION + U),
            HardSigmoid { alpha, beta } => hard_sigmoid_error(x, alpha.into(), beta.into()),
            HardSwish => a * hard_sigmoid_error(x, 1.0 / 6.0, 0.5) + f * U,
            // Below -87 the sigmoid is taken for 0.
            Silu => a.min(88.0) * sigmoid_error(x) + f * U,
            Mish => {
                let (s, ds) = (Softplus.eval(x), softplus_error(x));
                let slope = 1.0 - s.tanh().powi(2);
                a.min(88.0) * (tanh_error(s) + slope * ds) + f * U
            }
            Gelu => gelu_error(a) + f * 2.0 * U,
            GeluTanh => {
                let z = gelu_inner(x);
                let slope = 1.0 - z.tanh().powi(2);
                let inner = tanh_error(z) + slope * z.abs() * 7.0 * U;
                0.5 * a * (inner + (1.0 + z.tanh()) * U) + f * 2.0 * U
            }
            Erf => erf_error(x),
            // Polynomials of Cephes after a reduction that is exact up to 8192.
            Tan => tan_error(x),
            Asin if a <= 0.5 => f * 10.0 * U,
            // Twice the small angle of a root is taken from a right one.
            Asin => (FRAC_PI_2 - f) * 20.0 * U + 5.0 * U,
            Acos if a <= 0.5 => 12.0 * U,
            Acos if x > 0.0 => f * 20.0 * U,
            Acos => (PI - f) * 20.0 * U + 10.0 * U,
            Atan if a <= 0.4 => f * 8.0 * U,
            Atan => 12.0 * U,
            Sinh if a < 1.0 => f * 8.0 * U,
            // A root of the power is squared; the other power is at most 0.16 of the sum.
            Sinh => f * 1.4 * (2.0 * exp_error(a / 2.0) + 10.0 * U),
            Cosh => f * (2.0 * exp_error(a / 2.0) + 12.0 * U),
            Asinh if a <= 0.5 => f * 24.0 * U,
            Asinh => 22.0 * U + f * 8.0 * U,
            Acosh if x < 1.25 => f * 32.0 * U,
            Acosh => 24.0 * U + f * 8.0 * U,
            Atanh if a <= 1.0 / 3.0 => f * 24.0 * U,
            Atanh => 9.0 * U + f * 6.0 * U,
            Celu { alpha } => {
                let (alpha, z) = (f64::from(alpha), x / f64::from(alpha));
                let quotient = if x < 0.0 { z.exp() * z.abs() * DIVISION } else { 0.0 };
                elu_error(z, alpha) + alpha.abs() * quotient + f * U
            }
            ThresholdedRelu { .. } => 0.0,
            Shrink { .. } => f * 2.0 * U,
            Sin | Cos if a <= 8192.0 => 8.0 * U,
            Sin | Cos => (a * 8.0 * U).min(2.0),
        };
        own + 2.0 * TINY * a.clamp(1.0, 100.0)
    }

    /// How far the value may be from [`Unary::eval`] of `x` when the argument
    /// itself is off by up to `delta`: for epilogues of inexact results.
    pub fn propagate(self, x: f64, delta: f64) -> f64 {
        let (lo, hi) = (x - delta, x + delta);
        let moved = match self {
            Abs | Sin | Cos => delta,
            // The steepest slopes of these functions, rounded up.
            Silu | Mish => 1.1 * delta,
            Gelu | GeluTanh => 1.13 * delta,
            HardSwish => 1.5 * delta,
            LeakyRelu { alpha } | Elu { alpha } if alpha < 0.0 => {
                delta * f64::from(alpha).abs().max(1.0)
            }
            HardSigmoid { alpha, .. } => (delta * f64::from(alpha).abs()).min(1.0),
            Tan if ((lo - FRAC_PI_2) / PI).floor() != ((hi - FRAC_PI_2) / PI).floor() => {
                return f64::INFINITY;
            }
            Asin | Acos if lo < -1.0 || hi > 1.0 => return f64::INFINITY,
            Atanh if lo <= -1.0 || hi >= 1.0 => return f64::INFINITY,
            Acosh if lo < 1.0 => return f64::INFINITY,
            // These jump where the threshold is crossed.
            ThresholdedRelu { alpha } if lo <= alpha.into() && hi >= alpha.into() => {
                delta + f64::from(alpha).abs()
            }
            ThresholdedRelu { .. } => delta,
            Shrink { lambd, bias } => {
                let lambd = f64::from(lambd);
                let crossed = [-lambd, lambd].iter().any(|end| (lo..=hi).contains(end));
                delta + if crossed { lambd.abs() + f64::from(bias).abs() } else { 0.0 }
            }
            Reciprocal if lo <= 0.0 && hi >= 0.0 => return f64::INFINITY,
            Log if lo <= 0.0 => return f64::INFINITY,
            Sqrt => hi.sqrt() - lo.max(0.0).sqrt(),
            // The others are monotone, but for the hyperbolic cosine, which is convex.
            _ => {
                let f = self.eval(x);
                (self.eval(lo) - f).abs().max((self.eval(hi) - f).abs())
            }
        };
        let lo = if matches!(self, Sqrt) { lo.max(0.0) } else { lo };
        moved + self.error(lo).max(self.error(hi)).max(self.error(x))
    }
}

/// Relative error of a division: 2.5 units in the last place.
const DIVISION: f64 = 5.0 * U;

/// Relative error of WGSL's `exp`: 3 + 2 |x| units in the last place.
pub fn exp_error(x: f64) -> f64 {
    (3.0 + 2.0 * x.abs()) * 2.0 * U
}

fn sigmoid_error(x: f64) -> f64 {
    let s = 1.0 / (1.0 + (-x).exp());
    // Whether e = exp(-|x|) is in the numerator too or not, its error has this effect.
    let share = s * (1.0 - s);
    share * exp_error(x) + s * (DIVISION + 2.0 * U) + TINY
}

fn tanh_error(x: f64) -> f64 {
    let a = x.abs();
    if a < 0.625 {
        return a.tanh() * 8.0 * U;
    }
    let d = 2.0 / ((2.0 * a.min(10.0)).exp() + 1.0);
    d * (1.0 - d / 2.0) * exp_error(2.0 * a.min(10.0)) + d * (DIVISION + U) + 2.0 * U
}

/// Of the part that is taken away: the polynomial (each coefficient goes through two
/// roundings for each of its powers), its fourth power, and how well it fits.
fn gelu_error(a: f64) -> f64 {
    let a = a.min(20.0);
    let mut power = 1.0;
    let (mut sum, mut off) = (0.0, 0.0);
    for (k, &c) in math::GELU_ROOT.iter().enumerate() {
        sum += f64::from(c) * power;
        off += f64::from(c).abs() * power * (2 * k + 1) as f64 * U;
        power *= a;
    }
    let part = 0.5 * (1.0 - math::erf64(a / SQRT_2));
    a * (part * (4.0 * off / sum + 2.0 * DIVISION + 4.0 * U) + 2.5e-8)
}

fn elu_error(x: f64, alpha: f64) -> f64 {
    if x >= 0.0 {
        return 0.0;
    }
    let f = x.exp_m1().abs();
    let own = if x > -0.5 { f * 8.0 * U } else { x.exp() * exp_error(x) + f * U };
    alpha.abs() * own
}

fn softplus_error(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    let log = e.ln_1p();
    let sum = x.max(0.0) + log;
    log * 16.0 * U + e / (1.0 + e) * exp_error(x) + sum * U + TINY
}

fn hard_sigmoid_error(x: f64, alpha: f64, beta: f64) -> f64 {
    let z = alpha * x + beta;
    let dz = 2.0 * U * ((alpha * x).abs() + z.abs());
    (z + dz).clamp(0.0, 1.0) - (z - dz).clamp(0.0, 1.0)
}

fn erf_error(x: f64) -> f64 {
    let a = x.abs();
    let f = math::erf64(a);
    if a < 1.0 {
        return f * 10.0 * U;
    }
    // 7.1.26's own error, then the roundings of the tail, then of the sum.
    1.5e-7 + (1.0 - f) * (exp_error(a * a) + 2.0 * a * a * U + 24.0 * U) + U
}

/// A quotient of sine and cosine, each off by so much.
fn tan_error(x: f64) -> f64 {
    let (a, f) = (x.abs(), x.tan().abs());
    if a < 0.785 {
        return f * 16.0 * U;
    }
    let part = if a <= 8192.0 { 8.0 * U } else { a * 8.0 * U };
    // 1 / cosine; near a pole the error of the cosine itself counts.
    let secant = f.hypot(1.0);
    let left = 1.0 - part * secant;
    if left <= 0.0 {
        return f64::INFINITY;
    }
    part * (1.0 + f) * secant / left + f * DIVISION
}
