//! Elementwise kernels: one shader and one CPU loop nest for all of them.

mod access;
mod cpu;
mod map;
mod split;
pub(crate) mod storage;

pub(crate) use map::{FAMILY, requests};
pub use map::{Map, VARIANTS};
