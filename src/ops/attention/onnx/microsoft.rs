//! The operators of ONNX Runtime's domain `com.microsoft`.

use super::core::{Call, Offset, as_given};
use super::{appended, bias, heads, readable, reshape, split, swap};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::Binary;
use crate::ops::movement::{Concat, Expand, Slice, SliceRange};
use crate::ops::rotary::RotaryEmbedding;
use crate::ops::state::TensorScatter;
use crate::tensor::{DType, Tensor};

/// What an exporter may say that changes nothing where it has this value.
pub(super) fn refuse(
    cx: &NodeCx<'_>,
    attributes: &[(&str, i64)],
    inputs: &[(usize, &str)],
) -> Result<()> {
    for &(name, harmless) in attributes {
        let value = cx.int(name, harmless)?;
        if value != harmless {
            return Err(cx.unsupported(format!("{name} {value}")));
        }
    }
    match inputs.iter().find(|&&(index, _)| cx.optional(index).is_some()) {
        Some((_, name)) => Err(cx.unsupported(format!("input '{name}'"))),
        None => Ok(()),
    }
}

pub(super) fn scale(cx: &NodeCx<'_>) -> Result<Option<f32>> {
    // 0 stands for the default.
    Ok(cx.attributes().float("scale")?.filter(|&scale| scale != 0.0))
}

/// `MultiHeadAttention`: query `[B, Q, H D]`, key and value alike or as caches
/// `[B, H, C, D]`, with bias, masks and past.
pub(super) fn multi_head(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    refuse(cx, &[], &[(8, "past_sequence_length"), (9, "cache_indirection")])?;
    if cx.wants(3) {
        return Err(cx.unsupported("output 'qk'"));
    }
    let heads = heads(cx, "num_heads")?;
    let mut parts = Vec::with_capacity(3);
    let mut start = 0;
    for (index, mut value) in unpacked(cx)?.into_iter().enumerate() {
        let extents = cx.extents_of(value)?;
        if extents.len() == 3 {
            let hidden = extents[2];
            if cx.optional(3).is_some() {
                let part = cx.input_f32(3)?;
                let part = columns(cx, part, start, hidden)?;
                value = cx.op1(Binary::Add, &[value, part])?;
            }
            start += hidden;
            let split = split(cx, &extents, heads)?;
            value = reshape(cx, value, &split)?;
            if index > 0 {
                value = swap(cx, value)?;
            }
        } else if index == 0 || extents.len() != 4 {
            return Err(cx.unsupported(format!("input {index} of extents {extents:?}")));
        } else if cx.optional(3).is_some() {
            return Err(cx.unsupported("a bias with keys of rank 4"));
        }
        parts.push(value);
    }
    let (mut k, mut v, mut past) = (parts[1], parts[2], 0);
    if let (Some(past_k), Some(past_v)) = (cx.optional(6), cx.optional(7)) {
        past = cx.extents(6)?.get(2).copied().unwrap_or(0) as i64;
        (k, v) = (appended(cx, past_k, k)?, appended(cx, past_v, v)?);
    }
    let mut call = Call {
        q: parts[0],
        k,
        v,
        offset: Offset::Fixed(past),
        causal: cx.int("unidirectional", 0)? != 0,
        left: None,
        right: None,
        bias: None,
        scale: scale(cx)?,
        softcap: None,
        sink: None,
    };
    call.check(cx)?;
    call.bias = added_mask(cx, &call, 4, Some(5))?;
    finish(cx, &call, dtype)
}

/// Query, key and value, which may be packed: the last two in the second input `[B,
/// K, H, 2, D]`, or all in the first, `[B, Q, H, 3, D]`. What is unpacked is `[B, Q, H
/// D]`.
fn unpacked(cx: &mut NodeCx<'_>) -> Result<[ValueId; 3]> {
    let (from, packed) = match (cx.optional(1), cx.optional(2)) {
        (Some(_), Some(_)) => return Ok([cx.input_f32(0)?, cx.input_f32(1)?, cx.input_f32(2)?]),
        (Some(_), None) => (1, 2),
        (None, None) => (0, 3),
        (None, Some(_)) => return Err(cx.broken("a value without a key")),
    };
    let extents = cx.extents(from)?;
    let [batch, tokens, heads, parts, head] = extents[..] else {
        return Err(cx.broken(format!("packed projections {extents:?}")));
    };
    if parts != packed {
        return Err(cx.broken(format!("packed projections {extents:?}, not {packed} of them")));
    }
    let x = cx.input_f32(from)?;
    let part = |cx: &mut NodeCx<'_>, at: usize| -> Result<ValueId> {
        let range = SliceRange { axis: 3, start: at as i64, end: at as i64 + 1, step: 1 };
        let part = cx.op1(Slice { ranges: vec![range] }, &[x])?;
        reshape(cx, part, &[batch, tokens, heads * head])
    };
    Ok(match packed {
        3 => [part(cx, 0)?, part(cx, 1)?, part(cx, 2)?],
        _ => [cx.input_f32(0)?, part(cx, 0)?, part(cx, 1)?],
    })
}

