//! Conversions between element types.

use super::binary::wrap;
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::DType;

/// The same numbers in another plain dtype.
///
/// Real to real rounds to nearest, ties to even. Real to whole cuts off the
/// fraction and goes to the nearest end of the range. Whole to whole keeps the
/// low bits. Anything but 0 becomes the truth value 1.
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
            // Conversions go to the nearest end, and to 0 from what is not a number.
            (_, Some((least, most))) => (value as i128).clamp(least, most) as i64,
            (_, None) => 0,
        }
    }
}

impl Operator for Cast {
    fn name(&self) -> &str {
        "Cast"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(x)] = inputs else {
            return Err(Error::rule(self.name(), format!("takes 1 input, got {inputs:?}")));
        };
        if x.dtype.is_quantised() || self.to.is_quantised() {
            let what = format!("does not convert {} to {}", x.dtype, self.to);
            return Err(Error::rule(self.name(), what));
        }
        Ok(vec![TensorType::new(self.to, x.shape.clone())])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let &[Some(x)] = inputs else { return Err(Error::rule(self.name(), "takes 1 input")) };
        let data = match (&x.data, self.to.is_float()) {
            (RefData::Real(v), true) => RefData::Real(v.clone()),
            (RefData::Real(v), false) => RefData::Int(v.iter().map(|&v| self.whole(v)).collect()),
            (RefData::Int(v), true) if x.dtype == DType::U64 => {
                RefData::Real(v.iter().map(|&v| v as u64 as f64).collect())
            }
            (RefData::Int(v), true) => RefData::Real(v.iter().map(|&v| v as f64).collect()),
            (RefData::Int(v), false) => RefData::Int(v.iter().map(|&v| wrap(self.to, v)).collect()),
        };
        Ok(vec![RefTensor { dtype: self.to, extents: x.extents.clone(), data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let y = &cx.outputs[0];
        let RefData::Real(values) = &y.data else { return Ok(vec![vec![0.0; y.len()]]) };
        // A whole number goes through f32, to either of the neighbours.
        let through = cx.input(0)?.dtype.is_integer();
        let unit = if through { 2.0 * crate::ops::Arithmetic::F32.unit() } else { 0.0 };
        Ok(vec![values.iter().map(|v| v.abs() * unit).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        if input.ty.dtype == self.to && !cx.is_state(&input) {
            return cx.alias(0, 0);
        }
        cx.call(Map::Cast, &[Some(input)], &[output]);
        Ok(())
    }
}
