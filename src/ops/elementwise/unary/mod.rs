//! Functions of one number: activations and elementary functions.

mod error;
mod eval;
#[cfg(test)]
mod tests;

pub use error::exp_error;

use super::Whole;
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::{DType, SmallRounding};

/// A function of one real number; `Identity` of anything, `Neg`, `Abs`, `Sign`
/// and `Relu` of whole numbers too.
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
    /// Tangent. Accurate up to |x| = 8192 as far as its poles let it be.
    Tan,
    /// Inverse sine; |x| must be at most 1.
    Asin,
    /// Inverse cosine; |x| must be at most 1.
    Acos,
    /// Inverse tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine; x must be at least 1.
    Acosh,
    /// Inverse hyperbolic tangent; |x| must be below 1.
    Atanh,
    /// x, or alpha (e^(x / alpha) - 1) where x is negative; alpha is positive.
    Celu {
        /// The scale for negative x.
        alpha: f32,
    },
    /// x where it is above alpha, 0 elsewhere.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// x moved by bias towards 0 where it is further from it than lambd, 0
    /// elsewhere.
    Shrink {
        /// The distance from 0.
        lambd: f32,
        /// How far values are moved.
        bias: f32,
    },
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

impl Unary {
    /// Every function, parametrised ones with usual parameters.
    pub const ALL: [Unary; 41] = [
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
        Tan,
        Asin,
        Acos,
        Atan,
        Sinh,
        Cosh,
        Asinh,
        Acosh,
        Atanh,
        Celu { alpha: 2.0 },
        ThresholdedRelu { alpha: 1.0 },
        Shrink { lambd: 0.5, bias: 0.25 },
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
            Tan => "Tan",
            Asin => "Asin",
            Acos => "Acos",
            Atan => "Atan",
            Sinh => "Sinh",
            Cosh => "Cosh",
            Asinh => "Asinh",
            Acosh => "Acosh",
            Atanh => "Atanh",
            Celu { .. } => "Celu",
            ThresholdedRelu { .. } => "ThresholdedRelu",
            Shrink { .. } => "Shrink",
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
            Tan => "act_tan",
            Asin => "act_asin",
            Acos => "act_acos",
            Atan => "act_atan",
            Sinh => "act_sinh",
            Cosh => "act_cosh",
            Asinh => "act_asinh",
            Acosh => "act_acosh",
            Atanh => "act_atanh",
            Celu { .. } => "act_celu",
            ThresholdedRelu { .. } => "act_thresholded_relu",
            Shrink { .. } => "act_shrink",
            Clip { .. } => "act_clip",
        }
    }

    /// The function's two parameters; 0 where it has none.
    pub fn parameters(self) -> [f32; 2] {
        match self {
            LeakyRelu { alpha } | Elu { alpha } | Celu { alpha } | ThresholdedRelu { alpha } => {
                [alpha, 0.0]
            }
            Shrink { lambd, bias } => [lambd, bias],
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

    /// The same function of whole numbers, where there is one.
    pub(crate) fn whole(self) -> Option<Whole> {
        match self {
            Neg => Some(Whole::Neg),
            Abs => Some(Whole::Abs),
            Sign => Some(Whole::Sign),
            Relu => Some(Whole::Relu),
            _ => None,
        }
    }

    /// Whether the function takes numbers of the dtype.
    pub fn takes(self, dtype: DType) -> bool {
        match self.whole() {
            _ if matches!(self, Identity) => true,
            Some(whole) => dtype.is_float() || whole.takes(dtype),
            None => dtype.is_float(),
        }
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
        if !self.takes(x.dtype) {
            return Err(Error::rule(Unary::name(*self), format!("does not take {x}")));
        }
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let &[Some(x)] = inputs else {
            return Err(Error::rule(Unary::name(*self), "takes 1 input"));
        };
        if matches!(self, Identity) {
            return Ok(vec![x.clone()]);
        }
        let data = match (&x.data, self.whole()) {
            (RefData::Int(v), Some(f)) => {
                RefData::Int(v.iter().map(|&v| f.eval(x.dtype, v)).collect())
            }
            _ => RefData::Real(x.reals()?.iter().map(|&x| self.eval(x)).collect()),
        };
        Ok(vec![RefTensor { dtype: x.dtype, extents: x.extents.clone(), data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let x = cx.input(0)?;
        let values = match &x.data {
            RefData::Real(values) if !matches!(self, Identity) => values,
            _ => return Ok(vec![vec![0.0; x.len()]]),
        };
        // binary64 has the same roundings, each smaller by so much.
        let finer = if x.dtype == DType::F64 { f64::powi(2.0, -29) } else { 1.0 };
        Ok(vec![values.iter().map(|&x| self.error(x) * finer).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        if matches!(self, Identity) && !cx.is_state(&input) {
            return cx.alias(0, 0);
        }
        let map = match self.whole() {
            _ if matches!(self, Identity) => Map::Cast(SmallRounding::default()),
            Some(whole) if input.ty.dtype.is_integer() => Map::Whole(whole),
            _ => Map::Unary(*self),
        };
        cx.call(map, &[Some(input)], &[output]);
        Ok(())
    }
}
