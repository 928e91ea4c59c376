//! The family's ONNX operators.

use super::TopK;
use crate::error::Result;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("TopK", 1, |cx| {
        let k = cx.attributes().int("k")?;
        let k = k.ok_or_else(|| cx.broken("attribute 'k' is missing"))?;
        top(cx, k)
    }),
    row("TopK", 10, |cx| match cx.known_ints(1)?.as_slice() {
        &[k] => top(cx, k),
        other => Err(cx.broken(format!("K must be one number, got {other:?}"))),
    }),
];

/// Results are sorted whether they have to be or not.
fn top(cx: &mut NodeCx<'_>, k: i64) -> Result<()> {
    let k = u64::try_from(k).map_err(|_| cx.broken(format!("K is {k}")))?;
    let axis = cx.int("axis", -1)?;
    let largest = cx.int("largest", 1)? != 0;
    let x = cx.input(0)?;
    let outputs = cx.op(TopK { k, axis, largest, index: DType::I64 }, &[Some(x)])?;
    for (i, output) in outputs.into_iter().enumerate() {
        cx.output(i, output);
    }
    Ok(())
}
