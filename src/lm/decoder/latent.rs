//! Attention whose keys and values are made of one short vector of each token
//! (DeepSeek-V2, arXiv 2405.04434).

use super::{Blocks, Latent};
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::ops::movement::SliceRange;
use crate::tensor::Tensor;

impl Blocks<'_> {
    /// Queries, keys and values, rotated: F32 `[.., heads, size]`, as they meet in
    /// the caches.
    pub(super) fn latent_heads(
        &mut self,
        block: usize,
        latent: &Latent,
        x: ValueId,
    ) -> Result<[ValueId; 3]> {
        let (heads, rank) = (self.heads_of(block).count, latent.rank);
        let q = self.latent_queries(block, latent, x)?;
        let (plain, turned) = (0..latent.plain, latent.plain..latent.plain + latent.rotated);
        let plain = self.part(q, plain)?;
        let turned = self.part(q, turned)?;
        let turned = self.rotate(block, turned)?;
        let all = (rank + latent.rotated, self.spec.width);
        let vector = self.rows(block, "attn_kv_a_mqa", x, 0..rank, all)?;
        let name = format!("blk.{block}.attn_kv_a_norm");
        let vector = self.normalised(&name, vector, rank)?;
        let shared = self.rows(block, "attn_kv_a_mqa", x, rank..all.0, all)?;
        let shared = self.as_heads(shared, 1, latent.rotated)?;
        let shared = self.rotate(block, shared)?;
        if latent.absorbed {
            let plain = self.each_head(block, "attn_k_b", plain, [rank, latent.plain])?;
            let plain = self.as_heads(plain, heads, rank)?;
            let vector = self.as_heads(vector, 1, rank)?;
            let key = self.g.concat(&[vector, shared], -1)?;
            return Ok([self.g.concat(&[plain, turned], -1)?, key, vector]);
        }
        let size = latent.plain + latent.value;
        let both = self.linear(block, "attn_kv_b", vector, heads * size, rank)?;
        let both = self.as_heads(both, heads, size)?;
        let key = self.part(both, 0..latent.plain)?;
        let value = self.part(both, latent.plain..size)?;
        let [sequences, query] = self.flat.clone();
        let shape = [sequences, query, heads.into(), latent.rotated.into()];
        let shared = self.g.expand(shared, &shape)?;
        let key = self.g.concat(&[key, shared], -1)?;
        Ok([self.g.concat(&[plain, turned], -1)?, key, value])
    }

    /// From what attention gives, `[.., heads * size]`, to the residual stream. `x` is what
    /// the block reads.
    pub(super) fn out_of_latent(
        &mut self,
        block: usize,
        latent: &Latent,
        mixed: ValueId,
        x: ValueId,
    ) -> Result<ValueId> {
        let (heads, rank, value) = (self.heads_of(block).count, latent.rank, latent.value);
        let mixed = if latent.absorbed {
            let mixed = self.as_heads(mixed, heads, rank)?;
            let mixed = self.each_head(block, "attn_v_b", mixed, [value, rank])?;
            let [sequences, query] = self.flat.clone();
            self.g.reshape(mixed, &[sequences, query, Dim::from(heads * value)])?
        } else {
            mixed
        };
        let mixed = self.behind_gate(block, mixed, x, value)?;
        self.linear(block, "attn_output", mixed, self.spec.width, heads * value)
    }

    fn latent_queries(&mut self, block: usize, latent: &Latent, x: ValueId) -> Result<ValueId> {
        let (heads, width) = (self.heads_of(block).count, self.spec.width);
        let size = latent.plain + latent.rotated;
        let q = match latent.query_rank {
            None => self.linear(block, "attn_q", x, heads * size, width)?,
            Some(rank) => {
                let short = self.linear(block, "attn_q_a", x, rank, width)?;
                let short = self.normalised(&format!("blk.{block}.attn_q_a_norm"), short, rank)?;
                self.linear(block, "attn_q_b", short, heads * size, rank)?
            }
        };
        self.as_heads(q, heads, size)
    }

    /// `[.., heads, inputs]` times a matrix of each head: `[tokens, heads, outputs]`.
    fn each_head(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        [outputs, inputs]: [usize; 2],
    ) -> Result<ValueId> {
        let heads = self.heads_of(block).count;
        let matrices = self.weight(block, name, &[heads, outputs, inputs])?;
        let [sequences, query] = self.flat.clone();
        let tokens = sequences * query;
        let numbers: Vec<i32> = (0..heads as i32).collect();
        let numbers = self.g.constant("latent.heads", Tensor::from_i32(&[1, heads], &numbers)?)?;
        let numbers = self.g.expand(numbers, &[tokens.clone(), heads.into()])?;
        let x = self.g.reshape(x, &[tokens, heads.into(), inputs.into()])?;
        self.g.expert_matmul(x, numbers, matrices, None)
    }

    /// The same elements as `[.., heads, size]`.
    pub(in crate::lm) fn as_heads(
        &mut self,
        x: ValueId,
        heads: usize,
        size: usize,
    ) -> Result<ValueId> {
        let [sequences, query] = self.flat.clone();
        self.g.reshape(x, &[sequences, query, heads.into(), size.into()])
    }

    /// Some elements of every head.
    pub(in crate::lm) fn part(
        &mut self,
        x: ValueId,
        elements: std::ops::Range<usize>,
    ) -> Result<ValueId> {
        let (start, end) = (elements.start as i64, elements.end as i64);
        self.g.slice(x, &[SliceRange { axis: -1, start, end, step: 1 }])
    }
}
