//! Speed: how operators are computed on the GPU and on the CPU. Meaning is in
//! [`ops`](crate::ops), under the same family names.

pub mod attention;
pub mod conv;
mod cpu;
pub mod elementwise;
pub mod gather;
pub(crate) mod interleave;
mod kernel;
pub mod linear_attention;
pub mod matmul;
pub mod movement;
pub mod norm;
mod parts;
pub mod pool;
pub mod quantize;
pub mod recurrent;
pub mod reduce;
pub mod registry;
pub mod resize;
pub mod rotary;
pub mod scan;
pub mod scatter;
pub mod softmax;
pub mod state;
pub mod topk;
mod variant;

pub use cpu::{CpuCx, CpuTensor, CpuTensorMut};
pub use kernel::{Dispatch, Fault, GpuCx, Grid, Kernel, Param, Place, View};
pub(crate) use variant::Sharing;
pub use variant::{Language, Needs, Policy, Variant};
