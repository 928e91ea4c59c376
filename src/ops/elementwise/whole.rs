//! Functions of one whole number or truth value.

use super::binary::wrap;
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;

/// A function of one whole number. What leaves the range wraps around, as in
/// NumPy; results of 64 bits that leave the 32 of a device are an error there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whole {
    /// -x, of numbers with a sign.
    Neg,
    /// |x|
    Abs,
    /// -1, 0 or 1
    Sign,
    /// max(x, 0)
    Relu,
    /// Every bit the other way.
    BitwiseNot,
    /// The other truth value.
    Not,
}

impl Whole {
    /// Every function.
    pub const ALL: [Whole; 6] =
        [Whole::Neg, Whole::Abs, Whole::Sign, Whole::Relu, Whole::BitwiseNot, Whole::Not];

    /// The shader feature that selects the function.
    pub fn feature(self) -> &'static str {
        match self {
            Whole::Neg => "op_whole_neg",
            Whole::Abs => "op_whole_abs",
            Whole::Sign => "op_whole_sign",
            Whole::Relu => "op_whole_relu",
            Whole::BitwiseNot => "op_bitwise_not",
            Whole::Not => "op_not",
        }
    }

    /// Whether the function takes numbers of the dtype.
    pub fn takes(self, dtype: DType) -> bool {
        match self {
            Whole::Not => dtype == DType::Bool,
            Whole::Neg => dtype.is_signed_integer(),
            _ => dtype.is_integer() && dtype != DType::Bool,
        }
    }

    /// Whether a 64-bit result may leave the 32 bits of a device.
    pub(crate) fn may_overflow(self, dtype: DType) -> bool {
        match self {
            Whole::Neg | Whole::Abs => dtype == DType::I64,
            // Of a small number it is a large one.
            Whole::BitwiseNot => dtype == DType::U64,
            _ => false,
        }
    }

    /// The value, as the dtype holds it.
    pub fn eval(self, dtype: DType, x: i64) -> i64 {
        let signed = dtype.is_signed_integer();
        let y = match self {
            Whole::Neg => x.wrapping_neg(),
            Whole::Abs if signed => x.wrapping_abs(),
            Whole::Relu if signed => x.max(0),
            Whole::Abs | Whole::Relu => x,
            Whole::Sign if signed => x.signum(),
            Whole::Sign => i64::from(x != 0),
            Whole::BitwiseNot => !x,
            Whole::Not => i64::from(x == 0),
        };
        wrap(dtype, y)
    }
}

impl Operator for Whole {
    fn name(&self) -> &str {
        match self {
            Whole::Neg => "Neg",
            Whole::Abs => "Abs",
            Whole::Sign => "Sign",
            Whole::Relu => "Relu",
            Whole::BitwiseNot => "BitwiseNot",
            Whole::Not => "Not",
        }
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(x)] = inputs else {
            return Err(Error::rule(self.name(), format!("takes 1 input, got {inputs:?}")));
        };
        if !self.takes(x.dtype) {
            return Err(Error::rule(self.name(), format!("does not take {x}")));
        }
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let &[Some(x)] = inputs else { return Err(Error::rule(self.name(), "takes 1 input")) };
        let values = x.ints()?.iter().map(|&v| self.eval(x.dtype, v)).collect();
        Ok(vec![RefTensor::int(x.dtype, &x.extents, values)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![vec![0.0; cx.input(0)?.len()]])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        cx.call(Map::Whole(*self), &[Some(input)], &[output]);
        Ok(())
    }
}
