//! Executors: the f64 reference (the judge), the CPU and the GPU.

pub mod cpu;
pub mod gpu;
pub mod profile;
pub mod reference;

pub use profile::{Profile, TimeSource, Timing};
pub use reference::Reference;
