//! ONNX Runtime's attention with its projections in the node: `Attention`, and
//! `QAttention` over codes.

use super::core::{Call, Offset};
use super::microsoft::{added_mask, columns, refuse, results, scale};
use super::{appended, heads, reshape, split, swap};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::Binary;
use crate::ops::matmul::MatMul;
use crate::ops::movement::{Concat, Slice, SliceRange};
use crate::ops::quantize::integer_product;
use crate::tensor::DType;

/// Where a node has what.
struct Inputs {
    mask: usize,
    past: usize,
    bias: Option<usize>,
}

/// `Attention`: input `[B, S, I]`, weights `[I, N]` of queries, keys and values one
/// behind the other, bias, mask, past `[2, B, H, P, D]` and what is added to the
/// scores.
pub(super) fn attention(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let (x, weights) = (cx.input_f32(0)?, cx.input(1)?);
    // Known weights stay in 16 bits.
    let weights = match cx.builder().known(weights) {
        Some(_) => weights,
        None => cx.cast(weights, DType::F32)?,
    };
    let mut inputs = vec![Some(x), Some(weights)];
    if cx.optional(2).is_some() {
        inputs.push(Some(cx.input_f32(2)?));
    }
    let projected = cx.op(MatMul::default(), &inputs)?;
    let Some(&projected) = projected.first() else { return Err(cx.broken("no projections")) };
    refuse(cx, &[], &[(6, "past_sequence_length")])?;
    attend(cx, projected, &Inputs { mask: 3, past: 4, bias: Some(5) }, dtype)
}

/// `QAttention`: codes and weights with scales and zero points, a bias in F32, a
/// mask, and past.
pub(super) fn quantised(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(3)?;
    let sums = integer_product(cx, [cx.input(0)?, cx.input(1)?], [cx.optional(6), cx.optional(7)])?;
    let (x_scale, w_scale) = (cx.input_f32(3)?, cx.input_f32(4)?);
    let factor = cx.map2(Binary::Mul, x_scale, w_scale)?;
    let sums = cx.cast(sums, DType::F32)?;
    let mut projected = cx.map2(Binary::Mul, sums, factor)?;
    if cx.optional(2).is_some() {
        let bias = cx.input_f32(2)?;
        projected = cx.map2(Binary::Add, projected, bias)?;
    }
    attend(cx, projected, &Inputs { mask: 5, past: 8, bias: None }, dtype)
}

/// Attention between projections `[B, S, N]`.
fn attend(cx: &mut NodeCx<'_>, projected: ValueId, at: &Inputs, dtype: DType) -> Result<()> {
    refuse(cx, &[("do_rotary", 0), ("past_present_share_buffer", 0)], &[])?;
    let heads = heads(cx, "num_heads")?;
    let extents = cx.extents_of(projected)?;
    let &[batch, tokens, all] = extents.as_slice() else {
        return Err(cx.broken(format!("projections {extents:?} are not of rank 3")));
    };
    let sizes = hidden_sizes(cx, all)?;
    let mut start = 0;
    let mut parts = Vec::with_capacity(3);
    for size in sizes {
        let part = columns(cx, projected, start, size)?;
        start += size;
        let shape = split(cx, &[batch, tokens, size], heads)?;
        parts.push(reshape(cx, part, &shape)?);
    }
    let &[q, k, v] = parts.as_slice() else { return Err(cx.broken("three projections")) };
    let (mut k, mut v, mut before) = (swap(cx, k)?, swap(cx, v)?, 0);
    if let Some(past) = cx.optional(at.past) {
        let extents = cx.extents_of(past)?;
        let &[2, _, _, count, _] = extents.as_slice() else {
            return Err(cx.broken(format!("past {extents:?} is not [2, B, H, P, D]")));
        };
        before = count as i64;
        let (past_k, past_v) = (half(cx, past, 0)?, half(cx, past, 1)?);
        (k, v) = (appended(cx, past_k, k)?, appended(cx, past_v, v)?);
    }
    let mut call = Call {
        q,
        k,
        v,
        offset: Offset::Fixed(before),
        causal: cx.int("unidirectional", 0)? != 0,
        left: None,
        right: None,
        bias: None,
        scale: scale(cx)?,
        softcap: None,
        sink: None,
    };
    call.check(cx)?;
    call.bias = added_mask(cx, &call, at.mask, at.bias)?;
    results(cx, &call, dtype)?;
    if cx.wants(1) {
        let parts = [call.k, call.v].map(|part| cx.cast(part, dtype));
        let [k, v] = parts;
        let (k, v) = (front(cx, k?)?, front(cx, v?)?);
        let present = cx.op1(Concat { axis: 0 }, &[k, v])?;
        cx.output(1, present);
    }
    Ok(())
}

/// Columns of queries, keys and values.
fn hidden_sizes(cx: &NodeCx<'_>, all: usize) -> Result<[usize; 3]> {
    let given = cx.ints("qkv_hidden_sizes")?.filter(|sizes| !sizes.is_empty());
    let sizes = match &given {
        None if all.is_multiple_of(3) => Some([all / 3; 3]),
        None => None,
        Some(sizes) => {
            let sizes: Option<Vec<usize>> =
                sizes.iter().map(|&n| usize::try_from(n).ok()).collect();
            sizes.and_then(|sizes| <[usize; 3]>::try_from(sizes).ok())
        }
    };
    let sum = |sizes: &[usize; 3]| sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    sizes
        .filter(|sizes| sum(sizes) == Some(all))
        .ok_or_else(|| cx.broken(format!("qkv_hidden_sizes {given:?} of {all} columns")))
}

/// The keys (0) or the values (1) of a past.
fn half(cx: &mut NodeCx<'_>, past: ValueId, index: i64) -> Result<ValueId> {
    let extents = cx.extents_of(past)?;
    let range = SliceRange { axis: 0, start: index, end: index + 1, step: 1 };
    let part = cx.op1(Slice { ranges: vec![range] }, &[past])?;
    reshape(cx, part, &extents[1..])
}

/// The value with a dimension of 1 in front.
fn front(cx: &mut NodeCx<'_>, value: ValueId) -> Result<ValueId> {
    let mut extents = cx.extents_of(value)?;
    extents.insert(0, 1);
    reshape(cx, value, &extents)
}
