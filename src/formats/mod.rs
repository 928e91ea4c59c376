//! See ARCHITECTURE.md.
pub mod gguf;
