//! Meaning: what each operator computes. Speed is in [`kernels`](crate::kernels).

pub mod attention;
pub mod elementwise;
pub mod gather;
pub mod matmul;
pub mod movement;
pub mod norm;
mod operator;
pub mod reduce;
mod refer;
pub mod registry;
pub mod rotary;
mod rules;
pub mod scan;
pub mod softmax;
pub mod state;
pub mod topk;

pub use operator::{Arithmetic, BoundCx, Lowering, Operator};
pub use refer::{RefData, RefTensor};
