//! How well a model foresees a text.

use super::model::LanguageModel;
use super::probability::LogProbabilities;
use crate::error::{Error, Result};

/// Logits read back at one time, as tokens: each has a whole vocabulary.
const ROWS: usize = 128;

/// How well a text was foreseen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Perplexity {
    /// `exp` of the mean negative logarithm of each scored token's probability.
    pub value: f64,
    /// The standard error of `value`, taking tokens as independent.
    pub error: f64,
    /// Tokens scored.
    pub scored: usize,
    /// Windows computed.
    pub windows: usize,
}

/// Sums over scored tokens.
#[derive(Debug, Default)]
struct Sums {
    windows: usize,
    scored: usize,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, surprise: f64) {
        self.scored += 1;
        self.sum += surprise;
        self.squares += surprise * surprise;
    }

    fn perplexity(&self) -> Perplexity {
        let count = self.scored as f64;
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        // The mean's error, through the exponential.
        let spread = (variance / (count - 1.0).max(1.0)).sqrt();
        let value = mean.exp();
        Perplexity { value, error: value * spread, scored: self.scored, windows: self.windows }
    }
}

impl LanguageModel {
    /// The perplexity of a text, as llama.cpp measures it: in windows of
    /// `window` tokens that do not overlap, each computed by itself with the
    /// token that begins texts in its first place, of which the second half is
    /// scored. What does not fill a window is left out; a text shorter than one
    /// is a window. `progress` gets each result so far, and stops the work with
    /// `false`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model that reads its prompt;
    /// [`Error::Input`] for fewer than four tokens or a window of fewer,
    /// [`Error::Limit`] for a window longer than the context, and the device's
    /// failures.
    pub async fn perplexity(
        &mut self,
        tokens: &[u32],
        window: usize,
        progress: &mut dyn FnMut(Perplexity) -> bool,
    ) -> Result<Perplexity> {
        self.file().must_be_whole("the perplexity of a text")?;
        let window = window.min(tokens.len());
        if window < 4 {
            return Err(Error::input("tokens of a window", "at least 4", window));
        }
        let begin = self.tokenizer().bos().filter(|_| self.tokenizer().adds_bos());
        let mut sums = Sums::default();
        for part in tokens.chunks_exact(window) {
            let mut part = part.to_vec();
            if let Some(begin) = begin {
                part[0] = begin;
            }
            self.score(&part, &mut sums).await?;
            sums.windows += 1;
            if !progress(sums.perplexity()) {
                break;
            }
        }
        Ok(sums.perplexity())
    }

    /// Adds how surprising the second half of a window is.
    async fn score(&mut self, window: &[u32], sums: &mut Sums) -> Result<()> {
        // The token at `half` gives the first logits that count.
        let half = window.len() / 2;
        let most = self.chunk().min(ROWS);
        for (i, chunk) in window.chunks(most).enumerate() {
            let past = i * most;
            let counts = |at: &usize| (half..window.len() - 1).contains(&(past + at));
            let rows: Vec<usize> = (0..chunk.len()).filter(counts).collect();
            let asked: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
            let logits = self.step(chunk, past, &asked).await?;
            let vocabulary = self.spec().vocabulary;
            for (&row, logits) in rows.iter().zip(logits.chunks_exact(vocabulary)) {
                let next = window[past + row + 1];
                sums.add(-f64::from(LogProbabilities::of(logits, next, 0)?.chosen));
            }
        }
        Ok(())
    }
}
