//! What Softmax and LogSoftmax share: their shape rule, the rows along the
//! axis, and how far the sum of a row's exponentials may be off.

use crate::error::Result;
use crate::graph::TensorType;
use crate::ops::rules::{Rules, front_axis};
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};
use std::iter::StepBy;
use std::ops::Range;

/// The places of a row's elements in the whole tensor.
pub(super) type Row = StepBy<Range<usize>>;

/// One F32 tensor in, one of its type out.
pub(super) fn infer(
    op: &'static str,
    axis: i64,
    inputs: &[Option<&TensorType>],
) -> Result<Vec<TensorType>> {
    let rules = Rules::new(op, &["x"], 1, inputs)?;
    rules.dtype(0, &[DType::F32])?;
    let x = rules.input(0)?;
    front_axis(op, axis, x.rank())?;
    Ok(vec![x.clone()])
}

/// Every row along an axis.
pub(super) fn rows(extents: &[usize], axis: usize) -> impl Iterator<Item = Row> {
    let n = extents[axis];
    let inner: usize = extents[axis + 1..].iter().product();
    let outer: usize = extents[..axis].iter().product();
    (0..outer).flat_map(move |o| {
        let slab = o * n * inner;
        (slab..slab + inner).map(move |start| (start..start + n * inner).step_by(inner))
    })
}

/// A row's maximum and the sum of `exp(x - max)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peak {
    pub(super) max: f64,
    pub(super) sum: f64,
}

impl Peak {
    pub(super) fn of(x: &[f64], row: &Row) -> Self {
        let max = row.clone().map(|at| x[at]).fold(f64::NEG_INFINITY, f64::max);
        Peak { max, sum: row.clone().map(|at| (x[at] - max).exp()).sum() }
    }

    /// How far the sum may be off, relative to it: the mean of the errors of
    /// the exponentials, weighted by them, plus `gamma(n)`. Each of them may be
    /// flushed to zero where it is not a normal number, and the sum is at least 1.
    pub(super) fn sum_error(&self, x: &[f64], row: &Row, unit: f64) -> f64 {
        let error = |at: usize| {
            let distance = x[at] - self.max;
            distance.exp() * exp_error(distance, unit)
        };
        let mean = row.clone().map(error).sum::<f64>() / self.sum;
        let n = row.len();
        mean + gamma(n, unit) + n as f64 * smallest_normal(DType::F32)
    }
}

/// Relative error of `exp(d)` with `d = x - max`: rounded to `d(1 + u)`, it is
/// off by `u|d|` from that and by `3 + 2|d|` units in the last place by itself
/// (WGSL, "Accuracy of built-in functions").
pub(super) fn exp_error(distance: f64, unit: f64) -> f64 {
    let distance = distance.abs();
    unit * (distance + 2.0 * (3.0 + 2.0 * distance))
}
