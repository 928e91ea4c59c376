//! Scale and zero point from the ends of what is to be quantised.

use crate::error::Result;
use crate::graph::TensorType;
use crate::kernels::quantize::Range;
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;

/// The scale and the zero point of ONNX `DynamicQuantizeLinear`: 0 and both ends
/// are made to fit in unsigned 8 bits.
///
/// | Input | Type |
/// |---|---|
/// | largest | F32 scalar |
/// | least | F32 scalar |
///
/// Outputs: scale, an F32 scalar, `(max(largest, 0) - min(least, 0)) / 255`, and
/// zero_point, an I32 scalar, `round(saturate(-min(least, 0) / scale))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeRange;

impl QuantizeRange {
    /// Scale and zero point in F32, as ONNX has them; where both ends are 0 the
    /// scale is 1 / 255.
    pub fn of(largest: f32, least: f32) -> (f32, i32) {
        let (high, low) = (largest.max(0.0), least.min(0.0));
        let scale = if high == low { 1.0 } else { high - low } / 255.0;
        (scale, (0.0 - low / scale).clamp(0.0, 255.0).round_ties_even() as i32)
    }
}

impl Operator for QuantizeRange {
    fn name(&self) -> &str {
        "QuantizeRange"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(self.name(), &["largest", "least"], 2, inputs)?;
        rules.typed(0, &[DType::F32], 0)?;
        rules.typed(1, &[DType::F32], 0)?;
        Ok([DType::F32, DType::I32].map(|dtype| TensorType::new(dtype, [])).to_vec())
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let end = |i: usize| -> Result<f32> {
            let x = inputs.get(i).copied().flatten().map(RefTensor::reals).transpose()?;
            Ok(x.and_then(|x| x.first().copied()).unwrap_or(0.0) as f32)
        };
        let (scale, zero) = QuantizeRange::of(end(0)?, end(1)?);
        let zero = RefTensor::int(DType::I32, &[], vec![zero.into()]);
        Ok(vec![RefTensor::real(DType::F32, &[], vec![scale.into()]), zero])
    }

    /// The difference of the ends may be rounded to either neighbour, which the
    /// scale inherits; a zero point so near to a half may go to its other side.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let unit = f64::powi(2.0, -23);
        let scale = cx.outputs[0].reals()?.first().copied().unwrap_or(0.0);
        let low = cx.input(1)?.reals()?.first().copied().unwrap_or(0.0).min(0.0);
        let zero = -low / scale;
        let from_half = ((zero - zero.floor()) - 0.5).abs();
        let near = f64::from(u8::from(from_half <= 2.0 * unit * zero));
        Ok(vec![vec![scale.abs() * unit], vec![near]])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?)];
        let outputs = [cx.output(0)?, cx.output(1)?];
        cx.call(Range, &inputs, &outputs);
        Ok(())
    }
}
