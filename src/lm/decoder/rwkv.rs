//! RWKV: tokens learn of each other through a matrix for each head, and each token of the
//! one before it. Every step brings forward the matrices (`cache.N.state`) and the latest
//! token that each mix has read.

use super::Blocks;
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::lm::recurrent::Recurrent;
use crate::ops::elementwise::Unary;
use crate::ops::linear_attention::StatefulLinearAttention;
use crate::ops::reduce::Reduction;
use crate::tensor::{DType, Tensor};

/// The least decay is `exp` of this times a sigmoid: `-exp(-0.5)` as the models have it.
const DECAY: f32 = -0.606_531;

/// What the groups of heads are normalised with.
const GROUP_EPSILON: f32 = 64e-5;

/// Less than the square of a key ever is.
const TINY: f32 = 1e-24;

impl Blocks<'_> {
    /// RWKV-7: with r, k, v, w, a and g from the token and the one before it, and κ the key
    /// scaled and of unit length,
    /// `S = diag(w) S - (κ a) (Sᵀ κ)ᵀ + k vᵀ`, `(norm(Sᵀ r) + (r·k) v) g`.
    pub(super) fn rwkv7(&mut self, block: usize, sizes: Recurrent, x: ValueId) -> Result<ValueId> {
        let Recurrent { inner, rows, heads, .. } = sizes;
        let width = self.spec.width;
        let gated = self.has(block, "time_mix_g1.weight")?;
        let step = self.stepped(block, "time", x)?;
        let reads = self.reads(block, if gated { 6 } else { 5 }, [x, step])?;
        let r = self.linear(block, "time_mix_receptance", reads[0], inner, width)?;
        let w = self.low_rank(block, "w", reads[1], Some(Unary::Tanh))?;
        let w = self.g.unary(Unary::Sigmoid, w)?;
        let decay = self.scaled("rwkv.decay", w, Some(DECAY))?;
        let k = self.linear(block, "time_mix_key", reads[2], inner, width)?;
        let v = self.linear(block, "time_mix_value", reads[3], inner, width)?;
        let v = self.with_first_values(block, v, reads[3])?;
        let a = self.low_rank(block, "a", reads[4], None)?;
        let a = self.g.unary(Unary::Sigmoid, a)?;
        let kappa = self.by_weight(block, "time_mix_k_k", k)?;
        let kappa = self.unit(kappa, [heads, rows])?;
        let shared = self.by_weight(block, "time_mix_k_a", k)?;
        let moved = self.g.mul(a, shared)?;
        let moved = self.g.sub(moved, shared)?;
        let k = self.g.add(k, moved)?;
        let erase = self.erasing(kappa, a, decay)?;
        let y = self.states([r, k, v], [Some(decay), Some(erase)], (block, sizes), 1.0)?;
        let y = self.group_normalised(block, y, [heads, rows])?;
        let y = self.with_own(block, y, [r, k, v], [heads, rows])?;
        let y = match gated {
            true => {
                let gate = self.low_rank(block, "g", reads[5], Some(Unary::Sigmoid))?;
                self.g.mul(y, gate)?
            }
            false => y,
        };
        self.linear(block, "time_mix_output", y, width, inner)
    }

    /// RWKV-6: with r, k, v, w and g from the token and the one before it,
    /// `norm(Sᵀ r + (r·(u k)) v) g` of the matrices before this token, then
    /// `S = diag(w) S + k vᵀ`. Where a file has no u, as that of models made of Qwen 2, the
    /// matrices behind the token are read, keys are multiplied with `1 - w`, and there is no
    /// norm.
    pub(super) fn rwkv6(&mut self, block: usize, sizes: Recurrent, x: ValueId) -> Result<ValueId> {
        let Recurrent { inner, rows, heads, .. } = sizes;
        let width = self.spec.width;
        let step = self.stepped(block, "time", x)?;
        let [w, k, v, r, g] = self.told_reads(block, [x, step])?;
        let w = self.low_rank(block, "decay_w", w, Some(Unary::Tanh))?;
        let bias = self.named(&format!("blk.{block}.time_mix_decay.weight"), &[inner])?;
        let w = self.g.add(w, bias)?;
        let w = self.g.unary(Unary::Exp, w)?;
        let decay = self.scaled("rwkv.fall", w, Some(-1.0))?;
        let r = self.linear(block, "time_mix_receptance", r, inner, width)?;
        let k = self.repeated_heads(block, "time_mix_key", k, sizes)?;
        let v = self.repeated_heads(block, "time_mix_value", v, sizes)?;
        let g = self.linear(block, "time_mix_gate", g, inner, width)?;
        let own = self.has(block, "time_mix_first.weight")?;
        let y = if own {
            let late = self.before(block, [k, v, decay], inner)?;
            let y =
                self.states([r, late[0], late[1]], [Some(late[2]), None], (block, sizes), 1.0)?;
            let first = self.values(&format!("blk.{block}.time_mix_first.weight"), inner)?;
            let first = self.vector(&format!("blk.{block}.time_mix_first"), &first)?;
            let rk = self.g.mul(r, k)?;
            let share = self.g.mul(rk, first)?;
            let y = self.with_share(y, share, v, [heads, rows])?;
            self.group_normalised(block, y, [heads, rows])?
        } else {
            let kept = self.g.unary(Unary::Exp, decay)?;
            let kept = self.g.mul(k, kept)?;
            let k = self.g.sub(k, kept)?;
            let scale = 1.0 / (rows as f32).sqrt();
            self.states([r, k, v], [Some(decay), None], (block, sizes), scale)?
        };
        let gate = self.g.unary(if own { Unary::Silu } else { Unary::Sigmoid }, g)?;
        let y = self.g.mul(y, gate)?;
        self.linear(block, "time_mix_output", y, width, inner)
    }

    /// The feed-forward layer, which reads the token before as well:
    /// `value(relu(key)^2)`, and with a gate in RWKV-6.
    pub(super) fn channel_mix(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let width = self.spec.width;
        let inner = self.inner_size(block, "channel_mix_key.weight", 0)?;
        let step = self.stepped(block, "channel", x)?;
        let read = self.mixed_by(block, "channel_mix_lerp_k", [x, step])?;
        let k = self.linear(block, "channel_mix_key", read, inner, width)?;
        let k = self.activated(k)?;
        let y = self.linear(block, "channel_mix_value", k, width, inner)?;
        if !self.has(block, "channel_mix_receptance.weight")? {
            return Ok(y);
        }
        let read = self.mixed_by(block, "channel_mix_lerp_r", [x, step])?;
        let r = self.linear(block, "channel_mix_receptance", read, width, width)?;
        let r = self.g.unary(Unary::Sigmoid, r)?;
        self.g.mul(r, y)
    }

    /// The residual stream, halved behind some blocks.
    pub(super) fn halved(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let due = |each: usize| (block + 1).is_multiple_of(each);
        let half = self.spec.halved_each.is_some_and(due).then_some(0.5);
        self.scaled("stream.half", x, half)
    }

    /// From each token to the one before it: `before - x`.
    fn stepped(&mut self, block: usize, name: &str, x: ValueId) -> Result<ValueId> {
        self.neighbours((block, name), x, self.spec.width, [1.0, -1.0])
    }

    /// Of each channel of two neighbouring tokens, `[before, now]` times these.
    fn neighbours(
        &mut self,
        (block, name): (usize, &str),
        x: ValueId,
        channels: usize,
        taps: [f32; 2],
    ) -> Result<ValueId> {
        let x = self.by_sequence(x, channels)?;
        let taps = Tensor::from_f32(&[channels, 2], &taps.repeat(channels))?;
        let taps = self.g.constant(&format!("blk.{block}.{name}.taps"), taps)?;
        let shape: [Dim; 3] = [self.batch.into(), Dim::from(1u64), channels.into()];
        let state = self.g.state(&format!("cache.{block}.{name}"), DType::F32, shape, None)?;
        let span = self.span()?;
        let y = self.g.stateful_convolution([x, taps, state], None, span)?;
        self.gathered(y, channels)
    }

    /// Values of the token before: zeros before the first.
    fn before<const N: usize>(
        &mut self,
        block: usize,
        values: [ValueId; N],
        width: usize,
    ) -> Result<[ValueId; N]> {
        let all = self.g.concat(&values, -1)?;
        let all = self.neighbours((block, "late"), all, N * width, [1.0, 0.0])?;
        let mut parts = values;
        for (i, part) in parts.iter_mut().enumerate() {
            *part = self.part(all, i * width..(i + 1) * width)?;
        }
        Ok(parts)
    }

    /// `x + step * weight`.
    fn mixed_by(&mut self, block: usize, name: &str, [x, step]: [ValueId; 2]) -> Result<ValueId> {
        let share = self.values(&format!("blk.{block}.{name}.weight"), self.spec.width)?;
        let share = self.vector(&format!("blk.{block}.{name}"), &share)?;
        let moved = self.g.mul(step, share)?;
        self.g.add(x, moved)
    }

    /// The same for several weights that a file has in one tensor.
    fn reads(
        &mut self,
        block: usize,
        count: usize,
        [x, step]: [ValueId; 2],
    ) -> Result<Vec<ValueId>> {
        let shares = self.fused(block, count)?;
        let mut reads = Vec::with_capacity(count);
        for share in shares {
            let moved = self.g.mul(step, share)?;
            reads.push(self.g.add(x, moved)?);
        }
        Ok(reads)
    }

    /// The shares of `time_mix_lerp_fused`.
    fn fused(&mut self, block: usize, count: usize) -> Result<Vec<ValueId>> {
        let (width, name) = (self.spec.width, format!("blk.{block}.time_mix_lerp_fused"));
        let all = self.values(&format!("{name}.weight"), count * width)?;
        let shares = all.chunks(width).enumerate();
        shares.map(|(i, share)| self.vector(&format!("{name}[{i}]"), share)).collect()
    }

    /// What decay, key, value, receptance and gate of RWKV-6 read: `x + step * (m + share)`,
    /// where m comes of the token through a matrix of each.
    fn told_reads(&mut self, block: usize, [x, step]: [ValueId; 2]) -> Result<[ValueId; 5]> {
        let width = self.spec.width;
        let read = self.mixed_by(block, "time_mix_lerp_x", [x, step])?;
        let rank = self.inner_size(block, "time_mix_w1.weight", 0)? / 5;
        let all = self.linear(block, "time_mix_w1", read, 5 * rank, width)?;
        let all = self.g.unary(Unary::Tanh, all)?;
        let shares = match self.has(block, "time_mix_lerp_fused.weight")? {
            true => self.fused(block, 5)?,
            false => {
                let each = ["w", "k", "v", "r", "g"].map(|letter| {
                    let name = format!("blk.{block}.time_mix_lerp_{letter}");
                    let share = self.values(&format!("{name}.weight"), width)?;
                    self.vector(&name, &share)
                });
                each.into_iter().collect::<Result<_>>()?
            }
        };
        let mut reads = [x; 5];
        for (i, (read, share)) in reads.iter_mut().zip(shares).enumerate() {
            let part = self.part(all, i * rank..(i + 1) * rank)?;
            let m = self.through_slice(block, part, i, [5, width, rank])?;
            let m = self.g.add(m, share)?;
            let moved = self.g.mul(step, m)?;
            *read = self.g.add(x, moved)?;
        }
        Ok(reads)
    }

    /// Through one of the matrices of `time_mix_w2`.
    fn through_slice(
        &mut self,
        block: usize,
        x: ValueId,
        index: usize,
        [count, outputs, inputs]: [usize; 3],
    ) -> Result<ValueId> {
        let name = format!("blk.{block}.time_mix_w2.weight");
        let all =
            super::weights::checked(self.spec, self.weights, &name, &[count, outputs, inputs])?;
        let matrix = all.rows(index..index + 1)?.reshaped(&[outputs, inputs])?;
        let matrix = self.g.constant(&format!("{name}[{index}]"), matrix)?;
        self.g.linear(x, matrix, None)
    }

    /// Through two matrices with `active` between them, plus a bias where there is one.
    fn low_rank(
        &mut self,
        block: usize,
        letter: &str,
        x: ValueId,
        active: Option<Unary>,
    ) -> Result<ValueId> {
        let width = self.spec.width;
        let [first, second] = [1, 2].map(|number| format!("time_mix_{letter}{number}"));
        let rank = self.inner_size(block, &format!("{first}.weight"), 0)?;
        let middle = self.linear(block, &first, x, rank, width)?;
        let middle = match active {
            Some(active) => self.g.unary(active, middle)?,
            None => middle,
        };
        let y = self.linear(block, &second, middle, width, rank)?;
        match self.optional(block, &format!("time_mix_{letter}0.weight"), &[width])? {
            Some(bias) => self.g.add(y, bias),
            None => Ok(y),
        }
    }

    /// Values, on their way to those of the first block by a share that comes of the token.
    fn with_first_values(&mut self, block: usize, v: ValueId, read: ValueId) -> Result<ValueId> {
        let Some(first) = self.first_values.filter(|_| block > 0) else {
            self.first_values = Some(v);
            return Ok(v);
        };
        let share = self.low_rank(block, "v", read, None)?;
        let share = self.g.unary(Unary::Sigmoid, share)?;
        let way = self.g.sub(first, v)?;
        let moved = self.g.mul(way, share)?;
        self.g.add(v, moved)
    }

    /// `x` times a vector.
    fn by_weight(&mut self, block: usize, name: &str, x: ValueId) -> Result<ValueId> {
        let weight = self.values(&format!("blk.{block}.{name}.weight"), self.spec.width)?;
        let weight = self.vector(&format!("blk.{block}.{name}"), &weight)?;
        self.g.mul(x, weight)
    }

    fn vector(&mut self, name: &str, values: &[f32]) -> Result<ValueId> {
        self.g.constant(name, Tensor::from_f32(&[values.len()], values)?)
    }

    /// Heads, each of unit length.
    fn unit(&mut self, x: ValueId, [heads, rows]: [usize; 2]) -> Result<ValueId> {
        let x = self.as_heads(x, heads, rows)?;
        // The root of the sum is that of the mean times that of their number.
        let share = self.vector("rwkv.share", &vec![1.0 / (rows as f32).sqrt(); rows])?;
        let x = self.g.rms_normalization(x, share, TINY)?;
        self.flattened(x, heads * rows)
    }

    /// What is read of the matrices, and where that is written: `-κ / w` as they have
    /// decayed when they are read, and `κ a`.
    fn erasing(&mut self, kappa: ValueId, a: ValueId, decay: ValueId) -> Result<ValueId> {
        let back = self.scaled("rwkv.back", decay, Some(-1.0))?;
        let back = self.g.unary(Unary::Exp, back)?;
        let read = self.g.mul(kappa, back)?;
        let read = self.scaled("rwkv.less", read, Some(-1.0))?;
        let write = self.g.mul(kappa, a)?;
        self.g.concat(&[read, write], -1)
    }

    /// Brings the matrices forward: `[.., inner]` as tokens lie.
    fn states(
        &mut self,
        [r, k, v]: [ValueId; 3],
        [decay, erase]: [Option<ValueId>; 2],
        (block, Recurrent { inner, rows, heads, .. }): (usize, Recurrent),
        scale: f32,
    ) -> Result<ValueId> {
        let mut given = [r, k, v];
        for value in &mut given {
            *value = self.by_sequence(*value, inner)?;
        }
        let decay = decay.map(|decay| self.by_sequence(decay, inner)).transpose()?;
        let erase = erase.map(|erase| self.by_sequence(erase, 2 * inner)).transpose()?;
        let states = heads as u64;
        let op = StatefulLinearAttention { states, keys: states, tiled: false, scale: Some(scale) };
        let y = self.scanned(block, op, given, [decay, None, erase], [rows, rows])?;
        self.gathered(y, inner)
    }

    /// Each head by itself, then weights over all, where a file has them.
    fn group_normalised(
        &mut self,
        block: usize,
        y: ValueId,
        [heads, rows]: [usize; 2],
    ) -> Result<ValueId> {
        let width = heads * rows;
        let Some(weight) = self.optional(block, "time_mix_ln.weight", &[width])? else {
            return Ok(y);
        };
        let bias = self.named(&format!("blk.{block}.time_mix_ln.bias"), &[width])?;
        let y = self.as_heads(y, heads, rows)?;
        let ones = self.vector("rwkv.ones", &vec![1.0; rows])?;
        let y = self.g.layer_normalization(y, ones, None, GROUP_EPSILON)?;
        let y = self.flattened(y, width)?;
        let y = self.g.mul(y, weight)?;
        self.g.add(y, bias)
    }

    /// `y + (sum over a head of k r share) v`.
    fn with_own(
        &mut self,
        block: usize,
        y: ValueId,
        [r, k, v]: [ValueId; 3],
        sizes: [usize; 2],
    ) -> Result<ValueId> {
        let kr = self.g.mul(k, r)?;
        let kr = self.by_weight(block, "time_mix_r_k", kr)?;
        self.with_share(y, kr, v, sizes)
    }

    /// `y + (sum over a head of share) v`.
    fn with_share(
        &mut self,
        y: ValueId,
        share: ValueId,
        v: ValueId,
        [heads, rows]: [usize; 2],
    ) -> Result<ValueId> {
        let share = self.as_heads(share, heads, rows)?;
        let share = self.g.reduce(Reduction::Sum, share, &[-1], true)?;
        let v = self.as_heads(v, heads, rows)?;
        let own = self.g.mul(v, share)?;
        let own = self.flattened(own, heads * rows)?;
        self.g.add(y, own)
    }

    /// Heads of keys or values, each for as many heads as share it.
    fn repeated_heads(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        Recurrent { inner, rows, .. }: Recurrent,
    ) -> Result<ValueId> {
        let own = self.inner_size(block, &format!("{name}.weight"), 0)?;
        let y = self.linear(block, name, x, own, self.spec.width)?;
        // Other widths are refused where the matrices are read.
        if own == inner || own % rows != 0 || inner % own != 0 {
            return Ok(y);
        }
        let y = self.as_heads(y, own / rows, rows)?;
        let y = self.g.concat(&vec![y; inner / own], -1)?;
        self.flattened(y, inner)
    }
}
