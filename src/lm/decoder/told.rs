//! What blocks are told of tokens by embeddings of their own (Gemma 3n, Gemma 4); see
//! [`Told`](crate::lm::streams::Told).

use super::Blocks;
use crate::error::{Error, Result};
use crate::graph::ValueId;
use std::f32::consts::FRAC_1_SQRT_2;

impl Blocks<'_> {
    /// What each block is told of its tokens: their embeddings for it, and what is made
    /// of those that all share, `x`. F32 `[.., query, blocks * per_block]`.
    pub(super) fn inputs_of_blocks(&mut self, x: ValueId, tokens: ValueId) -> Result<ValueId> {
        let (spec, size) = (self.spec, self.told_size()?);
        let all = spec.blocks * size;
        let table = self.named("per_layer_token_embd.weight", &[spec.vocabulary, all])?;
        let own = self.g.gather(table, tokens, 0)?;
        let own = self.scaled("per_layer.scale", own, Some((size as f32).sqrt()))?;
        let matrix = self.named("per_layer_model_proj.weight", &[all, spec.width])?;
        let made = self.g.linear(x, matrix, None)?;
        let made = self.scaled("per_layer.made", made, Some(1.0 / (spec.width as f32).sqrt()))?;
        let [sequences, query] = self.flat.clone();
        let apart = [sequences.clone(), query.clone(), spec.blocks.into(), size.into()];
        let made = self.g.reshape(made, &apart)?;
        let made = self.normalised("per_layer_proj_norm", made, size)?;
        let made = self.g.reshape(made, &[sequences, query, all.into()])?;
        let both = self.g.add(own, made)?;
        self.scaled("half", both, Some(FRAC_1_SQRT_2))
    }

    /// What one block is told, of what all are: `[.., query, per_block]`.
    pub(super) fn input_of(&mut self, block: usize, inputs: ValueId) -> Result<ValueId> {
        let size = self.told_size()?;
        self.part(inputs, block * size..(block + 1) * size)
    }

    /// What a block makes of its input and of a stream: `[.., query, width]`.
    pub(super) fn told(&mut self, block: usize, x: ValueId, input: ValueId) -> Result<ValueId> {
        let (width, size) = (self.spec.width, self.told_size()?);
        let gate = self.linear(block, "inp_gate", x, size, width)?;
        let gate = self.g.unary(self.spec.activation, gate)?;
        let gated = self.g.mul(gate, input)?;
        let x = self.linear(block, "proj", gated, width, size)?;
        self.norm(block, "post_norm", x)
    }

    fn told_size(&self) -> Result<usize> {
        let size = self.spec.told.and_then(|told| told.per_block);
        size.ok_or_else(|| Error::internal("embeddings for blocks of a model without"))
    }
}
