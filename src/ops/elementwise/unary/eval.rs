//! Values: exact ones, and those of f32 arithmetic.

use super::Unary::{self, *};
use crate::ops::elementwise::math;
use std::f64::consts::SQRT_2;

pub(super) const SELU_ALPHA: f64 = 1.673_263_192_176_818_8;
pub(super) const SELU_GAMMA: f64 = 1.050_701_022_148_132_3;

impl Unary {
    /// The exact value.
    pub fn eval(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = |x: f64| (if x <= 0.0 { 0.0 } else { x }) + (-x.abs()).exp().ln_1p();
        let elu = |alpha: f64| if x < 0.0 { alpha * x.exp_m1() } else { x };
        match self {
            Identity => x,
            Neg => -x,
            Abs => x.abs(),
            Sign if x == 0.0 => 0.0,
            Sign => x.signum(),
            Exp => x.exp(),
            Log => x.ln(),
            Sqrt => x.sqrt(),
            Reciprocal => x.recip(),
            Sigmoid => sigmoid(x),
            Tanh => x.tanh(),
            // What is no number stays it.
            Relu if x <= 0.0 => 0.0,
            Relu => x,
            LeakyRelu { alpha } => x * if x < 0.0 { alpha.into() } else { 1.0 },
            Elu { alpha } => elu(alpha.into()),
            Selu => SELU_GAMMA * elu(SELU_ALPHA),
            Softplus => softplus(x),
            Softsign => x / (1.0 + x.abs()),
            HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
            HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Silu => x * sigmoid(x),
            Mish => x * softplus(x).tanh(),
            Gelu => 0.5 * x * (1.0 + math::erf64(x / SQRT_2)),
            GeluTanh => 0.5 * x * (1.0 + gelu_inner(x).tanh()),
            Erf => math::erf64(x),
            Floor => x.floor(),
            Ceil => x.ceil(),
            Round => x.round_ties_even(),
            Sin => x.sin(),
            Cos => x.cos(),
            Tan => x.tan(),
            Asin => x.asin(),
            Acos => x.acos(),
            Atan => x.atan(),
            Sinh => x.sinh(),
            Cosh => x.cosh(),
            Asinh => x.asinh(),
            Acosh => x.acosh(),
            Atanh => x.atanh(),
            Celu { alpha } => {
                let alpha = f64::from(alpha);
                if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x }
            }
            ThresholdedRelu { alpha } => {
                if x > alpha.into() {
                    x
                } else {
                    0.0
                }
            }
            Shrink { lambd, bias } => {
                let (lambd, bias) = (f64::from(lambd), f64::from(bias));
                if x < -lambd {
                    x + bias
                } else if x > lambd {
                    x - bias
                } else {
                    0.0
                }
            }
            Clip { min, max } => clipped(x, min.into(), max.into()),
        }
    }

    /// The value in f32 arithmetic, within [`Unary::error`] of [`Unary::eval`].
    #[inline(always)]
    pub fn eval_f32(self, x: f32) -> f32 {
        match self {
            Identity => x,
            Neg => -x,
            Abs => x.abs(),
            Sign if x == 0.0 => 0.0,
            Sign => x.signum(),
            Exp => x.exp(),
            Log => x.ln(),
            Sqrt => x.sqrt(),
            Reciprocal => x.recip(),
            Sigmoid => sigmoid_f32(x),
            Tanh => math::tanh(x),
            // What is no number stays it.
            Relu if x <= 0.0 => 0.0,
            Relu => x,
            LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Elu { alpha } => elu_f32(x, alpha),
            Selu => SELU_GAMMA as f32 * elu_f32(x, SELU_ALPHA as f32),
            Softplus => softplus_f32(x),
            Softsign => x / (1.0 + x.abs()),
            HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            HardSwish => x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0),
            Silu => x * sigmoid_f32(x),
            Mish => x * math::tanh(softplus_f32(x)),
            Gelu => math::gelu(x),
            GeluTanh => {
                // Beyond 10 the tangent is 1 or -1 to the last bit; the cube may overflow.
                let t = x.clamp(-10.0, 10.0);
                let inner = GELU_SCALE as f32 * (t + GELU_CUBE as f32 * t * t * t);
                0.5 * x * (1.0 + math::tanh(inner))
            }
            Erf => math::erf(x),
            Floor => x.floor(),
            Ceil => x.ceil(),
            Round => x.round_ties_even(),
            Sin => x.sin(),
            Cos => x.cos(),
            Tan => x.tan(),
            Asin => x.asin(),
            Acos => x.acos(),
            Atan => x.atan(),
            Sinh => x.sinh(),
            Cosh => x.cosh(),
            // The standard library's f32 versions overflow far out and lose
            // digits near the ends.
            Asinh => f64::from(x).asinh() as f32,
            Acosh => f64::from(x).acosh() as f32,
            Atanh => f64::from(x).atanh() as f32,
            Celu { alpha } => {
                if x < 0.0 {
                    alpha * math::exp_m1_negative(x / alpha)
                } else {
                    x
                }
            }
            ThresholdedRelu { alpha } => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            Shrink { lambd, bias } => {
                if x < -lambd {
                    x + bias
                } else if x > lambd {
                    x - bias
                } else {
                    0.0
                }
            }
            Clip { min, max } => clipped(x, min, max),
        }
    }
}

/// sqrt(2 / pi)
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient of Hendrycks and Gimpel 2016.
const GELU_CUBE: f64 = 0.044_715;

pub(super) fn gelu_inner(x: f64) -> f64 {
    GELU_SCALE * (x + GELU_CUBE * x * x * x)
}

fn sigmoid_f32(x: f32) -> f32 {
    let e = math::exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

fn softplus_f32(x: f32) -> f32 {
    let positive = if x <= 0.0 { 0.0 } else { x };
    positive + math::ln_1p_unit(math::exp(-x.abs()))
}

fn elu_f32(x: f32, alpha: f32) -> f32 {
    if x < 0.0 { alpha * math::exp_m1_negative(x) } else { x }
}

/// x, or the end that it is beyond; the upper one decides where they are crossed.
fn clipped<T: PartialOrd>(x: T, min: T, max: T) -> T {
    let above = if x < min { min } else { x };
    if above > max { max } else { above }
}
