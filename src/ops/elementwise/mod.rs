//! Functions applied element by element.

pub mod math;
mod unary;

pub use unary::{Unary, exp_error};
