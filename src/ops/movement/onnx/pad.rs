//! Rows that add elements around a tensor or repeat it.

use super::{count, front_axes};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::movement::onnx::shape::reshaped;
use crate::ops::movement::{Pad, PadMode};
use crate::tensor::Tensor;

fn mode(cx: &NodeCx<'_>) -> Result<PadMode> {
    match (cx.string("mode", "constant")?, cx.opset()) {
        ("constant", _) => Ok(PadMode::Constant),
        ("edge", _) => Ok(PadMode::Edge),
        ("reflect", _) => Ok(PadMode::Reflect),
        ("wrap", 19..) => Ok(PadMode::Wrap),
        (other, opset) => Err(cx.unsupported(format!("mode '{other}' in opset {opset}"))),
    }
}

/// Pads of each dimension from those of some, all starts before all ends.
fn by_dimension(cx: &NodeCx<'_>, pads: &[i64], axes: Option<Vec<i64>>) -> Result<Vec<[i64; 2]>> {
    let rank = cx.extents(0)?.len();
    let axes = match axes {
        Some(axes) => front_axes(cx, &axes, rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        let what = format!("{} pads for {} dimensions", pads.len(), axes.len());
        return Err(cx.broken(what));
    }
    let mut each = vec![[0, 0]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        each[axis] = [pads[i], pads[axes.len() + i]];
    }
    Ok(each)
}

fn padded(
    cx: &mut NodeCx<'_>,
    mode: PadMode,
    pads: Vec<[i64; 2]>,
    value: Option<ValueId>,
) -> Result<()> {
    let x = cx.input(0)?;
    if pads.iter().all(|pads| *pads == [0, 0]) {
        cx.output(0, x);
        return Ok(());
    }
    let value = value.filter(|_| mode == PadMode::Constant);
    let y = cx.op(Pad { mode, pads }, &[Some(x), value])?;
    y.into_iter().for_each(|y| cx.output(0, y));
    Ok(())
}

pub(super) fn attributes(cx: &mut NodeCx<'_>) -> Result<()> {
    let pads = cx.ints("pads")?.ok_or_else(|| cx.broken("attribute 'pads' is missing"))?;
    let (mode, pads) = (mode(cx)?, by_dimension(cx, &pads, None)?);
    let (value, dtype) = (cx.float("value", 0.0)?, cx.dtype(0)?);
    let value = cx.constant(Tensor::from_f32(&[], &[value])?)?;
    let value = cx.cast(value, dtype)?;
    padded(cx, mode, pads, Some(value))
}

pub(super) fn inputs(cx: &mut NodeCx<'_>) -> Result<()> {
    let pads = cx.known_ints(1)?;
    let axes = if cx.optional(3).is_some() { Some(cx.known_ints(3)?) } else { None };
    let (mode, pads, value) = (mode(cx)?, by_dimension(cx, &pads, axes)?, cx.optional(2));
    padded(cx, mode, pads, value)
}

/// A tensor repeated is a tensor that wraps around.
pub(super) fn tile(cx: &mut NodeCx<'_>) -> Result<()> {
    let (extents, repeats) = (cx.extents(0)?, cx.known_ints(1)?);
    if repeats.len() != extents.len() {
        return Err(cx.broken(format!("{} repeats of {extents:?}", repeats.len())));
    }
    let mut pads = Vec::with_capacity(extents.len());
    for (&n, &times) in extents.iter().zip(&repeats) {
        let total = count(cx, "a repeat", times)?.checked_mul(n);
        let more = total.and_then(|total| i64::try_from(total).ok()).map(|total| total - n as i64);
        pads.push([0, more.ok_or_else(|| cx.broken(format!("{n} elements {times} times")))?]);
    }
    padded(cx, PadMode::Wrap, pads, None)
}

/// Half of what is cut off or added goes to the front, rounded down.
pub(super) fn center_crop_pad(cx: &mut NodeCx<'_>) -> Result<()> {
    let (extents, shape) = (cx.extents(0)?, cx.known_ints(1)?);
    let axes = match cx.ints("axes")? {
        Some(axes) => front_axes(cx, &axes, extents.len())?,
        None => (0..extents.len()).collect(),
    };
    if axes.len() != shape.len() {
        return Err(cx.broken(format!("shape {shape:?} for axes {axes:?}")));
    }
    let mut pads = vec![[0, 0]; extents.len()];
    for (&axis, &target) in axes.iter().zip(&shape) {
        let target = count(cx, "a dimension", target)? as i64;
        let more = target - extents[axis] as i64;
        // Division rounds to zero.
        pads[axis] = [more / 2, more - more / 2];
    }
    padded(cx, PadMode::Constant, pads, None)
}

/// One element without dimensions.
pub(super) fn scalar(cx: &mut NodeCx<'_>, value: ValueId) -> Result<ValueId> {
    if cx.extents_of(value)?.iter().product::<usize>() != 1 {
        return Err(cx.broken("a value must be one element"));
    }
    reshaped(cx, value, &[])
}
