//! Normalisations of ONNX Runtime's domain.

use super::onnx::Facts;
use super::{GroupNormalization, Normalization, SkipNormalization};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator};
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::gather::{Places, Take};
use crate::ops::pool::{channels_last, channels_second};
use crate::ops::reduce::{Reduce, Reduction};
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};

const DOMAIN: &str = "com.microsoft";

pub(crate) const CONTRIB: &[OnnxOperator] = &[
    OnnxOperator {
        domain: DOMAIN,
        name: "SkipLayerNormalization",
        since: 1,
        import: |cx| skip(cx, true),
    },
    OnnxOperator {
        domain: DOMAIN,
        name: "SkipSimplifiedLayerNormalization",
        since: 1,
        import: |cx| skip(cx, false),
    },
    OnnxOperator { domain: DOMAIN, name: "EmbedLayerNormalization", since: 1, import: embedded },
    OnnxOperator {
        domain: DOMAIN,
        name: "QEmbedLayerNormalization",
        since: 1,
        import: embedded_codes,
    },
    OnnxOperator { domain: DOMAIN, name: "GroupNorm", since: 1, import: groups },
    OnnxOperator { domain: DOMAIN, name: "SkipGroupNorm", since: 1, import: groups_of_sum },
];

/// Inputs: words, segments, three tables (words, positions, segments), gamma, beta,
/// mask, positions. Outputs: the normalised sum, how many words the mask shows of
/// each sequence, and the sum.
fn embedded(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, words) = (cx.dtype(2)?, cx.extents(0)?);
    let &[batch, tokens] = words.as_slice() else {
        return Err(cx.broken(format!("input_ids {words:?} are not [B, S]")));
    };
    let (words, table) = (cx.input(0)?, cx.input(2)?);
    let mut sum = looked_up(cx, table, words, "word_embedding")?;
    let positions = match cx.optional(8) {
        Some(given) => given,
        None => {
            let order: Vec<i32> = (0..tokens as i32).collect();
            cx.constant(Tensor::from_i32(&[1, tokens], &order)?)?
        }
    };
    let table = cx.input(3)?;
    let position = looked_up(cx, table, positions, "position_embedding")?;
    sum = cx.map2(Binary::Add, sum, position)?;
    if let (Some(segments), Some(table)) = (cx.optional(1), cx.optional(4)) {
        let segment = looked_up(cx, table, segments, "segment_embedding")?;
        sum = cx.map2(Binary::Add, sum, segment)?;
    }
    let inputs = [sum, cx.input_f32(5)?, cx.input_f32(6)?];
    let y = cx.op1(Normalization::layer(cx.float("epsilon", 1e-12)?), &inputs)?;
    cx.output_as(0, y, dtype)?;
    shown(cx, batch)?;
    if cx.wants(2) {
        cx.output_as(2, sum, dtype)?;
    }
    Ok(())
}

/// The second output, if it is wanted: how many words the mask, input 7, shows of
/// each sequence.
fn shown(cx: &mut NodeCx<'_>, batch: usize) -> Result<()> {
    if cx.wants(1) {
        let shown = match cx.optional(7) {
            None => cx.constant(Tensor::from_i32(&[batch], &vec![0; batch])?)?,
            Some(mask) => {
                let one = cx.constant(Tensor::from_i32(&[], &[1])?)?;
                let mask = cx.cast(mask, DType::I32)?;
                let shown = cx.map2(Binary::Equal, mask, one)?;
                let shown = cx.cast(shown, DType::I32)?;
                let op = Reduce { reduction: Reduction::Sum, axes: vec![1], keepdims: false };
                cx.op1(op, &[shown])?
            }
        };
        cx.output_as(1, shown, DType::I32)?;
    }
    Ok(())
}

/// The same over codes: tables, gamma and beta as for [`embedded`], then the scale of
/// each, then the zero point of each.
fn embedded_codes(cx: &mut NodeCx<'_>) -> Result<()> {
    let words = cx.extents(0)?;
    let &[batch, tokens] = words.as_slice() else {
        return Err(cx.broken(format!("input_ids {words:?} are not [B, S]")));
    };
    let order: Vec<i32> = (0..tokens as i32).collect();
    let positions = cx.constant(Tensor::from_i32(&[1, tokens], &order)?)?;
    let (words, table) = (cx.input(0)?, cx.input(2)?);
    let rows = looked_up(cx, table, words, "word_embedding")?;
    let mut sum = decoded(cx, rows, 8)?;
    let table = cx.input(3)?;
    let rows = looked_up(cx, table, positions, "position_embedding")?;
    let position = decoded(cx, rows, 9)?;
    sum = cx.map2(Binary::Add, sum, position)?;
    if let (Some(segments), Some(table)) = (cx.optional(1), cx.optional(4)) {
        let rows = looked_up(cx, table, segments, "segment_embedding")?;
        let segment = decoded(cx, rows, 10)?;
        sum = cx.map2(Binary::Add, sum, segment)?;
    }
    let (gamma, beta) = (cx.input_f32(5)?, cx.input_f32(6)?);
    let (gamma, beta) = (decoded(cx, gamma, 11)?, decoded(cx, beta, 12)?);
    let norm = Normalization::layer(cx.float("epsilon", 1e-12)?);
    let y = cx.op1(norm, &[sum, gamma, beta])?;
    cx.output(0, y);
    shown(cx, batch)
}

