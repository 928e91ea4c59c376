//! A second stage of experts: a few experts share one, which reads what the chosen ones
//! give (GroveMoE).

use super::decoder::Blocks;
use super::experts::Experts;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::ops::gather::GatherElements;
use crate::ops::reduce::Reduction;
use crate::tensor::Tensor;

/// Experts of the second stage. The formula is that of llama.cpp's `grovemoe.cpp`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Companions {
    /// How many experts of the first stage share one.
    pub each: usize,
    /// What the second stage gives is multiplied with.
    pub scale: f32,
}

/// Its extents: so many experts, width, inner.
const DOWN: &str = "ffn_down_chexps.weight";

impl Companions {
    /// From a file's keys; `None` if it has no second stage.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is impossible.
    pub(super) fn read(keys: &Keys<'_>, count: usize, used: usize) -> Result<Option<Self>> {
        let name = "experts_per_group";
        if keys.meta.get(&keys.key(name)).is_none() {
            return Ok(None);
        }
        let each = keys.size(name, count as u64)?;
        if !count.is_multiple_of(each) || used > count / each {
            let what = format!("{each} of {count} experts, of which {used} are used");
            return Err(keys.wrong(name, what));
        }
        Ok(Some(Companions { each, scale: keys.positive("expert_group_scale")? }))
    }
}

impl Blocks<'_> {
    /// `first` plus what the second stage makes of it: F32 `[tokens, width]`. `chosen` are
    /// the experts of the first stage, `scores` what the router thinks of all of them.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if a tensor is missing or has other extents.
    pub(super) fn accompanied(
        &mut self,
        block: usize,
        experts: &Experts,
        [scores, chosen, first]: [ValueId; 3],
    ) -> Result<ValueId> {
        let Some(companions) = experts.companions else { return Ok(first) };
        let (width, count) = (self.spec.width, experts.count / companions.each);
        let shared: Vec<i32> =
            (0..experts.count).map(|expert| (expert / companions.each) as i32).collect();
        let shared = Tensor::from_i32(&[experts.count], &shared)?;
        let shared = self.g.constant("experts.shared", shared)?;
        let chosen = self.g.gather(shared, chosen, 0)?;
        // The number of the shared expert is looked up among all experts, as llama.cpp does.
        let weights = self.g.op1(GatherElements { axis: -1 }, &[scores, chosen])?;
        let weights = self.weighed(experts, weights)?;
        let inner = self.inner_size(block, DOWN, 2)?;
        let sizes = [count, inner, width];
        let gate = self.weight(block, "ffn_gate_chexps", &sizes)?;
        let up = self.weight(block, "ffn_up_chexps", &sizes)?;
        let down = self.weight(block, "ffn_down_chexps", &[count, width, inner])?;
        let fed = self.gated(first, chosen, [gate, up], self.spec.activation)?;
        let fed = self.g.expert_matmul(fed, chosen, down, None)?;
        let mut each: Vec<Dim> = self.g.ty(weights).shape.to_vec();
        each.push(1u64.into());
        let weights = self.g.reshape(weights, &each)?;
        let fed = self.g.mul(fed, weights)?;
        let sum = self.g.reduce(Reduction::Sum, fed, &[1], false)?;
        let sum = self.scaled("companions.scale", sum, Some(companions.scale))?;
        self.g.add(first, sum)
    }
}
