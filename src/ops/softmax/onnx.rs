//! The family's ONNX operators.

use super::{LogSoftmax, Softmax};
use crate::error::Result;
use crate::graph::Dim;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::Operator;
use crate::ops::movement::Reshape;
use crate::ops::rules::front_axis;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Softmax", 1, |cx| over_matrix(cx, |axis| Softmax { axis })),
    row("Softmax", 13, |cx| along_axis(cx, |axis| Softmax { axis })),
    row("LogSoftmax", 1, |cx| over_matrix(cx, |axis| LogSoftmax { axis })),
    row("LogSoftmax", 13, |cx| along_axis(cx, |axis| LogSoftmax { axis })),
];

fn along_axis<O: Operator>(cx: &mut NodeCx<'_>, op: fn(i64) -> O) -> Result<()> {
    let (dtype, axis) = (cx.dtype(0)?, cx.int("axis", -1)?);
    let x = cx.input_f32(0)?;
    let y = cx.op1(op(axis), &[x])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// Before opset 13 the input was a matrix: the dimensions before the axis are
/// its rows, the others its columns.
fn over_matrix<O: Operator>(cx: &mut NodeCx<'_>, op: fn(i64) -> O) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let axis = cx.int("axis", 1)?;
    // An axis behind the last dimension leaves columns of one element.
    let axis = match usize::try_from(axis) {
        Ok(axis) if axis == extents.len() => axis,
        _ => front_axis("Softmax", axis, extents.len())?,
    };
    let size = |extents: &[usize]| Dim::from(extents.iter().product::<usize>());
    let matrix = vec![size(&extents[..axis]), size(&extents[axis..])];
    let x = cx.input_f32(0)?;
    let x = cx.op1(Reshape { shape: matrix }, &[x])?;
    let y = cx.op1(op(-1), &[x])?;
    let shape = extents.iter().map(|&n| n.into()).collect();
    let y = cx.op1(Reshape { shape }, &[y])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}
