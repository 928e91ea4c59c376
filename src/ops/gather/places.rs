//! Which elements indices mean, for every operator that gathers or scatters.

use super::entry;
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::ops::movement::strides;
use crate::ops::rules::Rules;
use crate::tensor::DType;

/// How indices say which elements of data are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Places {
    /// An index means all that has it at the axis. The first `batch_dims`
    /// dimensions of data and indices are the same.
    Slices {
        /// The axis, from the front.
        axis: usize,
        /// Dimensions shared by data and indices.
        batch_dims: usize,
    },
    /// An index means one element: that at the index's own position, but for
    /// the axis, which is the index.
    Elements {
        /// The axis, from the front.
        axis: usize,
    },
    /// The last dimension of the indices has as many as it takes to say
    /// positions along the dimensions of data after the first `batch_dims`,
    /// which are the same in both. They mean all that is there.
    Tuples {
        /// Dimensions shared by data and indices.
        batch_dims: usize,
    },
}

use Places::*;

/// The dtypes of indices.
pub(crate) const INDICES: &[DType] = &[DType::I32, DType::I64];

/// Elements of data, row by row: `inner` of them from each start on.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) starts: Vec<usize>,
    pub(crate) inner: usize,
}

impl Places {
    /// Indices that an index is made of.
    pub(crate) fn depth(self, indices: &[Dim]) -> Result<usize> {
        match self {
            Tuples { .. } => {
                let depth = indices.last().and_then(Dim::as_const);
                depth.map(|n| n as usize).ok_or_else(|| {
                    Error::unsupported("indices", "a last dimension whose size is not fixed")
                })
            }
            _ => Ok(1),
        }
    }

    /// The shape of what is meant: that of a gathered result, or of updates.
    pub(crate) fn shape(self, rules: &Rules<'_>) -> Result<Vec<Dim>> {
        let (data, indices) = (rules.input(0)?, rules.input(1)?);
        rules.dtype(1, INDICES)?;
        if data.dtype.is_quantised() {
            return rules.broken(format!("'data' must have a plain dtype, got {data}"));
        }
        match self {
            Slices { axis, batch_dims } => {
                self.batch(rules, batch_dims, axis.min(indices.rank()))?;
                let mut shape = data.shape[..axis].to_vec();
                shape.extend_from_slice(&indices.shape[batch_dims..]);
                shape.extend_from_slice(&data.shape[axis + 1..]);
                Ok(shape)
            }
            Elements { axis } => {
                if data.rank() != indices.rank() {
                    return rules.broken(format!("{indices} for {data}: of different ranks"));
                }
                let over = |i: usize| match (data.shape[i].as_const(), indices.shape[i].as_const())
                {
                    (Some(n), Some(m)) => m > n,
                    _ => data.shape[i] != indices.shape[i],
                };
                if let Some(i) = (0..data.rank()).find(|&i| i != axis && over(i)) {
                    return rules.broken(format!("{indices} reaches past dimension {i} of {data}"));
                }
                Ok(indices.shape.clone())
            }
            Tuples { batch_dims } => {
                let rows = indices.rank().saturating_sub(1);
                let depth = self.depth(&indices.shape)?;
                if indices.rank() == 0 || depth == 0 || batch_dims + depth > data.rank() {
                    return rules.broken(format!("{indices} are no positions in {data}"));
                }
                self.batch(rules, batch_dims, rows)?;
                let mut shape = indices.shape[..rows].to_vec();
                shape.extend_from_slice(&data.shape[batch_dims + depth..]);
                Ok(shape)
            }
        }
    }

    fn batch(self, rules: &Rules<'_>, batch_dims: usize, most: usize) -> Result<()> {
        if batch_dims > most {
            return rules.broken(format!("{batch_dims} batch_dims are too many"));
        }
        let data = rules.input(0)?;
        (0..batch_dims).try_for_each(|i| rules.dim(1, i, &data.shape[i]))
    }

    /// The elements that indices mean, in the order of the indices.
    ///
    /// # Errors
    /// If an index is out of range.
    pub(crate) fn rows(self, data: &[usize], indices: &[usize], values: &[i64]) -> Result<Rows> {
        let from = strides(data, 1, |a, b| a * b);
        match self {
            Slices { axis, batch_dims } => {
                let (inner, n) = (from[axis], data[axis]);
                let outer: usize = data[..axis].iter().product();
                let picked: usize = indices[batch_dims..].iter().product();
                let shared: usize = data[batch_dims..axis].iter().product();
                let mut starts = Vec::with_capacity(outer * picked);
                for o in 0..outer {
                    for j in 0..picked {
                        let at = o / shared * picked + j;
                        starts.push((o * n + entry(values[at], n, at)?) * inner);
                    }
                }
                Ok(Rows { starts, inner })
            }
            Elements { axis } => {
                let own = |index: &[usize]| {
                    let others = (0..index.len()).filter(|&i| i != axis);
                    others.map(|i| index[i] * from[i]).sum::<usize>()
                };
                let start = |(at, own): (usize, usize)| {
                    Ok(own + entry(values[at], data[axis], at)? * from[axis])
                };
                let starts = crate::ops::movement::places(indices, own).enumerate().map(start);
                Ok(Rows { starts: starts.collect::<Result<_>>()?, inner: 1 })
            }
            Tuples { batch_dims } => {
                let depth = indices.last().copied().unwrap_or(0).max(1);
                let end = batch_dims + depth;
                let inner = data[end..].iter().product();
                let slab: usize = data[batch_dims..].iter().product();
                let batches: usize = data[..batch_dims].iter().product();
                let rows = values.len() / depth;
                let start = |row: usize| {
                    let batch = row / (rows / batches.max(1)).max(1);
                    (0..depth).try_fold(batch * slab, |start, d| {
                        let (at, axis) = (row * depth + d, batch_dims + d);
                        Ok(start + entry(values[at], data[axis], at)? * from[axis])
                    })
                };
                Ok(Rows { starts: (0..rows).map(start).collect::<Result<_>>()?, inner })
            }
        }
    }

    /// Extents of what is meant.
    pub(crate) fn extents(self, data: &[usize], indices: &[usize]) -> Vec<usize> {
        match self {
            Slices { axis, batch_dims } => {
                [&data[..axis], &indices[batch_dims..], &data[axis + 1..]].concat()
            }
            Elements { .. } => indices.to_vec(),
            Tuples { batch_dims } => {
                let (depth, rows) = indices.split_last().map_or((0, indices), |(d, r)| (*d, r));
                [rows, &data[batch_dims + depth..]].concat()
            }
        }
    }

    /// Whether every index of a tensor is in range; the error names the first
    /// that is not.
    pub(crate) fn check(self, data: &TensorType, indices: &[usize], values: &[i64]) -> Result<()> {
        let known = |axis: usize| data.shape.get(axis).and_then(Dim::as_const).map(|n| n as usize);
        let depth = match self {
            Tuples { .. } => indices.last().copied().unwrap_or(0).max(1),
            _ => 1,
        };
        for (at, &value) in values.iter().enumerate() {
            let axis = match self {
                Slices { axis, .. } | Elements { axis } => axis,
                Tuples { batch_dims } => batch_dims + at % depth,
            };
            if let Some(n) = known(axis) {
                entry(value, n, at)?;
            }
        }
        Ok(())
    }
}
