//! Operators on two tensors, with broadcasting.

use super::broadcast;
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::DType;

/// An operation on two tensors of one dtype, broadcast to a common shape.
///
/// Whole numbers wrap around; their quotients are rounded towards zero, and
/// `x / 0` is `x` (WGSL's rule). Comparisons give [`DType::Bool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a b
    Mul,
    /// a / b; b must not be 0 where it is a real number.
    Div,
    /// a^b, of real numbers; negative a only with whole b.
    Pow,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// a, or a b where a is negative.
    PRelu,
    /// Both, of truth values.
    And,
    /// One of them or both, of truth values.
    Or,
    /// Exactly one of them, of truth values.
    Xor,
    /// a = b
    Equal,
    /// a < b
    Less,
    /// a <= b
    LessOrEqual,
    /// a > b
    Greater,
    /// a >= b
    GreaterOrEqual,
}

use Binary::*;

/// Unit round-off of binary32.
const U: f64 = 5.960_464_477_539_063e-8;
/// Below this, numbers may be flushed to zero.
const TINY: f64 = 1.175_494_350_822_287_5e-38;

impl Binary {
    /// Every operation.
    pub const ALL: [Binary; 16] = [
        Add,
        Sub,
        Mul,
        Div,
        Pow,
        Min,
        Max,
        PRelu,
        And,
        Or,
        Xor,
        Equal,
        Less,
        LessOrEqual,
        Greater,
        GreaterOrEqual,
    ];

    /// The shader feature that selects the operation.
    pub fn feature(self) -> &'static str {
        match self {
            Add => "op_add",
            Sub => "op_sub",
            Mul => "op_mul",
            Div => "op_div",
            Pow => "op_pow",
            Min => "op_min",
            Max => "op_max",
            PRelu => "op_prelu",
            And => "op_and",
            Or => "op_or",
            Xor => "op_xor",
            Equal => "op_equal",
            Less => "op_less",
            LessOrEqual => "op_less_or_equal",
            Greater => "op_greater",
            GreaterOrEqual => "op_greater_or_equal",
        }
    }

    /// Whether the result is a truth value.
    pub fn is_comparison(self) -> bool {
        matches!(self, Equal | Less | LessOrEqual | Greater | GreaterOrEqual)
    }

    /// Whether the operation takes operands of the dtype.
    pub fn takes(self, dtype: DType) -> bool {
        let truth = dtype == DType::Bool;
        match self {
            And | Or | Xor => truth,
            Equal => truth || dtype.is_float() || dtype.is_integer(),
            Pow | PRelu => dtype.is_float(),
            _ => !truth && (dtype.is_float() || dtype.is_integer()),
        }
    }

    /// Whether a result may be outside of what the operands' dtype holds.
    pub(crate) fn may_overflow(self) -> bool {
        matches!(self, Add | Sub | Mul | Div)
    }

    fn real(self, a: f64, b: f64) -> f64 {
        match self {
            Add => a + b,
            Sub => a - b,
            Mul => a * b,
            Div => a / b,
            Pow => a.powf(b),
            Min => a.min(b),
            Max => a.max(b),
            PRelu if a < 0.0 => a * b,
            PRelu => a,
            Equal => f64::from(u8::from(a == b)),
            Less => f64::from(u8::from(a < b)),
            LessOrEqual => f64::from(u8::from(a <= b)),
            Greater => f64::from(u8::from(a > b)),
            GreaterOrEqual => f64::from(u8::from(a >= b)),
            And | Or | Xor => f64::NAN,
        }
    }

    /// [`DType::U64`] beyond 2^63 is a negative number of the same bits.
    fn whole_u64(self, a: i64, b: i64) -> i64 {
        let (x, y) = (a as u64, b as u64);
        match self {
            Div if b != 0 => (x / y) as i64,
            Min => x.min(y) as i64,
            Max => x.max(y) as i64,
            Less => i64::from(x < y),
            LessOrEqual => i64::from(x <= y),
            Greater => i64::from(x > y),
            GreaterOrEqual => i64::from(x >= y),
            _ => self.whole(a, b),
        }
    }

    fn whole(self, a: i64, b: i64) -> i64 {
        match self {
            Add => a.wrapping_add(b),
            Sub => a.wrapping_sub(b),
            Mul => a.wrapping_mul(b),
            Div if b == 0 => a,
            Div => a.wrapping_div(b),
            Min => a.min(b),
            Max => a.max(b),
            And => a & b,
            Or => a | b,
            Xor => a ^ b,
            Equal => i64::from(a == b),
            Less => i64::from(a < b),
            LessOrEqual => i64::from(a <= b),
            Greater => i64::from(a > b),
            GreaterOrEqual => i64::from(a >= b),
            Pow | PRelu => 0,
        }
    }

    /// How far f32 arithmetic may be off: WGSL's sums and products may be
    /// rounded to either neighbour, quotients have 2.5 units in the last
    /// place, and powers inherit from `exp2(b * log2(a))` (WGSL
    /// specification, "Accuracy of concrete floating-point expressions").
    fn error(self, a: f64, b: f64, f: f64) -> f64 {
        let flushed = 2.0 * TINY * (1.0 + a.abs().min(100.0) + b.abs().min(100.0));
        let own = match self {
            Add | Sub | Mul | PRelu => 2.0 * U * f.abs(),
            Div => 5.0 * U * f.abs(),
            Pow if b == 0.0 || a == 0.0 => 0.0,
            Pow => {
                let log = a.abs().log2();
                let log_error = if (0.5..=2.0).contains(&a.abs()) {
                    f64::powi(2.0, -21)
                } else {
                    6.0 * U * log.abs()
                };
                let z = b * log;
                let shift = b.abs() * log_error + 2.0 * U * z.abs();
                let power = (3.0 + 2.0 * z.abs()) * 2.0 * U;
                f.abs() * ((shift * std::f64::consts::LN_2).exp_m1() + power)
            }
            _ => return 0.0,
        };
        own + flushed
    }
}

