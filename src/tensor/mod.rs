//! Host tensors: dtype, extents and bytes.

mod bytes;
mod dtype;
mod host;
mod identity;
mod small;
mod strings;

pub use bytes::Bytes;
pub use dtype::DType;
pub use host::Tensor;
pub(crate) use identity::Identity;
pub use small::{PowerRounding, SmallRounding, small_float, small_float_bits};

/// The most dimensions a tensor may have.
pub const MAX_RANK: usize = 8;
