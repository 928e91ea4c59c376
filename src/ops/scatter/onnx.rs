//! The family's ONNX operators.

use super::{Reduction, ScatterElements, ScatterND};
use crate::error::Result;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::Operator;
use crate::ops::gather::{Places, axis, check_indices};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] =
    &[row("Scatter", 9, elements), row("ScatterElements", 11, elements), row("ScatterND", 11, nd)];

fn reduction(cx: &NodeCx<'_>) -> Result<Reduction> {
    let name = cx.string("reduction", "none")?;
    let (since, found) = match name {
        "none" => (1, Reduction::None),
        "add" => (16, Reduction::Add),
        "mul" => (16, Reduction::Mul),
        "max" => (18, Reduction::Max),
        "min" => (18, Reduction::Min),
        other => return Err(cx.unsupported(format!("reduction '{other}'"))),
    };
    if cx.opset() < since {
        return Err(cx.broken(format!("reduction '{name}' in opset {}", cx.opset())));
    }
    Ok(found)
}

/// Reductions are computed in 32 bits.
fn scattered(cx: &mut NodeCx<'_>, op: impl Operator, reduction: Reduction) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let wide = match dtype {
        _ if reduction.takes(dtype) => dtype,
        DType::F16 | DType::BF16 => DType::F32,
        DType::I8 | DType::U8 | DType::I16 | DType::U16 => DType::I32,
        other => return Err(cx.unsupported(format!("reduction {reduction:?} of {other}"))),
    };
    let (data, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (data, updates) = (cx.cast(data, wide)?, cx.cast(updates, wide)?);
    let y = cx.op1(op, &[data, indices, updates])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn elements(cx: &mut NodeCx<'_>) -> Result<()> {
    let (axis, reduction) = (axis(cx)?, reduction(cx)?);
    check_indices(cx, Places::Elements { axis })?;
    scattered(cx, ScatterElements { axis: axis as i64, reduction }, reduction)
}

fn nd(cx: &mut NodeCx<'_>) -> Result<()> {
    let reduction = reduction(cx)?;
    check_indices(cx, Places::Tuples { batch_dims: 0 })?;
    scattered(cx, ScatterND { reduction }, reduction)
}
