//! Elementwise kernels: one shader and one CPU loop nest for all of them.

mod access;
mod cpu;
mod map;
mod storage;

pub(crate) use map::requests;
pub use map::{FAMILY, Map, VARIANTS};
