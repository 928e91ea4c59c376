//! Blocks that compute one of several residual streams (Gemma 3n); see
//! [`Streams`](crate::lm::streams::Streams).
//!
//! All streams are one value, `[.., query, streams, width]`.

use super::Blocks;
use super::weights::checked;
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::lm::streams::Streams;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::movement::SliceRange;
use crate::ops::reduce::Reduction;
use crate::tensor::Tensor;
use std::f32::consts::FRAC_1_SQRT_2;

/// The least mean square that a stream is scaled by.
const LEAST_SQUARE: f32 = 1e-5;

impl Blocks<'_> {
    /// All blocks, from embeddings to the value that the norm at the end reads.
    pub(super) fn streamed(
        &mut self,
        streams: &Streams,
        x: ValueId,
        tokens: ValueId,
    ) -> Result<ValueId> {
        let inputs = self.inputs_of_blocks(x, tokens)?;
        let mut all = vec![x];
        for i in 1..streams.count {
            let other = self.whole_matrix("altup_proj.weight", streams, i - 1, x)?;
            all.push(self.as_large_as(x, other)?);
        }
        let each = all.into_iter().map(|x| self.as_stream(x)).collect::<Result<Vec<_>>>()?;
        let mut all = self.g.concat(&each, -2)?;
        for block in 0..self.spec.blocks {
            let input = self.input_of(block, inputs)?;
            all = self.streamed_block(streams, block, all, input)?;
        }
        self.g.scope("output.");
        let first = self.stream(all, 0)?;
        let mut sum = first;
        for i in 1..streams.count {
            let x = self.stream(all, i)?;
            let x = self.whole_matrix("altup_unembd_proj.weight", streams, i - 1, x)?;
            let x = self.as_large_as(first, x)?;
            sum = self.g.add(sum, x)?;
        }
        self.scaled("streams.share", sum, Some(1.0 / streams.count as f32))
    }

    fn streamed_block(
        &mut self,
        streams: &Streams,
        block: usize,
        all: ValueId,
        input: ValueId,
    ) -> Result<ValueId> {
        self.g.scope(format!("blk.{block}."));
        let count = streams.count;
        let active = self.stream(all, streams.active)?;
        // What the block is going to bring is foreseen from what there is.
        let route = self.routed(block, count, active)?;
        let mixing = self.linear(block, "altup_predict_coef", route, count * count, count)?;
        let [sequences, query] = self.flat.clone();
        let square = [sequences.clone(), query.clone(), count.into(), count.into()];
        let mixing = self.g.reshape(mixing, &square)?;
        let moved = self.g.matmul(mixing, all)?;
        let foreseen = self.g.add(all, moved)?;
        let expected = self.stream(foreseen, streams.active)?;
        let computed = self.computed(block, expected)?;
        // What came of it corrects all streams.
        let route = self.routed(block, count, computed)?;
        let shares = self.linear(block, "altup_correct_coef", route, count, count)?;
        let one = self.number("streams.one", 1.0)?;
        let shares = self.g.add(shares, one)?;
        let shares = self.g.reshape(shares, &[sequences, query, count.into(), 1u64.into()])?;
        let news = self.g.sub(computed, expected)?;
        let news = self.as_stream(news)?;
        let news = self.g.mul(news, shares)?;
        let all = self.g.add(foreseen, news)?;
        let told = self.told_to_others(streams, block, all, input)?;
        let told = self.as_stream(told)?;
        let others: Vec<f32> = (0..count).map(|i| if i == 0 { 0.0 } else { 1.0 }).collect();
        let others = self.g.constant("streams.others", Tensor::from_f32(&[count, 1], &others)?)?;
        let told = self.g.mul(told, others)?;
        self.g.add(all, told)
    }

    /// Attention and feed-forward of a block, and a short way around attention.
    fn computed(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let width = self.spec.width;
        let normed = self.norm(block, "attn_norm", x)?;
        let rank = self.inner_size(block, "laurel_l.weight", 0)?;
        let around = self.linear(block, "laurel_l", normed, rank, width)?;
        let around = self.linear(block, "laurel_r", around, width, rank)?;
        let around = self.norm(block, "laurel_post_norm", around)?;
        let around = self.g.add(normed, around)?;
        let attended = self.attention(block, normed)?;
        let attended = self.norm(block, "post_attention_norm", attended)?;
        let x = self.g.add(x, attended)?;
        let x = self.g.add(x, around)?;
        let x = self.scaled("half", x, Some(FRAC_1_SQRT_2))?;
        let normed = self.norm(block, "ffn_norm", x)?;
        let fed = self.feed_forward(block, normed)?;
        let fed = self.norm(block, "post_ffw_norm", fed)?;
        self.g.add(x, fed)
    }

    /// What a block's own embedding of a token brings to the other streams.
    fn told_to_others(
        &mut self,
        streams: &Streams,
        block: usize,
        all: ValueId,
        input: ValueId,
    ) -> Result<ValueId> {
        let mut x = self.stream(all, streams.active)?;
        let width = self.spec.width;
        if let Some(scale) = self.optional(block, "altup_correct_scale.weight", &[width])? {
            x = self.g.mul(x, scale)?;
        }
        self.told(block, x, input)
    }

    /// Numbers between -1 and 1 that say how a token's streams belong together.
    fn routed(&mut self, block: usize, count: usize, x: ValueId) -> Result<ValueId> {
        let width = self.spec.width;
        let x = self.norm(block, "altup_router_norm", x)?;
        let x = self.scaled("streams.router", x, Some(1.0 / width as f32))?;
        let x = self.linear(block, "altup_router", x, count, width)?;
        self.g.unary(Unary::Tanh, x)
    }

    /// One of the matrices that a tensor holds, times `x`.
    fn whole_matrix(
        &mut self,
        name: &str,
        streams: &Streams,
        index: usize,
        x: ValueId,
    ) -> Result<ValueId> {
        let width = self.spec.width;
        let all = checked(self.spec, self.weights, name, &[streams.count - 1, width, width])?;
        let matrix = all.rows(index..index + 1)?.with_extents(&[width, width])?;
        let matrix = self.g.constant(&format!("{name}[{index}]"), matrix)?;
        self.g.linear(x, matrix, None)
    }

    /// `x` with the root of the mean square of `like`.
    fn as_large_as(&mut self, like: ValueId, x: ValueId) -> Result<ValueId> {
        let wanted = self.mean_square(like)?;
        let wanted = self.g.unary(Unary::Sqrt, wanted)?;
        let had = self.mean_square(x)?;
        let least = self.number("streams.least", LEAST_SQUARE)?;
        let had = self.g.binary(Binary::Max, had, least)?;
        let had = self.g.unary(Unary::Sqrt, had)?;
        let factor = self.g.div(wanted, had)?;
        self.g.mul(x, factor)
    }

    fn mean_square(&mut self, x: ValueId) -> Result<ValueId> {
        let square = self.g.mul(x, x)?;
        self.g.reduce(Reduction::Mean, square, &[-1], true)
    }

    /// One stream of all: `[.., query, width]`.
    fn stream(&mut self, all: ValueId, index: usize) -> Result<ValueId> {
        let start = index as i64;
        let one = self.g.slice(all, &[SliceRange { axis: -2, start, end: start + 1, step: 1 }])?;
        let [sequences, query] = self.flat.clone();
        self.g.reshape(one, &[sequences, query, self.spec.width.into()])
    }

    fn as_stream(&mut self, x: ValueId) -> Result<ValueId> {
        let [sequences, query] = self.flat.clone();
        self.g.reshape(x, &[sequences, query, Dim::from(1u64), self.spec.width.into()])
    }

    /// Closes the gates that are not far enough above their mean.
    pub(super) fn opened(&mut self, block: usize, gate: ValueId) -> Result<ValueId> {
        let openness = self.spec.streams.as_ref().and_then(|s| s.openness.get(block).copied());
        let Some(far) = openness.filter(|&far| far != 0.0) else { return Ok(gate) };
        let mean = self.g.reduce(Reduction::Mean, gate, &[-1], true)?;
        let off = self.g.sub(gate, mean)?;
        let deviation = self.mean_square(off)?;
        let deviation = self.g.unary(Unary::Sqrt, deviation)?;
        let cut = self.scaled(&format!("openness.{block}"), deviation, Some(far))?;
        let above = self.g.sub(off, cut)?;
        self.g.unary(Unary::Relu, above)
    }
}
