//! Operators on two tensors, with broadcasting.

use super::broadcast;
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::DType;

/// An operation on two tensors of one dtype, broadcast to a common shape.
///
/// Whole numbers wrap around, as in NumPy (a device computes 64-bit ones in 32
/// bits, and those that leave them are an error); their quotients are rounded
/// towards zero, `x / 0` is `x` (WGSL's rule) and the remainder then 0.
/// Comparisons give [`DType::Bool`].
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
    /// a^b; negative real a only with whole b. A negative power of a whole
    /// number is cut off: 0, but for 1 and -1.
    Pow,
    /// The remainder with the sign of b, as Python has it.
    Mod,
    /// The remainder with the sign of a, as C's `fmod` and `%` have it. Exact.
    Fmod,
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
    /// Both, of each bit of whole numbers.
    BitwiseAnd,
    /// One of them or both, of each bit of whole numbers.
    BitwiseOr,
    /// Exactly one of them, of each bit of whole numbers.
    BitwiseXor,
    /// a moved up by b bits; 0 where b is negative or not below the bits there are.
    ShiftLeft,
    /// a moved down by b bits, its sign kept; all sign where b is negative or not
    /// below the bits there are.
    ShiftRight,
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
    pub const ALL: [Binary; 23] = [
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
        Mod,
        Fmod,
        BitwiseAnd,
        BitwiseOr,
        BitwiseXor,
        ShiftLeft,
        ShiftRight,
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
            Mod => "op_mod",
            Fmod => "op_fmod",
            BitwiseAnd => "op_and",
            BitwiseOr => "op_or",
            BitwiseXor => "op_xor",
            ShiftLeft => "op_shift_left",
            ShiftRight => "op_shift_right",
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
            BitwiseAnd | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => {
                !truth && dtype.is_integer()
            }
            _ => !truth && (dtype.is_float() || dtype.is_integer()),
        }
    }

    /// Whether a result may be outside of what the operands' dtype holds.
    pub(crate) fn may_overflow(self) -> bool {
        matches!(self, Add | Sub | Mul | Div | Pow | PRelu | ShiftLeft)
    }

    pub(crate) fn real(self, a: f64, b: f64) -> f64 {
        match self {
            Add => a + b,
            Sub => a - b,
            Mul => a * b,
            Div => a / b,
            Pow => a.powf(b),
            // What is no number stays it.
            Min if b < a || b.is_nan() => b,
            Max if b > a || b.is_nan() => b,
            Min | Max => a,
            PRelu if a < 0.0 => a * b,
            PRelu => a,
            Fmod => a % b,
            Mod => match a % b {
                0.0 => 0f64.copysign(b),
                r if (r < 0.0) != (b < 0.0) => r + b,
                r => r,
            },
            Equal => f64::from(u8::from(a == b)),
            Less => f64::from(u8::from(a < b)),
            LessOrEqual => f64::from(u8::from(a <= b)),
            Greater => f64::from(u8::from(a > b)),
            GreaterOrEqual => f64::from(u8::from(a >= b)),
            And | Or | Xor | BitwiseAnd | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => {
                f64::NAN
            }
        }
    }

    /// Of whole numbers, as the dtype holds it.
    pub(crate) fn eval(self, dtype: DType, a: i64, b: i64) -> i64 {
        match dtype {
            DType::U64 => self.whole_u64(a, b),
            _ => wrap(
                if self.is_comparison() { DType::Bool } else { dtype },
                self.whole(dtype, a, b),
            ),
        }
    }

    /// [`DType::U64`] beyond 2^63 is a negative number of the same bits.
    fn whole_u64(self, a: i64, b: i64) -> i64 {
        let (x, y) = (a as u64, b as u64);
        match self {
            Div if b != 0 => (x / y) as i64,
            Mod | Fmod if b != 0 => (x % y) as i64,
            Pow => power(a, y),
            PRelu => a,
            ShiftRight if y < 64 => (x >> y) as i64,
            ShiftRight => 0,
            Min => x.min(y) as i64,
            Max => x.max(y) as i64,
            Less => i64::from(x < y),
            LessOrEqual => i64::from(x <= y),
            Greater => i64::from(x > y),
            GreaterOrEqual => i64::from(x >= y),
            _ => self.whole(DType::U64, a, b),
        }
    }

    /// Of numbers of a dtype other than [`DType::U64`], before it wraps.
    fn whole(self, dtype: DType, a: i64, b: i64) -> i64 {
        match self {
            Add => a.wrapping_add(b),
            Sub => a.wrapping_sub(b),
            Mul => a.wrapping_mul(b),
            Div if b == 0 => a,
            Div => a.wrapping_div(b),
            Min => a.min(b),
            Max => a.max(b),
            And | BitwiseAnd => a & b,
            Or | BitwiseOr => a | b,
            Xor | BitwiseXor => a ^ b,
            Mod | Fmod if b == 0 => 0,
            Fmod => a.wrapping_rem(b),
            Mod => match a.wrapping_rem(b) {
                r if r != 0 && (r < 0) != (b < 0) => r + b,
                r => r,
            },
            Pow if b >= 0 => power(a, b as u64),
            Pow => match a {
                1 => 1,
                -1 if b % 2 != 0 => -1,
                -1 => 1,
                _ => 0,
            },
            PRelu if a < 0 => a.wrapping_mul(b),
            PRelu => a,
            ShiftLeft if (0..dtype.bits().into()).contains(&b) => a << b,
            ShiftLeft => 0,
            ShiftRight if (0..dtype.bits().into()).contains(&b) => a >> b,
            ShiftRight => a >> 63,
            Equal => i64::from(a == b),
            Less => i64::from(a < b),
            LessOrEqual => i64::from(a <= b),
            Greater => i64::from(a > b),
            GreaterOrEqual => i64::from(a >= b),
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
            Fmod => return 2.0 * TINY,
            Mod => 2.0 * U * f.abs(),
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
            Mod | Fmod => "Mod",
            BitwiseAnd => "BitwiseAnd",
            BitwiseOr => "BitwiseOr",
            BitwiseXor => "BitwiseXor",
            ShiftLeft | ShiftRight => "BitShift",
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
                let values = places.map(|(i, j)| self.eval(a.dtype, x[i], y[j]));
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
        // binary64 has the same roundings, each smaller by so much.
        let finer = if a.dtype == DType::F64 { f64::powi(2.0, -29) } else { 1.0 };
        let error = |at| error(at) * finer;
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

/// a^b, wrapped around.
pub(crate) fn power(a: i64, b: u64) -> i64 {
    let (mut base, mut left, mut result) = (a, b, 1i64);
    while left > 0 {
        if left % 2 == 1 {
            result = result.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        left /= 2;
    }
    result
}

/// A whole number as the dtype holds it: the low bits.
pub(crate) fn wrap(dtype: DType, value: i64) -> i64 {
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
