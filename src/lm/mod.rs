//! Language models.
//! See ARCHITECTURE.md.

pub mod chat;
pub mod sampler;
pub mod stream;
pub mod tokenizer;
