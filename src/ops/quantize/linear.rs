//! Numbers to their quantised form and back.

use super::Granularity;
use super::value::{quantized, small};
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::quantize::{Conversion, Linear};
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::{DType, small_float};

/// Unit round-off of binary32.
const U: f64 = 5.960_464_477_539_063e-8;
/// Below this, numbers may be flushed to zero.
const TINY: f64 = 1.175_494_350_822_287_5e-38;

const STORED: &[DType] = &[
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I4,
    DType::U4,
    DType::I2,
    DType::U2,
    DType::F8E4M3FN,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
    DType::F4E2M1,
];

/// ONNX `QuantizeLinear`: `saturate(round(x / scale) + zero_point)`, ties to
/// even, bit for bit as IEEE 754 has the quotient.
///
/// | Input | Type |
/// |---|---|
/// | x | F32, F16, BF16 or I32 |
/// | scale | F32, shaped as the granularity says |
/// | zero_point | optional I32, as scale; none for floating-point results |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeLinear {
    /// I8, U8, I16, U16, I4, U4, I2, U2, or a floating-point type of at most 8
    /// bits with a sign.
    pub to: DType,
    /// Which elements share a scale.
    pub granularity: Granularity,
    /// What the quotient is rounded to: F32, F16 or BF16.
    pub precision: DType,
    /// For floating-point results: out of range is the largest number, not
    /// infinity or what is not a number.
    pub saturate: bool,
}

/// `saturate(round(x * factor) + zero_point)`, ties to even: what becomes of sums
/// of products of quantised numbers. In F32.
///
/// | Input | Type |
/// |---|---|
/// | x | I32 |
/// | factor | F32, shaped as the granularity says |
/// | zero_point | optional I32, as factor |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requantize {
    /// I8 or U8.
    pub to: DType,
    /// Which elements share a factor.
    pub granularity: Granularity,
}

/// ONNX `DequantizeLinear`: `(x - zero_point) * scale`, in F32.
///
/// | Input | Type |
/// |---|---|
/// | x | what [`QuantizeLinear`] makes, or I32 |
/// | scale | F32, shaped as the granularity says |
/// | zero_point | optional I32, as scale; none for floating-point x |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// F32, F16 or BF16.
    pub to: DType,
    /// Which elements share a scale.
    pub granularity: Granularity,
}

/// The result's type where inputs are as the table says.
fn infer(
    op: &str,
    inputs: &[Option<&TensorType>],
    from: &[DType],
    to: DType,
    granularity: Granularity,
) -> Result<Vec<TensorType>> {
    let rules = Rules::new(op, &["x", "scale", "zero_point"], 2, inputs)?;
    rules.dtype(0, from)?;
    let x = rules.input(0)?;
    let shape = granularity.scales(op, x)?;
    for (index, dtype) in [(1, DType::F32), (2, DType::I32)] {
        let wanted = TensorType::new(dtype, shape.clone());
        if rules.optional(index).is_some_and(|ty| *ty != wanted) {
            let got = rules.input(index)?;
            return rules.broken(format!("{granularity:?} of {x} needs {wanted}, got {got}"));
        }
    }
    Ok(vec![TensorType::new(to, x.shape.clone())])
}

/// Each element of x with its scale and its zero point.
fn elements<T>(
    op: &str,
    inputs: &[Option<&RefTensor>],
    granularity: Granularity,
    f: impl Fn(f64, f64, i32) -> T,
) -> Result<Vec<T>> {
    let [Some(x), Some(scale), rest @ ..] = inputs else {
        return Err(Error::rule(op, "takes x and scale"));
    };
    let zero = rest.first().copied().flatten().map(RefTensor::ints).transpose()?;
    let scale = scale.reals()?;
    let one = |i: usize, x_value: f64| {
        let at = granularity.place(&x.extents, i);
        let zero = zero.and_then(|zero| zero.get(at)).map_or(0, |&z| z as i32);
        f(x_value, scale.get(at).copied().unwrap_or(f64::NAN), zero)
    };
    Ok(match &x.data {
        RefData::Real(v) => v.iter().enumerate().map(|(i, &v)| one(i, v)).collect(),
        RefData::Int(v) => v.iter().enumerate().map(|(i, &v)| one(i, v as f64)).collect(),
    })
}

