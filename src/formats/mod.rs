//! See ARCHITECTURE.md.
pub(crate) mod files;
pub mod gguf;
#[cfg(feature = "hub")]
pub mod hub;
pub mod onnx;
pub mod safetensors;
