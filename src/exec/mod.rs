//! Executors: the f64 reference (the judge), the CPU and the GPU.

pub mod cpu;
pub mod gpu;
pub mod reference;

pub use reference::Reference;
