//! Random values: rows only. The host draws numbers for the graph
//! (`NodeCx::drawn`), what is made of them is computed where the graph is.

mod onnx;

pub(crate) use onnx::ONNX;
