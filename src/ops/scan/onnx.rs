//! The family's ONNX operators.

use super::{Cumulative, DTYPES};
use crate::error::Result;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] =
    &[row("CumSum", 11, |cx| scan(cx, false)), row("CumProd", 26, |cx| scan(cx, true))];

fn scan(cx: &mut NodeCx<'_>, product: bool) -> Result<()> {
    let axes = cx.known_ints(1)?;
    let &[axis] = axes.as_slice() else {
        return Err(cx.broken(format!("axis must be one number, got {axes:?}")));
    };
    let exclusive = cx.int("exclusive", 0)? != 0;
    let reverse = cx.int("reverse", 0)? != 0;
    let dtype = cx.dtype(0)?;
    let x = cx.input(0)?;
    let x = if DTYPES.contains(&dtype) { x } else { cx.cast(x, DType::F32)? };
    let y = cx.op1(Cumulative { product, axis, exclusive, reverse }, &[x])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}
