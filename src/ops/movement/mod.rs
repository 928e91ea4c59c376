//! Operators that move elements and change none.

mod cases;
mod concat;
mod onnx;
mod pad;
mod reshape;
mod strided;
mod trilu;

pub(crate) use cases::*;
pub use concat::Concat;
pub(crate) use onnx::{ONNX, count, dims, dtype_of, front_axes, reshaped, transposed};
pub use pad::{Pad, PadMode};
pub use reshape::Reshape;
pub use strided::{Expand, Slice, SliceRange, Transpose};
pub use trilu::Trilu;

use super::{RefData, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, ValueId};

/// Row-major strides.
pub(crate) fn strides<T: Clone>(shape: &[T], one: T, times: impl Fn(&T, &T) -> T) -> Vec<T> {
    let mut strides = vec![one; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = times(&strides[axis], &shape[axis]);
    }
    strides
}

/// A new tensor whose element `i` is element `source(i)` of the old one.
fn picked(
    x: &RefTensor,
    extents: &[usize],
    source: impl Fn(&[usize]) -> usize,
) -> Result<RefTensor> {
    let places = places(extents, source);
    let data = match &x.data {
        RefData::Real(data) => RefData::Real(places.map(|at| data[at]).collect()),
        RefData::Int(data) => RefData::Int(places.map(|at| data[at]).collect()),
    };
    Ok(RefTensor { dtype: x.dtype, extents: extents.to_vec(), data })
}

/// What `source` says of every index of a tensor, in row-major order.
pub(crate) fn places<T>(
    extents: &[usize],
    source: impl Fn(&[usize]) -> T,
) -> impl Iterator<Item = T> {
    let mut index = vec![0; extents.len()];
    (0..extents.iter().product()).map(move |_| {
        let place = source(&index);
        for axis in (0..extents.len()).rev() {
            index[axis] += 1;
            if index[axis] < extents[axis] {
                break;
            }
            index[axis] = 0;
        }
        place
    })
}

/// Nothing is computed, so nothing is off.
fn exact(outputs: &[RefTensor]) -> Vec<Vec<f64>> {
    outputs.iter().map(|output| vec![0.0; output.len()]).collect()
}

/// Extents without symbols.
fn fixed(op: &str, shape: &[Dim]) -> Result<Vec<usize>> {
    let known = |dim: &Dim| dim.as_const().map(|n| n as usize);
    shape
        .iter()
        .map(known)
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal(format!("{op} has symbols; its extents must be given")))
}

fn present<'a>(op: &str, inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{op} without input {index}")))
}

impl GraphBuilder {
    /// The same elements under another shape; see [`Reshape`].
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&mut self, x: ValueId, shape: &[Dim]) -> Result<ValueId> {
        self.op1(Reshape { shape: shape.to_vec() }, &[x])
    }

    /// Dimension `i` of the result is dimension `permutation[i]` of `x`; see
    /// [`Transpose`].
    ///
    /// # Errors
    /// If this is not a permutation of x's dimensions.
    pub fn transpose(&mut self, x: ValueId, permutation: &[usize]) -> Result<ValueId> {
        self.op1(Transpose { permutation: permutation.to_vec() }, &[x])
    }

    /// A part of `x`; see [`Slice`].
    ///
    /// # Errors
    /// If a range does not fit x.
    pub fn slice(&mut self, x: ValueId, ranges: &[SliceRange]) -> Result<ValueId> {
        self.op1(Slice { ranges: ranges.to_vec() }, &[x])
    }

    /// `x` with dimensions of 1 repeated and new ones put before; see [`Expand`].
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn expand(&mut self, x: ValueId, shape: &[Dim]) -> Result<ValueId> {
        self.op1(Expand { shape: shape.to_vec() }, &[x])
    }

    /// Tensors one after another along an axis; see [`Concat`].
    ///
    /// # Errors
    /// If dtypes, or dimensions other than the axis, differ.
    pub fn concat(&mut self, parts: &[ValueId], axis: i64) -> Result<ValueId> {
        self.op1(Concat { axis }, parts)
    }
}
