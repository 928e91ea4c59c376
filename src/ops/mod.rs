//! Meaning: what each operator computes. Speed is in [`kernels`](crate::kernels).

pub mod elementwise;
mod operator;
mod refer;
pub mod registry;

pub use operator::{Arithmetic, BoundCx, Lowering, Operator};
pub use refer::{RefData, RefTensor};
