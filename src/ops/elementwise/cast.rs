//! Conversions between element types.

use super::binary::wrap;
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{Arithmetic, BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::{DType, SmallRounding, Tensor, small_float, small_float_bits};

/// The same numbers in another plain dtype.
///
/// Real to real rounds to nearest, ties to even; small floating-point types
/// saturate as ONNX has it by default ([`CastSmall`] does otherwise). Real to
/// whole cuts off the fraction and goes to the nearest end of the range, or
/// keeps the low bits of types below 8 bits; ONNX leaves that open. Whole to
/// whole keeps the low bits. Anything but 0 becomes the truth value 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The dtype of the result.
    pub to: DType,
}

impl Cast {
    fn whole(self, value: f64) -> i64 {
        match (self.to, self.to.range()) {
            (DType::Bool, _) => i64::from(value != 0.0),
            (DType::U64, _) => value as u64 as i64,
            (to, _) if to.bits() < 8 => wrap(to, value as i64),
            // Conversions go to the nearest end, and to 0 from what is not a number.
            (_, Some((least, most))) => (value as i128).clamp(least, most) as i64,
            (_, None) => 0,
        }
    }
}

/// The numbers of a tensor as real ones. Whole numbers on their way to a small
/// type go through binary32.
fn reals(x: &RefTensor, small: bool) -> Vec<f64> {
    match &x.data {
        RefData::Real(v) => v.clone(),
        RefData::Int(v) if small => v.iter().map(|&v| f64::from(v as f32)).collect(),
        RefData::Int(v) if x.dtype == DType::U64 => v.iter().map(|&v| v as u64 as f64).collect(),
        RefData::Int(v) => v.iter().map(|&v| v as f64).collect(),
    }
}

fn to_small(x: &RefTensor, to: DType, rounding: SmallRounding) -> RefTensor {
    let round = |v: f64| small_float(to, small_float_bits(to, v, rounding));
    RefTensor::real(to, &x.extents, reals(x, true).into_iter().map(round).collect())
}

fn one<'a, T>(op: &str, inputs: &[Option<&'a T>]) -> Result<&'a T> {
    match inputs {
        &[Some(x)] => Ok(x),
        _ => Err(Error::rule(op, format!("takes 1 input, got {}", inputs.len()))),
    }
}

impl Operator for Cast {
    fn name(&self) -> &str {
        "Cast"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = one(self.name(), inputs)?;
        if x.dtype.is_quantised() || self.to.is_quantised() {
            let what = format!("does not convert {} to {}", x.dtype, self.to);
            return Err(Error::rule(self.name(), what));
        }
        Ok(vec![TensorType::new(self.to, x.shape.clone())])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = one(self.name(), inputs)?;
        if x.dtype == self.to {
            return Ok(vec![x.clone()]);
        }
        if self.to.is_small_float() {
            return Ok(vec![to_small(x, self.to, SmallRounding::default())]);
        }
        let data = match &x.data {
            _ if self.to.is_float() => RefData::Real(reals(x, false)),
            RefData::Real(v) => RefData::Int(v.iter().map(|&v| self.whole(v)).collect()),
            RefData::Int(v) => RefData::Int(v.iter().map(|&v| wrap(self.to, v)).collect()),
        };
        Ok(vec![RefTensor { dtype: self.to, extents: x.extents.clone(), data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (x, y) = (cx.input(0)?, &cx.outputs[0]);
        let RefData::Real(values) = &y.data else { return Ok(vec![vec![0.0; y.len()]]) };
        // A whole number goes through f32, to either of the neighbours.
        let through = x.dtype.is_integer() && self.to.is_float() && self.to != DType::F64;
        let unit = if through { 2.0 * Arithmetic::F32.unit() } else { 0.0 };
        Ok(vec![values.iter().map(|v| v.abs() * unit).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        if input.ty.dtype == self.to && !cx.is_state(&input) {
            return cx.alias(0, 0);
        }
        cx.call(Map::Cast(SmallRounding::default()), &[Some(input)], &[output]);
        Ok(())
    }
}

/// `Cast` to a floating-point type of at most 8 bits, with what happens out of
/// its range and between its values as attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CastSmall {
    /// The dtype of the result.
    pub to: DType,
    /// How numbers become those of the dtype.
    pub rounding: SmallRounding,
}

impl Operator for CastSmall {
    fn name(&self) -> &str {
        "Cast"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = one(self.name(), inputs)?;
        if x.dtype.is_quantised() || !self.to.is_small_float() {
            let what = format!("does not round {} to {}", x.dtype, self.to);
            return Err(Error::rule(self.name(), what));
        }
        Ok(vec![TensorType::new(self.to, x.shape.clone())])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        Ok(vec![to_small(one(self.name(), inputs)?, self.to, self.rounding)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![vec![0.0; cx.input(0)?.len()]])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        cx.call(Map::Cast(self.rounding), &[Some(input)], &[output]);
        Ok(())
    }
}

/// The same bits as numbers of another dtype of as many bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BitCast {
    /// The dtype of the result.
    pub to: DType,
}

impl Operator for BitCast {
    fn name(&self) -> &str {
        "BitCast"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = one(self.name(), inputs)?;
        let blocks = x.dtype.is_quantised() || self.to.is_quantised();
        if blocks || x.dtype.bits() != self.to.bits() {
            let what = format!("{} and {} have not the same bits", x.dtype, self.to);
            return Err(Error::rule(self.name(), what));
        }
        Ok(vec![TensorType::new(self.to, x.shape.clone())])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = one(self.name(), inputs)?.to_tensor()?;
        let bytes = x.bytes().iter().map(|&byte| byte_of(self.to, byte)).collect::<Vec<_>>();
        Ok(vec![RefTensor::from_tensor(&Tensor::new(self.to, x.extents(), bytes)?)?])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![vec![0.0; cx.input(0)?.len()]])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        let moves = matches!(self.to.bits(), 8 | 16 | 32);
        if moves && !cx.is_state(&input) {
            return cx.alias(0, 0);
        }
        cx.call(Map::Bits, &[Some(input)], &[output]);
        Ok(())
    }
}

/// The byte that holds the bits of an element below 8 bits; others are as they are.
pub(crate) fn byte_of(dtype: DType, byte: u8) -> u8 {
    match (dtype.bits(), dtype.is_signed_integer()) {
        (bits @ 1..8, true) => ((byte << (8 - bits)) as i8 >> (8 - bits)) as u8,
        (bits @ 1..8, false) => byte & ((1 << bits) - 1),
        _ => byte,
    }
}
