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
    row("MaxUnpool", 9, whole::unpool),
];

/// The window of a node.
fn window(cx: &NodeCx<'_>) -> Result<Window> {
    let x = cx.extents(0)?;
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
    let window = window(cx)?;
    let count_include_pad = cx.int("count_include_pad", 0)? != 0;
    real(cx, AveragePool { window, count_include_pad })
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
