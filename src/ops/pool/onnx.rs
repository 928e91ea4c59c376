//! The family's ONNX operators.

use super::whole;
use super::{AveragePool, LpPool, MaxPool, StorageOrder, Window};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::Operator;
use crate::ops::conv::geometry::MAX_AXES;
use crate::ops::conv::padding::{AutoPad, Spatial, counts};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("AveragePool", 1, average),
    row("GlobalAveragePool", 1, whole::global_average),
    row("GlobalLpPool", 2, whole::global_norm),
    row("GlobalMaxPool", 1, whole::global_max),
    row("LpPool", 2, norm),
    row("MaxPool", 1, max),
    row("MaxRoiPool", 1, whole::regions),
    row("MaxUnpool", 9, whole::unpool),
    OnnxOperator {
        domain: "com.microsoft",
        name: "NhwcMaxPool",
        since: 1,
        import: max_channels_last,
    },
];

/// The window of a node whose first input is what it goes over.
fn window(cx: &NodeCx<'_>) -> Result<Window> {
    window_over(cx, &cx.extents(0)?)
}

/// The window of a node over `[N, C, ...]`.
fn window_over(cx: &NodeCx<'_>, x: &[usize]) -> Result<Window> {
    let Some(input) = x.get(2..).filter(|input| !input.is_empty()) else {
        return Err(cx.broken(format!("takes a batch of channels, got {x:?}")));
    };
    if input.len() > MAX_AXES {
        return Err(cx.unsupported(format!("{} spatial axes; up to 3 are supported", input.len())));
    }
    if cx.ints("kernel_shape")?.is_none() {
        return Err(cx.broken("needs the attribute kernel_shape"));
    }
    let kernel_shape = counts(cx, "kernel_shape", input.len(), 1)?;
    let spatial = Spatial::read(cx, input.len())?;
    let pads = spatial.resolved(input, &kernel_shape);
    // Without padding ONNX rounds the number of outputs down in any case.
    let ceil_mode = cx.int("ceil_mode", 0)? != 0 && spatial.auto_pad != AutoPad::Valid;
    let Spatial { strides, dilations, .. } = spatial;
    Ok(Window { kernel_shape, strides, dilations, pads, ceil_mode })
}

/// The operator `AveragePool` that a node's attributes make over `[N, C, ...]`.
pub(crate) fn average_over(cx: &NodeCx<'_>, x: &[usize]) -> Result<AveragePool> {
    let count_include_pad = cx.int("count_include_pad", 0)? != 0;
    Ok(AveragePool { window: window_over(cx, x)?, count_include_pad })
}

/// `MaxPool` of ONNX Runtime, with the channels last.
fn max_channels_last(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    let x = channels_second(cx, x)?;
    let op = MaxPool { window: window_over(cx, &cx.extents_of(x)?)?, indices: None };
    let y = cx.op1(op, &[x])?;
    let y = channels_last(cx, y)?;
    cx.output(0, y);
    Ok(())
}

/// `[N, ..., C]` as `[N, C, ...]`.
pub(crate) fn channels_second(cx: &mut NodeCx<'_>, x: ValueId) -> Result<ValueId> {
    let rank = cx.extents_of(x)?.len();
    if rank < 2 {
        return Err(cx.broken(format!("takes channels in the last dimension, got rank {rank}")));
    }
    let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    cx.transposed(x, &order)
}

/// `[N, C, ...]` as `[N, ..., C]`.
pub(crate) fn channels_last(cx: &mut NodeCx<'_>, y: ValueId) -> Result<ValueId> {
    let rank = cx.extents_of(y)?.len();
    let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    cx.transposed(y, &order)
}

/// A pool of real numbers, in F32.
fn real(cx: &mut NodeCx<'_>, op: impl Operator) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let x = cx.input_f32(0)?;
    let y = cx.op1(op, &[x])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn average(cx: &mut NodeCx<'_>) -> Result<()> {
    let op = average_over(cx, &cx.extents(0)?)?;
    real(cx, op)
}

fn norm(cx: &mut NodeCx<'_>) -> Result<()> {
    let window = window(cx)?;
    let p = cx.int("p", 2)?;
    let p = u32::try_from(p).map_err(|_| cx.broken(format!("p is {p}")))?;
    real(cx, LpPool { window, p })
}

fn max(cx: &mut NodeCx<'_>) -> Result<()> {
    let window = window(cx)?;
    let order = match cx.int("storage_order", 0)? {
        0 => StorageOrder::RowMajor,
        1 => StorageOrder::ColumnMajor,
        other => return Err(cx.broken(format!("storage_order is {other}"))),
    };
    let indices = cx.wants(1).then_some(order);
    let dtype = cx.dtype(0)?;
    let x: ValueId = match dtype {
        DType::I8 | DType::U8 => cx.input(0)?,
        _ => cx.input_f32(0)?,
    };
    let outputs = cx.op(MaxPool { window, indices }, &[Some(x)])?;
    for (index, (&value, to)) in outputs.iter().zip([dtype, DType::I64]).enumerate() {
        let value = cx.cast(value, to)?;
        cx.output(index, value);
    }
    Ok(())
}
