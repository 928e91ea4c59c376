//! The end of a decoder's graph: from the residual stream to logits, or to what is
//! left of them once a device has chosen.
//!
//! A row of tokens gets all its logits, or the most likely token, or the [`MOST`] most
//! likely ones: then a few bytes are read back and not a number for each token of the
//! vocabulary. Each way has rows of its own, and costs nothing where it has none.

use super::{Blocks, Scales, names, softcapped};
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::ops::elementwise::Binary;
use crate::ops::movement::PadMode;
use crate::ops::reduce::Reduction;
use crate::ops::topk::TopK;
use crate::tensor::{DType, Tensor};

/// How many of the most likely tokens a device gives.
pub const MOST: usize = 64;

/// Tokens next to each other that are ranked as one at first.
const GROUP: usize = 64;

/// What logits are computed with; in memory once.
struct Head {
    scales: Scales,
    weight: ValueId,
    bias: Option<ValueId>,
}

impl Blocks<'_> {
    /// Adds the outputs, from the residual stream `[tokens, width]`.
    pub(super) fn outputs(&mut self, flat: ValueId, embedding: ValueId) -> Result<()> {
        let head = self.head(embedding)?;
        if self.slots.is_some() {
            let (rows, _) = self.rows_of(names::STATE_ROWS, names::STATE_COUNT)?;
            let hidden = self.read(flat, rows, &head)?;
            self.g.output(names::HIDDEN, hidden)?;
        }
        let rows = self.rows_of(names::ROWS, names::ROW_COUNT)?;
        let logits = self.logits(flat, rows.0, &head)?;
        self.g.output(names::LOGITS, logits)?;
        if self.chooses {
            self.best(flat, &head)?;
            self.top(flat, &head)?;
        }
        Ok(())
    }

    fn head(&mut self, embedding: ValueId) -> Result<Head> {
        let spec = self.spec;
        let scales = self.scales(spec.output_norm, spec.width)?;
        let weight = self.named_if_there("output.weight", &[spec.vocabulary, spec.width])?;
        let bias = self.named_if_there("output.bias", &[spec.vocabulary])?;
        Ok(Head { scales, weight: weight.unwrap_or(embedding), bias })
    }

    /// An input that names rows, and how many it names.
    fn rows_of(&mut self, name: &str, count: &str) -> Result<(ValueId, Dim)> {
        let count = Dim::from(self.g.symbol(count));
        Ok((self.g.input(name, DType::I32, [count.clone()])?, count))
    }

    /// What the head reads of some rows: `[rows, width]`.
    fn read(&mut self, flat: ValueId, rows: ValueId, head: &Head) -> Result<ValueId> {
        let x = self.g.gather(flat, rows, 0)?;
        self.normalised_by(head.scales, x)
    }

    /// Logits of some rows: `[rows, vocabulary]`.
    fn logits(&mut self, flat: ValueId, rows: ValueId, head: &Head) -> Result<ValueId> {
        let spec = self.spec;
        let x = self.read(flat, rows, head)?;
        let logits = self.times("output", x, (head.weight, None), head.bias)?;
        let logits = self.scaled("logit_scale", logits, spec.logit_scale)?;
        softcapped(&mut self.g, logits, spec.final_softcap)
    }

    /// The sum of logits `[rows, n]` is a number just if all of them are, or it is
    /// infinite: that of what was chosen alone would not tell.
    fn sum(&mut self, name: &str, logits: ValueId) -> Result<()> {
        let sum = self.g.reduce(Reduction::Sum, logits, &[-1], false)?;
        self.g.output(name, sum)
    }

    /// The most likely token of each row, of equal ones the first.
    fn best(&mut self, flat: ValueId, head: &Head) -> Result<()> {
        let (rows, count) = self.rows_of(names::BEST_ROWS, names::BEST_COUNT)?;
        let logits = self.logits(flat, rows, head)?;
        let best = self.g.arg_max(logits, -1)?;
        let column = self.g.reshape(best, &[count, Dim::from(1u64)])?;
        let logit = self.g.gather_elements(logits, column, 1)?;
        self.g.output(names::BEST, best)?;
        self.g.output(names::BEST_LOGIT, logit)?;
        self.sum(names::BEST_SUM, logits)
    }

    /// The most likely tokens of each row in order, of equal ones the first.
    ///
    /// Whatever is among the first `MOST` is in one of the `MOST` groups with the largest
    /// elements, of equal ones the first. So only those are sorted, in the order of
    /// their places, which decides between equals.
    fn top(&mut self, flat: ValueId, head: &Head) -> Result<()> {
        let (rows, count) = self.rows_of(names::TOP_ROWS, names::TOP_COUNT)?;
        let logits = self.logits(flat, rows, head)?;
        let size = self.spec.vocabulary;
        let most = MOST.min(size) as u64;
        let (values, ids) = if size <= GROUP * MOST {
            self.g.top_k(logits, most, 1)?
        } else {
            self.top_of_groups(logits, count)?
        };
        self.g.output(names::TOP, ids)?;
        self.g.output(names::TOP_LOGITS, values)?;
        self.sum(names::TOP_SUM, logits)
    }

    fn top_of_groups(&mut self, logits: ValueId, count: Dim) -> Result<(ValueId, ValueId)> {
        let (group, most) = (GROUP as u64, MOST as u64);
        let groups = self.spec.vocabulary.div_ceil(GROUP) as u64;
        let grouped = self.whole_groups(logits)?;
        let grouped = self.g.reshape(grouped, &[count.clone(), groups.into(), group.into()])?;
        let largest = self.g.reduce(Reduction::Max, grouped, &[-1], false)?;
        let (_, chosen) = self.g.top_k(largest, most, 1)?;
        let by_place = TopK { k: most, axis: 1, largest: false, index: DType::I32 };
        let chosen = self.g.op1(by_place, &[chosen])?;
        let each = self.g.reshape(chosen, &[count.clone(), most.into(), Dim::from(1u64)])?;
        let each = self.g.expand(each, &[count.clone(), most.into(), group.into()])?;
        let candidates = self.g.gather_elements(grouped, each, 1)?;
        let candidates = self.g.reshape(candidates, &[count, (most * group).into()])?;
        let (values, places) = self.g.top_k(candidates, most, 1)?;
        // From a place among the candidates to the token there.
        let size = self.g.constant("choice.group", Tensor::from_i32(&[], &[GROUP as i32])?)?;
        let number = self.g.div(places, size)?;
        let first = self.g.mul(number, size)?;
        let within = self.g.sub(places, first)?;
        let own = self.g.gather_elements(chosen, number, 1)?;
        let first = self.g.mul(own, size)?;
        Ok((values, self.g.binary(Binary::Add, first, within)?))
    }

    /// Logits and as many of minus infinity as make the last group whole.
    fn whole_groups(&mut self, logits: ValueId) -> Result<ValueId> {
        let missing = self.spec.vocabulary.next_multiple_of(GROUP) - self.spec.vocabulary;
        if missing == 0 {
            return Ok(logits);
        }
        let none = Tensor::from_f32(&[], &[f32::NEG_INFINITY])?;
        let none = self.g.constant("choice.none", none)?;
        self.g.pad(logits, PadMode::Constant, &[[0, 0], [0, missing as i64]], Some(none))
    }
}
