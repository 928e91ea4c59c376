//! Where along an axis the largest or smallest element is.

use super::runs::{Layout, flags};
use super::{left, only};
use crate::error::Result;
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::reduce::{ArgKernel, Spans};
use crate::ops::rules::{Rules, front_axis};
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::DType;

/// ONNX `ArgMax` and `ArgMin` (opset 13).
///
/// | Input | Type |
/// |---|---|
/// | x | any plain dtype; the axis is not empty |
///
/// The output has x's shape without the axis, or with 1 in its place, and
/// positions along the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgReduce {
    /// The largest element, or the smallest.
    pub largest: bool,
    /// The axis, from the end where negative.
    pub axis: i64,
    /// Whether the axis stays, with one element.
    pub keepdims: bool,
    /// Of equal elements the last, or the first.
    pub select_last_index: bool,
    /// The dtype of the positions: I64 in ONNX, or I32.
    pub index: DType,
}

impl Operator for ArgReduce {
    fn name(&self) -> &str {
        if self.largest { "ArgMax" } else { "ArgMin" }
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(self.name(), &["x"], 1, inputs)?;
        let x = rules.input(0)?;
        let axis = front_axis(self.name(), self.axis, x.rank())?;
        if x.dtype.is_quantised() || !matches!(self.index, DType::I32 | DType::I64) {
            return rules.broken(format!("does not take {x} to positions of {}", self.index));
        }
        if x.shape.get(axis) == Some(&Dim::Const(0)) {
            return rules.broken(format!("axis {axis} of {x} has no elements"));
        }
        let reduced = flags(self.name(), &[self.axis], x.rank())?;
        let shape = left(&x.shape, &reduced, self.keepdims, Dim::Const(1));
        Ok(vec![TensorType::new(self.index, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = only(self.name(), inputs)?;
        let reduced = flags(self.name(), &[self.axis], x.extents.len())?;
        let layout = Layout::new(&x.extents, &reduced);
        let extents = left(&x.extents, &reduced, self.keepdims, 1);
        let places = match &x.data {
            RefData::Real(data) => layout.groups(data).iter().map(|g| self.place(g)).collect(),
            RefData::Int(data) if x.dtype == DType::U64 => {
                let data: Vec<u64> = data.iter().map(|&v| v as u64).collect();
                layout.groups(&data).iter().map(|g| self.place(g)).collect()
            }
            RefData::Int(data) => layout.groups(data).iter().map(|g| self.place(g)).collect(),
        };
        Ok(vec![RefTensor::int(self.index, &extents, places)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(cx.outputs.iter().map(|output| vec![0.0; output.len()]).collect())
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let axis = front_axis(self.name(), self.axis, x.ty.rank())?;
        let kernel = ArgKernel {
            largest: self.largest,
            select_last: self.select_last_index,
            spans: Spans::of(&x.ty.shape, axis, axis + 1),
        };
        cx.call(kernel, &[Some(x)], &[y]);
        Ok(())
    }
}

impl ArgReduce {
    fn place<T: PartialOrd + Copy>(&self, x: &[T]) -> i64 {
        let mut best = 0;
        for (j, new) in x.iter().enumerate() {
            let old = &x[best];
            let beaten = if self.largest { new > old } else { new < old };
            if beaten || (self.select_last_index && new == old) {
                best = j;
            }
        }
        best as i64
    }
}

impl GraphBuilder {
    /// The position of the largest element of `x` along an axis, as I32 and
    /// without the axis; of equal ones the first. See [`ArgReduce`].
    ///
    /// # Errors
    /// If the axis does not exist or is empty.
    pub fn arg_max(&mut self, x: ValueId, axis: i64) -> Result<ValueId> {
        let index = DType::I32;
        let (largest, keepdims, select_last_index) = (true, false, false);
        self.op1(ArgReduce { largest, axis, keepdims, select_last_index, index }, &[x])
    }
}
