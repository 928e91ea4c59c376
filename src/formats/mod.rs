//! See ARCHITECTURE.md.
pub mod gguf;
pub mod onnx;
