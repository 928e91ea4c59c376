//! Two stacks of blocks that take turns over the same tokens (HRM-Text).

use super::decoder::Blocks;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::ValueId;
use std::ops::Range;

/// How two stacks take turns: in each of `high` turns the low one runs `low` times and the
/// high one once, each on the sum of what both gave last. The formula is that of llama.cpp's
/// `hrm-text.cpp`, which is that of `HrmTextModel` in transformers without the tokens that
/// see each other's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycles {
    /// The blocks of a stack: the first so many are the low one's, as many more the high
    /// one's.
    pub stack: usize,
    /// Turns.
    pub high: usize,
    /// How often the low stack runs in each.
    pub low: usize,
}

/// What the low stack gave before it ran.
pub(super) const START: &str = "hrm.z_l_init";

/// Runs of stacks that are read; published models have 8 and fewer.
const MOST_RUNS: u64 = 1 << 8;

impl Cycles {
    /// From a file's keys. `counted` are its blocks, which count one for each run.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is missing, impossible, or
    /// does not fit the others.
    pub(super) fn read(keys: &Keys<'_>, counted: usize) -> Result<Self> {
        let stack = keys.size("hrm.layers_per_stack", 1 << 12)?;
        let high = keys.size("hrm.h_cycles", MOST_RUNS)?;
        let low = keys.size("hrm.l_cycles", MOST_RUNS)?;
        let cycles = Cycles { stack, high, low };
        match counted == cycles.runs() * stack {
            true => Ok(cycles),
            false => {
                let what = format!("{counted}, expected {} runs of {stack}", cycles.runs());
                Err(keys.wrong("block_count", what))
            }
        }
    }

    /// How often stacks run.
    fn runs(self) -> usize {
        self.high * (self.low + 1)
    }

    /// The blocks of both stacks.
    pub(super) fn blocks(self) -> usize {
        2 * self.stack
    }
}

impl Blocks<'_> {
    /// From embeddings to what the high stack gives last, before the norm at its end.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if a tensor is missing or has other extents.
    pub(super) fn cycled(&mut self, cycles: Cycles, x: ValueId) -> Result<ValueId> {
        let Cycles { stack, high, low } = cycles;
        let (mut above, mut below) = (x, self.named(START, &[self.spec.width])?);
        for turn in 1..=high {
            for _ in 0..low {
                let read = self.g.add(above, below)?;
                let given = self.run_of(0..stack, read)?;
                below = self.normalised(self.spec.output_norm, given, self.spec.width)?;
            }
            let read = self.g.add(above, below)?;
            above = self.run_of(stack..2 * stack, read)?;
            if turn < high {
                above = self.normalised(self.spec.output_norm, above, self.spec.width)?;
            }
        }
        Ok(above)
    }

    /// One run of a stack, with keys and values of its own.
    fn run_of(&mut self, blocks: Range<usize>, x: ValueId) -> Result<ValueId> {
        let mut x = x;
        for block in blocks {
            x = self.block(block, x)?;
        }
        self.round += 1;
        Ok(x)
    }
}
