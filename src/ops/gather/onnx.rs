//! The family's ONNX operators.

use super::{GatherElements, GatherND, Places, Take};
use crate::error::Result;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::movement::front_axes;
use crate::ops::{RefData, RefTensor};

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Gather", 1, gather),
    row("GatherElements", 11, gather_elements),
    row("GatherND", 11, gather_nd),
];

/// Refuses constant indices that are out of range: a GPU could not.
pub(crate) fn check_indices(cx: &mut NodeCx<'_>, places: Places) -> Result<()> {
    let (data, indices) = (cx.ty(0)?, cx.input(1)?);
    let Some(tensor) = cx.builder().known(indices) else { return Ok(()) };
    let tensor = RefTensor::from_tensor(tensor)?;
    let RefData::Int(values) = &tensor.data else {
        return Err(cx.broken(format!("indices must be whole numbers, not {}", tensor.dtype)));
    };
    places.check(&data, &tensor.extents, values).map_err(|error| cx.broken(error))
}

/// An axis given as an attribute, 0 without.
pub(crate) fn axis(cx: &NodeCx<'_>) -> Result<usize> {
    let rank = cx.extents(0)?.len();
    Ok(front_axes(cx, &[cx.int("axis", 0)?], rank)?.remove(0))
}

fn gather(cx: &mut NodeCx<'_>) -> Result<()> {
    let axis = axis(cx)?;
    check_indices(cx, Places::Slices { axis, batch_dims: 0 })?;
    let inputs = [cx.input(0)?, cx.input(1)?];
    let y = cx.op1(Take { axis: axis as i64, batch_dims: 0 }, &inputs)?;
    cx.output(0, y);
    Ok(())
}

fn gather_elements(cx: &mut NodeCx<'_>) -> Result<()> {
    let axis = axis(cx)?;
    check_indices(cx, Places::Elements { axis })?;
    let inputs = [cx.input(0)?, cx.input(1)?];
    let y = cx.op1(GatherElements { axis: axis as i64 }, &inputs)?;
    cx.output(0, y);
    Ok(())
}

fn gather_nd(cx: &mut NodeCx<'_>) -> Result<()> {
    let given = cx.int("batch_dims", 0)?;
    let batch_dims =
        usize::try_from(given).map_err(|_| cx.broken(format!("batch_dims {given}")))?;
    check_indices(cx, Places::Tuples { batch_dims })?;
    let inputs = [cx.input(0)?, cx.input(1)?];
    let y = cx.op1(GatherND { batch_dims }, &inputs)?;
    cx.output(0, y);
    Ok(())
}
