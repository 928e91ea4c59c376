//! Shapes and tensor types.

use super::dim::{Bindings, Dim};
use crate::error::Result;
use crate::tensor::DType;
use std::fmt;

/// The dimensions of a tensor, slowest first.
pub type Shape = Vec<Dim>;

/// What is known of a tensor before it is computed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The dimensions, slowest first.
    pub shape: Shape,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn elements(&self) -> Dim {
        Dim::product(&self.shape)
    }

    /// The product of all dimensions but the last: the number of rows.
    pub fn rows(&self) -> Dim {
        Dim::product(&self.shape[..self.rank().saturating_sub(1)])
    }

    /// The last dimension; 1 for a scalar.
    pub fn width(&self) -> Dim {
        self.shape.last().cloned().unwrap_or(Dim::Const(1))
    }

    /// The extents under given symbol values.
    ///
    /// # Errors
    /// As [`Dim::eval`].
    pub fn extents(&self, bindings: &Bindings) -> Result<Vec<usize>> {
        self.shape.iter().map(|dim| Ok(dim.eval(bindings)? as usize)).collect()
    }

    /// The bytes under given symbol values.
    ///
    /// # Errors
    /// As [`Dim::eval`] and [`DType::bytes`].
    pub fn bytes(&self, bindings: &Bindings) -> Result<usize> {
        self.dtype.bytes(&self.extents(bindings)?)
    }

    /// The bytes on a device under given symbol values.
    ///
    /// # Errors
    /// As [`TensorType::bytes`].
    pub fn device_bytes(&self, bindings: &Bindings) -> Result<usize> {
        self.dtype.device_bytes(&self.extents(bindings)?)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, dim) in self.shape.iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, "]")
    }
}