/// The sum of a padding mask and a bias of the scores, by the inputs' numbers.
pub(super) fn added_mask(
    cx: &mut NodeCx<'_>,
    call: &Call,
    mask: usize,
    bias: Option<usize>,
) -> Result<Option<ValueId>> {
    let bias = bias.and_then(|bias| cx.optional(bias));
    let bias = bias.map(|bias| cx.cast(bias, DType::F32)).transpose()?;
    let Some(given) = cx.optional(mask) else { return Ok(bias) };
    let seen = seen(cx, call, given)?;
    let hidden = cx.float("mask_filter_value", -10000.0)?;
    let mask = bias::of_truth(cx, seen, hidden)?;
    Ok(Some(match bias {
        Some(bias) => cx.op1(Binary::Add, &[bias, mask])?,
        None => mask,
    }))
}

/// Which keys a padding mask shows, as truth values that broadcast to
/// `[B, H, Q, C]`. It has a truth value for each key, or says where the keys of
/// each sequence end, and then perhaps where they begin.
fn seen(cx: &mut NodeCx<'_>, call: &Call, mask: ValueId) -> Result<ValueId> {
    let sizes = call.sizes(cx)?;
    let (batch, keys) = (sizes.batch, sizes.capacity);
    let extents = cx.extents_of(mask)?;
    let full = match extents[..] {
        [b, k] if (b, k) == (batch, keys) => vec![batch, 1, 1, keys],
        [b, q, k] if (b, q, k) == (batch, sizes.queries, keys) => vec![batch, 1, q, keys],
        [n] if n == batch || n == 2 * batch => {
            let ends = part(cx, mask, 0, batch)?;
            let mut seen = positioned(cx, Binary::Less, keys, ends)?;
            if n > batch {
                let starts = part(cx, mask, batch, batch)?;
                let begun = positioned(cx, Binary::GreaterOrEqual, keys, starts)?;
                seen = cx.op1(Binary::And, &[seen, begun])?;
            }
            return Ok(seen);
        }
        _ => {
            let what = format!("a mask {extents:?} of {batch} sequences and {keys} keys");
            return Err(cx.unsupported(what));
        }
    };
    let mask = cx.cast(mask, DType::Bool)?;
    reshape(cx, mask, &full)
}

/// Some numbers of a vector as `[B, 1, 1, 1]`, in I32.
fn part(cx: &mut NodeCx<'_>, vector: ValueId, start: usize, batch: usize) -> Result<ValueId> {
    let part = columns(cx, vector, start, batch)?;
    let part = cx.cast(part, DType::I32)?;
    reshape(cx, part, &[batch, 1, 1, 1])
}

/// The keys' positions compared with a number for each sequence.
fn positioned(
    cx: &mut NodeCx<'_>,
    comparison: Binary,
    keys: usize,
    numbers: ValueId,
) -> Result<ValueId> {
    let order: Vec<i32> = (0..keys as i32).collect();
    let order = cx.constant(Tensor::from_i32(&[1, 1, 1, keys], &order)?)?;
    cx.op1(comparison, &[order, numbers])
}

/// So many elements of the last dimension.
pub(super) fn columns(
    cx: &mut NodeCx<'_>,
    vector: ValueId,
    start: usize,
    count: usize,
) -> Result<ValueId> {
    let range = SliceRange { axis: -1, start: start as i64, end: (start + count) as i64, step: 1 };
    cx.op1(Slice { ranges: vec![range] }, &[vector])
}

