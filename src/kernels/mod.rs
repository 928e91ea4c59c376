//! Speed: how operators are computed on the GPU and on the CPU. Meaning is in
//! [`ops`](crate::ops), under the same family names.

pub mod attention;
mod cpu;
pub mod elementwise;
pub mod gather;
mod kernel;
pub mod matmul;
pub mod movement;
pub mod norm;
mod parts;
pub mod registry;
pub mod resize;
pub mod rotary;
pub mod scatter;
pub mod softmax;
pub mod state;
mod variant;

pub use cpu::{CpuCx, CpuTensor, CpuTensorMut};
pub use kernel::{Dispatch, Fault, GpuCx, Grid, Kernel, Param, Place, View};
pub use variant::{Language, Needs, Policy, Variant};
