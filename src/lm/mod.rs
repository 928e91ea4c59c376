//! Language models.
//! See ARCHITECTURE.md.

pub mod sampler;
pub mod stream;
pub mod tokenizer;