/// The first output: `[B, Q, H Dv]`.
pub(super) fn results(cx: &mut NodeCx<'_>, call: &Call, dtype: DType) -> Result<()> {
    let y = call.output(cx)?;
    let y = as_given(cx, y, &[0; 3])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn finish(cx: &mut NodeCx<'_>, call: &Call, dtype: DType) -> Result<()> {
    results(cx, call, dtype)?;
    for (index, value) in [(1, call.k), (2, call.v)] {
        if cx.wants(index) {
            let value = cx.cast(value, dtype)?;
            cx.output(index, value);
        }
    }
    Ok(())
}

/// `GroupQueryAttention`: query `[B, Q, H D]`, or with keys and values packed
/// behind it; caches `[B, G, P, D]` that new keys are put into behind
/// `seqlens_k + 1 - Q` others, or at the beginning of a first prompt.
pub(super) fn group_query(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    refuse(
        cx,
        &[("qk_output", 0), ("kv_cache_bit_width", 0), ("sliding_window_cache", 0), ("causal", 1)],
        &[
            (12, "k_scale"),
            (13, "v_scale"),
            (14, "q_norm_weight"),
            (15, "k_norm_weight"),
            (16, "query_seqlens"),
        ],
    )?;
    for name in ["k_quant_type", "v_quant_type"] {
        let kind = cx.string(name, "NONE")?.to_string();
        if kind != "NONE" {
            return Err(cx.unsupported(format!("{name} {kind}")));
        }
    }
    let (heads, groups) = (heads(cx, "num_heads")?, heads(cx, "kv_num_heads")?);
    let (mut q, mut k, v) = projections(cx, heads, groups)?;
    let tokens = cx.extents_of(q)?[1];
    let total = cx.known_ints(6)?.first().copied().unwrap_or(-1);
    let total = usize::try_from(total)
        .ok()
        .filter(|&total| total >= tokens)
        .ok_or_else(|| cx.broken(format!("total_sequence_length {total}")))?;
    let first_prompt = total == tokens;
    let batch = cx.extents_of(q)?[0];
    let lengths = cx.input(5)?;
    let lengths = cx.cast(lengths, DType::I32)?;
    let lengths = reshape(cx, lengths, &[batch])?;
    let one = cx.constant(Tensor::from_i32(&[1], &[1])?)?;
    let lengths = cx.op1(Binary::Add, &[lengths, one])?;
    let count = cx.constant(Tensor::from_i32(&[1], &[tokens as i32])?)?;
    let before = if first_prompt {
        cx.constant(Tensor::from_i32(&[batch], &vec![0; batch])?)?
    } else {
        cx.op1(Binary::Sub, &[lengths, count])?
    };
    if cx.int("do_rotary", 0)? != 0 {
        (q, k) = (rotated(cx, q, before)?, rotated(cx, k, before)?);
    }
    let (k, v) = (cached(cx, 3, k, before, total)?, cached(cx, 4, v, before, total)?);
    let (k, v) = readable(cx, k, v)?;
    let window = match cx.int("local_window_size", -1)? {
        -1 => None,
        n => Some(
            u32::try_from(n)
                .ok()
                .filter(|&n| n > 0)
                .ok_or_else(|| cx.broken(format!("local_window_size {n}")))?,
        ),
    };
    let softcap = cx.float("softcap", 0.0)?;
    let mut call = Call {
        q,
        k,
        v,
        offset: if first_prompt { Offset::Fixed(0) } else { Offset::Before(lengths) },
        causal: true,
        // The window counts the query's own key.
        left: window.map(|n| n - 1),
        right: None,
        bias: None,
        scale: scale(cx)?,
        softcap: (softcap > 0.0).then_some(softcap),
        sink: sink(cx, heads)?,
    };
    call.check(cx)?;
    if let Some(added) = cx.optional(10) {
        let capacity = call.sizes(cx)?.capacity;
        call.bias = Some(bias::additive(cx, added, capacity)?);
    }
    finish(cx, &call, dtype)
}

/// The scores of the sinks, `[heads]`: given, or 0 with `smooth_softmax`.
fn sink(cx: &mut NodeCx<'_>, heads: usize) -> Result<Option<ValueId>> {
    if cx.optional(11).is_some() {
        return match cx.extents(11)?[..] {
            [count] if count == heads => cx.input_f32(11).map(Some),
            ref other => Err(cx.broken(format!("head_sink {other:?} for {heads} heads"))),
        };
    }
    match cx.int("smooth_softmax", 0)? {
        1 => cx.constant(Tensor::from_f32(&[heads], &vec![0.0; heads])?).map(Some),
        _ => Ok(None),
    }
}

/// Query, key and value as `[B, Q, heads, D]`, from inputs of their own or packed
/// in the first, in F32.
fn projections(
    cx: &mut NodeCx<'_>,
    heads: usize,
    groups: usize,
) -> Result<(ValueId, ValueId, ValueId)> {
    let x = cx.input_f32(0)?;
    let extents = cx.extents(0)?;
    if cx.optional(1).is_some() {
        let of = |cx: &mut NodeCx<'_>, index: usize, heads: usize| -> Result<ValueId> {
            let value = cx.input_f32(index)?;
            let split = split(cx, &cx.extents(index)?, heads)?;
            reshape(cx, value, &split)
        };
        return Ok((of(cx, 0, heads)?, of(cx, 1, groups)?, of(cx, 2, groups)?));
    }
    let [_, _, _, head] = split(cx, &extents, heads + 2 * groups)?;
    let mut start = 0;
    let mut part = |cx: &mut NodeCx<'_>, heads: usize| -> Result<ValueId> {
        let value = columns(cx, x, start, heads * head)?;
        start += heads * head;
        reshape(cx, value, &[extents[0], extents[1], heads, head])
    };
    Ok((part(cx, heads)?, part(cx, groups)?, part(cx, groups)?))
}

