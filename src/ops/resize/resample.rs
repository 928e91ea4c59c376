//! Weighted sums along a dimension.

use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::resize::TapsKernel;
use crate::ops::gather::entry;
use crate::ops::rules::{Rules, front_axis};
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::gamma;

/// A tensor whose elements along an axis are weighted sums of others, by
/// tables: `y[.., j, ..] = Σ weights[j, t] x[.., indices[j, t], ..]`. ONNX
/// `Resize` is one of these for each axis.
///
/// | Input | Type |
/// |---|---|
/// | x | F32, rank at least 1, N entries along the axis |
/// | indices | I32 `[M, T]`, -N to N - 1, negative ones count from the end |
/// | weights | F32 `[M, T]` |
///
/// The output has x's shape, with M entries along the axis. An index out of
/// range is an error on the CPU; on the GPU the last entry is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resample {
    /// The axis, from the end where negative.
    pub axis: i64,
}

const NAME: &str = "Resample";
const INPUTS: &[&str] = &["x", "indices", "weights"];

impl Resample {
    /// Calls `visit` with each element of the result, and with the element of x
    /// and the weight of each of its terms.
    fn terms(
        &self,
        inputs: &[Option<&RefTensor>],
        mut visit: impl FnMut(usize, usize, f64),
    ) -> Result<Vec<usize>> {
        let &[Some(x), Some(indices), Some(weights)] = inputs else {
            return Err(Error::internal(format!("{NAME} without its inputs")));
        };
        let axis = front_axis(NAME, self.axis, x.extents.len())?;
        let &[m, taps] = indices.extents.as_slice() else {
            return Err(Error::rule(NAME, "'indices' must be a matrix"));
        };
        let (n, inner) = (x.extents[axis], x.extents[axis + 1..].iter().product::<usize>());
        let outer: usize = x.extents[..axis].iter().product();
        let (places, weights) = (indices.ints()?, weights.reals()?);
        for o in 0..outer {
            for j in 0..m {
                for t in j * taps..(j + 1) * taps {
                    let from = (o * n + entry(places[t], n, t)?) * inner;
                    let to = (o * m + j) * inner;
                    (0..inner).for_each(|i| visit(to + i, from + i, weights[t]));
                }
            }
        }
        let mut extents = x.extents.clone();
        extents[axis] = m;
        Ok(extents)
    }
}

impl Operator for Resample {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 3, inputs)?;
        rules.dtype(0, &[DType::F32])?;
        rules.typed(1, &[DType::I32], 2)?;
        rules.typed(2, &[DType::F32], 2)?;
        let (x, indices) = (rules.input(0)?, rules.input(1)?);
        rules.dim(2, 0, &indices.shape[0])?;
        rules.dim(2, 1, &indices.shape[1])?;
        let mut y = x.clone();
        y.shape[front_axis(NAME, self.axis, x.rank())?] = indices.shape[0].clone();
        Ok(vec![y])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = inputs.first().copied().flatten();
        let x = x.ok_or_else(|| Error::internal(format!("{NAME} without x")))?;
        let (values, mut sums) = (x.reals()?, Vec::new());
        let extents = self.terms(inputs, |to, from, weight| {
            sums.resize(sums.len().max(to + 1), 0.0);
            sums[to] += weight * values[from];
        })?;
        // Sums of nothing are 0.
        sums.resize(extents.iter().product(), 0.0);
        Ok(vec![RefTensor::real(DType::F32, &extents, sums)])
    }

    /// `gamma` of the number of terms, of the sum of their magnitudes.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (values, taps) = (cx.input(0)?.reals()?, cx.input(1)?.extents[1]);
        let mut bound = Vec::new();
        let factor = gamma(taps + 1, cx.arithmetic.unit());
        let extents = self.terms(cx.inputs, |to, from, weight| {
            bound.resize(bound.len().max(to + 1), 0.0);
            bound[to] += factor * (weight * values[from]).abs();
        })?;
        bound.resize(extents.iter().product(), 0.0);
        Ok(vec![bound])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
        let axis = front_axis(NAME, self.axis, inputs[0].ty.rank())?;
        let y = cx.output(0)?;
        cx.call(TapsKernel { axis }, &inputs.map(Some), &[y]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Weighted sums of the elements of `x` along an axis, by tables of indices
    /// and weights; see [`Resample`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn resample(
        &mut self,
        x: ValueId,
        axis: i64,
        indices: ValueId,
        weights: ValueId,
    ) -> Result<ValueId> {
        self.op1(Resample { axis }, &[x, indices, weights])
    }
}
