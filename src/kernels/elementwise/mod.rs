//! Elementwise kernels: one shader and one CPU loop nest for all of them.

mod access;
mod cast;
mod chain;
mod cpu;
mod map;
pub(crate) mod split;
pub(crate) mod storage;
mod variants;
mod windows;

pub use chain::{Chain, Step};
pub use map::Map;
pub(crate) use map::requests;
pub(crate) use variants::FAMILY;
pub use variants::VARIANTS;
