//! The family's ONNX operators. Results are compared with nothing: what is
//! promised is their distribution.

use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, Spread, row};
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::reduce::{Reduce, Reduction};
use crate::ops::scan::Cumulative;
use crate::ops::softmax::Softmax;
use crate::tensor::{DType, Tensor};

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Bernoulli", 15, bernoulli),
    row("Dropout", 12, dropout),
    row("Multinomial", 7, multinomial),
    row("RandomNormal", 1, |cx| shaped(cx, normal(cx)?)),
    row("RandomNormalLike", 1, |cx| like(cx, normal(cx)?)),
    row("RandomUniform", 1, |cx| shaped(cx, uniform(cx)?)),
    row("RandomUniformLike", 1, |cx| like(cx, uniform(cx)?)),
];

/// Numbers from 0 to 1, without 1.
const UNIT: Spread = Spread::Uniform { low: 0.0, high: 1.0 };

/// The node's own seed, which is a FLOAT.
fn seed(cx: &NodeCx<'_>) -> Result<Option<u64>> {
    Ok(cx.attributes().float("seed")?.map(|seed| seed.to_bits().into()))
}

fn normal(cx: &NodeCx<'_>) -> Result<Spread> {
    let (mean, scale) = (cx.float("mean", 0.0)?, cx.float("scale", 1.0)?);
    if !(mean.is_finite() && scale.is_finite()) {
        return Err(cx.broken(format!("mean {mean} and scale {scale}")));
    }
    Ok(Spread::Normal { mean, scale })
}

fn uniform(cx: &NodeCx<'_>) -> Result<Spread> {
    let (low, high) = (cx.float("low", 0.0)?, cx.float("high", 1.0)?);
    if !(low.is_finite() && high.is_finite()) {
        return Err(cx.broken(format!("low {low} and high {high}")));
    }
    Ok(Spread::Uniform { low, high })
}

/// Values of the shape that an attribute gives.
fn shaped(cx: &mut NodeCx<'_>, spread: Spread) -> Result<()> {
    let shape = cx.ints("shape")?.ok_or_else(|| cx.broken("attribute 'shape' is missing"))?;
    let extents = shape.iter().map(|&n| usize::try_from(n));
    let extents = extents.collect::<std::result::Result<Vec<_>, _>>();
    let extents = extents.map_err(|_| cx.broken(format!("shape {shape:?}")))?;
    let dtype = cx.element_type("dtype")?.unwrap_or(DType::F32);
    give(cx, spread, dtype, &extents)
}

/// Values of the input's shape.
fn like(cx: &mut NodeCx<'_>, spread: Spread) -> Result<()> {
    let dtype = cx.element_type("dtype")?.map_or_else(|| cx.dtype(0), Ok)?;
    let extents = cx.extents(0)?;
    give(cx, spread, dtype, &extents)
}

fn give(cx: &mut NodeCx<'_>, spread: Spread, dtype: DType, extents: &[usize]) -> Result<()> {
    if !matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16) {
        return Err(cx.broken(format!("random values of type {dtype}")));
    }
    let seed = seed(cx)?;
    let y = cx.drawn(spread, dtype, extents, seed)?;
    cx.output(0, y);
    Ok(())
}

