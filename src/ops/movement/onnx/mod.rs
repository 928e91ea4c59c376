//! The family's ONNX operators.

mod make;
mod pad;
mod shape;

pub(crate) use make::dtype_of;
pub(crate) use shape::{reshaped, transposed};

use crate::error::Result;
use crate::graph::Dim;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::rules::front_axis;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("CenterCropPad", 18, pad::center_crop_pad),
    row("Concat", 1, shape::concat),
    row("ConstantOfShape", 9, make::constant_of_shape),
    row("DepthToSpace", 1, shape::depth_to_space),
    row("Expand", 8, shape::expand),
    row("EyeLike", 9, make::eye_like),
    row("Flatten", 1, shape::flatten),
    row("Identity", 1, shape::identity),
    row("OneHot", 9, make::one_hot),
    row("Pad", 2, pad::attributes),
    row("Pad", 11, pad::inputs),
    row("Range", 11, make::range),
    row("Reshape", 1, shape::reshape_attribute),
    row("Reshape", 5, shape::reshape),
    row("ReverseSequence", 10, shape::reverse_sequence),
    row("Slice", 1, shape::slice_attributes),
    row("Slice", 10, shape::slice),
    row("SpaceToDepth", 1, shape::space_to_depth),
    row("Split", 2, shape::split_attribute),
    row("Split", 13, shape::split),
    row("Squeeze", 1, shape::squeeze_attribute),
    row("Squeeze", 13, shape::squeeze),
    row("Tile", 6, pad::tile),
    row("Transpose", 1, shape::transpose),
    row("Trilu", 14, make::trilu),
    row("Unsqueeze", 1, shape::unsqueeze_attribute),
    row("Unsqueeze", 13, shape::unsqueeze),
];

pub(crate) fn dims(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|&n| n.into()).collect()
}

/// Axes counted from the front, each once.
pub(crate) fn front_axes(cx: &NodeCx<'_>, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut front = Vec::with_capacity(axes.len());
    for &axis in axes {
        let axis = front_axis("axes", axis, rank)
            .map_err(|_| cx.broken(format!("axis {axis} of rank {rank}")))?;
        if front.contains(&axis) {
            return Err(cx.broken(format!("axis {axis} is named twice")));
        }
        front.push(axis);
    }
    Ok(front)
}

/// An axis given as an attribute, counted from the front.
pub(crate) fn axis(cx: &NodeCx<'_>, default: i64, rank: usize) -> Result<usize> {
    let axis = cx.int("axis", default)?;
    Ok(front_axes(cx, &[axis], rank)?.remove(0))
}

/// A whole number that counts something.
pub(crate) fn count(cx: &NodeCx<'_>, what: &str, value: i64) -> Result<usize> {
    usize::try_from(value)
        .map_err(|_| cx.broken(format!("{what} must not be negative, got {value}")))
}
