//! What is known of the logits after a token: all of them, or what the device chose.

use super::decoder::{MOST, names};
use super::sampler::SamplerOptions;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// How much of the logits after a token is wanted on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of them.
    All,
    /// The most likely token.
    Best,
    /// The [`MOST`] most likely tokens.
    Top,
}

impl Wanted {
    /// The least with which a sampler chooses as it does with all logits.
    pub(super) fn by(options: &SamplerOptions) -> Self {
        if options.changes_logits() {
            Wanted::All
        } else if options.temperature == 0.0 {
            Wanted::Best
        } else if (1..=MOST).contains(&options.top_k) {
            Wanted::Top
        } else {
            Wanted::All
        }
    }
}

/// What is known of the logits after one token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    /// The logit of each token.
    All(Vec<f32>),
    /// The most likely tokens in order, of equal ones the lowest id first, and their
    /// logits; at least one.
    Leading(Vec<(u32, f32)>),
}

/// The outputs of a step, row by row of each kind.
#[derive(Debug)]
pub(super) struct Rows {
    vocabulary: usize,
    all: Vec<f32>,
    best: Leading,
    top: Leading,
}

/// What a device chose, for some rows.
#[derive(Debug)]
struct Leading {
    /// Tokens of a row.
    size: usize,
    ids: Vec<i32>,
    logits: Vec<f32>,
    sums: Vec<f32>,
}

impl Rows {
    /// Takes the outputs of a decoder's run apart.
    ///
    /// # Errors
    /// If one is missing.
    pub(super) fn new(outputs: &[(String, Tensor)], vocabulary: usize) -> Result<Self> {
        let best = [names::BEST, names::BEST_LOGIT, names::BEST_SUM];
        let top = [names::TOP, names::TOP_LOGITS, names::TOP_SUM];
        Ok(Rows {
            vocabulary,
            all: find(outputs, names::LOGITS)?.to_f32()?,
            best: Leading::new(outputs, best, 1)?,
            top: Leading::new(outputs, top, MOST.min(vocabulary))?,
        })
    }

    /// The logits of all rows that got them: F32 `[rows, vocabulary]`.
    pub(super) fn into_logits(self) -> Vec<f32> {
        self.all
    }

    /// What is known of the row with this number of those with as much.
    ///
    /// # Errors
    /// [`Error::Input`] if a logit is no number; an internal one if there is no such
    /// row.
    pub(super) fn row(&self, wanted: Wanted, number: usize) -> Result<Known> {
        match wanted {
            Wanted::All => {
                let row = self.all.chunks_exact(self.vocabulary.max(1)).nth(number);
                Ok(Known::All(row.ok_or_else(no_row)?.to_vec()))
            }
            Wanted::Best => self.best.row(number),
            Wanted::Top => self.top.row(number),
        }
    }
}

impl Leading {
    fn new(outputs: &[(String, Tensor)], names: [&str; 3], size: usize) -> Result<Self> {
        let [ids, logits, sums] = names;
        Ok(Leading {
            size,
            ids: find(outputs, ids)?.to_i32()?,
            logits: find(outputs, logits)?.to_f32()?,
            sums: find(outputs, sums)?.to_f32()?,
        })
    }

    fn row(&self, number: usize) -> Result<Known> {
        let ids = self.ids.chunks_exact(self.size.max(1)).nth(number).ok_or_else(no_row)?;
        let logits = self.logits.chunks_exact(self.size.max(1)).nth(number).ok_or_else(no_row)?;
        let sum = *self.sums.get(number).ok_or_else(no_row)?;
        // Of minus infinity a sum may be made; the host bars tokens with it.
        if sum.is_nan() || sum == f32::INFINITY {
            return Err(Error::input("logits", "finite numbers or minus infinity", sum));
        }
        let pairs = ids.iter().map(|&id| id as u32).zip(logits.iter().copied());
        Ok(Known::Leading(pairs.collect()))
    }
}