/// The type to compute with: that of the input if it is F64, else F32.
fn computed(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// 1 as often as the input says.
fn bernoulli(cx: &mut NodeCx<'_>) -> Result<()> {
    let given = cx.dtype(0)?;
    let (extents, dtype) = (cx.extents(0)?, computed(given));
    let to = cx.element_type("dtype")?.unwrap_or(given);
    let seed = seed(cx)?;
    let chance = cx.input(0)?;
    let chance = cx.cast(chance, dtype)?;
    let drawn = cx.drawn(UNIT, dtype, &extents, seed)?;
    let hit = cx.map2(Binary::Less, drawn, chance)?;
    cx.output_as(0, hit, to)
}

/// In training elements are dropped as often as the ratio says, and the others made
/// larger to make up for it. In inference all elements stay.
fn dropout(cx: &mut NodeCx<'_>) -> Result<()> {
    let training = match cx.optional(2) {
        Some(_) => cx.known_ints(2)?.iter().any(|&on| on != 0),
        None => false,
    };
    let ratio = match cx.optional(1) {
        Some(_) if training => cx.known_reals(1)?.first().copied().unwrap_or(0.5) as f32,
        _ => 0.5,
    };
    let x = cx.input(0)?;
    let (extents, given) = (cx.extents(0)?, cx.dtype(0)?);
    if !training || ratio == 0.0 {
        cx.output(0, x);
        if cx.wants(1) {
            let ones = vec![1u8; extents.iter().product()];
            let mask = cx.constant(Tensor::new(DType::Bool, &extents, ones)?)?;
            cx.output(1, mask);
        }
        return Ok(());
    }
    if !(0.0..=1.0).contains(&ratio) {
        return Err(cx.broken(format!("ratio {ratio}")));
    }
    let seed = cx.attributes().int("seed")?.map(|seed| seed as u64);
    let drawn = cx.drawn(UNIT, DType::F32, &extents, seed)?;
    let limit = cx.scalar_f32(ratio)?;
    let mask = cx.map2(Binary::GreaterOrEqual, drawn, limit)?;
    let dtype = computed(given);
    // Where nothing stays nothing is made larger.
    let factor = if ratio < 1.0 { 1.0 / (1.0 - ratio) } else { 0.0 };
    let factor = cx.scalar_f32(factor)?;
    let kept = cx.cast(mask, DType::F32)?;
    let scale = cx.map2(Binary::Mul, kept, factor)?;
    let (x, scale) = (cx.cast(x, dtype)?, cx.cast(scale, dtype)?);
    let y = cx.map2(Binary::Mul, x, scale)?;
    cx.output_as(0, y, given)?;
    if cx.wants(1) {
        cx.output(1, mask);
    }
    Ok(())
}

/// Classes, as often as the rows of logarithms of chances say.
fn multinomial(cx: &mut NodeCx<'_>) -> Result<()> {
    let &[rows, classes] = cx.extents(0)?.as_slice() else {
        return Err(cx.broken("the input must have two dimensions"));
    };
    let wanted = cx.int("sample_size", 1)?;
    let count = usize::try_from(wanted).map_err(|_| cx.broken(format!("sample_size {wanted}")))?;
    let to = cx.element_type("dtype")?.unwrap_or(DType::I32);
    if classes == 0 || !matches!(to, DType::I32 | DType::I64) {
        return Err(cx.broken(format!("{classes} classes as {to}")));
    }
    let seed = seed(cx)?;
    let logits = cx.input_f32(0)?;
    // What cannot be is often given as minus infinity, which no kernel promises.
    let logits = cx.map1(Unary::Clip { min: -1e30, max: 1e30 }, logits)?;
    let chances = cx.op1(Softmax { axis: 1 }, &[logits])?;
    let sums = Cumulative { product: false, axis: 1, exclusive: false, reverse: false };
    let sums = cx.op1(sums, &[chances])?;
    let whole = last(cx, sums, classes)?;
    let drawn = cx.drawn(UNIT, DType::F32, &[rows, count], seed)?;
    let drawn = cx.map2(Binary::Mul, drawn, whole)?;
    let drawn = cx.reshaped(drawn, &[rows, count, 1])?;
    let sums = cx.reshaped(sums, &[rows, 1, classes])?;
    // The class is the number of those whose chances end before what was drawn.
    let passed = cx.map2(Binary::GreaterOrEqual, drawn, sums)?;
    let passed = cx.cast(passed, DType::I32)?;
    let reduction = Reduction::Sum;
    let class = cx.op1(Reduce { reduction, axes: vec![2], keepdims: false }, &[passed])?;
    cx.output_as(0, class, to)
}

/// The last column, `[rows, 1]`.
fn last(cx: &mut NodeCx<'_>, x: ValueId, columns: usize) -> Result<ValueId> {
    use crate::ops::movement::{Slice, SliceRange};
    let (start, end) = (columns as i64 - 1, columns as i64);
    cx.op1(Slice { ranges: vec![SliceRange { axis: 1, start, end, step: 1 }] }, &[x])
}
