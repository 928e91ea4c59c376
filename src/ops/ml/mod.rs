//! Operators of `ai.onnx.ml`, which classical models are exported with: rows only.
//! They are made of operators there are, so that a forest or a linear model runs
//! where the rest of the network does; only `SVMClassifier` is the host's.

mod features;
mod linear;
mod machine;
mod onnx;
mod scores;
mod svm;
mod tree;
mod walk;

pub(crate) use machine::HOST;
pub(crate) use onnx::ONNX;
