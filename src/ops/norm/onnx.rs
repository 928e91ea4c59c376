//! The family's ONNX operators.

use super::{GroupNormalization, LocalResponse, Normalization, batch};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::reduce::{Reduction, reduced};
use crate::ops::rules::front_axis;
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("BatchNormalization", 7, batch::normalization),
    row("BatchNormalization", 14, batch::normalization_or_training),
    row("GroupNormalization", 18, |cx| groups(cx, true)),
    row("GroupNormalization", 21, |cx| groups(cx, false)),
    row("InstanceNormalization", 6, instances),
    row("LRN", 1, response),
    // ONNX has it from 17 on; ONNX Runtime writes it into older models too.
    row("LayerNormalization", 1, |cx| trailing(cx, Normalization::layer, "Mean")),
    row("LpNormalization", 1, lp),
    row("MeanVarianceNormalization", 9, mean_variance),
    row("RMSNormalization", 23, |cx| trailing(cx, Normalization::rms, "")),
    // ONNX Runtime has it in ONNX's own domain.
    row("SimplifiedLayerNormalization", 1, |cx| trailing(cx, Normalization::rms, "")),
];

/// Normalisation of all dimensions from an axis on. After the result come the
/// mean, where there is `mean`, and the reciprocal of the deviation.
fn trailing(cx: &mut NodeCx<'_>, norm: fn(f32) -> Normalization, mean: &str) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let axis = front_axis("axis", cx.int("axis", -1)?, extents.len())?;
    let epsilon = cx.float("epsilon", 1e-5)?;
    // Of the types to compute in, F16 (10) and BF16 (16) are less than F32 (1).
    let stash = cx.int("stash_type", 1)?;
    if ![1, 10, 16].contains(&stash) {
        return Err(cx.unsupported(format!("attribute 'stash_type' = {stash}, only F32 is done")));
    }
    let n: usize = extents[axis..].iter().product();
    let outer: usize = extents[..axis].iter().product();
    let x = cx.input_f32(0)?;
    let rows = cx.reshaped(x, &[outer, n])?;
    let mut inputs = vec![Some(rows)];
    // A scale or a bias with more dimensions than are normalised differs from row to
    // row: it comes after a normalisation without one.
    let mut later = [None; 2];
    for index in [1, 2] {
        if cx.optional(index).is_none() {
            continue;
        }
        let vector = cx.input_f32(index)?;
        let shape = cx.extents_of(vector)?;
        let spare = shape.len().saturating_sub(extents.len() - axis);
        if shape[..spare].iter().any(|&n| n != 1) || later[0].is_some() {
            later[index - 1] = Some(vector);
            continue;
        }
        let vector = cx.reshaped(vector, &shape[spare..])?;
        let vector = cx.expanded(vector, &extents[axis..])?;
        inputs.push(Some(cx.reshaped(vector, &[n])?));
    }
    if later[0].is_some() {
        let ones = cx.scalar_f32(1.0)?;
        inputs.insert(1, Some(cx.expanded(ones, &[n])?));
    }
    let y = cx.op(norm(epsilon), &inputs)?;
    let y = y.first().copied().ok_or_else(|| cx.broken("a normalisation without a result"))?;
    let mut y = cx.reshaped(y, &extents)?;
    for (op, vector) in [Binary::Mul, Binary::Add].into_iter().zip(later) {
        if let Some(vector) = vector {
            y = cx.map2(op, y, vector)?;
        }
    }
    if cx.extents_of(y)? != extents {
        return Err(cx.broken("the scale or the bias does not broadcast to the input"));
    }
    cx.output_as(0, y, dtype)?;
    let centred = !mean.is_empty();
    let inverse = if centred { 2 } else { 1 };
    if cx.wants(1) || cx.wants(inverse) {
        let axes: Vec<i64> = (axis as i64..extents.len() as i64).collect();
        let facts = Facts::of(cx, x, &axes, epsilon, centred)?;
        let own = if stash == 1 { DType::F32 } else { dtype };
        if centred {
            cx.output_as(1, facts.mean, own)?;
        }
        cx.output_as(inverse, facts.inverse, own)?;
    }
    Ok(())
}

/// What normalisation takes of x over axes, which stay with one element.
pub(super) struct Facts {
    /// The mean; 0 where it is not taken out.
    pub(super) mean: ValueId,
    /// The mean of squares of what is left.
    pub(super) variance: ValueId,
    /// `1 / sqrt(variance + epsilon)`
    pub(super) inverse: ValueId,
}

