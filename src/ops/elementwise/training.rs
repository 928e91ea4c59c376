//! Steps of optimisers, `ai.onnx.preview.training`: functions of elements.

use super::{Binary, Unary};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator};

const fn training(name: &'static str, import: fn(&mut NodeCx<'_>) -> Result<()>) -> OnnxOperator {
    OnnxOperator { domain: "ai.onnx.preview.training", name, since: 1, import }
}

pub(crate) const TRAINING: &[OnnxOperator] =
    &[training("Adagrad", adagrad), training("Adam", adam), training("Momentum", momentum)];

/// The learning rate, the number of the step, and how many tensors are optimised
/// with so many inputs each.
fn step(cx: &mut NodeCx<'_>, each: usize) -> Result<(ValueId, f64, usize)> {
    let rest = cx.input_count().saturating_sub(2);
    if rest == 0 || !rest.is_multiple_of(each) {
        return Err(cx.broken(format!("{rest} tensors, {each} are needed for each")));
    }
    let count = cx.known_reals(1)?.first().copied().unwrap_or(0.0);
    Ok((cx.input_f32(0)?, count, rest / each))
}

/// The tensor of this number among those of a kind.
fn tensor(cx: &mut NodeCx<'_>, kind: usize, count: usize, number: usize) -> Result<ValueId> {
    cx.input_f32(2 + kind * count + number)
}

/// The gradient, with that of the penalty on large values.
fn gradient(cx: &mut NodeCx<'_>, x: ValueId, g: ValueId) -> Result<ValueId> {
    let norm = cx.float("norm_coefficient", 0.0)?;
    if norm == 0.0 {
        return Ok(g);
    }
    let pulled = cx.map2_f32(Binary::Mul, x, norm)?;
    cx.map2(Binary::Add, pulled, g)
}

/// `a * x + b * y`.
fn mixed(cx: &mut NodeCx<'_>, (a, x): (f32, ValueId), (b, y): (f32, ValueId)) -> Result<ValueId> {
    let (x, y) = (cx.map2_f32(Binary::Mul, x, a)?, cx.map2_f32(Binary::Mul, y, b)?);
    cx.map2(Binary::Add, x, y)
}

/// `x - rate * way`.
fn moved(cx: &mut NodeCx<'_>, x: ValueId, rate: ValueId, way: ValueId) -> Result<ValueId> {
    let way = cx.map2(Binary::Mul, way, rate)?;
    cx.map2(Binary::Sub, x, way)
}

/// The root of what is gathered, kept off zero.
fn root(cx: &mut NodeCx<'_>, h: ValueId) -> Result<ValueId> {
    let epsilon = cx.float("epsilon", 1e-6)?;
    let root = cx.map1(Unary::Sqrt, h)?;
    cx.map2_f32(Binary::Add, root, epsilon)
}

/// Results are of the optimised tensors' types, those of one kind after another.
fn give(cx: &mut NodeCx<'_>, index: usize, count: usize, y: ValueId) -> Result<()> {
    let dtype = cx.dtype(2 + index % count)?;
    cx.output_as(index, y, dtype)
}

fn adagrad(cx: &mut NodeCx<'_>) -> Result<()> {
    let (rate, at, count) = step(cx, 3)?;
    let decay = f64::from(cx.float("decay_factor", 0.0)?);
    let rate = cx.map2_f32(Binary::Mul, rate, (1.0 / (1.0 + at * decay)) as f32)?;
    for number in 0..count {
        let x = tensor(cx, 0, count, number)?;
        let g = tensor(cx, 1, count, number)?;
        let h = tensor(cx, 2, count, number)?;
        let g = gradient(cx, x, g)?;
        let square = cx.map2(Binary::Mul, g, g)?;
        let h = cx.map2(Binary::Add, h, square)?;
        let adaptive = root(cx, h)?;
        let way = cx.map2(Binary::Div, g, adaptive)?;
        let y = moved(cx, x, rate, way)?;
        give(cx, number, count, y)?;
        give(cx, count + number, count, h)?;
    }
    Ok(())
}

fn adam(cx: &mut NodeCx<'_>) -> Result<()> {
    let (rate, at, count) = step(cx, 4)?;
    let (alpha, beta) = (cx.float("alpha", 0.9)?, cx.float("beta", 0.999)?);
    let after = cx.float("norm_coefficient_post", 0.0)?;
    let factor = if at > 0.0 {
        let (alpha, beta) = (f64::from(alpha), f64::from(beta));
        (1.0 - beta.powf(at)).sqrt() / (1.0 - alpha.powf(at))
    } else {
        1.0
    };
    let rate = cx.map2_f32(Binary::Mul, rate, factor as f32)?;
    for number in 0..count {
        let x = tensor(cx, 0, count, number)?;
        let g = tensor(cx, 1, count, number)?;
        let v = tensor(cx, 2, count, number)?;
        let h = tensor(cx, 3, count, number)?;
        let g = gradient(cx, x, g)?;
        let square = cx.map2(Binary::Mul, g, g)?;
        let v = mixed(cx, (alpha, v), (1.0 - alpha, g))?;
        let h = mixed(cx, (beta, h), (1.0 - beta, square))?;
        let root = root(cx, h)?;
        let way = cx.map2(Binary::Div, v, root)?;
        let y = moved(cx, x, rate, way)?;
        let y = cx.map2_f32(Binary::Mul, y, 1.0 - after)?;
        give(cx, number, count, y)?;
        give(cx, count + number, count, v)?;
        give(cx, 2 * count + number, count, h)?;
    }
    Ok(())
}

fn momentum(cx: &mut NodeCx<'_>) -> Result<()> {
    let (rate, at, count) = step(cx, 3)?;
    let (alpha, beta) = (cx.float("alpha", 0.0)?, cx.float("beta", 1.0)?);
    let beta = if at > 0.0 { beta } else { 1.0 };
    let nesterov = match cx.string("mode", "standard")? {
        "standard" => false,
        "nesterov" => true,
        other => return Err(cx.broken(format!("mode '{other}'"))),
    };
    for number in 0..count {
        let x = tensor(cx, 0, count, number)?;
        let g = tensor(cx, 1, count, number)?;
        let v = tensor(cx, 2, count, number)?;
        let g = gradient(cx, x, g)?;
        let v = mixed(cx, (alpha, v), (beta, g))?;
        let way = if nesterov { mixed(cx, (1.0, g), (alpha, v))? } else { v };
        let y = moved(cx, x, rate, way)?;
        give(cx, number, count, y)?;
        give(cx, count + number, count, v)?;
    }
    Ok(())
}
