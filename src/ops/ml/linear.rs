//! Linear models.

use super::onnx::{reals, rows};
use super::scores::{Labels, Transform, above, best, pair};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::matmul::MatMul;
use crate::tensor::Tensor;

/// `x · coefficientsᵀ + intercepts`, `[rows, targets]`.
fn scores(cx: &mut NodeCx<'_>, targets: usize) -> Result<ValueId> {
    let (rows, columns) = rows(cx)?;
    let (weights, bias) = (reals(cx, "coefficients")?, reals(cx, "intercepts")?);
    if Some(weights.len()) != targets.checked_mul(columns) || targets == 0 {
        let what = format!("{} coefficients for {columns} columns to {targets}", weights.len());
        return Err(cx.broken(what));
    }
    let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    let weights = cx.constant(Tensor::from_f32(&[targets, columns], &narrow(&weights))?)?;
    let x = cx.input_f32(0)?;
    let x = cx.reshaped(x, &[rows, columns])?;
    let product = MatMul { trans_b: true, ..MatMul::default() };
    let y = cx.op1(product, &[x, weights])?;
    if bias.is_empty() {
        return Ok(y);
    }
    if bias.len() != targets {
        return Err(cx.broken(format!("{} intercepts to {targets}", bias.len())));
    }
    let bias = cx.constant(Tensor::from_f32(&[targets], &narrow(&bias))?)?;
    cx.map2(Binary::Add, y, bias)
}

pub(super) fn regressor(cx: &mut NodeCx<'_>) -> Result<()> {
    let targets = cx.int("targets", 1)?;
    let targets = usize::try_from(targets).map_err(|_| cx.broken(format!("{targets} targets")))?;
    let transform = Transform::of(cx)?;
    let y = scores(cx, targets)?;
    let y = transform.apply(cx, y)?;
    cx.output(0, y);
    Ok(())
}

pub(super) fn classifier(cx: &mut NodeCx<'_>) -> Result<()> {
    let labels = Labels::of(cx, "classlabels_strings", "classlabels_ints")?;
    let transform = Transform::of(cx)?;
    let (_, columns) = rows(cx)?;
    let classes = reals(cx, "coefficients")?.len() / columns.max(1);
    let y = scores(cx, classes)?;
    if classes == 1 && labels.len() == 2 {
        // One score for two classes: that of the second.
        let (place, first) = match transform {
            Transform::Logistic => {
                let minus = cx.map1(Unary::Neg, y)?;
                (above(cx, y, 0.0)?, cx.map1(Unary::Sigmoid, minus)?)
            }
            _ => {
                let one = cx.scalar_f32(1.0)?;
                (above(cx, y, 0.0)?, cx.map2(Binary::Sub, one, y)?)
            }
        };
        let second = if transform == Transform::Logistic { transform.apply(cx, y)? } else { y };
        let both = pair(cx, first, second)?;
        labels.give(cx, place)?;
        cx.output(1, both);
        return Ok(());
    }
    if classes != labels.len() {
        return Err(cx.broken(format!("{classes} scores, {} labels", labels.len())));
    }
    let place = best(cx, y)?;
    labels.give(cx, place)?;
    let y = transform.apply(cx, y)?;
    cx.output(1, y);
    Ok(())
}
