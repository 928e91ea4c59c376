//! Sampling planes of elements between their places: resizing, grids, regions.

mod cases;
mod grid;
mod onnx;
mod resample;
mod rois;

pub(crate) use cases::{grid_cases, resample_cases, rois_cases};
pub use grid::{GridSample, Outside, Sampling};
pub(crate) use onnx::{COMPUTED, ONNX};
pub use resample::Resample;
pub use rois::RoiAlign;
