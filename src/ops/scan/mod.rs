//! Running sums and products.

mod cases;
mod onnx;

pub(crate) use cases::cases;
pub(crate) use onnx::ONNX;

use super::elementwise::wrap;
use super::rules::{Rules, front_axis};
use super::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::reduce::Spans;
use crate::kernels::scan::ScanKernel;
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

/// ONNX `CumSum` (opset 14) and `CumProd` (opset 26) along an axis known when
/// the graph is built.
///
/// | Input | Type |
/// |---|---|
/// | x | F32, F64, I32, U32, I64 or U64, rank at least 1 |
///
/// The output has x's type; its element i along the axis is the sum or product
/// of elements 0 to i of x. Whole numbers keep the low bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cumulative {
    /// Products, or sums.
    pub product: bool,
    /// The axis, from the end where negative.
    pub axis: i64,
    /// Without element i itself.
    pub exclusive: bool,
    /// From the other end: elements i to the last.
    pub reverse: bool,
}

/// The dtypes it takes.
const DTYPES: &[DType] = &[DType::F32, DType::F64, DType::I32, DType::U32, DType::I64, DType::U64];

impl Cumulative {
    /// The values along every line of the axis.
    fn lines<T: Copy>(
        &self,
        extents: &[usize],
        x: &[T],
        first: T,
        combine: impl Fn(T, T) -> T,
    ) -> Result<Vec<T>> {
        let axis = front_axis(self.name(), self.axis, extents.len())?;
        let n = extents[axis];
        let inner: usize = extents[axis + 1..].iter().product();
        let mut y = x.to_vec();
        for slab in (0..x.len()).step_by((n * inner).max(1)) {
            for start in slab..slab + inner {
                let mut all = first;
                for position in 0..n {
                    let j = if self.reverse { n - 1 - position } else { position };
                    let (at, before) = (start + j * inner, all);
                    all = combine(all, x[at]);
                    y[at] = if self.exclusive { before } else { all };
                }
            }
        }
        Ok(y)
    }
}

impl Operator for Cumulative {
    fn name(&self) -> &str {
        if self.product { "CumProd" } else { "CumSum" }
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(self.name(), &["x"], 1, inputs)?;
        rules.dtype(0, DTYPES)?;
        let x = rules.input(0)?;
        front_axis(self.name(), self.axis, x.rank())?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = inputs.first().copied().flatten();
        let x = x.ok_or_else(|| Error::internal(format!("{} without input", self.name())))?;
        let data = match &x.data {
            RefData::Real(x_data) if self.product => {
                RefData::Real(self.lines(&x.extents, x_data, 1.0, |a, b| a * b)?)
            }
            RefData::Real(x_data) => {
                RefData::Real(self.lines(&x.extents, x_data, 0.0, |a, b| a + b)?)
            }
            RefData::Int(x_data) if self.product => {
                let times = |a: i64, b: i64| wrap(x.dtype, a.wrapping_mul(b));
                RefData::Int(self.lines(&x.extents, x_data, 1, times)?)
            }
            RefData::Int(x_data) => {
                let plus = |a: i64, b: i64| wrap(x.dtype, a.wrapping_add(b));
                RefData::Int(self.lines(&x.extents, x_data, 0, plus)?)
            }
        };
        Ok(vec![RefTensor { dtype: x.dtype, extents: x.extents.clone(), data }])
    }

    /// `gamma(n)` of the running sum of magnitudes, or of the product's
    /// magnitude (Higham, Accuracy and Stability, 4.2), with the length of the
    /// axis for n; terms below the smallest normal number may be flushed.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let x = cx.input(0)?;
        let RefData::Real(data) = &x.data else { return Ok(vec![vec![0.0; x.len()]]) };
        let n = x.extents[front_axis(self.name(), self.axis, x.extents.len())?];
        let sizes: Vec<f64> = data.iter().map(|v| v.abs()).collect();
        let sizes = match self.product {
            true => self.lines(&x.extents, &sizes, 1.0, |a, b| a * b)?,
            false => self.lines(&x.extents, &sizes, 0.0, |a, b| a + b)?,
        };
        let part = gamma(n, cx.arithmetic.unit()) + 2.0 * cx.arithmetic.unit();
        let tiny = n as f64 * smallest_normal(DType::F32);
        Ok(vec![sizes.iter().map(|size| part * size + tiny).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let axis = front_axis(self.name(), self.axis, x.ty.rank())?;
        let Cumulative { product, reverse, exclusive, .. } = *self;
        let spans = Spans::of(&x.ty.shape, axis, axis + 1);
        cx.call(ScanKernel { product, reverse, exclusive, spans }, &[Some(x)], &[y]);
        Ok(())
    }
}

impl GraphBuilder {
    /// The running sum of `x` along an axis; see [`Cumulative`].
    ///
    /// # Errors
    /// If the dtype or the axis does not fit.
    pub fn cumulative_sum(&mut self, x: ValueId, axis: i64) -> Result<ValueId> {
        let op = Cumulative { product: false, axis, exclusive: false, reverse: false };
        self.op1(op, &[x])
    }
}