impl Facts {
    pub(super) fn of(
        cx: &mut NodeCx<'_>,
        x: ValueId,
        axes: &[i64],
        epsilon: f32,
        centred: bool,
    ) -> Result<Self> {
        let extents = cx.extents_of(x)?;
        let mut count = 1usize;
        for &axis in axes {
            count *= extents[front_axis("axes", axis, extents.len())?];
        }
        let (mean, rest) = if centred {
            let mean = reduced(cx, Reduction::Mean, x, axes, true)?;
            (mean, cx.map2(Binary::Sub, x, mean)?)
        } else {
            (cx.scalar_f32(0.0)?, x)
        };
        let squares = reduced(cx, Reduction::SumSquare, rest, axes, true)?;
        let variance = cx.map2_f32(Binary::Div, squares, count as f32)?;
        let sum = cx.map2_f32(Binary::Add, variance, epsilon)?;
        let root = cx.map1(Unary::Sqrt, sum)?;
        let inverse = cx.map1(Unary::Reciprocal, root)?;
        Ok(Facts { mean, variance, inverse })
    }
}

fn instances(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let &[_, channels, ..] = extents.as_slice() else {
        return Err(cx.broken(format!("'input' must be [N, C, ...], got {extents:?}")));
    };
    let op = GroupNormalization { groups: channels as u64, epsilon: cx.float("epsilon", 1e-5)? };
    let inputs = [cx.input_f32(0)?, cx.input_f32(1)?, cx.input_f32(2)?];
    let y = cx.op1(op, &inputs)?;
    cx.output_as(0, y, dtype)
}

/// Before opset 21 scale and bias were the groups'.
fn groups(cx: &mut NodeCx<'_>, per_group: bool) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let groups = cx.attributes().int("num_groups")?.and_then(|n| usize::try_from(n).ok());
    let (Some(groups), &[_, channels, ..]) = (groups, extents.as_slice()) else {
        let what = format!("'num_groups' {groups:?} of an input {extents:?}, not [N, C, ...]");
        return Err(cx.broken(what));
    };
    if groups == 0 || channels % groups != 0 {
        return Err(cx.broken(format!("attribute 'num_groups' = {groups} of {channels} channels")));
    }
    let stash = cx.int("stash_type", 1)?;
    if ![1, 10, 16].contains(&stash) {
        return Err(cx.unsupported(format!("attribute 'stash_type' = {stash}, only F32 is done")));
    }
    let mut inputs = vec![cx.input_f32(0)?];
    for index in [1, 2] {
        let mut vector = cx.input_f32(index)?;
        if per_group {
            vector = cx.reshaped(vector, &[groups, 1])?;
            vector = cx.expanded(vector, &[groups, channels / groups])?;
            vector = cx.reshaped(vector, &[channels])?;
        }
        inputs.push(vector);
    }
    let op = GroupNormalization { groups: groups as u64, epsilon: cx.float("epsilon", 1e-5)? };
    let y = cx.op1(op, &inputs)?;
    cx.output_as(0, y, dtype)
}

fn response(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let size = cx.int("size", 0)?;
    let size = u32::try_from(size).ok().filter(|&size| size > 0);
    let size = size.ok_or_else(|| cx.broken("attribute 'size' must be a positive number"))?;
    let op = LocalResponse {
        size,
        alpha: cx.float("alpha", 1e-4)?,
        beta: cx.float("beta", 0.75)?,
        bias: cx.float("bias", 1.0)?,
    };
    let x = cx.input_f32(0)?;
    let y = cx.op1(op, &[x])?;
    cx.output_as(0, y, dtype)
}

/// A line of zeros has norm 0 and stays as it is.
fn lp(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, axis) = (cx.dtype(0)?, cx.int("axis", -1)?);
    let norm = match cx.int("p", 2)? {
        1 => Reduction::L1,
        2 => Reduction::L2,
        p => return Err(cx.unsupported(format!("attribute 'p' = {p}, only 1 and 2 are defined"))),
    };
    let x = cx.input_f32(0)?;
    let size = reduced(cx, norm, x, &[axis], true)?;
    let size = cx.map2_f32(Binary::Max, size, f32::MIN_POSITIVE)?;
    let y = cx.map2(Binary::Div, x, size)?;
    cx.output_as(0, y, dtype)
}

/// The deviation is the norm of the differences over the root of their number.
fn mean_variance(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let axes = cx.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let mut count = 1usize;
    for &axis in &axes {
        count *= extents[front_axis("axes", axis, extents.len())?];
    }
    let x = cx.input_f32(0)?;
    let mean = reduced(cx, Reduction::Mean, x, &axes, true)?;
    let rest = cx.map2(Binary::Sub, x, mean)?;
    let norm = reduced(cx, Reduction::L2, rest, &axes, true)?;
    let deviation = cx.map2_f32(Binary::Mul, norm, 1.0 / (count as f32).sqrt())?;
    let divisor = cx.map2_f32(Binary::Add, deviation, 1e-9)?;
    let y = cx.map2(Binary::Div, rest, divisor)?;
    cx.output_as(0, y, dtype)
}
