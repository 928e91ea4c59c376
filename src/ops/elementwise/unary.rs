//! Functions of one real number: activations and elementary functions.

use super::math;
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

/// A function of one real number.
///
/// The same formulas stand here (`eval_f32`, for the CPU) and in
/// `shaders/common/activation.wgsl` (for the GPU). Both are finite wherever
/// the exact value is, for every finite input in the function's domain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// x
    Identity,
    /// -x
    Neg,
    /// |x|
    Abs,
    /// -1, 0 or 1
    Sign,
    /// e^x
    Exp,
    /// Natural logarithm; x must be positive.
    Log,
    /// Square root; x must not be negative.
    Sqrt,
    /// 1 / x; x must not be 0.
    Reciprocal,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// max(x, 0)
    Relu,
    /// x, or alpha x where x is negative.
    LeakyRelu {
        /// The slope for negative x.
        alpha: f32,
    },
    /// x, or alpha (e^x - 1) where x is negative.
    Elu {
        /// The scale for negative x.
        alpha: f32,
    },
    /// Elu with the constants of Klambauer et al. 2017, as ONNX has them.
    Selu,
    /// ln(1 + e^x)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// max(0, min(1, alpha x + beta))
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x HardSigmoid(x) with slope 1/6 and value 1/2 at 0.
    HardSwish,
    /// x Sigmoid(x); ONNX's Swish with alpha 1.
    Silu,
    /// x tanh(Softplus(x))
    Mish,
    /// x / 2 (1 + erf(x / sqrt 2))
    Gelu,
    /// Gelu approximated with a hyperbolic tangent.
    GeluTanh,
    /// The error function.
    Erf,
    /// The largest whole number not above x.
    Floor,
    /// The smallest whole number not below x.
    Ceil,
    /// The nearest whole number, ties to even.
    Round,
    /// Sine. Accurate up to |x| = 8192, then less and less.
    Sin,
    /// Cosine. Accurate up to |x| = 8192, then less and less.
    Cos,
    /// min(max, max(min, x)), as ONNX has it: max where min is above it. Both ends
    /// are finite.
    Clip {
        /// The lower end.
        min: f32,
        /// The upper end.
        max: f32,
    },
}

use Unary::*;

const SELU_ALPHA: f64 = 1.673_263_192_176_818_8;
const SELU_GAMMA: f64 = 1.050_701_022_148_132_3;
/// Unit round-off of binary32.
const U: f64 = 5.960_464_477_539_063e-8;
/// The smallest normal binary32; what is smaller may be flushed to zero
/// (WGSL specification, "Differences from IEEE-754").
const TINY: f64 = 1.175_494_350_822_287_5e-38;

impl Unary {
    /// Every function, parametrised ones with usual parameters.
    pub const ALL: [Unary; 29] = [
        Identity,
        Neg,
        Abs,
        Sign,
        Exp,
        Log,
        Sqrt,
        Reciprocal,
        Sigmoid,
        Tanh,
        Relu,
        LeakyRelu { alpha: 0.01 },
        Elu { alpha: 1.0 },
        Selu,
        Softplus,
        Softsign,
        HardSigmoid { alpha: 0.2, beta: 0.5 },
        HardSwish,
        Silu,
        Mish,
        Gelu,
        GeluTanh,
        Erf,
        Floor,
        Ceil,
        Round,
        Sin,
        Cos,
        Clip { min: -1.0, max: 6.0 },
    ];

