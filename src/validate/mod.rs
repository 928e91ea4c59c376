//! Proof that kernels are right: generated cases, an error model, comparison
//! element by element, and shrinking to the smallest failing shape.

mod case;
pub mod error_model;

pub use case::{Case, CaseFamily, CaseInput, Values};
