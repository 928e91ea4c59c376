//! The family's ONNX operators.

use super::loss::{CROSS_ENTROPY, LOG_LIKELIHOOD};
use super::{LogSoftmax, Softmax};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::elementwise::Binary;
use crate::ops::reduce::ArgReduce;
use crate::ops::rules::front_axis;
use crate::tensor::{DType, Tensor};

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Hardmax", 1, |cx| over_matrix(cx, hardmax)),
    row("Hardmax", 13, |cx| along_axis(cx, hardmax)),
    row("LogSoftmax", 1, |cx| over_matrix(cx, log_softmax)),
    row("LogSoftmax", 13, |cx| along_axis(cx, log_softmax)),
    row("Softmax", 1, |cx| over_matrix(cx, softmax)),
    row("Softmax", 13, |cx| along_axis(cx, softmax)),
    CROSS_ENTROPY,
    LOG_LIKELIHOOD,
];

/// What is done along an axis of F32 values.
type Along = fn(&mut NodeCx<'_>, ValueId, i64) -> Result<ValueId>;

fn softmax(cx: &mut NodeCx<'_>, x: ValueId, axis: i64) -> Result<ValueId> {
    cx.op1(Softmax { axis }, &[x])
}

fn log_softmax(cx: &mut NodeCx<'_>, x: ValueId, axis: i64) -> Result<ValueId> {
    cx.op1(LogSoftmax { axis }, &[x])
}

/// 1 at the first of the largest elements, 0 elsewhere.
fn hardmax(cx: &mut NodeCx<'_>, x: ValueId, axis: i64) -> Result<ValueId> {
    let extents = cx.extents_of(x)?;
    let front = front_axis("Hardmax", axis, extents.len())?;
    if extents.contains(&0) {
        return Ok(x);
    }
    let (largest, keepdims, select_last_index) = (true, true, false);
    let op = ArgReduce { largest, axis, keepdims, select_last_index, index: DType::I32 };
    let place = cx.op1(op, &[x])?;
    let mut shape = vec![1; extents.len()];
    shape[front] = extents[front];
    let places: Vec<i32> = (0..extents[front] as i32).collect();
    let places = cx.constant(Tensor::from_i32(&shape, &places)?)?;
    let hit = cx.map2(Binary::Equal, place, places)?;
    cx.cast(hit, DType::F32)
}

fn along_axis(cx: &mut NodeCx<'_>, along: Along) -> Result<()> {
    let (dtype, axis) = (cx.dtype(0)?, cx.int("axis", -1)?);
    let x = cx.input_f32(0)?;
    let y = along(cx, x, axis)?;
    cx.output_as(0, y, dtype)
}

/// Before opset 13 the input was a matrix: the dimensions before the axis are
/// its rows, the others its columns.
fn over_matrix(cx: &mut NodeCx<'_>, along: Along) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let axis = cx.int("axis", 1)?;
    // An axis behind the last dimension leaves columns of one element.
    let axis = match usize::try_from(axis) {
        Ok(axis) if axis == extents.len() => axis,
        _ => front_axis("axis", axis, extents.len())?,
    };
    let size = |extents: &[usize]| extents.iter().product::<usize>();
    let x = cx.input_f32(0)?;
    let x = cx.reshaped(x, &[size(&extents[..axis]), size(&extents[axis..])])?;
    let y = along(cx, x, -1)?;
    let y = cx.reshaped(y, &extents)?;
    cx.output_as(0, y, dtype)
}
