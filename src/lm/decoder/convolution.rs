//! Blocks in which tokens learn of each other by a short convolution (LFM2).
//!
//! What is convolved is kept like keys: so sequences share steps, begin where
//! another ended and go back as those of attention do.

use super::Blocks;
use super::weights::plain;
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::ops::elementwise::Binary;
use crate::ops::gather::Gather;
use crate::tensor::{DType, Tensor};

impl Blocks<'_> {
    /// `out(c * convolution(b * x))`, with `b`, `c` and `x` from one matrix.
    pub(super) fn convolution(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let width = self.spec.width;
        let mut parts = [x; 3];
        for (i, part) in parts.iter_mut().enumerate() {
            let rows = i * width..(i + 1) * width;
            *part = self.rows(block, "shortconv.in_proj", x, rows, (3 * width, width))?;
        }
        let [b, c, x] = parts;
        let x = self.g.mul(b, x)?;
        let x = self.as_heads(x, 1, width)?;
        let name = format!("cache.{block}.convolution");
        let kept = self.append_as(&name, self.cache, x, [1, width])?;
        let mixed = self.convolved(block, kept)?;
        let mixed = self.gathered(mixed, width)?;
        let mixed = self.g.mul(c, mixed)?;
        self.linear(block, "shortconv.out_proj", mixed, width, width)
    }

    /// The sum over the latest tokens of what is kept of them, each channel by
    /// itself: F32 `[batch, query, 1, width]`.
    fn convolved(&mut self, block: usize, kept: ValueId) -> Result<ValueId> {
        let (width, reach) = (self.spec.width, self.spec.convolution);
        let name = format!("blk.{block}.shortconv.conv.weight");
        let taps = plain(self.spec, self.weights, &name, &[width, reach])?;
        let kept =
            self.g.reshape(kept, &[self.batch.into(), self.capacity.into(), width.into()])?;
        let positions = self.own_positions()?;
        let mut sum = None;
        for back in 0..reach {
            let tap: Vec<f32> = taps.chunks(reach).map(|taps| taps[reach - 1 - back]).collect();
            let tap =
                self.g.constant(&format!("{name}[{back}]"), Tensor::from_f32(&[width], &tap)?)?;
            let values = self.back_by(kept, positions, back)?;
            let values = self.g.mul(values, tap)?;
            sum = Some(match sum {
                Some(sum) => self.g.add(sum, values)?,
                None => values,
            });
        }
        let sum = sum.unwrap_or(kept);
        let shape = self.g.ty(sum).shape.clone();
        self.g.reshape(sum, &[shape[0].clone(), shape[1].clone(), Dim::from(1u64), width.into()])
    }

    /// What is kept of the tokens so far back; zeros before the first one.
    fn back_by(&mut self, kept: ValueId, positions: ValueId, back: usize) -> Result<ValueId> {
        let number = |blocks: &mut Self, value: i32| {
            let tensor = Tensor::from_i32(&[], &[value])?;
            blocks.g.constant(&format!("back.{value}"), tensor)
        };
        let (distance, zero) = (number(self, back as i32)?, number(self, 0)?);
        let at = self.g.sub(positions, distance)?;
        let place = self.g.binary(Binary::Max, at, zero)?;
        let values = self.g.op1(Gather { axis: 1, batch_dims: 1 }, &[kept, place])?;
        let values = match self.cache {
            DType::F32 => values,
            _ => self.g.cast(values, DType::F32)?,
        };
        if back == 0 {
            return Ok(values);
        }
        let there = self.g.binary(Binary::GreaterOrEqual, at, zero)?;
        let there = self.g.cast(there, DType::F32)?;
        let shape = self.g.ty(there).shape.clone();
        let there = self.g.reshape(there, &[shape[0].clone(), shape[1].clone(), 1u64.into()])?;
        self.g.mul(values, there)
    }

    /// The positions of the queries of each sequence: I32 `[batch, query]`.
    pub(super) fn own_positions(&mut self) -> Result<ValueId> {
        let Some(slots) = self.slots else { return Ok(self.positions) };
        let positions = self.as_heads(self.positions, 1, 1)?;
        let spread = slots.queries(&mut self.g, positions)?;
        let shape = self.g.ty(spread).shape.clone();
        self.g.reshape(spread, &[shape[0].clone(), shape[1].clone()])
    }
}
