//! The family's ONNX operators.

mod nms;
mod resize;
mod sample;
mod tables;

use crate::onnx::{OnnxOperator, row};

pub(crate) use nms::COMPUTED;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("AffineGrid", 20, sample::affine_grid),
    row("GridSample", 16, sample::grid_sample_16),
    row("GridSample", 20, sample::grid_sample),
    row("NonMaxSuppression", 10, nms::non_max_suppression),
    row("Resize", 10, resize::resize_10),
    row("Resize", 11, resize::resize),
    row("RoiAlign", 10, sample::roi_align_10),
    row("RoiAlign", 16, sample::roi_align),
    row("Upsample", 7, resize::upsample_7),
    row("Upsample", 9, resize::resize_10),
];
