//! See ARCHITECTURE.md.
pub(crate) mod files;
pub mod gguf;
pub mod onnx;
pub mod safetensors;
