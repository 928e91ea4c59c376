//! Proof that kernels are right: generated cases, an error model, comparison
//! element by element, and shrinking to the smallest failing shape.

mod case;
mod compare;
pub mod error_model;
mod family;
mod generate;
mod proven;
mod run;
mod setup;
mod shrink;
mod yardstick;

pub use case::{BuildCase, Case, CaseFamily, CaseInput, Values};
pub use compare::{POISON, Report, compare};
pub use family::{Failure, Passed, run_family, shape_seed};
pub use generate::{generate, mix};
pub use proven::Proven;
pub use run::{Expected, Outcome, Target, run_setup, set_up};
pub use setup::{Extents, ResultAt, Setup, dispatches};
pub use shrink::shrink;
pub use yardstick::Yardstick;