    /// The ONNX name where there is one.
    pub fn name(self) -> &'static str {
        match self {
            Identity => "Identity",
            Neg => "Neg",
            Abs => "Abs",
            Sign => "Sign",
            Exp => "Exp",
            Log => "Log",
            Sqrt => "Sqrt",
            Reciprocal => "Reciprocal",
            Sigmoid => "Sigmoid",
            Tanh => "Tanh",
            Relu => "Relu",
            LeakyRelu { .. } => "LeakyRelu",
            Elu { .. } => "Elu",
            Selu => "Selu",
            Softplus => "Softplus",
            Softsign => "Softsign",
            HardSigmoid { .. } => "HardSigmoid",
            HardSwish => "HardSwish",
            Silu => "Swish",
            Mish => "Mish",
            Gelu => "Gelu",
            GeluTanh => "GeluTanh",
            Erf => "Erf",
            Floor => "Floor",
            Ceil => "Ceil",
            Round => "Round",
            Sin => "Sin",
            Cos => "Cos",
            Clip { .. } => "Clip",
        }
    }

    /// The shader feature that selects the function in
    /// `shaders/common/activation.wgsl`.
    pub fn feature(self) -> &'static str {
        match self {
            Identity => "act_identity",
            Neg => "act_neg",
            Abs => "act_abs",
            Sign => "act_sign",
            Exp => "act_exp",
            Log => "act_log",
            Sqrt => "act_sqrt",
            Reciprocal => "act_reciprocal",
            Sigmoid => "act_sigmoid",
            Tanh => "act_tanh",
            Relu => "act_relu",
            LeakyRelu { .. } => "act_leaky_relu",
            Elu { .. } => "act_elu",
            Selu => "act_selu",
            Softplus => "act_softplus",
            Softsign => "act_softsign",
            HardSigmoid { .. } => "act_hard_sigmoid",
            HardSwish => "act_hard_swish",
            Silu => "act_silu",
            Mish => "act_mish",
            Gelu => "act_gelu",
            GeluTanh => "act_gelu_tanh",
            Erf => "act_erf",
            Floor => "act_floor",
            Ceil => "act_ceil",
            Round => "act_round",
            Sin => "act_sin",
            Cos => "act_cos",
            Clip { .. } => "act_clip",
        }
    }

    /// The function's two parameters; 0 where it has none.
    pub fn parameters(self) -> [f32; 2] {
        match self {
            LeakyRelu { alpha } | Elu { alpha } => [alpha, 0.0],
            HardSigmoid { alpha, beta } => [alpha, beta],
            Clip { min, max } => [min, max],
            _ => [0.0, 0.0],
        }
    }

    /// Adds to a request of a shader that imports `activate` what selects this
    /// function: one feature and the constants `ACT_A` and `ACT_B`.
    pub fn configure(self, request: &mut ShaderRequest) {
        request.features.push(self.feature().into());
        for (name, value) in ["ACT_A", "ACT_B"].into_iter().zip(self.parameters()) {
            request.consts.push((name.into(), ConstValue::F32(value)));
        }
    }

    /// The exact value.
    pub fn eval(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
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
            Relu => x.max(0.0),
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
            Clip { min, max } => x.max(min.into()).min(max.into()),
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
            Relu => x.max(0.0),
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
            Gelu => 0.5 * x * (1.0 + math::erf(x * std::f32::consts::FRAC_1_SQRT_2)),
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
            Clip { min, max } => x.max(min).min(max),
        }
    }

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
            Gelu => {
                let s = x / SQRT_2;
                let shift = FRAC_2_SQRT_PI * (-s * s).exp() * s.abs() * 2.0 * U;
                let sum = 1.0 + math::erf64(s);
                0.5 * a * (erf_error(s) + shift + sum * U) + f * 2.0 * U
            }
            GeluTanh => {
                let z = gelu_inner(x);
                let slope = 1.0 - z.tanh().powi(2);
                let inner = tanh_error(z) + slope * z.abs() * 7.0 * U;
                0.5 * a * (inner + (1.0 + z.tanh()) * U) + f * 2.0 * U
            }
            Erf => erf_error(x),
            // Polynomials of Cephes after a reduction that is exact up to 8192.
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
            Reciprocal if lo <= 0.0 && hi >= 0.0 => return f64::INFINITY,
            Log if lo <= 0.0 => return f64::INFINITY,
            Sqrt => hi.sqrt() - lo.max(0.0).sqrt(),
            // The others are monotone.
            _ => {
                let f = self.eval(x);
                (self.eval(lo) - f).abs().max((self.eval(hi) - f).abs())
            }
        };
        let lo = if matches!(self, Sqrt) { lo.max(0.0) } else { lo };
        moved + self.error(lo).max(self.error(hi)).max(self.error(x))
    }
}

