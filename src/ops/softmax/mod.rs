//! Softmax and its logarithm.

mod cases;
mod loss;
mod onnx;
mod rows;

pub(crate) use cases::{log_softmax_cases, softmax_cases};
pub(crate) use onnx::ONNX;

use super::rules::front_axis;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::softmax::SoftmaxKernel;
use crate::tensor::DType;
use crate::validate::error_model::smallest_normal;
use rows::{Peak, Row, exp_error, rows};

/// ONNX `Softmax` (opset 13): `exp(x - max) / sum(exp(x - max))` along an axis.
///
/// | Input | Type |
/// |---|---|
/// | x | F32, rank at least 1, finite values |
///
/// The output has x's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax {
    /// The axis, from the end where negative.
    pub axis: i64,
}

/// ONNX `LogSoftmax` (opset 13): `x - max - ln(sum(exp(x - max)))` along an
/// axis. The sum has a term of 1, so that the logarithm is never that of 0.
///
/// | Input | Type |
/// |---|---|
/// | x | F32, rank at least 1, finite values |
///
/// The output has x's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSoftmax {
    /// The axis, from the end where negative.
    pub axis: i64,
}

const SOFTMAX: &str = "Softmax";
const LOG_SOFTMAX: &str = "LogSoftmax";

impl Operator for Softmax {
    fn name(&self) -> &str {
        SOFTMAX
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        rows::infer(SOFTMAX, self.axis, inputs)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        reference(SOFTMAX, self.axis, inputs, |x, peak| (x - peak.max).exp() / peak.sum)
    }

    /// The error of an exponential, that of the sum, and the 2.5 units in the
    /// last place that the quotient costs.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let y = cx.outputs.first().ok_or_else(|| Error::internal("Softmax without output"))?;
        let (y, unit) = (y.reals()?, cx.arithmetic.unit());
        bound(SOFTMAX, self.axis, cx, |x, row, peak, bound| {
            let sum_error = peak.sum_error(x, row, unit);
            for at in row.clone() {
                let relative = exp_error(x[at] - peak.max, unit) + sum_error + 5.0 * unit;
                // An exponential below the smallest normal number may be flushed to zero.
                bound[at] = y[at] * relative + smallest_normal(DType::F32);
            }
        })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(SOFTMAX, self.axis, false, cx)
    }
}

impl Operator for LogSoftmax {
    fn name(&self) -> &str {
        LOG_SOFTMAX
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        rows::infer(LOG_SOFTMAX, self.axis, inputs)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        reference(LOG_SOFTMAX, self.axis, inputs, |x, peak| x - peak.max - peak.sum.ln())
    }

    /// `x - max` is rounded once. A sum that is off by the part `r` moves its
    /// logarithm by at most `r / (1 - r)`, and the built-in logarithm is off by
    /// 2^-21 (8 units) up to 2 and by 3 units in the last place beyond. The
    /// larger of these is taken for all sums, as a sum near 2 may lie on either
    /// side. The last subtraction is rounded as the result is stored.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let unit = cx.arithmetic.unit();
        bound(LOG_SOFTMAX, self.axis, cx, |x, row, peak, bound| {
            let sum_error = peak.sum_error(x, row, unit);
            let moved = sum_error / (1.0 - sum_error).max(unit);
            let log_error = unit * f64::max(8.0, 6.0 * (peak.sum.ln() + moved));
            for at in row.clone() {
                bound[at] = unit * (x[at] - peak.max).abs() + moved + log_error;
            }
        })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(LOG_SOFTMAX, self.axis, true, cx)
    }
}

/// Applies `value` to every element, with the peak of its row.
fn reference(
    op: &str,
    axis: i64,
    inputs: &[Option<&RefTensor>],
    value: impl Fn(f64, Peak) -> f64,
) -> Result<Vec<RefTensor>> {
    let x = inputs.first().copied().flatten();
    let x = x.ok_or_else(|| Error::internal(format!("{op} without input")))?;
    let data = x.reals()?;
    let mut out = vec![0.0; data.len()];
    for row in rows(&x.extents, front_axis(op, axis, x.extents.len())?) {
        let peak = Peak::of(data, &row);
        for at in row {
            out[at] = value(data[at], peak);
        }
    }
    Ok(vec![RefTensor::real(x.dtype, &x.extents, out)])
}

/// Has `fill` set the bounds of every row.
fn bound(
    op: &str,
    axis: i64,
    cx: &BoundCx<'_>,
    fill: impl Fn(&[f64], &Row, Peak, &mut [f64]),
) -> Result<Vec<Vec<f64>>> {
    let x = cx.input(0)?;
    let data = x.reals()?;
    let mut bound = vec![0.0; data.len()];
    for row in rows(&x.extents, front_axis(op, axis, x.extents.len())?) {
        fill(data, &row, Peak::of(data, &row), &mut bound);
    }
    Ok(vec![bound])
}

fn lower(op: &str, axis: i64, logarithm: bool, cx: &mut Lowering<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let axis = front_axis(op, axis, x.ty.rank())?;
    cx.call(SoftmaxKernel { axis, logarithm }, &[Some(x)], &[y]);
    Ok(())
}

impl GraphBuilder {
    /// Softmax of `x` (F32) along an axis; see [`Softmax`].
    ///
    /// # Errors
    /// If the type or the axis does not fit.
    pub fn softmax(&mut self, x: ValueId, axis: i64) -> Result<ValueId> {
        self.op1(Softmax { axis }, &[x])
    }

    /// The logarithm of the softmax of `x` (F32) along an axis; see
    /// [`LogSoftmax`].
    ///
    /// # Errors
    /// If the type or the axis does not fit.
    pub fn log_softmax(&mut self, x: ValueId, axis: i64) -> Result<ValueId> {
        self.op1(LogSoftmax { axis }, &[x])
    }
}
