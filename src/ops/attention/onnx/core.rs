//! Attention in the terms of ONNX, and how the fused operator computes it.

use super::bias::number;
use super::microsoft::columns;
use super::{reshape, swap};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::attention::{Attention, LEAST_SCORE};
use crate::ops::elementwise::{Binary, Unary, Where};
use crate::ops::matmul::MatMul;
use crate::ops::movement::{Concat, Expand};
use crate::ops::softmax::Softmax;
use crate::tensor::{DType, Tensor};

/// Where the first query stands among the keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offset {
    /// So many keys precede it in every sequence.
    Fixed(i64),
    /// Each sequence has so many valid keys (I32 `[B]`), its queries at their end.
    Before(ValueId),
}

/// An attention in the terms of ONNX.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// F32 `[B, Q, H, D]`.
    pub(super) q: ValueId,
    /// F32 or F16 `[B, G, C, D]`.
    pub(super) k: ValueId,
    /// As k, `[B, G, C, Dv]`.
    pub(super) v: ValueId,
    pub(super) offset: Offset,
    pub(super) causal: bool,
    /// How many keys to the left and to the right of its own a query sees.
    pub(super) left: Option<u32>,
    pub(super) right: Option<u32>,
    /// Added to the scores: F32, broadcast to `[B, H, Q, C]`.
    pub(super) bias: Option<ValueId>,
    pub(super) scale: Option<f32>,
    pub(super) softcap: Option<f32>,
    /// A score for each head, F32 `[H]`, of a key whose value is zero and that every
    /// query sees.
    pub(super) sink: Option<ValueId>,
}

/// The extents of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) heads: usize,
    pub(super) groups: usize,
    pub(super) head: usize,
    pub(super) capacity: usize,
}

/// The results `[B, Q, H, Dv]` in the layout of the queries, whose extents are
/// given: rank 3, or rank 4 with heads first.
pub(super) fn as_given(cx: &mut NodeCx<'_>, y: ValueId, queries: &[usize]) -> Result<ValueId> {
    if queries.len() == 4 {
        return swap(cx, y);
    }
    let extents = cx.extents_of(y)?;
    let merged = [extents[0], extents[1], extents[2..].iter().product()];
    reshape(cx, y, &merged)
}

impl Call {
    pub(super) fn sizes(&self, cx: &NodeCx<'_>) -> Result<Sizes> {
        match (&cx.extents_of(self.q)?[..], &cx.extents_of(self.k)?[..]) {
            (&[batch, queries, heads, head], &[_, groups, capacity, _]) => {
                Ok(Sizes { batch, queries, heads, groups, head, capacity })
            }
            (q, k) => Err(cx.broken(format!("queries {q:?} and keys {k:?} must have rank 4"))),
        }
    }

    /// What the fused operator would word less clearly.
    pub(super) fn check(&self, cx: &NodeCx<'_>) -> Result<()> {
        let sizes = self.sizes(cx)?;
        if sizes.groups == 0 || !sizes.heads.is_multiple_of(sizes.groups) {
            let (heads, groups) = (sizes.heads, sizes.groups);
            return Err(cx.broken(format!("{heads} query heads do not share {groups} key heads")));
        }
        Ok(())
    }

    /// The weighted values, `[B, Q, H, Dv]`.
    ///
    /// A `past` of C - Q shows all keys to queries that are not causal, so the
    /// fused operator's `past` is the offset only where the two agree or the
    /// queries are causal. Everything else goes through the mask.
    pub(super) fn output(&self, cx: &mut NodeCx<'_>) -> Result<ValueId> {
        if self.sink.is_some() {
            return self.read(cx);
        }
        let sizes = self.sizes(cx)?;
        let all = sizes.capacity as i64 - sizes.queries as i64;
        let (past, fits) = match self.offset {
            Offset::Fixed(offset) if self.causal => (offset, offset <= all),
            Offset::Fixed(offset) => (all, self.left.is_none() || offset == all),
            Offset::Before(_) => (0, true),
        };
        let fits = fits && self.right.is_none();
        let past = match self.offset {
            Offset::Fixed(_) => {
                let past = i32::try_from(if fits { past } else { all })
                    .map_err(|_| cx.unsupported(format!("{past} keys before the queries")))?;
                cx.constant(Tensor::from_i32(&[sizes.batch], &vec![past; sizes.batch])?)?
            }
            Offset::Before(lengths) => {
                let queries = Tensor::from_i32(&[1], &[sizes.queries as i32])?;
                let queries = cx.constant(queries)?;
                cx.op1(Binary::Sub, &[lengths, queries])?
            }
        };
        let mask = if fits {
            self.bias
        } else {
            let structure = self.structure(cx)?;
            self.masked(cx, structure)?
        };
        let op = Attention {
            scale: self.scale,
            causal: self.causal && fits,
            window: self.left.filter(|_| fits).map(|left| left.saturating_add(1)),
            softcap: self.softcap,
        };
        let inputs = [Some(self.q), Some(self.k), Some(self.v), Some(past), mask];
        let outputs = cx.op(op, &inputs)?;
        outputs.first().copied().ok_or_else(|| cx.broken("no output"))
    }

