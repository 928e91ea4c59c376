//! Meaning: what each operator computes. Speed is in [`kernels`](crate::kernels).

pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod gather;
pub mod linear_attention;
pub mod matmul;
mod ml;
pub mod movement;
pub mod norm;
mod operator;
pub mod pool;
pub mod quantize;
pub mod random;
pub mod recurrent;
pub mod reduce;
mod refer;
pub mod registry;
pub mod resize;
pub mod rotary;
pub(crate) mod rules;
pub mod scan;
pub mod scatter;
mod signal;
pub mod softmax;
pub mod state;
mod text;
pub mod topk;

pub use operator::{Arithmetic, BoundCx, Lowering, Operator};
pub use refer::{RefData, RefTensor};
