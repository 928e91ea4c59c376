//! Language models.
//! See ARCHITECTURE.md.

pub mod stream;
pub mod tokenizer;
