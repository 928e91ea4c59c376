//! The inputs of one step, from the rows of the slots that take part in it.

use crate::error::Result;
use crate::lm::decoder::names;
use crate::lm::known::{Asked, Wanted};
use crate::session::RunOptions;
use crate::tensor::Tensor;

/// What one slot brings to a step: tokens that follow what its caches hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) slot: usize,
    /// How many tokens its caches hold.
    pub(super) past: usize,
    /// At least one.
    pub(super) tokens: &'a [u32],
    /// After how many of the last tokens the logits are wanted.
    pub(super) logits: usize,
    /// How much of them.
    pub(super) wanted: Wanted,
    /// Whether the hidden state of each token is wanted.
    pub(super) states: bool,
}

/// Inputs as the graph names them (`decoder::names`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Step {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    new: Vec<i32>,
    queries: Vec<i32>,
    back: Vec<i32>,
    write: Vec<i32>,
    past: Vec<i32>,
    asked: Asked,
    state_rows: Vec<i32>,
    /// Queries of a slot, padded.
    pub(super) padded: usize,
}

impl Step {
    /// Lays out rows of different slots out of `slots`, whose caches have room
    /// for `capacity` tokens each.
    ///
    /// New keys and values stand at the front of a slot's padding, and what
    /// comes after them falls on places not yet used or behind the cache.
    /// Queries stand at its end, so that the last one sees what is in the
    /// cache then, and no query reaches behind its capacity.
    pub(super) fn new(rows: &[Row<'_>], slots: usize, capacity: usize) -> Self {
        let padded = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        let mut step = Step {
            // Padding reads the first token, which is a finite number.
            new: vec![0; slots * padded],
            queries: vec![0; slots * padded],
            write: vec![capacity as i32; slots],
            past: vec![-(padded as i32); slots],
            padded,
            ..Step::default()
        };
        rows.iter().for_each(|row| step.add(row));
        step
    }

    fn add(&mut self, row: &Row<'_>) {
        let (first, count) = (self.tokens.len(), row.tokens.len());
        let begin = row.slot * self.padded;
        for (i, &token) in row.tokens.iter().enumerate() {
            let at = (first + i) as i32;
            let query = begin + self.padded - count + i;
            self.tokens.push(token as i32);
            self.positions.push((row.past + i) as i32);
            self.new[begin + i] = at;
            self.queries[query] = at;
            self.back.push(query as i32);
            if row.states {
                self.state_rows.push(at);
            }
        }
        self.write[row.slot] = row.past as i32;
        self.past[row.slot] = (row.past + count) as i32 - self.padded as i32;
        let end = (first + count) as i32;
        self.asked.list(row.wanted).extend(end - row.logits.min(count) as i32..end);
    }

    /// A step of single tokens is submitted at once.
    pub(super) fn run_options(&self) -> RunOptions {
        RunOptions { one_submission: self.padded == 1 }
    }

    /// The tensors, by name.
    pub(super) fn inputs(&self) -> Result<Vec<(&'static str, Tensor)>> {
        let (query, slots) = (self.tokens.len(), self.write.len());
        let lists: [(&'static str, &[i32], &[usize]); 8] = [
            (names::TOKENS, &self.tokens, &[1, query]),
            (names::POSITIONS, &self.positions, &[1, query]),
            (names::NEW, &self.new, &[slots, self.padded]),
            (names::QUERIES, &self.queries, &[slots, self.padded]),
            (names::BACK, &self.back, &[1, query]),
            (names::WRITE, &self.write, &[slots]),
            (names::PAST, &self.past, &[slots]),
            (names::STATE_ROWS, &self.state_rows, &[self.state_rows.len()]),
        ];
        let tensor = |(name, values, extents): (&'static str, &[i32], &[usize])| {
            Ok((name, Tensor::from_i32(extents, values)?))
        };
        let lists = lists.into_iter().map(tensor);
        lists.chain(self.asked.inputs()?.map(Ok)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_laid_out() {
        let rows = [
            Row { slot: 2, past: 5, tokens: &[7], logits: 1, wanted: Wanted::Best, states: false },
            Row {
                slot: 0,
                past: 0,
                tokens: &[8, 9, 10],
                logits: 0,
                wanted: Wanted::All,
                states: true,
            },
        ];
        let step = Step::new(&rows, 3, 16);
        let wanted = Step {
            tokens: vec![7, 8, 9, 10],
            positions: vec![5, 0, 1, 2],
            new: vec![1, 2, 3, 0, 0, 0, 0, 0, 0],
            queries: vec![1, 2, 3, 0, 0, 0, 0, 0, 0],
            back: vec![8, 0, 1, 2],
            write: vec![0, 16, 5],
            past: vec![0, -3, 3],
            asked: Asked::one(0, Wanted::Best),
            state_rows: vec![1, 2, 3],
            padded: 3,
        };
        assert_eq!(step, wanted);
        // The single token of slot 2: the first to write, the last to ask.
        let last = Row { slot: 1, past: 3, tokens: &[4, 5], logits: 2, ..rows[1] };
        let rows = [Row { states: false, ..last }, rows[1]];
        let step = Step::new(&rows, 2, 16);
        assert_eq!(step.new, [2, 3, 4, 0, 1, 0]);
        assert_eq!(step.asked, Asked::all(&[0, 1]));
        assert_eq!(step.queries, [2, 3, 4, 0, 0, 1]);
        assert_eq!((step.write, step.past), (vec![0, 3], vec![0, 2]));
    }
}