/// Turned by the positions that are given, or by those that start at `before` `[B]`.
fn rotated(cx: &mut NodeCx<'_>, x: ValueId, before: ValueId) -> Result<ValueId> {
    let (cos, sin) = (cx.input_f32(7)?, cx.input_f32(8)?);
    let extents = cx.extents_of(x)?;
    let (batch, tokens) = (extents[0], extents[1]);
    let rotary_dim = 2 * cx.extents(7)?.last().copied().unwrap_or(0);
    let positions = match cx.optional(9) {
        Some(given) => {
            let given = cx.cast(given, DType::I32)?;
            reshape(cx, given, &[batch, tokens])?
        }
        None => {
            let order: Vec<i32> = (0..tokens as i32).collect();
            let order = cx.constant(Tensor::from_i32(&[1, tokens], &order)?)?;
            let before = reshape(cx, before, &[batch, 1])?;
            cx.op1(Binary::Add, &[before, order])?
        }
    };
    let interleaved = cx.int("rotary_interleaved", 0)? != 0;
    cx.op1(RotaryEmbedding { interleaved, rotary_dim }, &[x, cos, sin, positions])
}

/// The cache of an input with new tokens `[B, Q, G, D]` in it, F32
/// `[B, G, C, D]`. C is the larger of the cache's size and the longest sequence.
fn cached(
    cx: &mut NodeCx<'_>,
    input: usize,
    new: ValueId,
    before: ValueId,
    total: usize,
) -> Result<ValueId> {
    let [batch, tokens, groups, head] = cx.extents_of(new)?[..] else {
        return Err(cx.broken("new keys of other than rank 4"));
    };
    let past = if cx.optional(input).is_some() {
        let past = cx.input_f32(input)?;
        let extents = cx.extents(input)?;
        match extents[..] {
            [b, g, p, d] if (b, g, d) == (batch, groups, head) => Some((past, p)),
            _ => return Err(cx.broken(format!("cache {extents:?} for {groups} heads of {head}"))),
        }
    } else {
        None
    };
    let size = past.map_or(0, |(_, p)| p);
    if size == 0 && total == tokens {
        return swap(cx, new);
    }
    let mut cache = past.map(|(past, _)| past);
    if size < total {
        let zero = bias::number(cx, 0.0)?;
        let missing = super::shape(&[batch, groups, total - size, head]);
        let empty = cx.op1(Expand { shape: missing }, &[zero])?;
        cache = Some(match cache {
            Some(past) => cx.op1(Concat { axis: 2 }, &[past, empty])?,
            None => empty,
        });
    }
    let cache = cache.ok_or_else(|| cx.broken("no cache"))?;
    cx.op1(TensorScatter { axis: 2, token_major: true, skip: false }, &[cache, new, before])
}
