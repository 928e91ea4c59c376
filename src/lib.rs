//! Neural networks on any GPU through WebGPU, on the CPU when there is none,
//! and a plain f64 reference that judges both.
//!
//! `ARCHITECTURE.md` is the map of the crate.

pub mod backend;
pub mod embed;
pub mod error;
pub mod exec;
pub mod formats;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod lm;
pub mod onnx;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod quant;
#[cfg(feature = "server")]
pub mod serve;
pub mod session;
pub mod store;
pub mod tensor;
mod threads;
pub mod tune;
pub mod validate;

/// The example of the README, compiled with the other examples of the docs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The example of the guide to embeddings.
#[cfg(doctest)]
#[doc = include_str!("../docs/embeddings.md")]
pub struct Embeddings;

/// The example of the guide to serving.
#[cfg(doctest)]
#[doc = include_str!("../docs/serving.md")]
pub struct Serving;

pub use backend::{Backend, BackendChoice};
pub use error::{Error, ErrorKind, Result};
pub use session::{RunOptions, Session, SessionOptions};
pub use tensor::{Bytes, DType, Tensor};
