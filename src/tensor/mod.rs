//! Host tensors: dtype, extents and bytes.

mod bytes;
mod dtype;
mod host;

pub use bytes::Bytes;
pub use dtype::DType;
pub use host::Tensor;

/// The most dimensions a tensor may have.
pub const MAX_RANK: usize = 8;
