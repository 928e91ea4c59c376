//! Softmax.

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::softmax::SoftmaxKernel;
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

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

const NAME: &str = "Softmax";

impl Softmax {
    /// The axis counted from the front.
    pub(crate) fn front_axis(&self, rank: usize) -> Result<usize> {
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        usize::try_from(axis)
            .ok()
            .filter(|&axis| axis < rank)
            .ok_or_else(|| Error::rule(NAME, format!("axis {} of rank {rank}", self.axis)))
    }
}

/// Calls `each` with the start of every row, given the extents around the axis.
fn rows(extents: &[usize], axis: usize, mut each: impl FnMut(usize)) -> (usize, usize) {
    let inner: usize = extents[axis + 1..].iter().product();
    let outer: usize = extents[..axis].iter().product();
    for o in 0..outer {
        for i in 0..inner {
            each(o * extents[axis] * inner + i);
        }
    }
    (extents[axis], inner)
}

impl Operator for Softmax {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, &["x"], 1, inputs)?;
        rules.dtype(0, &[DType::F32])?;
        let x = rules.input(0)?;
        self.front_axis(x.rank())?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = inputs.first().copied().flatten();
        let x = x.ok_or_else(|| Error::internal("Softmax without input"))?;
        let data = x.reals()?;
        let mut out = vec![0.0; data.len()];
        let axis = self.front_axis(x.extents.len())?;
        let (mut starts, n) = (Vec::new(), x.extents[axis]);
        let (_, stride) = rows(&x.extents, axis, |start| starts.push(start));
        for start in starts {
            let at = |j: usize| start + j * stride;
            let max = (0..n).map(|j| data[at(j)]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..n).map(|j| (data[at(j)] - max).exp()).sum();
            for j in 0..n {
                out[at(j)] = (data[at(j)] - max).exp() / sum;
            }
        }
        Ok(vec![RefTensor::real(x.dtype, &x.extents, out)])
    }

    /// With `d = x - max`, rounded to `d(1 + u)`, `exp` is off by `u|d|` from
    /// that and by `3 + 2|d|` units in the last place by itself (WGSL, "Accuracy
    /// of built-in functions"). The sum is a mean of such errors, weighted by
    /// the results, plus `gamma(n)`. The quotient costs 2.5 units more.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (x, y) = (cx.input(0)?, cx.outputs[0].reals()?);
        let data = x.reals()?;
        let unit = cx.arithmetic.unit();
        let axis = self.front_axis(x.extents.len())?;
        let mut bound = vec![0.0; data.len()];
        let (mut starts, n) = (Vec::new(), x.extents[axis]);
        let (_, stride) = rows(&x.extents, axis, |start| starts.push(start));
        for start in starts {
            let at = |j: usize| start + j * stride;
            let max = (0..n).map(|j| data[at(j)]).fold(f64::NEG_INFINITY, f64::max);
            let exp_error = |j: usize| {
                let distance = (data[at(j)] - max).abs();
                unit * (distance + 2.0 * (3.0 + 2.0 * distance))
            };
            let mean: f64 = (0..n).map(|j| y[at(j)] * exp_error(j)).sum();
            for j in 0..n {
                let relative = exp_error(j) + mean + gamma(n, unit) + 5.0 * unit;
                // Terms below the smallest normal number may be flushed to zero.
                let flushed = n as f64 * smallest_normal(DType::F32);
                bound[at(j)] = y[at(j)] * relative + flushed;
            }
        }
        Ok(vec![bound])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let axis = self.front_axis(x.ty.rank())?;
        cx.call(SoftmaxKernel { axis }, &[Some(x)], &[y]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Softmax of `x` (F32) along an axis; see [`Softmax`].
    ///
    /// # Errors
    /// If the type or the axis does not fit.
    pub fn softmax(&mut self, x: ValueId, axis: i64) -> Result<ValueId> {
        self.op1(Softmax { axis }, &[x])
    }
}

pub(crate) fn cases() -> Vec<CaseFamily> {
    // The last is more than a binding of 1 MiB, and its rows are longer than what
    // some drivers let one invocation go through.
    let last = [[1, 1], [1, 7], [3, 64], [5, 257], [0, 4], [17, 1], [2, 1031], [9, 30011]];
    let spread = |scale: f64| {
        CaseFamily::new(format!("last axis, spread {scale}"), last.map(Vec::from), move |d| {
            let x = CaseInput::run(DType::F32, d).values(Values::Normal(scale));
            (d[1] > 0).then(|| Case::new(Softmax { axis: -1 }, [x]))
        })
    };
    let middle = [[1, 1, 1], [2, 3, 5], [3, 37, 2], [4, 0, 3], [2, 5, 0], [1, 129, 31]];
    let inner = CaseFamily::new("middle axis", middle.map(Vec::from), |d| {
        (d[1] > 0).then(|| Case::new(Softmax { axis: 1 }, [CaseInput::run(DType::F32, d)]))
    });
    let first = [[1], [11], [300], [0]];
    let first = CaseFamily::new("first axis of one", first.map(Vec::from), |d| {
        Some(Case::new(Softmax { axis: 0 }, [CaseInput::run(DType::F32, d)]))
    });
    vec![spread(1.0), spread(30.0), spread(1e-3), inner, first]
}