/// How many rows of each kind have been taken of a step's.
#[derive(Debug, Default)]
pub(super) struct Taken {
    all: usize,
    best: usize,
    top: usize,
}

impl Taken {
    /// What is known of so many rows more.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub(super) fn next(
        &mut self,
        rows: &Rows,
        (count, wanted): (usize, Wanted),
    ) -> Result<Vec<Known>> {
        let taken = match wanted {
            Wanted::All => &mut self.all,
            Wanted::Best => &mut self.best,
            Wanted::Top => &mut self.top,
        };
        let first = *taken;
        *taken += count;
        (first..first + count).map(|number| rows.row(wanted, number)).collect()
    }
}

fn find<'a>(outputs: &'a [(String, Tensor)], name: &str) -> Result<&'a Tensor> {
    let found = outputs.iter().find(|(other, _)| other == name);
    Ok(&found.ok_or_else(|| Error::internal(format!("a decoder without {name}")))?.1)
}

fn no_row() -> Error {
    Error::internal("a step without what was asked for")
}

/// Which tokens of a step get how much, as the inputs of a graph name them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Asked {
    pub(super) all: Vec<i32>,
    pub(super) best: Vec<i32>,
    pub(super) top: Vec<i32>,
}

impl Asked {
    /// All logits of some tokens.
    pub(super) fn all(rows: &[i32]) -> Self {
        Asked { all: rows.to_vec(), ..Asked::default() }
    }

    /// As much of one token as is wanted.
    pub(super) fn one(row: i32, wanted: Wanted) -> Self {
        let mut asked = Asked::default();
        asked.list(wanted).push(row);
        asked
    }

    /// The tokens that get so much.
    pub(super) fn list(&mut self, wanted: Wanted) -> &mut Vec<i32> {
        match wanted {
            Wanted::All => &mut self.all,
            Wanted::Best => &mut self.best,
            Wanted::Top => &mut self.top,
        }
    }

    /// The inputs, by name.
    ///
    /// # Errors
    /// None that is known.
    pub(super) fn inputs(&self) -> Result<[(&'static str, Tensor); 3]> {
        let tensor = |rows: &[i32]| Tensor::from_i32(&[rows.len()], rows);
        Ok([
            (names::ROWS, tensor(&self.all)?),
            (names::BEST_ROWS, tensor(&self.best)?),
            (names::TOP_ROWS, tensor(&self.top)?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_little_is_wanted_as_decides() {
        let greedy = SamplerOptions::default();
        assert_eq!(Wanted::by(&greedy), Wanted::Best);
        let drawn = SamplerOptions { temperature: 0.8, ..greedy.clone() };
        assert_eq!(Wanted::by(&drawn), Wanted::All);
        for (top_k, wanted) in [(1, Wanted::Top), (MOST, Wanted::Top), (MOST + 1, Wanted::All)] {
            let options = SamplerOptions { top_k, ..drawn.clone() };
            assert_eq!(Wanted::by(&options), wanted);
        }
        let changed = [
            SamplerOptions { repetition_penalty: 1.1, ..greedy.clone() },
            SamplerOptions { frequency_penalty: 0.1, ..greedy.clone() },
            SamplerOptions { presence_penalty: 0.1, ..greedy.clone() },
            SamplerOptions { dry_multiplier: 0.8, ..greedy },
        ];
        assert!(changed.iter().all(|options| Wanted::by(options) == Wanted::All));
    }

    #[test]
    fn a_logit_that_is_no_number_is_an_error() {
        let leading = |sum| Leading { size: 1, ids: vec![3], logits: vec![0.5], sums: vec![sum] };
        assert_eq!(leading(7.0).row(0).ok(), Some(Known::Leading(vec![(3, 0.5)])));
        assert!(leading(f32::NEG_INFINITY).row(0).is_ok());
        assert!(leading(f32::NAN).row(0).is_err() && leading(f32::INFINITY).row(0).is_err());
        assert!(leading(7.0).row(1).is_err());
    }
}
