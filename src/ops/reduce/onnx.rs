//! The family's ONNX operators.

use super::{ArgReduce, Reduce, Reduction};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("ReduceSum", 1, |cx| over_attribute(cx, Reduction::Sum)),
    row("ReduceSum", 13, |cx| over_input(cx, Reduction::Sum)),
    row("ReduceMean", 1, |cx| over_attribute(cx, Reduction::Mean)),
    row("ReduceMean", 18, |cx| over_input(cx, Reduction::Mean)),
    row("ReduceMax", 1, |cx| over_attribute(cx, Reduction::Max)),
    row("ReduceMax", 18, |cx| over_input(cx, Reduction::Max)),
    row("ReduceMin", 1, |cx| over_attribute(cx, Reduction::Min)),
    row("ReduceMin", 18, |cx| over_input(cx, Reduction::Min)),
    row("ReduceProd", 1, |cx| over_attribute(cx, Reduction::Prod)),
    row("ReduceProd", 18, |cx| over_input(cx, Reduction::Prod)),
    row("ReduceL1", 1, |cx| over_attribute(cx, Reduction::L1)),
    row("ReduceL1", 18, |cx| over_input(cx, Reduction::L1)),
    row("ReduceL2", 1, |cx| over_attribute(cx, Reduction::L2)),
    row("ReduceL2", 18, |cx| over_input(cx, Reduction::L2)),
    row("ReduceSumSquare", 1, |cx| over_attribute(cx, Reduction::SumSquare)),
    row("ReduceSumSquare", 18, |cx| over_input(cx, Reduction::SumSquare)),
    row("ReduceLogSum", 1, |cx| over_attribute(cx, Reduction::LogSum)),
    row("ReduceLogSum", 18, |cx| over_input(cx, Reduction::LogSum)),
    row("ReduceLogSumExp", 1, |cx| over_attribute(cx, Reduction::LogSumExp)),
    row("ReduceLogSumExp", 18, |cx| over_input(cx, Reduction::LogSumExp)),
    row("ArgMax", 1, |cx| place(cx, true)),
    row("ArgMin", 1, |cx| place(cx, false)),
];

fn over_attribute(cx: &mut NodeCx<'_>, reduction: Reduction) -> Result<()> {
    let axes = cx.ints("axes")?.unwrap_or_default();
    over(cx, reduction, axes, false)
}

fn over_input(cx: &mut NodeCx<'_>, reduction: Reduction) -> Result<()> {
    let none_means_none = cx.int("noop_with_empty_axes", 0)? != 0;
    let axes = match cx.optional(1) {
        Some(_) => cx.known_ints(1)?,
        None => Vec::new(),
    };
    over(cx, reduction, axes, none_means_none)
}

/// No axes are all axes, unless they mean none.
fn over(
    cx: &mut NodeCx<'_>,
    reduction: Reduction,
    mut axes: Vec<i64>,
    none_means_none: bool,
) -> Result<()> {
    let keepdims = cx.int("keepdims", 1)? != 0;
    if axes.is_empty() && !none_means_none {
        axes = (0..cx.ty(0)?.rank() as i64).collect();
    }
    let x = cx.input(0)?;
    let y = reduced(cx, reduction, x, &axes, keepdims)?;
    cx.output(0, y);
    Ok(())
}

/// Reduces a value of any dtype; roots and logarithms of whole numbers are
/// those of real numbers, cut off.
pub(crate) fn reduced(
    cx: &mut NodeCx<'_>,
    reduction: Reduction,
    x: ValueId,
    axes: &[i64],
    keepdims: bool,
) -> Result<ValueId> {
    let dtype = cx.builder().ty(x).dtype;
    let own = reduction.takes(dtype);
    let x = if own { x } else { cx.cast(x, DType::F32)? };
    let y = cx.op1(Reduce { reduction, axes: axes.to_vec(), keepdims }, &[x])?;
    cx.cast(y, dtype)
}

fn place(cx: &mut NodeCx<'_>, largest: bool) -> Result<()> {
    let op = ArgReduce {
        largest,
        axis: cx.int("axis", 0)?,
        keepdims: cx.int("keepdims", 1)? != 0,
        select_last_index: cx.int("select_last_index", 0)? != 0,
        index: DType::I64,
    };
    let x = cx.input(0)?;
    let y = cx.op1(op, &[x])?;
    cx.output(0, y);
    Ok(())
}
