//! The family's ONNX operators. All of them come down to the fused operator;
//! what its `past`, `causal` and `window` cannot say becomes a part of the mask.

mod bias;
mod core;
mod microsoft;
mod packed;
mod relative;

use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::elementwise::{Binary, GatedActivation, Unary};
use crate::ops::movement::{Concat, Reshape, Transpose};
use crate::tensor::DType;
use core::{Call, Offset};

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Attention", 23, attention),
    row("SwiGLU", 28, gated),
    OnnxOperator { domain: MICROSOFT, name: "Attention", since: 1, import: packed::attention },
    OnnxOperator { domain: MICROSOFT, name: "QAttention", since: 1, import: packed::quantised },
    OnnxOperator {
        domain: MICROSOFT,
        name: "MultiHeadAttention",
        since: 1,
        import: microsoft::multi_head,
    },
    OnnxOperator {
        domain: MICROSOFT,
        name: "RelativePositionBias",
        since: 1,
        import: relative::import,
    },
    OnnxOperator {
        domain: MICROSOFT,
        name: "GroupQueryAttention",
        since: 1,
        import: microsoft::group_query,
    },
];

const MICROSOFT: &str = "com.microsoft";

fn shape(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|&n| n.into()).collect()
}

fn reshape(cx: &mut NodeCx<'_>, value: ValueId, extents: &[usize]) -> Result<ValueId> {
    cx.op1(Reshape { shape: shape(extents) }, &[value])
}

/// `[a, b, c, d]` as `[a, c, b, d]`.
fn swap(cx: &mut NodeCx<'_>, value: ValueId) -> Result<ValueId> {
    cx.op1(Transpose { permutation: vec![0, 2, 1, 3] }, &[value])
}

/// The heads in a hidden size.
fn split(cx: &NodeCx<'_>, extents: &[usize], heads: usize) -> Result<[usize; 4]> {
    match *extents {
        [batch, tokens, hidden] if heads > 0 && hidden % heads == 0 => {
            Ok([batch, tokens, heads, hidden / heads])
        }
        _ => Err(cx.broken(format!("{extents:?} does not have {heads} heads"))),
    }
}

/// A number of heads that an attribute gives.
fn heads(cx: &NodeCx<'_>, name: &str) -> Result<usize> {
    let given = cx.attributes().int(name)?;
    let heads = given.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    heads.ok_or_else(|| cx.broken(format!("{name} must be above 0, got {given:?}")))
}

/// Queries as `[B, Q, H, D]`, in F32; `heads` for the number in a hidden size.
fn queries(cx: &mut NodeCx<'_>, value: ValueId, name: &str) -> Result<ValueId> {
    let extents = cx.extents_of(value)?;
    let value = cx.cast(value, DType::F32)?;
    if extents.len() == 4 {
        return swap(cx, value);
    }
    let split = split(cx, &extents, heads(cx, name)?)?;
    reshape(cx, value, &split)
}

/// Keys or values as `[B, G, C, D]`.
fn keys(cx: &mut NodeCx<'_>, value: ValueId, name: &str) -> Result<ValueId> {
    let extents = cx.extents_of(value)?;
    if extents.len() == 4 {
        return Ok(value);
    }
    let split = split(cx, &extents, heads(cx, name)?)?;
    let value = reshape(cx, value, &split)?;
    swap(cx, value)
}

/// Keys and values in a dtype that the kernels read: F16 if both are.
fn readable(cx: &mut NodeCx<'_>, k: ValueId, v: ValueId) -> Result<(ValueId, ValueId)> {
    let half = [k, v].iter().all(|&id| cx.builder().ty(id).dtype == DType::F16);
    let to = if half { DType::F16 } else { DType::F32 };
    Ok((cx.cast(k, to)?, cx.cast(v, to)?))
}

