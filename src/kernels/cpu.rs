//! What CPU kernels compute on.

use crate::error::{Error, Result};
use crate::graph::Bindings;
use crate::tensor::DType;
use bytemuck::Pod;
use std::borrow::Cow;

/// The operands of a CPU kernel, with their run-time extents.
#[derive(Debug)]
pub struct CpuCx<'a> {
    /// The inputs; `None` where absent, or where the input is updated in place
    /// and is found among the outputs.
    pub inputs: Vec<Option<CpuTensor<'a>>>,
    /// The outputs.
    pub outputs: Vec<CpuTensorMut<'a>>,
    /// The run-time values of the symbols.
    pub bindings: &'a Bindings,
    /// [`Policy::allow_int8`](super::Policy::allow_int8) of the session.
    pub allow_int8: bool,
}

/// A tensor a CPU kernel reads.
#[derive(Debug, Clone)]
pub struct CpuTensor<'a> {
    /// The element type.
    pub dtype: DType,
    /// The run-time extents, slowest first.
    pub extents: Vec<usize>,
    /// Exactly the bytes of those extents.
    pub bytes: &'a [u8],
}

/// A tensor a CPU kernel writes.
#[derive(Debug)]
pub struct CpuTensorMut<'a> {
    /// The element type.
    pub dtype: DType,
    /// The run-time extents, slowest first.
    pub extents: Vec<usize>,
    /// Exactly the bytes of those extents.
    pub bytes: &'a mut [u8],
}

impl<'a> CpuCx<'a> {
    /// An input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn input(&self, index: usize) -> Result<CpuTensor<'a>> {
        self.inputs
            .get(index)
            .cloned()
            .flatten()
            .ok_or_else(|| Error::internal(format!("CPU kernel input {index} is absent")))
    }

    /// An input that may be absent.
    pub fn optional(&self, index: usize) -> Option<CpuTensor<'a>> {
        self.inputs.get(index).cloned().flatten()
    }

    /// An output.
    ///
    /// # Errors
    /// If there is none.
    pub fn output(&mut self, index: usize) -> Result<&mut CpuTensorMut<'a>> {
        self.outputs
            .get_mut(index)
            .ok_or_else(|| Error::internal(format!("CPU kernel output {index} is absent")))
    }
}

impl<'a> CpuTensor<'a> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, borrowed where the bytes are aligned and copied where
    /// they are not (a weight in a file may start anywhere).
    pub fn read<T: Pod>(&self) -> Cow<'a, [T]> {
        match bytemuck::try_cast_slice(self.bytes) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(self.bytes)),
        }
    }
}

impl CpuTensorMut<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements.
    ///
    /// # Errors
    /// If the memory is not aligned for `T`; the executor's always is.
    pub fn write<T: Pod>(&mut self) -> Result<&mut [T]> {
        bytemuck::try_cast_slice_mut(self.bytes)
            .map_err(|e| Error::internal(format!("CPU output of {}: {e}", self.dtype)))
    }
}
