//! Batch normalisation, from other operators.

use super::onnx::Facts;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary};

/// Before opset 14 a node with more than one wanted output was training.
pub(super) fn normalization(cx: &mut NodeCx<'_>) -> Result<()> {
    if (1..5).any(|index| cx.wants(index)) {
        return Err(cx.unsupported("outputs of training; only the first one is computed"));
    }
    let per_channel = cx.int("spatial", 1)? != 0;
    let shape = parameter_shape(cx, per_channel)?;
    inference(cx, &shape)
}

/// From opset 14 on an attribute says so.
pub(super) fn normalization_or_training(cx: &mut NodeCx<'_>) -> Result<()> {
    let shape = parameter_shape(cx, true)?;
    if cx.int("training_mode", 0)? != 0 {
        return training(cx, &shape);
    }
    if cx.wants(1) || cx.wants(2) {
        return Err(cx.broken("running statistics are wanted without training_mode"));
    }
    inference(cx, &shape)
}

/// The shape that makes a parameter broadcast to x: one for each channel, or
/// one for each element of an instance.
fn parameter_shape(cx: &NodeCx<'_>, per_channel: bool) -> Result<Vec<usize>> {
    let mut extents = cx.extents(0)?;
    match extents.len() {
        0 => return Err(cx.broken("'X' is a scalar")),
        // There is one channel.
        1 => return Ok(vec![1]),
        _ => {}
    }
    extents.remove(0);
    if per_channel {
        extents[1..].fill(1);
    }
    Ok(extents)
}

/// `x * factor + offset`; the two are computed while importing where the
/// parameters are known.
fn inference(cx: &mut NodeCx<'_>, shape: &[usize]) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let epsilon = cx.float("epsilon", 1e-5)?;
    let mean = parameter(cx, 3, shape)?;
    let variance = parameter(cx, 4, shape)?;
    let sum = cx.map2_f32(Binary::Add, variance, epsilon)?;
    let root = cx.map1(Unary::Sqrt, sum)?;
    let inverse = cx.map1(Unary::Reciprocal, root)?;
    let y = scaled(cx, shape, mean, inverse)?;
    cx.output_as(0, y, dtype)
}

fn training(cx: &mut NodeCx<'_>, shape: &[usize]) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let (epsilon, momentum) = (cx.float("epsilon", 1e-5)?, cx.float("momentum", 0.9)?);
    let x = cx.input_f32(0)?;
    let rank = cx.extents(0)?.len() as i64;
    let axes: Vec<i64> = (0..rank).filter(|&axis| axis != 1).collect();
    let facts = Facts::of(cx, x, &axes, epsilon, true)?;
    let mean = cx.reshaped(facts.mean, shape)?;
    let inverse = cx.reshaped(facts.inverse, shape)?;
    let y = scaled(cx, shape, mean, inverse)?;
    cx.output_as(0, y, dtype)?;
    for (output, input, current) in [(1, 3, facts.mean), (2, 4, facts.variance)] {
        if !cx.wants(output) {
            continue;
        }
        let (own, extents) = (cx.dtype(input)?, cx.extents(input)?);
        let old = cx.input_f32(input)?;
        let old = cx.map2_f32(Binary::Mul, old, momentum)?;
        let new = cx.reshaped(current, &extents)?;
        let new = cx.map2_f32(Binary::Mul, new, 1.0 - momentum)?;
        let running = cx.map2(Binary::Add, old, new)?;
        cx.output_as(output, running, own)?;
    }
    Ok(())
}

fn scaled(
    cx: &mut NodeCx<'_>,
    shape: &[usize],
    mean: ValueId,
    inverse: ValueId,
) -> Result<ValueId> {
    let x = cx.input_f32(0)?;
    let scale = parameter(cx, 1, shape)?;
    let bias = parameter(cx, 2, shape)?;
    let factor = cx.map2(Binary::Mul, scale, inverse)?;
    let taken = cx.map2(Binary::Mul, mean, factor)?;
    let offset = cx.map2(Binary::Sub, bias, taken)?;
    let y = cx.map2(Binary::Mul, x, factor)?;
    cx.map2(Binary::Add, y, offset)
}

fn parameter(cx: &mut NodeCx<'_>, index: usize, shape: &[usize]) -> Result<ValueId> {
    let vector = cx.input_f32(index)?;
    cx.reshaped(vector, shape)
}
