//! How far rows are apart, of ONNX Runtime's domain.

use super::MatMul;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::reduce::{Reduce, Reduction};

/// `|a - b|²` of each row of a `[M, K]` and each of b `[N, K]`, as `|a|² - 2 a·b +
/// |b|²`: `[M, N]`.
pub(crate) fn squared(cx: &mut NodeCx<'_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    let squares =
        |keepdims: bool| Reduce { reduction: Reduction::SumSquare, axes: vec![1], keepdims };
    let dot = cx.op1(MatMul { trans_b: true, ..MatMul::default() }, &[a, b])?;
    let (of_a, of_b) = (cx.op1(squares(true), &[a])?, cx.op1(squares(false), &[b])?);
    let twice = cx.map2_f32(Binary::Mul, dot, -2.0)?;
    let far = cx.map2(Binary::Add, twice, of_a)?;
    cx.map2(Binary::Add, far, of_b)
}

/// `CDist`, which exporters of classical models write.
pub(super) fn import(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, metric) = (cx.dtype(0)?, cx.string("metric", "sqeuclidean")?.to_string());
    let extents = [cx.extents(0)?, cx.extents(1)?];
    if extents.iter().any(|extents| extents.len() != 2) {
        return Err(cx.broken(format!("{extents:?} are not two matrices")));
    }
    let inputs = [cx.input_f32(0)?, cx.input_f32(1)?];
    let far = squared(cx, inputs[0], inputs[1])?;
    // What is rounded may be less than nothing.
    let far = cx.map1(Unary::Relu, far)?;
    let y = match metric.as_str() {
        "sqeuclidean" => far,
        "euclidean" => cx.map1(Unary::Sqrt, far)?,
        other => return Err(cx.unsupported(format!("metric '{other}'"))),
    };
    cx.output_as(0, y, dtype)
}