/// ONNX `Attention`, opsets 23 to 25: [`bias`] and [`core`] say what becomes of
/// masks and windows. Whatever `softmax_precision` says, the softmax is computed
/// in F32: no less than what F16, BF16 and F32 ask for, while DOUBLE is
/// approximated.
fn attention(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let (rank, q_extents) = (cx.ty(0)?.rank(), cx.extents(0)?);
    if !(3..=4).contains(&rank) || cx.ty(1)?.rank() != rank || cx.ty(2)?.rank() != rank {
        return Err(cx.broken("Q, K and V must all have rank 3 or all rank 4"));
    }
    let call = attention_call(cx)?;
    let y = call.output(cx)?;
    let y = core::as_given(cx, y, &q_extents)?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    for (index, value) in [(1, call.k), (2, call.v)] {
        if cx.wants(index) {
            let of = cx.dtype(index)?;
            let value = cx.cast(value, of)?;
            cx.output(index, value);
        }
    }
    let mode = cx.int("qk_matmul_output_mode", 0)?;
    if !(0..=3).contains(&mode) {
        return Err(cx.unsupported(format!("qk_matmul_output_mode {mode}")));
    }
    if cx.wants(3) {
        let scores = call.scores(cx, mode)?;
        let scores = cx.cast(scores, dtype)?;
        cx.output(3, scores);
    }
    Ok(())
}

fn attention_call(cx: &mut NodeCx<'_>) -> Result<Call> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let q = queries(cx, q, "q_num_heads")?;
    let (k, v) = (keys(cx, k, "kv_num_heads")?, keys(cx, v, "kv_num_heads")?);
    let (k, v) = readable(cx, k, v)?;
    let (k, v, past) = match (cx.optional(4), cx.optional(5)) {
        (None, None) => (k, v, 0),
        (Some(past_k), Some(past_v)) => {
            let past = cx.extents(4)?.get(2).copied().unwrap_or(0);
            (appended(cx, past_k, k)?, appended(cx, past_v, v)?, past as i64)
        }
        _ => return Err(cx.broken("past_key and past_value stand together")),
    };
    let offset = match cx.optional(6) {
        None => Offset::Fixed(past),
        Some(_) if cx.optional(4).is_some() => {
            return Err(cx.broken("nonpad_kv_seqlen does not go with past_key"));
        }
        Some(lengths) => Offset::Before(cx.cast(lengths, DType::I32)?),
    };
    let window = |name: &str| -> Result<Option<u32>> {
        match cx.int(name, -1)? {
            -1 => Ok(None),
            n => match u32::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(cx.broken(format!("{name} {n}"))),
            },
        }
    };
    let softcap = cx.float("softcap", 0.0)?;
    if !(softcap.is_finite() && softcap >= 0.0) {
        return Err(cx.unsupported(format!("softcap {softcap}")));
    }
    if let Some(precision) = cx.attributes().int("softmax_precision")?
        && ![1, 10, 11, 16].contains(&precision)
    {
        return Err(cx.unsupported(format!("softmax_precision {precision}")));
    }
    let (left, right) = (window("left_window_size")?, window("right_window_size")?);
    let causal = cx.int("is_causal", 0)? != 0 || right == Some(0);
    let mut call = Call {
        q,
        k,
        v,
        offset,
        causal,
        left,
        right: right.filter(|_| !causal),
        bias: None,
        scale: cx.attributes().float("scale")?,
        softcap: (softcap > 0.0).then_some(softcap),
        sink: None,
    };
    call.check(cx)?;
    if let Some(mask) = cx.optional(3) {
        let capacity = call.sizes(cx)?.capacity;
        call.bias = Some(bias::additive(cx, mask, capacity)?);
    }
    Ok(call)
}

/// `SwiGLU`, the gate of what follows attention: `a sigmoid(alpha a) b`.
fn gated(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, alpha) = (cx.dtype(0)?, cx.float("alpha", 1.0)?);
    let (a, b) = (cx.input_f32(0)?, cx.input_f32(1)?);
    if cx.extents(0)? != cx.extents(1)? {
        return Err(cx.broken("A and B must have the same shape"));
    }
    let y = if alpha == 1.0 {
        cx.op1(GatedActivation { act: Unary::Silu }, &[a, b])?
    } else {
        let alpha = bias::number(cx, alpha)?;
        let scaled = cx.op1(Binary::Mul, &[a, alpha])?;
        let gate = cx.op1(GatedActivation { act: Unary::Sigmoid }, &[scaled, a])?;
        cx.op1(Binary::Mul, &[gate, b])?
    };
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// A cache with what comes after it, in the dtype of the latter.
fn appended(cx: &mut NodeCx<'_>, past: ValueId, new: ValueId) -> Result<ValueId> {
    let to = cx.builder().ty(new).dtype;
    let past = cx.cast(past, to)?;
    cx.op1(Concat { axis: 2 }, &[past, new])
}
