//! Checks that shape rules share.

use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::tensor::DType;

/// The inputs of a shape rule, with the names messages call them by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    op: &'a str,
    names: &'a [&'a str],
    inputs: &'a [Option<&'a TensorType>],
}

impl<'a> Rules<'a> {
    /// `names` has one entry for each input the operator can have; the first
    /// `required` of them must be present.
    pub(crate) fn new(
        op: &'a str,
        names: &'a [&'a str],
        required: usize,
        inputs: &'a [Option<&'a TensorType>],
    ) -> Result<Self> {
        let rules = Rules { op, names, inputs };
        if inputs.len() > names.len() {
            return rules.broken(format!("takes {} inputs, got {}", names.len(), inputs.len()));
        }
        for index in 0..required {
            rules.input(index)?;
        }
        Ok(rules)
    }

    /// An input that must be present.
    pub(crate) fn input(&self, index: usize) -> Result<&'a TensorType> {
        match self.optional(index) {
            Some(ty) => Ok(ty),
            None => self.broken(format!("input '{}' is missing", self.name(index))),
        }
    }

    /// An input that may be absent.
    pub(crate) fn optional(&self, index: usize) -> Option<&'a TensorType> {
        self.inputs.get(index).copied().flatten()
    }

    /// The input has one of these dtypes and this rank.
    pub(crate) fn typed(&self, index: usize, dtypes: &[DType], rank: usize) -> Result<()> {
        self.dtype(index, dtypes)?;
        let ty = self.input(index)?;
        if ty.rank() == rank {
            return Ok(());
        }
        self.broken(format!("'{}' must have rank {rank}, got {ty}", self.name(index)))
    }

    /// The input has one of these dtypes.
    pub(crate) fn dtype(&self, index: usize, dtypes: &[DType]) -> Result<()> {
        let ty = self.input(index)?;
        if dtypes.contains(&ty.dtype) {
            return Ok(());
        }
        let names: Vec<_> = dtypes.iter().map(|d| d.name()).collect();
        self.broken(format!("'{}' must be {}, got {ty}", self.name(index), names.join(" or ")))
    }

    /// Dimension `axis` of an input is `expected`.
    pub(crate) fn dim(&self, index: usize, axis: usize, expected: &Dim) -> Result<()> {
        let ty = self.input(index)?;
        if ty.shape.get(axis) == Some(expected) {
            return Ok(());
        }
        let name = self.name(index);
        self.broken(format!("dimension {axis} of '{name}' must be {expected}, got {ty}"))
    }

    /// A broken rule.
    pub(crate) fn broken<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        Err(Error::rule(self.op, what))
    }

    fn name(&self, index: usize) -> &'a str {
        self.names.get(index).copied().unwrap_or("?")
    }
}

/// The axis counted from the front.
pub(crate) fn front_axis(op: &str, axis: i64, rank: usize) -> Result<usize> {
    let front = if axis < 0 { axis.saturating_add_unsigned(rank as u64) } else { axis };
    usize::try_from(front)
        .ok()
        .filter(|&front| front < rank)
        .ok_or_else(|| Error::rule(op, format!("axis {axis} of rank {rank}")))
}
