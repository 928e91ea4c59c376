//! Elementwise kernels: one shader and one CPU loop nest for all of them.

mod access;
mod cast;
mod chain;
mod cpu;
mod map;
pub(crate) mod split;
pub(crate) mod storage;
mod windows;

pub use chain::{Chain, Step};
pub(crate) use map::{FAMILY, requests};
pub use map::{Map, VARIANTS};