impl Operator for Binary {
    fn name(&self) -> &str {
        match self {
            Add => "Add",
            Sub => "Sub",
            Mul => "Mul",
            Div => "Div",
            Pow => "Pow",
            Min => "Min",
            Max => "Max",
            PRelu => "PRelu",
            And => "And",
            Or => "Or",
            Xor => "Xor",
            Equal => "Equal",
            Less => "Less",
            LessOrEqual => "LessOrEqual",
            Greater => "Greater",
            GreaterOrEqual => "GreaterOrEqual",
        }
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(a), Some(b)] = inputs else {
            return Err(Error::rule(self.name(), format!("takes 2 inputs, got {inputs:?}")));
        };
        if a.dtype != b.dtype || !self.takes(a.dtype) {
            let what = format!("does not take {} and {}", a.dtype, b.dtype);
            return Err(Error::rule(self.name(), what));
        }
        let dtype = if self.is_comparison() { DType::Bool } else { a.dtype };
        Ok(vec![TensorType::new(dtype, broadcast::shape(self.name(), &[a, b])?)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (a, b) = pair(self.name(), inputs)?;
        let extents = broadcast::extents(self.name(), &[a, b])?;
        let count: usize = extents.iter().product();
        let places = (0..count).map(|i| {
            (broadcast::offset(i, &extents, &a.extents), broadcast::offset(i, &extents, &b.extents))
        });
        let result = match (&a.data, &b.data) {
            (RefData::Real(x), RefData::Real(y)) => {
                let values = places.map(|(i, j)| self.real(x[i], y[j]));
                if self.is_comparison() {
                    RefTensor::int(DType::Bool, &extents, values.map(|v| v as i64).collect())
                } else {
                    RefTensor::real(a.dtype, &extents, values.collect())
                }
            }
            _ => {
                let (x, y) = (a.ints()?, b.ints()?);
                let dtype = if self.is_comparison() { DType::Bool } else { a.dtype };
                let values = places.map(|(i, j)| match a.dtype {
                    DType::U64 => self.whole_u64(x[i], y[j]),
                    _ => wrap(dtype, self.whole(x[i], y[j])),
                });
                RefTensor::int(dtype, &extents, values.collect())
            }
        };
        Ok(vec![result])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (a, b, y) = (cx.input(0)?, cx.input(1)?, &cx.outputs[0]);
        let RefData::Real(values) = &y.data else { return Ok(vec![vec![0.0; y.len()]]) };
        let (x0, x1) = (a.reals()?, b.reals()?);
        let error = |(i, f): (usize, &f64)| {
            let p = x0[broadcast::offset(i, &y.extents, &a.extents)];
            let q = x1[broadcast::offset(i, &y.extents, &b.extents)];
            self.error(p, q, *f)
        };
        Ok(vec![values.iter().enumerate().map(error).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?)];
        let output = cx.output(0)?;
        cx.call(Map::Binary(*self), &inputs, &[output]);
        Ok(())
    }
}

/// The two inputs an operator must have.
///
/// # Errors
/// If one is absent.
pub(super) fn pair<'a>(
    op: &str,
    inputs: &[Option<&'a RefTensor>],
) -> Result<(&'a RefTensor, &'a RefTensor)> {
    match inputs {
        &[Some(a), Some(b)] => Ok((a, b)),
        _ => Err(Error::rule(op, "takes 2 inputs")),
    }
}

/// A whole number as the dtype holds it: the low bits.
pub(super) fn wrap(dtype: DType, value: i64) -> i64 {
    match dtype {
        DType::I8 => i64::from(value as i8),
        DType::U8 => i64::from(value as u8),
        DType::I16 => i64::from(value as i16),
        DType::U16 => i64::from(value as u16),
        DType::I4 => value << 60 >> 60,
        DType::U4 => value & 15,
        DType::I2 => value << 62 >> 62,
        DType::U2 => value & 3,
        DType::I32 => i64::from(value as i32),
        DType::U32 => i64::from(value as u32),
        DType::Bool => i64::from(value != 0),
        _ => value,
    }
}
