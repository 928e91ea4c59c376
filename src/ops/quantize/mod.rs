//! Linear quantisation: numbers to whole numbers and back, and products of whole
//! numbers whose sums are exact in 32 bits.

mod cases;
mod contrib;
mod linear;
mod onnx;
mod patches;
mod product;
mod range;
mod value;

pub use linear::{DequantizeLinear, QuantizeLinear, Requantize};
pub use patches::Patches;
pub use product::MatMulInteger;
pub use range::QuantizeRange;

pub(crate) use cases::*;
pub(crate) use contrib::{CONTRIB, ranged};
pub(crate) use onnx::{ONNX, product as integer_product};
pub(crate) use product::geometry;
pub(crate) use value::{dequantized, quantized, requantized, small};

use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, Shape, TensorType, ValueId};
use crate::tensor::DType;

/// Which elements of a tensor share a scale and a zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// All of them: the scale has no dimensions.
    Tensor,
    /// Those at the same place along an axis: the scale is a vector.
    Axis(usize),
    /// Neighbours along an axis: the scale has the tensor's shape, but as many
    /// elements along the axis as there are blocks.
    Block {
        /// The axis.
        axis: usize,
        /// Elements in a block; the last one of an axis may have fewer.
        size: usize,
    },
}

impl Granularity {
    /// The shape of the scales of a tensor.
    ///
    /// # Errors
    /// If the tensor has no such axis or blocks have no elements.
    pub fn scales(self, op: &str, x: &TensorType) -> Result<Shape> {
        let missing = |axis: usize| Error::rule(op, format!("axis {axis} of {x}"));
        match self {
            Granularity::Tensor => Ok(Vec::new()),
            Granularity::Axis(axis) => {
                x.shape.get(axis).map(|dim| vec![dim.clone()]).ok_or_else(|| missing(axis))
            }
            Granularity::Block { size: 0, .. } => Err(Error::rule(op, "blocks of 0 elements")),
            Granularity::Block { axis, size } => {
                let mut shape = x.shape.clone();
                let dim = shape.get_mut(axis).ok_or_else(|| missing(axis))?;
                *dim = dim.ceil_div(Dim::from(size));
                Ok(shape)
            }
        }
    }

    /// Which scale element `flat` of a tensor of these extents has; 0 where
    /// there is no such axis.
    pub(crate) fn place(self, extents: &[usize], flat: usize) -> usize {
        let (axis, size) = match self {
            Granularity::Tensor => return 0,
            Granularity::Axis(axis) => (axis, None),
            Granularity::Block { axis, size } => (axis, Some(size.max(1))),
        };
        let inner: usize = extents.iter().skip(axis + 1).product();
        let (inner, extent) = (inner.max(1), extents.get(axis).copied().unwrap_or(1).max(1));
        let line = flat / inner;
        match size {
            None => line % extent,
            Some(size) => {
                let block = line / extent * extent.div_ceil(size) + line % extent / size;
                block * inner + flat % inner
            }
        }
    }
}

impl GraphBuilder {
    /// The nearest whole numbers of a tensor over its scales, moved by zero
    /// points and cut off at the ends of `to`; see [`QuantizeLinear`].
    ///
    /// # Errors
    /// If dtypes or shapes do not fit.
    pub fn quantize(
        &mut self,
        x: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
        to: DType,
        granularity: Granularity,
    ) -> Result<ValueId> {
        let op = QuantizeLinear { to, granularity, precision: DType::F32, saturate: true };
        first(self.op(op, &[Some(x), Some(scale), zero])?)
    }

    /// What quantised numbers stand for; see [`DequantizeLinear`].
    ///
    /// # Errors
    /// If dtypes or shapes do not fit.
    pub fn dequantize(
        &mut self,
        x: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
        granularity: Granularity,
    ) -> Result<ValueId> {
        let op = DequantizeLinear { to: DType::F32, granularity };
        first(self.op(op, &[Some(x), Some(scale), zero])?)
    }
}

fn first(outputs: Vec<ValueId>) -> Result<ValueId> {
    outputs.first().copied().ok_or_else(|| Error::internal("an operator without output"))
}
