//! Losses over classes, from other operators.

use super::LogSoftmax;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::elementwise::{Binary, Unary, Where};
use crate::ops::gather::Take;
use crate::ops::reduce::{Reduction, reduced};
use crate::tensor::{DType, Tensor};

pub(super) const LOG_LIKELIHOOD: OnnxOperator = row("NegativeLogLikelihoodLoss", 12, |cx| {
    let x = cx.input_f32(0)?;
    loss(cx, x)
});

pub(super) const CROSS_ENTROPY: OnnxOperator = row("SoftmaxCrossEntropyLoss", 12, |cx| {
    let dtype = cx.dtype(0)?;
    let scores = cx.input_f32(0)?;
    let x = cx.op1(LogSoftmax { axis: 1 }, &[scores])?;
    if cx.wants(1) {
        cx.output_as(1, x, dtype)?;
    }
    loss(cx, x)
});

/// Minus the log-probability `x` `[N, C, ...]` of the class that the target
/// `[N, ...]` names, times the class's weight; 0 where it is the class to
/// ignore.
fn loss(cx: &mut NodeCx<'_>, x: ValueId) -> Result<()> {
    let (dtype, extents, targets) = (cx.dtype(0)?, cx.extents(0)?, cx.extents(1)?);
    let &[n, classes, ref inner @ ..] = extents.as_slice() else {
        return Err(cx.broken(format!("input 0 must be [N, C, ...], got {extents:?}")));
    };
    if targets.first() != Some(&n) || targets.get(1..) != Some(inner) {
        return Err(cx.broken(format!("a target {targets:?} of an input {extents:?}")));
    }
    let count: usize = targets.iter().product();
    let order: Vec<usize> = [0].into_iter().chain(2..extents.len()).chain([1]).collect();
    let rows = cx.transposed(x, &order)?;
    let rows = cx.reshaped(rows, &[count, classes])?;
    let target = cx.input(1)?;
    let target = cx.cast(target, DType::I32)?;
    let target = cx.reshaped(target, &[count, 1])?;
    let (target, ignored) = ignored(cx, target)?;
    let picked = cx.op1(Take { axis: 1, batch_dims: 1 }, &[rows, target])?;
    let picked = cx.map1(Unary::Neg, picked)?;
    let weight = weight(cx, target, ignored)?;
    let all = match weight {
        Some(weight) => cx.map2(Binary::Mul, picked, weight)?,
        None => picked,
    };
    let axes = [0, 1];
    let y = match (cx.string("reduction", "mean")?, weight) {
        ("none", _) => cx.reshaped(all, &targets)?,
        ("sum", _) => reduced(cx, Reduction::Sum, all, &axes, false)?,
        ("mean", None) => reduced(cx, Reduction::Mean, all, &axes, false)?,
        ("mean", Some(weight)) => {
            let all = reduced(cx, Reduction::Sum, all, &axes, false)?;
            let weight = reduced(cx, Reduction::Sum, weight, &axes, false)?;
            cx.map2(Binary::Div, all, weight)?
        }
        (other, _) => {
            return Err(cx.unsupported(format!("attribute 'reduction' = '{other}'")));
        }
    };
    cx.output_as(0, y, dtype)
}

/// Where the target is the class to ignore, if there is one; class 0 stands in
/// its place, since it need not be a class at all.
fn ignored(cx: &mut NodeCx<'_>, target: ValueId) -> Result<(ValueId, Option<ValueId>)> {
    let Some(index) = cx.attributes().int("ignore_index")? else { return Ok((target, None)) };
    let index = i32::try_from(index)
        .map_err(|_| cx.unsupported(format!("attribute 'ignore_index' = {index}")))?;
    let index = cx.constant(Tensor::from_i32(&[], &[index])?)?;
    let zero = cx.constant(Tensor::from_i32(&[], &[0])?)?;
    let ignored = cx.map2(Binary::Equal, target, index)?;
    Ok((cx.op1(Where, &[ignored, zero, target])?, Some(ignored)))
}

/// The weight of each target; `None` where all are 1.
fn weight(
    cx: &mut NodeCx<'_>,
    target: ValueId,
    ignored: Option<ValueId>,
) -> Result<Option<ValueId>> {
    let own = match cx.optional(2) {
        Some(_) => {
            let weights = cx.input_f32(2)?;
            Some(cx.op1(Take { axis: 0, batch_dims: 0 }, &[weights, target])?)
        }
        None => None,
    };
    let Some(ignored) = ignored else { return Ok(own) };
    let own = match own {
        Some(own) => own,
        None => cx.scalar_f32(1.0)?,
    };
    let zero = cx.scalar_f32(0.0)?;
    cx.op1(Where, &[ignored, zero, own]).map(Some)
}