fn extents(inputs: &[Option<&RefTensor>]) -> Vec<usize> {
    inputs.first().copied().flatten().map(|x| x.extents.clone()).unwrap_or_default()
}

fn lower(cx: &mut Lowering<'_>, conversion: Conversion, granularity: Granularity) -> Result<()> {
    let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), cx.optional(2)];
    let output = cx.output(0)?;
    cx.call(Linear { conversion, granularity }, &inputs, &[output]);
    Ok(())
}

impl Operator for QuantizeLinear {
    fn name(&self) -> &str {
        "QuantizeLinear"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let real = matches!(self.precision, DType::F32 | DType::F16 | DType::BF16);
        let moved = self.to.is_small_float() && inputs.get(2).is_some_and(Option::is_some);
        if !STORED.contains(&self.to) || !real || moved {
            return Err(Error::rule(self.name(), format!("{self:?} is none there is")));
        }
        let from = [DType::F32, DType::F16, DType::BF16, DType::I32];
        infer(self.name(), inputs, &from, self.to, self.granularity)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let Self { to, granularity, precision, saturate } = *self;
        let extents = extents(inputs);
        if to.is_small_float() {
            let value =
                |x: f64, s: f64, _| small_float(to, small(to, x, s as f32, precision, saturate));
            let values = elements(self.name(), inputs, granularity, value)?;
            return Ok(vec![RefTensor::real(to, &extents, values)]);
        }
        let value = |x: f64, s: f64, z| quantized(to, x, s as f32, z, precision);
        let values = elements(self.name(), inputs, granularity, value)?;
        Ok(vec![RefTensor::int(to, &extents, values)])
    }

    /// The quotient is that of IEEE 754, so nothing may differ.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![vec![0.0; cx.input(0)?.len()]])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let Self { granularity, precision, saturate, .. } = *self;
        lower(cx, Conversion::Quantize { precision, saturate }, granularity)
    }
}

impl Operator for Requantize {
    fn name(&self) -> &str {
        "Requantize"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        if !matches!(self.to, DType::I8 | DType::U8) {
            return Err(Error::rule(self.name(), format!("makes I8 or U8, not {}", self.to)));
        }
        infer(self.name(), inputs, &[DType::I32], self.to, self.granularity)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let to = self.to;
        let (least, most) = to.range().unwrap_or((0, 0));
        let value = |x: f64, s: f64, z: i32| {
            let whole = (x * s).clamp(-1e9, 1e9).round_ties_even() as i128 + i128::from(z);
            whole.clamp(least, most) as i64
        };
        let values = elements(self.name(), inputs, self.granularity, value)?;
        Ok(vec![RefTensor::int(to, &extents(inputs), values)])
    }

    /// The number in F32 and the product are rounded, each to either neighbour:
    /// 4 units. Where the exact product is so near to a half, the result may be
    /// the whole number on its other side.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let near = |x: f64, s: f64, _| {
            let product = x * s;
            let from_half = ((product - product.floor()) - 0.5).abs();
            f64::from(u8::from(from_half <= 4.0 * U * product.abs()))
        };
        Ok(vec![elements(self.name(), cx.inputs, self.granularity, near)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx, Conversion::Requantize, self.granularity)
    }
}

impl Operator for DequantizeLinear {
    fn name(&self) -> &str {
        "DequantizeLinear"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let small = inputs.first().copied().flatten().is_some_and(|x| x.dtype.is_small_float());
        let moved = small && inputs.get(2).is_some_and(Option::is_some);
        if !matches!(self.to, DType::F32 | DType::F16 | DType::BF16) || moved {
            return Err(Error::rule(self.name(), format!("{self:?} is none there is")));
        }
        let from: Vec<DType> = STORED.iter().copied().chain([DType::I32]).collect();
        infer(self.name(), inputs, &from, self.to, self.granularity)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let value = |x: f64, s: f64, z: i32| (x - f64::from(z)) * s;
        let values = elements(self.name(), inputs, self.granularity, value)?;
        Ok(vec![RefTensor::real(self.to, &extents(inputs), values)])
    }

    /// The difference in F32 and the product are rounded, each to either neighbour.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let error = |x: f64, s: f64, z: i32| 4.0 * U * ((x - f64::from(z)) * s).abs() + 2.0 * TINY;
        Ok(vec![elements(self.name(), cx.inputs, self.granularity, error)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx, Conversion::Dequantize, self.granularity)
    }
}
