//! The feed-forward layer of a block.

use super::Blocks;
use crate::error::Result;
use crate::graph::ValueId;
use crate::lm::spec::Limits;
use crate::lm::xielu::Xielu;
use crate::ops::elementwise::{Binary, Unary};
use crate::tensor::Tensor;

impl Blocks<'_> {
    /// `up`, gated: `activation(gate) * up`, or what [`Clamp`](crate::lm::spec::Clamp) says.
    pub(in crate::lm) fn bounded_gate(
        &mut self,
        gate: ValueId,
        up: ValueId,
        limit: Option<f32>,
    ) -> Result<ValueId> {
        if let Some(limit) = limit {
            return self.limited_gate(gate, up, limit);
        }
        let Some(clamp) = self.spec.clamp else {
            let gate = self.g.unary(self.spec.activation, gate)?;
            return self.g.mul(gate, up);
        };
        let limit = clamp.limit;
        let gate = self.g.unary(Unary::Clip { min: f32::MIN, max: limit }, gate)?;
        let up = self.g.unary(Unary::Clip { min: -limit, max: limit }, up)?;
        let slope = self.number("clamp.slope", clamp.slope)?;
        let share = self.g.mul(gate, slope)?;
        let share = self.g.unary(Unary::Sigmoid, share)?;
        let gate = self.g.mul(gate, share)?;
        let one = self.number("clamp.one", 1.0)?;
        let up = self.g.add(up, one)?;
        self.g.mul(up, gate)
    }

    /// The bounds of a block's gated values.
    pub(in crate::lm) fn limits(&self, block: usize) -> Limits {
        self.spec.limits.get(block).copied().unwrap_or_default()
    }

    /// See [`Limits`].
    pub(in crate::lm) fn limited_gate(
        &mut self,
        gate: ValueId,
        up: ValueId,
        limit: f32,
    ) -> Result<ValueId> {
        let most = Unary::Clip { min: f32::MIN, max: limit };
        let steps = match self.spec.limited_before {
            true => [most, self.spec.activation],
            false => [self.spec.activation, most],
        };
        let gate = self.g.unary(steps[0], gate)?;
        let gate = self.g.unary(steps[1], gate)?;
        let up = self.g.unary(Unary::Clip { min: -limit, max: limit }, up)?;
        self.g.mul(gate, up)
    }

    pub(in crate::lm) fn feed_forward(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        // Blocks may differ, and some files count both halves in their key.
        let rows = self.inner_size(block, "ffn_up.weight", 0)?;
        let inner = if self.spec.fused_gate { rows / 2 } else { rows };
        let width = self.spec.width;
        if !self.spec.gated {
            let up = self.linear(block, "ffn_up", x, inner, width)?;
            let active = match self.spec.xielu.get(block).copied() {
                Some(curve) => self.xielu(curve, up)?,
                None => self.activated(up)?,
            };
            return self.linear(block, "ffn_down", active, width, inner);
        }
        let (gate, up) = if self.spec.fused_gate {
            let both = (2 * inner, width);
            let gate = self.rows(block, "ffn_up", x, 0..inner, both)?;
            (gate, self.rows(block, "ffn_up", x, inner..2 * inner, both)?)
        } else {
            // The one that gives the size comes first, to be named if it has none.
            let up = self.linear(block, "ffn_up", x, inner, width)?;
            (self.linear(block, "ffn_gate", x, inner, width)?, up)
        };
        let gate = self.opened(block, gate)?;
        let gated = self.bounded_gate(gate, up, self.limits(block).shared)?;
        let gated = self.sub_norm(block, "ffn_sub_norm", gated, inner)?;
        self.linear(block, "ffn_down", gated, width, inner)
    }

    /// The activation, multiplied with itself where it is.
    pub(in crate::lm) fn activated(&mut self, x: ValueId) -> Result<ValueId> {
        let active = self.g.unary(self.spec.activation, x)?;
        if self.spec.squared { self.g.mul(active, active) } else { Ok(active) }
    }

    /// See [`Xielu`].
    fn xielu(&mut self, curve: Xielu, x: ValueId) -> Result<ValueId> {
        let zero = self.number("xielu.zero", 0.0)?;
        let one = self.number("xielu.one", 1.0)?;
        let square = self.g.mul(x, x)?;
        let above = self.scaled("xielu.positive", square, Some(curve.positive))?;
        let low = self.g.unary(Unary::Clip { min: f32::MIN, max: curve.least }, x)?;
        let below = self.g.unary(Unary::Exp, low)?;
        let below = self.g.sub(below, one)?;
        let below = self.g.sub(below, x)?;
        let below = self.scaled("xielu.negative", below, Some(curve.negative))?;
        let positive = self.g.binary(Binary::Greater, x, zero)?;
        let bent = self.g.select(positive, above, below)?;
        let straight = self.scaled("xielu.slope", x, Some(curve.slope))?;
        self.g.add(bent, straight)
    }

    /// A constant number.
    pub(in crate::lm) fn number(&mut self, name: &str, value: f32) -> Result<ValueId> {
        self.g.constant(name, Tensor::from_f32(&[], &[value])?)
    }

    /// `x` times a factor, where there is one.
    pub(in crate::lm) fn scaled(
        &mut self,
        name: &str,
        x: ValueId,
        by: Option<f32>,
    ) -> Result<ValueId> {
        let Some(by) = by else { return Ok(x) };
        let by = self.number(name, by)?;
        self.g.mul(x, by)
    }
}