    /// The scores `[B, H, Q, C]`: scaled products (0), after the soft cap (1),
    /// with all that is added (2), or their softmax (3).
    pub(super) fn scores(&self, cx: &mut NodeCx<'_>, mode: i64) -> Result<ValueId> {
        let mut scores = self.products(cx)?;
        if let Some(cap) = self.softcap.filter(|_| mode > 0) {
            let cap = number(cx, cap)?;
            scores = cx.op1(Binary::Div, &[scores, cap])?;
            scores = cx.op1(Unary::Tanh, &[scores])?;
            scores = cx.op1(Binary::Mul, &[scores, cap])?;
        }
        if mode < 2 {
            return Ok(scores);
        }
        let structure = self.structure(cx)?;
        let bias = self.masked(cx, structure)?;
        if let Some(bias) = bias {
            scores = cx.op1(Binary::Add, &[scores, bias])?;
        }
        if mode == 2 {
            return Ok(scores);
        }
        let Some(bias) = bias else {
            return self.shares(cx, scores);
        };
        // The softmax takes finite numbers; hidden keys have no part of it, which
        // matters where all are hidden.
        let least = number(cx, f32::MIN)?;
        let hidden = cx.op1(Binary::Less, &[bias, least])?;
        let (low, zero) = (number(cx, LEAST_SCORE)?, number(cx, 0.0)?);
        let finite = cx.op1(Where, &[hidden, low, scores])?;
        let weights = self.shares(cx, finite)?;
        cx.op1(Where, &[hidden, zero, weights])
    }

    /// The softmax of finite scores, of which the sink has its share.
    fn shares(&self, cx: &mut NodeCx<'_>, scores: ValueId) -> Result<ValueId> {
        let Some(sink) = self.sink else {
            return cx.op1(Softmax { axis: -1 }, &[scores]);
        };
        let Sizes { batch, queries, heads, capacity, .. } = self.sizes(cx)?;
        let sink = reshape(cx, sink, &[1, heads, 1, 1])?;
        let sink = cx.op1(Expand { shape: super::shape(&[batch, heads, queries, 1]) }, &[sink])?;
        let all = cx.op1(Concat { axis: 3 }, &[scores, sink])?;
        let all = cx.op1(Softmax { axis: -1 }, &[all])?;
        columns(cx, all, 0, capacity)
    }

    /// [`Call::output`] by way of all weights, `[B, H, Q, C]`. The query heads of a key
    /// head are rows of one matrix.
    fn read(&self, cx: &mut NodeCx<'_>) -> Result<ValueId> {
        let Sizes { batch, queries, heads, groups, capacity, .. } = self.sizes(cx)?;
        let weights = self.scores(cx, 3)?;
        let weights = reshape(cx, weights, &[batch, groups, heads / groups * queries, capacity])?;
        let v = cx.cast(self.v, DType::F32)?;
        let size = cx.extents_of(v)?.last().copied().unwrap_or(0);
        let y = cx.op1(MatMul::default(), &[weights, v])?;
        let y = reshape(cx, y, &[batch, heads, queries, size])?;
        swap(cx, y)
    }

    /// The scaled products of queries and keys. The query heads of a key head
    /// are rows of one matrix.
    fn products(&self, cx: &mut NodeCx<'_>) -> Result<ValueId> {
        let Sizes { batch, queries, heads, groups, head, capacity } = self.sizes(cx)?;
        let q = swap(cx, self.q)?;
        let q = reshape(cx, q, &[batch, groups, heads / groups * queries, head])?;
        let k = cx.cast(self.k, DType::F32)?;
        let product = MatMul { trans_b: true, ..MatMul::default() };
        let scores = cx.op1(product, &[q, k])?;
        let scale = number(cx, self.scale.unwrap_or_else(|| (1.0 / (head as f64).sqrt()) as f32))?;
        let scores = cx.op1(Binary::Mul, &[scores, scale])?;
        reshape(cx, scores, &[batch, heads, queries, capacity])
    }
}
