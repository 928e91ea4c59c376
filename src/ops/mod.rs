//! Meaning: what each operator computes. Speed is in [`kernels`](crate::kernels).

pub mod attention;
pub mod elementwise;
pub mod gather;
pub mod matmul;
pub mod movement;
pub mod norm;
mod operator;
mod refer;
pub mod registry;
pub mod resize;
pub mod rotary;
mod rules;
pub mod scatter;
pub mod softmax;
pub mod state;

pub use operator::{Arithmetic, BoundCx, Lowering, Operator};
pub use refer::{RefData, RefTensor};
