//! Blocks whose tokens learn of each other through a state of fixed size: gated delta
//! nets, Mamba-2 and Mamba; see [`Recurrent`]. Kimi's delta nets are in `channels.rs`, RWKV
//! is in `rwkv.rs`.
//!
//! Their states are one value of each sequence, which every step brings forward in
//! place. So a sequence can go on from where it is or begin anew, nothing else.

use super::Blocks;
use super::weights::plain;
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::lm::recurrent::{Recurrence, Recurrent};
use crate::ops::elementwise::Unary;
use crate::ops::linear_attention::StatefulLinearAttention;
use crate::tensor::{DType, Tensor};

impl Blocks<'_> {
    /// What a recurrent block adds to the residual stream.
    pub(super) fn recurrent(
        &mut self,
        block: usize,
        sizes: Recurrent,
        x: ValueId,
    ) -> Result<ValueId> {
        match sizes.kind {
            Recurrence::DeltaNet { tiled } => self.delta_net(block, sizes, tiled, x),
            Recurrence::ChannelDeltaNet { .. } => self.channel_delta_net(block, sizes, x),
            Recurrence::Mamba2 => self.mamba2(block, sizes, x),
            Recurrence::Mamba => self.mamba(block, sizes, x),
            Recurrence::MambaHeads => self.mamba_heads(block, sizes, x),
            Recurrence::Rwkv6 => self.rwkv6(block, sizes, x),
            Recurrence::Rwkv7 => self.rwkv7(block, sizes, x),
        }
    }

    /// With `q`, `k` of unit length, `b` and `a` from the token:
    /// `norm(scan(q, k, v, softplus(a + bias) A, sigmoid(b))) * silu(z)`.
    fn delta_net(
        &mut self,
        block: usize,
        sizes: Recurrent,
        tiled: bool,
        x: ValueId,
    ) -> Result<ValueId> {
        let Recurrent { inner, rows, heads, keys, .. } = sizes;
        let (width, value) = (self.spec.width, inner / heads);
        let (qkv, z) = self.delta_inputs(block, sizes, x)?;
        let (beta, alpha) = self.delta_rates(block, sizes, x)?;
        let qkv = self.remembered(block, sizes, qkv, 2 * keys * rows + inner)?;
        let q = self.unit_heads(qkv, 0, sizes)?;
        let k = self.unit_heads(qkv, keys * rows, sizes)?;
        let v = self.part(qkv, 2 * keys * rows..2 * keys * rows + inner)?;
        let bias = self.optional(block, "ssm_dt.bias", &[heads])?;
        let decay = self.decay(block, (alpha, heads), bias, &[heads])?;
        let beta = self.g.unary(Unary::Sigmoid, beta)?;
        let beta = self.by_sequence(beta, heads)?;
        let op =
            StatefulLinearAttention { states: heads as u64, keys: keys as u64, tiled, scale: None };
        let y =
            self.scanned(block, op, [q, k, v], [Some(decay), Some(beta), None], [rows, value])?;
        let y = self.gathered(y, inner)?;
        let y = self.as_heads(y, heads, value)?;
        let y = self.normalised(&format!("blk.{block}.ssm_norm"), y, value)?;
        let z = self.as_heads(z, heads, value)?;
        let z = self.g.unary(Unary::Silu, z)?;
        let y = self.g.mul(y, z)?;
        let y = self.flattened(y, inner)?;
        self.linear(block, "ssm_out", y, width, inner)
    }

    /// Queries, keys and values in one, and what opens the outputs. Older files have
    /// all of them in one tensor, key head by key head.
    fn delta_inputs(
        &mut self,
        block: usize,
        Recurrent { inner, rows, keys, .. }: Recurrent,
        x: ValueId,
    ) -> Result<(ValueId, ValueId)> {
        let (width, all) = (self.spec.width, 2 * keys * rows + inner);
        if !self.has(block, "ssm_in.weight")? {
            let qkv = self.linear(block, "attn_qkv", x, all, width)?;
            return Ok((qkv, self.linear(block, "attn_gate", x, inner, width)?));
        }
        let each = inner / keys;
        let mixed = self.linear(block, "ssm_in", x, all + inner, width)?;
        let mixed = self.as_heads(mixed, keys, 2 * (rows + each))?;
        let mut parts = [mixed; 4];
        let mut begin = 0;
        for (part, size) in parts.iter_mut().zip([rows, rows, each, each]) {
            let heads = self.part(mixed, begin..begin + size)?;
            *part = self.flattened(heads, keys * size)?;
            begin += size;
        }
        let [q, k, v, z] = parts;
        Ok((self.g.concat(&[q, k, v], -1)?, z))
    }

    /// What the rate of change and the decay of each state are made of: `[.., heads]`.
    /// Some files have both in one tensor, key head by key head.
    fn delta_rates(
        &mut self,
        block: usize,
        Recurrent { heads, keys, .. }: Recurrent,
        x: ValueId,
    ) -> Result<(ValueId, ValueId)> {
        let width = self.spec.width;
        if !self.has(block, "ssm_ba.weight")? {
            let beta = self.linear(block, "ssm_beta", x, heads, width)?;
            return Ok((beta, self.linear(block, "ssm_alpha", x, heads, width)?));
        }
        let each = heads / keys;
        let both = self.linear(block, "ssm_ba", x, 2 * heads, width)?;
        let both = self.as_heads(both, keys, 2 * each)?;
        let beta = self.part(both, 0..each)?;
        let alpha = self.part(both, each..2 * each)?;
        Ok((self.flattened(beta, heads)?, self.flattened(alpha, heads)?))
    }

    /// With `x`, `B`, `C` and the time step `t` of each head from the token:
    /// `norm((scan(C, B, t x, t A) + D x) * silu(z))`.
    fn mamba2(&mut self, block: usize, sizes: Recurrent, x: ValueId) -> Result<ValueId> {
        let Recurrent { inner, rows, heads, keys, .. } = sizes;
        let (width, shared) = (self.spec.width, keys * rows);
        let channels = inner + 2 * shared;
        let all = (inner + channels + heads, width);
        let z = self.rows(block, "ssm_in", x, 0..inner, all)?;
        let mixed = self.rows(block, "ssm_in", x, inner..inner + channels, all)?;
        let step = self.rows(block, "ssm_in", x, inner + channels..all.0, all)?;
        let mixed = self.remembered(block, sizes, mixed, channels)?;
        let x = self.part(mixed, 0..inner)?;
        let b = self.part(mixed, inner..inner + shared)?;
        let c = self.part(mixed, inner + shared..channels)?;
        let step = self.by_sequence(step, heads)?;
        let bias = self.named(&format!("blk.{block}.ssm_dt.bias"), &[heads])?;
        let step = self.g.add(step, bias)?;
        let y = self.scanned_heads(block, sizes, [x, b, c, step])?;
        let z = self.g.unary(Unary::Silu, z)?;
        let y = self.g.mul(y, z)?;
        let y = self.group_norm(block, y, [keys, inner / keys])?;
        self.linear(block, "ssm_out", y, width, inner)
    }

    /// As [`Self::mamba2`], with `x` of the token and all else of `x`; of each head what opens
    /// its values stands before them.
    fn mamba_heads(&mut self, block: usize, sizes: Recurrent, x: ValueId) -> Result<ValueId> {
        let Recurrent { inner, rows, heads, .. } = sizes;
        let (width, head) = (self.spec.width, inner / heads);
        // As published; files do not say so.
        let rank = (width / 16).max(64);
        let both = self.linear(block, "ssm_in", x, 2 * inner, width)?;
        let both = self.as_heads(both, heads, 2 * head)?;
        let z = self.part(both, 0..head)?;
        let z = self.flattened(z, inner)?;
        let x = self.part(both, head..2 * head)?;
        let x = self.flattened(x, inner)?;
        let x = self.remembered(block, sizes, x, inner)?;
        let all = self.linear(block, "ssm_x", x, rank + 2 * rows, inner)?;
        let mut parts = [all; 3];
        let mut begin = 0;
        let names = [("ssm_b_norm", rows), ("ssm_c_norm", rows), ("ssm_dt_norm", rank)];
        for (part, (name, size)) in parts.iter_mut().zip(names) {
            let own = self.part(all, begin..begin + size)?;
            begin += size;
            *part = self.normalised(&format!("blk.{block}.{name}"), own, size)?;
        }
        let [b, c, step] = parts;
        let step = self.linear(block, "ssm_dt", step, heads, rank)?;
        let y = self.scanned_heads(block, sizes, [x, b, c, step])?;
        let z = self.g.unary(Unary::Silu, z)?;
        let y = self.g.mul(y, z)?;
        self.linear(block, "ssm_out", y, width, inner)
    }

    /// `scan(C, B, t x, t A) + D x` with the time step `t` the softplus of what is given, of
    /// each head; all by sequence. Gives `[.., inner]` of the tokens.
    fn scanned_heads(
        &mut self,
        block: usize,
        Recurrent { kind, inner, rows, heads, keys, .. }: Recurrent,
        [x, b, c, step]: [ValueId; 4],
    ) -> Result<ValueId> {
        let head = inner / heads;
        let rates: &[usize] = match kind {
            Recurrence::MambaHeads => &[heads],
            _ => &[heads, 1],
        };
        let step = self.g.unary(Unary::Softplus, step)?;
        let a = self.bare(block, "ssm_a", rates, &[heads])?;
        let decay = self.g.mul(step, a)?;
        let x = self.split_heads(x, heads, head)?;
        let step = self.split_heads(step, heads, 1)?;
        let v = self.g.mul(x, step)?;
        let v = self.joined(v, inner)?;
        let op = StatefulLinearAttention {
            states: heads as u64,
            keys: keys as u64,
            tiled: false,
            scale: Some(1.0),
        };
        let y = self.scanned(block, op, [c, b, v], [Some(decay), None, None], [rows, head])?;
        let d = self.bare(block, "ssm_d", rates, &[heads, 1])?;
        let straight = self.g.mul(x, d)?;
        let straight = self.joined(straight, inner)?;
        let y = self.g.add(y, straight)?;
        self.gathered(y, inner)
    }

    /// Each group of values by itself, where a file has weights for it.
    fn group_norm(
        &mut self,
        block: usize,
        y: ValueId,
        [groups, size]: [usize; 2],
    ) -> Result<ValueId> {
        let weights = self.optional(block, "ssm_norm.weight", &[groups, size])?;
        let Some(weights) = weights else { return Ok(y) };
        let y = self.as_heads(y, groups, size)?;
        let y = self.bare_norm(y, size)?;
        let y = self.g.mul(y, weights)?;
        self.flattened(y, groups * size)
    }

    /// With `x` of the token, and `B`, `C` and the time step `t` of each value from `x`:
    /// `(scan(C, B, t x, t A) + D x) * silu(z)`; every value has a state.
    fn mamba(&mut self, block: usize, sizes: Recurrent, x: ValueId) -> Result<ValueId> {
        let Recurrent { inner, rows, heads: rank, .. } = sizes;
        let width = self.spec.width;
        let z = self.rows(block, "ssm_in", x, inner..2 * inner, (2 * inner, width))?;
        let x = self.rows(block, "ssm_in", x, 0..inner, (2 * inner, width))?;
        let x = self.remembered(block, sizes, x, inner)?;
        let all = self.linear(block, "ssm_x", x, rank + 2 * rows, inner)?;
        let mut parts = [all; 3];
        let mut begin = 0;
        let names = [("ssm_dt_norm", rank), ("ssm_b_norm", rows), ("ssm_c_norm", rows)];
        for (part, (name, size)) in parts.iter_mut().zip(names) {
            let own = self.part(all, begin..begin + size)?;
            begin += size;
            *part = match self.has(block, &format!("{name}.weight"))? {
                true => self.normalised(&format!("blk.{block}.{name}"), own, size)?,
                false if sizes.bare_norms => self.bare_norm(own, size)?,
                false => own,
            };
        }
        let [step, b, c] = parts;
        let step = self.linear(block, "ssm_dt", step, inner, rank)?;
        let step = self.g.unary(Unary::Softplus, step)?;
        let each = self.split_heads(step, inner, 1)?;
        let a = self.bare(block, "ssm_a", &[inner, rows], &[inner, rows])?;
        let decay = self.g.mul(each, a)?;
        let decay = self.joined(decay, inner * rows)?;
        let v = self.g.mul(x, step)?;
        let op = StatefulLinearAttention {
            states: inner as u64,
            keys: 1,
            tiled: false,
            scale: Some(1.0),
        };
        let y = self.scanned(block, op, [c, b, v], [Some(decay), None, None], [rows, 1])?;
        let d = self.bare(block, "ssm_d", &[inner], &[inner])?;
        let straight = self.g.mul(x, d)?;
        let y = self.g.add(y, straight)?;
        let y = self.gathered(y, inner)?;
        let z = self.g.unary(Unary::Silu, z)?;
        let y = self.g.mul(y, z)?;
        self.linear(block, "ssm_out", y, width, inner)
    }

    /// What of the latest tokens is remembered of each channel: a convolution, and
    /// silu. From `[.., channels]` to `[batch, query, channels]`.
    fn remembered(
        &mut self,
        block: usize,
        sizes: Recurrent,
        x: ValueId,
        channels: usize,
    ) -> Result<ValueId> {
        let name = format!("blk.{block}.ssm_conv1d.weight");
        let taps = plain(self.spec, self.weights, &name, &[channels, sizes.taps])?;
        self.remembered_by(block, sizes, x, &taps)
    }

    /// [`Self::remembered`] with weights `[channels, taps]`.
    pub(super) fn remembered_by(
        &mut self,
        block: usize,
        sizes: Recurrent,
        x: ValueId,
        taps: &[f32],
    ) -> Result<ValueId> {
        let channels = taps.len() / sizes.taps;
        let x = self.by_sequence(x, channels)?;
        let name = format!("blk.{block}.ssm_conv1d.weight");
        let taps = self.g.constant(&name, Tensor::from_f32(&[channels, sizes.taps], taps)?)?;
        let bias = self.optional(block, "ssm_conv1d.bias", &[channels])?;
        let shape = [self.batch.into(), Dim::from(sizes.taps - 1), channels.into()];
        let state = format!("cache.{block}.convolution");
        let state = self.g.state(&state, DType::F32, shape, None)?;
        let span = self.span()?;
        let y = self.g.stateful_convolution([x, taps, state], bias, span)?;
        self.g.unary(Unary::Silu, y)
    }

    /// Brings the state of a block forward, by all tokens of a step.
    pub(super) fn scanned(
        &mut self,
        block: usize,
        op: StatefulLinearAttention,
        [q, k, v]: [ValueId; 3],
        rates: [Option<ValueId>; 3],
        [rows, value]: [usize; 2],
    ) -> Result<ValueId> {
        let shape = [self.batch.into(), Dim::from(op.states), rows.into(), value.into()];
        let state = self.g.state(&format!("cache.{block}.state"), DType::F32, shape, None)?;
        let span = self.span()?;
        self.g.stateful_linear_attention(op, [q, k, v, state], rates, span)
    }

    /// `softplus(x + bias) * A`, for each sequence.
    fn decay(
        &mut self,
        block: usize,
        (x, heads): (ValueId, usize),
        bias: Option<ValueId>,
        extents: &[usize],
    ) -> Result<ValueId> {
        let x = match bias {
            Some(bias) => self.g.add(x, bias)?,
            None => x,
        };
        let x = self.g.unary(Unary::Softplus, x)?;
        let a = self.bare(block, "ssm_a", extents, &[heads])?;
        let x = self.g.mul(x, a)?;
        self.by_sequence(x, heads)
    }

    /// Heads of a part of `[batch, query, channels]`, each of unit length.
    pub(super) fn unit_heads(
        &mut self,
        x: ValueId,
        first: usize,
        Recurrent { rows, keys, .. }: Recurrent,
    ) -> Result<ValueId> {
        let x = self.part(x, first..first + keys * rows)?;
        let x = self.split_heads(x, keys, rows)?;
        // The root of the sum is that of the mean times that of their number.
        let share = vec![1.0 / (rows as f32).sqrt(); rows];
        let share = self.g.constant("unit.share", Tensor::from_f32(&[rows], &share)?)?;
        let epsilon = self.spec.norm_epsilon / rows as f32;
        let x = self.g.rms_normalization(x, share, epsilon)?;
        self.joined(x, keys * rows)
    }

    /// A tensor whose name has no end, in other extents.
    fn bare(
        &mut self,
        block: usize,
        name: &str,
        extents: &[usize],
        wanted: &[usize],
    ) -> Result<ValueId> {
        let name = format!("blk.{block}.{name}");
        let values = plain(self.spec, self.weights, &name, extents)?;
        self.g.constant(&name, Tensor::from_f32(wanted, &values)?)
    }

    /// `[.., width]` as tokens lie to `[batch, query, width]`, padded at the front.
    pub(super) fn by_sequence(&mut self, x: ValueId, width: usize) -> Result<ValueId> {
        let Some(slots) = self.slots else { return Ok(x) };
        let x = self.as_heads(x, 1, width)?;
        let x = slots.queries(&mut self.g, x)?;
        self.joined(x, width)
    }

    /// `[batch, query, heads * size]` to `[batch, query, heads, size]`.
    pub(super) fn split_heads(&mut self, x: ValueId, heads: usize, size: usize) -> Result<ValueId> {
        let shape = self.g.ty(x).shape.clone();
        let shape = [shape[0].clone(), shape[1].clone(), heads.into(), size.into()];
        self.g.reshape(x, &shape)
    }

    /// `[batch, query, ..]` to `[batch, query, width]`.
    pub(super) fn joined(&mut self, x: ValueId, width: usize) -> Result<ValueId> {
        let shape = self.g.ty(x).shape.clone();
        self.g.reshape(x, &[shape[0].clone(), shape[1].clone(), width.into()])
    }

    /// `[.., heads, size]` to `[.., width]`, as tokens lie.
    pub(super) fn flattened(&mut self, x: ValueId, width: usize) -> Result<ValueId> {
        let [sequences, query] = self.flat.clone();
        self.g.reshape(x, &[sequences, query, width.into()])
    }

    /// Where the tokens of each sequence begin, in it and among the rows of a step, as
    /// [`StatefulLinearAttention`] has it: I32 `[batch, 2]`.
    pub(super) fn span(&mut self) -> Result<ValueId> {
        if let Some(span) = self.span {
            return Ok(span);
        }
        // What is counted from padded queries is less by the padding.
        let before = self.slots.map_or(self.past, |slots| slots.write());
        let skip = self.g.sub(before, self.past)?;
        let column = [self.batch.into(), Dim::from(1u64)];
        let before = self.g.reshape(before, &column)?;
        let skip = self.g.reshape(skip, &column)?;
        let span = self.g.concat(&[before, skip], 1)?;
        self.span = Some(span);
        Ok(span)
    }
}
