//! Picking slices by index: embedding tables and rows of activations.

mod cases;
mod contrib;
mod host;
mod onnx;
mod places;
mod take;

pub(crate) use cases::{cases, elements_cases, nd_cases, take_cases};
pub(crate) use contrib::CONTRIB;
pub(crate) use host::{COMPUTED, HOST};
pub(crate) use onnx::{ONNX, axis, check_indices};
pub use places::Places;
pub use take::{GatherElements, GatherND, Take};

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::gather::GatherKernel;
use crate::quant::WEIGHT_TYPES;
use crate::tensor::DType;
use crate::validate::error_model::smallest_normal;

/// ONNX `Gather`: slices of `data` along an axis.
///
/// | Input | Type |
/// |---|---|
/// | data | any weight dtype, I32 or U32; the axis has V entries |
/// | indices | I32, any shape; -V to V - 1, negative ones count from the end |
///
/// The output is `data.shape[..axis] + indices.shape[batch_dims..] +
/// data.shape[axis + 1..]`: of F32 where data is floating-point or quantised,
/// else of data's dtype. Quantised data cannot be gathered along its last axis.
///
/// An index out of range is an error on the CPU; on the GPU the nearest valid
/// one is taken, since a shader has no way to report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    /// The axis, from the end where negative.
    pub axis: i64,
    /// So many leading dimensions of data and indices are the same, and each
    /// slice of data takes only its own indices. 0 in ONNX.
    pub batch_dims: usize,
}

const NAME: &str = "Gather";
const INPUTS: &[&str] = &["data", "indices"];

/// Data as `[outer, axis, inner]`, indices as `[outer / per_batch, picked]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout<T> {
    pub(crate) outer: T,
    pub(crate) axis: T,
    pub(crate) inner: T,
    pub(crate) picked: T,
    pub(crate) per_batch: T,
}

impl Gather {
    /// The axis counted from the front.
    pub(crate) fn front_axis(&self, rank: usize) -> Option<usize> {
        let axis = if self.axis < 0 { self.axis.checked_add(rank as i64)? } else { self.axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank && self.batch_dims <= axis)
    }

    /// The roles of the dimensions; `product` multiplies them.
    pub(crate) fn layout<T: Clone>(
        &self,
        data: &[T],
        indices: &[T],
        product: impl Fn(&[T]) -> T,
    ) -> Result<Layout<T>> {
        let axis = self
            .front_axis(data.len())
            .filter(|_| self.batch_dims <= indices.len())
            .ok_or_else(|| Error::rule(NAME, format!("axis {} does not fit", self.axis)))?;
        Ok(Layout {
            outer: product(&data[..axis]),
            axis: data[axis].clone(),
            inner: product(&data[axis + 1..]),
            picked: product(&indices[self.batch_dims..]),
            per_batch: product(&data[self.batch_dims..axis]),
        })
    }
}

/// The entry an index means, or an error naming it.
pub(crate) fn entry(index: i64, axis: usize, at: usize) -> Result<usize> {
    let from_front = if index < 0 { index.checked_add(axis as i64) } else { Some(index) };
    let entry = from_front.and_then(|entry| usize::try_from(entry).ok());
    entry.filter(|&entry| entry < axis).ok_or_else(|| {
        Error::input(format!("indices[{at}]"), format!("-{axis} to {axis} - 1"), index)
    })
}

fn pick<T: Copy>(data: &[T], indices: &[i64], l: &Layout<usize>) -> Result<Vec<T>> {
    let mut out = Vec::with_capacity(l.outer * l.picked * l.inner);
    for o in 0..l.outer {
        for j in 0..l.picked {
            let at = o / l.per_batch * l.picked + j;
            let start = (o * l.axis + entry(indices[at], l.axis, at)?) * l.inner;
            out.extend_from_slice(&data[start..start + l.inner]);
        }
    }
    Ok(out)
}

fn reference_input<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
}

impl Operator for Gather {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 2, inputs)?;
        let mut dtypes = WEIGHT_TYPES.to_vec();
        dtypes.extend([DType::I32, DType::U32]);
        rules.dtype(0, &dtypes)?;
        rules.dtype(1, &[DType::I32])?;
        let (data, indices) = (rules.input(0)?, rules.input(1)?);
        let Some(axis) = self.front_axis(data.rank()) else {
            let what = format!("axis {} with {} batch_dims", self.axis, self.batch_dims);
            return rules.broken(format!("{what} does not fit {data}"));
        };
        if self.batch_dims > indices.rank() {
            return rules.broken(format!("{} batch_dims do not fit {indices}", self.batch_dims));
        }
        for dim in 0..self.batch_dims {
            rules.dim(1, dim, &data.shape[dim])?;
        }
        if data.dtype.is_quantised() && axis + 1 == data.rank() {
            return rules.broken(format!("the last axis of {data} cannot be gathered along"));
        }
        let mut shape: Vec<Dim> = data.shape[..axis].to_vec();
        shape.extend_from_slice(&indices.shape[self.batch_dims..]);
        shape.extend_from_slice(&data.shape[axis + 1..]);
        let dtype = if data.dtype.is_integer() { data.dtype } else { DType::F32 };
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (data, indices) = (reference_input(inputs, 0)?, reference_input(inputs, 1)?);
        let layout =
            self.layout(&data.extents, &indices.extents, |dims| dims.iter().product::<usize>())?;
        let axis = self.front_axis(data.extents.len()).unwrap_or(0);
        let mut extents = data.extents[..axis].to_vec();
        extents.extend_from_slice(&indices.extents[self.batch_dims..]);
        extents.extend_from_slice(&data.extents[axis + 1..]);
        let indices = indices.ints()?;
        Ok(vec![match &data.data {
            RefData::Real(values) => {
                RefTensor::real(DType::F32, &extents, pick(values, indices, &layout)?)
            }
            RefData::Int(values) => {
                RefTensor::int(data.dtype, &extents, pick(values, indices, &layout)?)
            }
        }])
    }

    /// Decoding is exact (see `quant`), save that WGSL lets a device flush
    /// subnormal numbers to zero.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let output = cx.outputs.first().ok_or_else(|| Error::internal("no reference output"))?;
        let RefData::Real(values) = &output.data else {
            return Ok(vec![vec![0.0; output.len()]]);
        };
        let least = smallest_normal(DType::F32);
        let bound = |value: &f64| if value.abs() < least { value.abs() } else { 0.0 };
        Ok(vec![values.iter().map(bound).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [cx.optional(0), cx.optional(1)];
        let output = cx.output(0)?;
        cx.call(GatherKernel { op: *self }, &inputs, &[output]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Picks slices of `data` along an axis; see [`Gather`]. With axis 0 and a
    /// table `[V, N]` this is an embedding.
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn gather(&mut self, data: ValueId, indices: ValueId, axis: i64) -> Result<ValueId> {
        self.op1(Gather { axis, batch_dims: 0 }, &[data, indices])
    }

    /// Picks rows of each sequence of `x` `[B, Q, N]` by its own indices
    /// `[B, R]`, giving `[B, R, N]`.
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn gather_rows(&mut self, x: ValueId, indices: ValueId) -> Result<ValueId> {
        self.op1(Gather { axis: 1, batch_dims: 1 }, &[x, indices])
    }
}
