//! Gated delta nets whose every key element decays by itself (Kimi Linear, arXiv
//! 2510.26692).

use super::Blocks;
use super::weights::values;
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::lm::recurrent::Recurrent;
use crate::ops::elementwise::Unary;
use crate::ops::linear_attention::StatefulLinearAttention;
use crate::tensor::Tensor;

impl Blocks<'_> {
    /// With `q`, `k` of unit length and `v` each behind a convolution, and `f`, `b`, `g` from
    /// the token: `norm(scan(q, k, v, softplus(f + bias) A, sigmoid(b))) * sigmoid(g)`.
    pub(super) fn channel_delta_net(
        &mut self,
        block: usize,
        sizes: Recurrent,
        x: ValueId,
    ) -> Result<ValueId> {
        let Recurrent { inner, rows, heads, .. } = sizes;
        let width = self.spec.width;
        let mut parts = [x; 3];
        let mut taps = Vec::with_capacity(3 * inner * sizes.taps);
        for (part, letter) in parts.iter_mut().zip(["q", "k", "v"]) {
            *part = self.linear(block, &format!("attn_{letter}"), x, inner, width)?;
            taps.extend(self.taps(block, &format!("ssm_conv1d_{letter}.weight"), sizes)?);
        }
        let qkv = self.g.concat(&parts, -1)?;
        let qkv = self.remembered_by(block, sizes, qkv, &taps)?;
        let q = self.unit_heads(qkv, 0, sizes)?;
        let k = self.unit_heads(qkv, inner, sizes)?;
        let v = self.part(qkv, 2 * inner..3 * inner)?;
        let decay = self.decay_of_channels(block, sizes, x)?;
        let beta = self.linear(block, "ssm_beta", x, heads, width)?;
        let beta = self.g.unary(Unary::Sigmoid, beta)?;
        let beta = self.by_sequence(beta, heads)?;
        let states = heads as u64;
        let op = StatefulLinearAttention { states, keys: states, tiled: false, scale: None };
        let y =
            self.scanned(block, op, [q, k, v], [Some(decay), Some(beta), None], [rows, rows])?;
        let y = self.gathered(y, inner)?;
        let y = self.as_heads(y, heads, rows)?;
        let y = self.normalised(&format!("blk.{block}.ssm_norm"), y, rows)?;
        let y = self.flattened(y, inner)?;
        let gate = self.through(block, ["ssm_g_a", "ssm_g_b"], sizes, x)?;
        let gate = self.g.unary(Unary::Sigmoid, gate)?;
        let y = self.g.mul(y, gate)?;
        self.linear(block, "attn_output", y, width, inner)
    }

    /// `softplus(f + bias) * A`, or `least * sigmoid((f + bias) * A)` where decays have a
    /// bound, with a number for each head in `A`: `[batch, query, inner]`.
    fn decay_of_channels(&mut self, block: usize, sizes: Recurrent, x: ValueId) -> Result<ValueId> {
        let Recurrent { inner, rows, heads, .. } = sizes;
        let f = self.through(block, ["ssm_f_a", "ssm_f_b"], sizes, x)?;
        let bias = self.named(&format!("blk.{block}.ssm_dt.bias"), &[inner])?;
        let f = self.g.add(f, bias)?;
        let name = format!("blk.{block}.ssm_a");
        let a = self.values(&name, heads)?;
        let each: Vec<f32> = a.iter().flat_map(|&a| std::iter::repeat_n(a, rows)).collect();
        let a = self.g.constant(&name, Tensor::from_f32(&[inner], &each)?)?;
        let decay = match self.spec.least_decay {
            None => {
                let f = self.g.unary(Unary::Softplus, f)?;
                self.g.mul(f, a)?
            }
            Some(least) => {
                let f = self.g.mul(f, a)?;
                let share = self.g.unary(Unary::Sigmoid, f)?;
                self.scaled("least_decay", share, Some(least))?
            }
        };
        self.by_sequence(decay, inner)
    }

    /// Through two matrices, the middle as wide as a head, or through the first alone where
    /// a file has no second one.
    fn through(
        &mut self,
        block: usize,
        [first, second]: [&str; 2],
        Recurrent { inner, rows, .. }: Recurrent,
        x: ValueId,
    ) -> Result<ValueId> {
        if !self.has(block, &format!("{second}.weight"))? {
            return self.linear(block, first, x, inner, self.spec.width);
        }
        let middle = self.linear(block, first, x, rows, self.spec.width)?;
        self.linear(block, second, middle, inner, rows)
    }

    /// The weights of a convolution, `[inner, taps]`, which files have with ones between
    /// or before these extents.
    fn taps(&self, block: usize, name: &str, sizes: Recurrent) -> Result<Vec<f32>> {
        self.values(&format!("blk.{block}.{name}"), sizes.inner * sizes.taps)
    }

    /// All values of a tensor of so many, in whatever extents.
    pub(super) fn values(&self, name: &str, count: usize) -> Result<Vec<f32>> {
        let at = format!("tensor '{name}'");
        let tensor = (self.weights)(name)?;
        let tensor = tensor.ok_or_else(|| Error::format(&self.spec.file, &at, "missing"))?;
        let extents: Vec<usize> = tensor.extents().iter().copied().filter(|&n| n != 1).collect();
        match extents.iter().product::<usize>() {
            found if found == count && extents.len() <= 2 => values(self.spec, name, &tensor),
            _ => {
                let what = format!("extents {:?}, expected {count} values", tensor.extents());
                Err(Error::format(&self.spec.file, at, what))
            }
        }
    }
}