/// What codes mean by the scale in an input, and the zero point five inputs after it.
fn decoded(cx: &mut NodeCx<'_>, codes: ValueId, scale: usize) -> Result<ValueId> {
    let (scale, zero) = (cx.input_f32(scale)?, cx.input_f32(scale + 5)?);
    let (scale, zero) = (cx.reshaped(scale, &[])?, cx.reshaped(zero, &[])?);
    let centred = cx.map2(Binary::Sub, codes, zero)?;
    cx.map2(Binary::Mul, centred, scale)
}

/// Inputs: x with its channels last (or second), gamma, beta.
fn groups(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = cx.input_f32(0)?;
    grouped(cx, x)
}

/// Of x, a skip that is broadcast over the picture, and a bias: the second output is
/// their sum.
fn groups_of_sum(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    if cx.int("channels_last", 1)? == 0 {
        return Err(cx.unsupported("channels_last 0"));
    }
    let (mut x, mut skip) = (cx.input_f32(0)?, cx.input_f32(3)?);
    if let (&[n, channels], &[_, .., c]) = (&cx.extents(3)?[..], &extents[..])
        && c == channels
    {
        let mut shape = vec![1; extents.len()];
        shape[0] = n;
        shape[extents.len() - 1] = channels;
        skip = cx.reshaped(skip, &shape)?;
    }
    x = cx.map2(Binary::Add, x, skip)?;
    if cx.optional(4).is_some() {
        let bias = cx.input_f32(4)?;
        x = cx.map2(Binary::Add, x, bias)?;
    }
    if cx.extents_of(x)? != extents {
        return Err(cx.broken(format!("skip {:?} for {extents:?}", cx.extents(3)?)));
    }
    if cx.wants(1) {
        cx.output_as(1, x, dtype)?;
    }
    grouped(cx, x)
}

/// The first output: groups of channels normalised, and SiLU if asked for.
fn grouped(cx: &mut NodeCx<'_>, mut x: ValueId) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let last = cx.int("channels_last", 1)? != 0;
    let groups = cx.int("groups", 0)?;
    let groups = u64::try_from(groups).map_err(|_| cx.broken(format!("groups {groups}")))?;
    if last {
        x = channels_second(cx, x)?;
    }
    let op = GroupNormalization { groups, epsilon: cx.float("epsilon", 1e-5)? };
    let inputs = [x, cx.input_f32(1)?, cx.input_f32(2)?];
    let mut y = cx.op1(op, &inputs)?;
    if last {
        y = channels_last(cx, y)?;
    }
    match cx.int("activation", 0)? {
        0 => {}
        1 => y = cx.map1(Unary::Silu, y)?,
        other => return Err(cx.unsupported(format!("activation {other}"))),
    }
    cx.output_as(0, y, dtype)
}

/// Rows of a table, in F32. Indices that are known to be outside are refused.
fn looked_up(cx: &mut NodeCx<'_>, table: ValueId, indices: ValueId, name: &str) -> Result<ValueId> {
    let ty = cx.builder().ty(table).clone();
    if let Some(known) = cx.builder().known(indices) {
        let known = RefTensor::from_tensor(known)?;
        let RefData::Int(values) = &known.data else {
            return Err(cx.broken(format!("indices of {name} must be whole numbers")));
        };
        let places = Places::Slices { axis: 0, batch_dims: 0 };
        places
            .check(&ty, &known.extents, values)
            .map_err(|error| cx.broken(format!("{name}: {error}")))?;
    }
    let rows = cx.op1(Take { axis: 0, batch_dims: 0 }, &[table, indices])?;
    cx.cast(rows, DType::F32)
}

/// Inputs: input, skip, gamma, beta (with a mean only), bias. Outputs: the
/// result, the mean, the reciprocal of the deviation, and the sum.
fn skip(cx: &mut NodeCx<'_>, centred: bool) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let epsilon = cx.float("epsilon", 1e-12)?;
    let norm = match centred {
        true => Normalization::layer(epsilon),
        false => Normalization::rms(epsilon),
    };
    let mut x = cx.input_f32(0)?;
    let bias = if centred { 4 } else { 3 };
    if cx.optional(bias).is_some() {
        let bias = cx.input_f32(bias)?;
        x = cx.map2(Binary::Add, x, bias)?;
    }
    let other = cx.input_f32(1)?;
    let other = cx.expanded(other, &extents)?;
    let mut inputs = vec![Some(x), Some(other), Some(cx.input_f32(2)?)];
    if centred && cx.optional(3).is_some() {
        inputs.push(Some(cx.input_f32(3)?));
    }
    let outputs = cx.op(SkipNormalization { norm }, &inputs)?;
    let &[y, sum] = outputs.as_slice() else {
        return Err(cx.broken("a normalisation without its sum"));
    };
    cx.output_as(0, y, dtype)?;
    if cx.wants(1) || cx.wants(2) {
        let facts = Facts::of(cx, sum, &[-1], epsilon, centred)?;
        if cx.wants(1) && !centred {
            return Err(cx.unsupported("output 'mean' of a normalisation that takes none"));
        }
        cx.output_as(1, facts.mean, DType::F32)?;
        cx.output_as(2, facts.inverse, DType::F32)?;
    }
    if cx.wants(3) {
        cx.output_as(3, sum, dtype)?;
    }
    Ok(())
}
