//! The largest or smallest elements along an axis.

mod cases;
mod onnx;

pub(crate) use cases::cases;
pub(crate) use onnx::ONNX;

use super::rules::{Rules, front_axis};
use super::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::elementwise::Map;
use crate::kernels::reduce::{Spans, accumulator};
use crate::kernels::topk::TopKKernel;
use crate::tensor::{DType, SmallRounding};
use std::cmp::Ordering;

/// ONNX `TopK` (opset 24), sorted, with k known when the graph is built.
///
/// | Input | Type |
/// |---|---|
/// | x | any plain dtype, rank at least 1; the axis is a constant of at least k |
///
/// Outputs: the first k elements along the axis from the largest down (or from
/// the smallest up), and their positions. Of equal elements the one with the
/// lower position comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK {
    /// How many.
    pub k: u64,
    /// The axis, from the end where negative.
    pub axis: i64,
    /// The largest, or the smallest.
    pub largest: bool,
    /// The dtype of the positions: I64 in ONNX, or I32.
    pub index: DType,
}

const NAME: &str = "TopK";

impl Operator for TopK {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, &["x"], 1, inputs)?;
        let x = rules.input(0)?;
        let axis = front_axis(NAME, self.axis, x.rank())?;
        if x.dtype.is_quantised() || !matches!(self.index, DType::I32 | DType::I64) {
            return rules.broken(format!("does not take {x} to positions of {}", self.index));
        }
        match x.shape[axis].as_const() {
            None => return rules.broken(format!("axis {axis} of {x} must be a constant")),
            Some(n) if n < self.k => {
                return rules.broken(format!("wants {} along axis {axis} of {x}", self.k));
            }
            Some(_) => {}
        }
        let mut shape = x.shape.clone();
        shape[axis] = self.k.into();
        Ok(vec![TensorType::new(x.dtype, shape.clone()), TensorType::new(self.index, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = inputs.first().copied().flatten();
        let x = x.ok_or_else(|| Error::internal("TopK without input"))?;
        let axis = front_axis(NAME, self.axis, x.extents.len())?;
        let mut extents = x.extents.clone();
        extents[axis] = self.k as usize;
        let (data, places) = match &x.data {
            RefData::Real(data) => {
                let (values, places) = self.chosen(&x.extents, axis, data);
                (RefData::Real(values), places)
            }
            RefData::Int(data) if x.dtype == DType::U64 => {
                let data: Vec<u64> = data.iter().map(|&v| v as u64).collect();
                let (values, places) = self.chosen(&x.extents, axis, &data);
                (RefData::Int(values.into_iter().map(|v| v as i64).collect()), places)
            }
            RefData::Int(data) => {
                let (values, places) = self.chosen(&x.extents, axis, data);
                (RefData::Int(values), places)
            }
        };
        let values = RefTensor { dtype: x.dtype, extents: extents.clone(), data };
        Ok(vec![values, RefTensor::int(self.index, &extents, places)])
    }

    /// Elements are only moved.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(cx.outputs.iter().map(|output| vec![0.0; output.len()]).collect())
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y, places) = (cx.input(0)?, cx.output(0)?, cx.output(1)?);
        let axis = front_axis(NAME, self.axis, x.ty.rank())?;
        let dtype = accumulator(x.ty.dtype);
        let spans = Spans::of(&x.ty.shape, axis, axis + 1);
        let kernel = TopKKernel { k: self.k, largest: self.largest, spans };
        if dtype == y.ty.dtype {
            cx.call(kernel, &[Some(x)], &[y, places]);
            return Ok(());
        }
        let values = cx.temporary(TensorType::new(dtype, y.ty.shape.clone()));
        cx.call(kernel, &[Some(x)], &[values.clone(), places]);
        cx.call(Map::Cast(SmallRounding::default()), &[Some(values)], &[y]);
        Ok(())
    }
}

impl TopK {
    fn chosen<T: PartialOrd + Copy>(
        &self,
        extents: &[usize],
        axis: usize,
        x: &[T],
    ) -> (Vec<T>, Vec<i64>) {
        let (n, k) = (extents[axis], self.k as usize);
        let inner: usize = extents[axis + 1..].iter().product();
        let outer: usize = extents[..axis].iter().product();
        let count = outer * k * inner;
        let mut places = vec![0; count];
        for line in 0..outer * inner {
            let start = line / inner * n * inner + line % inner;
            let mut order: Vec<usize> = (0..n).collect();
            // The sort is stable, so that equal ones stay by position.
            order.sort_by(|&a, &b| {
                let (a, b) = (x[start + a * inner], x[start + b * inner]);
                let (a, b) = if self.largest { (b, a) } else { (a, b) };
                a.partial_cmp(&b).unwrap_or(Ordering::Equal)
            });
            for (rank, &j) in order.iter().take(k).enumerate() {
                places[(line / inner * k + rank) * inner + line % inner] = j as i64;
            }
        }
        let value = |at: usize| {
            let (line, rest) = (at / (k * inner), at % inner);
            x[(line * n + places[at] as usize) * inner + rest]
        };
        ((0..count).map(value).collect(), places)
    }
}

impl GraphBuilder {
    /// The `k` largest elements of `x` along an axis in descending order, and
    /// their positions as I32; see [`TopK`].
    ///
    /// # Errors
    /// If the axis does not exist, is no constant or has fewer elements.
    pub fn top_k(&mut self, x: ValueId, k: u64, axis: i64) -> Result<(ValueId, ValueId)> {
        let op = TopK { k, axis, largest: true, index: DType::I32 };
        match self.op(op, &[Some(x)])?.as_slice() {
            &[values, places] => Ok((values, places)),
            _ => Err(Error::internal("TopK with other than two outputs")),
        }
    }
}