impl Operator for Unary {
    fn name(&self) -> &str {
        Unary::name(*self)
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(x)] = inputs else {
            return Err(Error::rule(Unary::name(*self), "takes 1 input"));
        };
        if !x.dtype.is_float() {
            return Err(Error::rule(Unary::name(*self), format!("takes real numbers, not {x}")));
        }
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let &[Some(x)] = inputs else {
            return Err(Error::rule(Unary::name(*self), "takes 1 input"));
        };
        let values = x.reals()?.iter().map(|&x| self.eval(x)).collect();
        Ok(vec![RefTensor::real(x.dtype, &x.extents, values)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![cx.input(0)?.reals()?.iter().map(|&x| self.error(x)).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        if matches!(self, Identity) && !cx.is_state(&input) {
            return cx.alias(0, 0);
        }
        cx.call(Map::Unary(*self), &[Some(input)], &[output]);
        Ok(())
    }
}

/// Relative error of a division: 2.5 units in the last place.
const DIVISION: f64 = 5.0 * U;

/// Relative error of WGSL's `exp`: 3 + 2 |x| units in the last place.
pub fn exp_error(x: f64) -> f64 {
    (3.0 + 2.0 * x.abs()) * 2.0 * U
}

/// sqrt(2 / pi)
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient of Hendrycks and Gimpel 2016.
const GELU_CUBE: f64 = 0.044_715;

fn gelu_inner(x: f64) -> f64 {
    GELU_SCALE * (x + GELU_CUBE * x * x * x)
}

fn sigmoid_f32(x: f32) -> f32 {
    let e = math::exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

fn softplus_f32(x: f32) -> f32 {
    x.max(0.0) + math::ln_1p_unit(math::exp(-x.abs()))
}

fn elu_f32(x: f32, alpha: f32) -> f32 {
    if x < 0.0 { alpha * math::exp_m1_negative(x) } else { x }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(f: Unary, x: f32) -> bool {
        match f {
            Log => x > 0.0,
            Sqrt => x >= 0.0,
            Reciprocal => x != 0.0 && x.abs() < 8e37,
            Exp => x < 88.0,
            Selu => x < 3.2e38,
            _ => true,
        }
    }

    fn samples() -> impl Iterator<Item = f32> {
        let fine = (-4000..=4000).map(|i| i as f32 * 0.003_1);
        let wide = (-300..=300).map(|i| f32::powi(1.31, i) * if i % 2 == 0 { 1.0 } else { -1.0 });
        fine.chain(wide).chain([f32::MAX, -f32::MAX, 0.0, -0.0])
    }

    #[test]
    fn f32_values_are_within_the_error() {
        for f in Unary::ALL {
            for x in samples().filter(|&x| domain(f, x)) {
                let (got, want) = (f64::from(f.eval_f32(x)), f.eval(x.into()));
                let allowed = f.error(x.into()) + want.abs() * U;
                assert!((got - want).abs() <= allowed, "{f:?} {x}: {got} {want} {allowed}");
            }
        }
    }

    #[test]
    fn the_error_is_small() {
        // A bound that allows everything would check nothing.
        for f in Unary::ALL {
            for x in samples().filter(|&x| domain(f, x) && x.abs() < 80.0) {
                let scale = f.eval(x.into()).abs().max(f64::from(x.abs())).max(1e-30);
                let limit = if f == Exp { 340.0 } else { 40.0 } * U * scale.max(0.2);
                assert!(f.error(x.into()) <= limit, "{f:?} {x} {}", f.error(x.into()) / limit);
            }
        }
    }

    #[test]
    fn a_moved_argument_moves_the_value_no_further_than_said() {
        for f in Unary::ALL {
            for x in samples().filter(|x| x.abs() < 50.0) {
                let x = f64::from(x);
                for delta in [1e-6, 1e-3, 0.5] {
                    if !domain(f, (x - delta) as f32) || !domain(f, (x + delta) as f32) {
                        continue;
                    }
                    let allowed = f.propagate(x, delta);
                    for y in [x - delta, x - delta / 3.0, x + delta / 2.0, x + delta] {
                        let moved = (f.eval(y) - f.eval(x)).abs();
                        // The f64 evaluation itself rounds.
                        let noise = 1e-14 * (1.0 + x.abs() + f.eval(x).abs());
                        assert!(moved <= allowed + noise, "{f:?} {x} {y}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_and_features_are_unique() {
        let mut features: Vec<_> = Unary::ALL.iter().map(|f| f.feature()).collect();
        let mut names: Vec<_> = Unary::ALL.iter().map(|f| f.name()).collect();
        features.sort_unstable();
        features.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((features.len(), names.len()), (Unary::ALL.len(), Unary::ALL.len()));
    }
}
