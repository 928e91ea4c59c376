//! Operators that gather elements as they are stored.

use super::Places;
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::gather::PlacesKernel;
use crate::ops::rules::{Rules, front_axis};
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};

const INPUTS: &[&str] = &["data", "indices"];

/// ONNX `Gather` as ONNX has it: slices of `data` along an axis, in data's
/// dtype. ([`Gather`](super::Gather) decodes data instead.)
///
/// | Input | Type |
/// |---|---|
/// | data | any plain dtype; the axis has V entries |
/// | indices | I32 or I64, any shape; -V to V - 1, negative ones count from the end |
///
/// The output is `data.shape[..axis] + indices.shape[batch_dims..] +
/// data.shape[axis + 1..]`. An index out of range is an error of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// The axis, from the end where negative.
    pub axis: i64,
    /// So many leading dimensions of data and indices are the same, and each
    /// slice of data takes only its own indices. 0 in ONNX.
    pub batch_dims: usize,
}

/// ONNX `GatherElements`: `y[i, j, k] = data[i, indices[i, j, k], k]` for axis
/// 1 of three, and so on.
///
/// | Input | Type |
/// |---|---|
/// | data | any plain dtype, rank at least 1 |
/// | indices | I32 or I64, data's rank; no dimension but the axis longer than data's |
///
/// Indices are as for [`Take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherElements {
    /// The axis, from the end where negative.
    pub axis: i64,
}

/// ONNX `GatherND`: what is at the positions that the rows of `indices` say.
///
/// | Input | Type |
/// |---|---|
/// | data | any plain dtype, rank R |
/// | indices | I32 or I64 `[..., K]`, K at most R - batch_dims |
///
/// The output is `indices.shape[..-1] + data.shape[batch_dims + K..]`. Indices
/// are as for [`Take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherND {
    /// So many leading dimensions of data and indices are the same.
    pub batch_dims: usize,
}

impl Take {
    fn places(&self, rank: usize) -> Result<Places> {
        let axis = front_axis("Take", self.axis, rank)?;
        Ok(Places::Slices { axis, batch_dims: self.batch_dims })
    }
}

impl GatherElements {
    fn places(&self, rank: usize) -> Result<Places> {
        Ok(Places::Elements { axis: front_axis("GatherElements", self.axis, rank)? })
    }
}

impl GatherND {
    fn places(&self, _rank: usize) -> Result<Places> {
        Ok(Places::Tuples { batch_dims: self.batch_dims })
    }
}

fn reference(places: Places, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
    let &[Some(data), Some(indices)] = inputs else {
        return Err(Error::internal("a gather without data or indices"));
    };
    let rows = places.rows(&data.extents, &indices.extents, indices.ints()?)?;
    let all = rows.starts.iter().flat_map(|&start| start..start + rows.inner);
    let picked = match &data.data {
        RefData::Real(values) => RefData::Real(all.map(|at| values[at]).collect()),
        RefData::Int(values) => RefData::Int(all.map(|at| values[at]).collect()),
    };
    let extents = places.extents(&data.extents, &indices.extents);
    Ok(vec![RefTensor { dtype: data.dtype, extents, data: picked }])
}

macro_rules! operator {
    ($op:ident) => {
        impl Operator for $op {
            fn name(&self) -> &str {
                stringify!($op)
            }

            fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
                let rules = Rules::new(stringify!($op), INPUTS, 2, inputs)?;
                let data = rules.input(0)?;
                let shape = self.places(data.rank())?.shape(&rules)?;
                Ok(vec![TensorType::new(data.dtype, shape)])
            }

            fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
                let data = inputs.first().copied().flatten();
                reference(self.places(data.map_or(0, |data| data.extents.len()))?, inputs)
            }

            fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
                Ok(cx.outputs.iter().map(|output| vec![0.0; output.len()]).collect())
            }

            fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
                let (data, indices) = (cx.input(0)?, cx.input(1)?);
                let kernel = PlacesKernel { places: self.places(data.ty.rank())? };
                let y = cx.output(0)?;
                cx.call(kernel, &[Some(data), Some(indices)], &[y]);
                Ok(())
            }
        }
    };
}

operator!(Take);
operator!(GatherElements);
operator!(GatherND);

impl GraphBuilder {
    /// Slices of `data` along an axis, in data's dtype; see [`Take`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn take(&mut self, data: ValueId, indices: ValueId, axis: i64) -> Result<ValueId> {
        self.op1(Take { axis, batch_dims: 0 }, &[data, indices])
    }

    /// One element of `data` for each index; see [`GatherElements`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn gather_elements(
        &mut self,
        data: ValueId,
        indices: ValueId,
        axis: i64,
    ) -> Result<ValueId> {
        self.op1(GatherElements { axis }, &[data, indices])
    }

    /// What is at given positions of `data`; see [`GatherND`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn gather_nd(
        &mut self,
        data: ValueId,
        indices: ValueId,
        batch_dims: usize,
    ) -> Result<ValueId> {
        self.op1(GatherND { batch_dims }, &[data, indices])
    }
}
