//! Files of models in two parts: one reads a text as a whole, the other writes what
//! follows from it (T5).

use super::keys::Keys;
use crate::error::{Error, Result};

/// Which part of a file's model a graph is of; its blocks' names say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// All there is.
    #[default]
    Whole,
    /// The one that reads.
    Encoder,
    /// The one that writes, and looks at what was read.
    Decoder,
}

/// What a block's matrix behind attention is called where a model has one part.
const OUTPUT: &str = "attn_output.";

impl Part {
    /// What names of blocks and of the last norm begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Part::Whole => "",
            Part::Encoder => "enc.",
            Part::Decoder => "dec.",
        }
    }

    /// The name of a block's tensor.
    pub(super) fn tensor(self, block: usize, name: &str) -> String {
        match (self, name.strip_prefix(OUTPUT)) {
            (Part::Encoder | Part::Decoder, Some(end)) => {
                format!("{}blk.{block}.attn_o.{end}", self.prefix())
            }
            _ => format!("{}blk.{block}.{name}", self.prefix()),
        }
    }
}

/// How the tokens of a sequence are told apart: those up to the first that ends a text with
/// the start behind it are read, that start and all behind it are what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The token that ends what is read.
    pub end: u32,
    /// The token that what is written begins with.
    pub start: u32,
}

impl Source {
    /// From a file's keys.
    ///
    /// # Errors
    /// [`Error::Format`] naming the key that is missing, or is no token.
    pub(super) fn read(keys: &Keys<'_>, vocabulary: usize) -> Result<Self> {
        let token = |key: &str, id: u64| match id < vocabulary as u64 {
            true => Ok(id as u32),
            false => Err(keys.meta.error(key, format!("{id} of {vocabulary} tokens"))),
        };
        let name = "decoder_start_token_id";
        let key = keys.key(name);
        // That of all published models.
        let start = keys.meta.opt_u64(&key)?.unwrap_or_else(|| keys.default(name, 0));
        let start = token(&key, start)?;
        let key = "tokenizer.ggml.eos_token_id";
        let end = keys.meta.opt_u64(key)?.ok_or_else(|| keys.meta.error(key, "missing"))?;
        Ok(Source { end: token(key, end)?, start })
    }

    /// How many of a sequence's tokens are read; `None` if no end and start are in it.
    pub fn length(self, tokens: &[u32]) -> Option<usize> {
        let border = [self.end, self.start];
        tokens.windows(2).position(|pair| pair == border).map(|at| at + 1)
    }

    /// As [`Self::length`].
    ///
    /// # Errors
    /// [`Error::Input`] if no end and start are in it.
    pub(super) fn checked(self, tokens: &[u32]) -> Result<usize> {
        let Source { end, start } = self;
        let expected = format!("tokens to read that end with {end}, and {start} behind them");
        self.length(tokens).ok_or_else(|| Error::input("prompt", expected, "none"))
    }

    /// A text's tokens, with the end and the start that they lack.
    pub(super) fn completed(self, mut tokens: Vec<u32>) -> Vec<u32> {
        if self.length(&tokens).is_none() {
            if tokens.last() != Some(&self.end) {
                tokens.push(self.end);
            }
            tokens.push(self.start);
        }
        tokens
    }
}

/// What a sequence may go on with of one that was computed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// With whatever both begin with.
    Any,
    /// With all of it or nothing: it never goes back.
    All,
    /// With whatever both begin with, if they read the same: that is read as a whole.
    Source(Source),
}

impl Keeping {
    /// How many tokens of a sequence are there already, of which `same` are those of `kept`.
    pub(super) fn of(self, kept: &[u32], tokens: &[u32], same: usize) -> usize {
        let goes_on = match self {
            Keeping::Any => true,
            Keeping::All => same == kept.len(),
            Keeping::Source(source) => {
                let read = source.length(tokens);
                let there = source.length(kept).unwrap_or(kept.len());
                read.is_some_and(|read| read <= same && read == there)
            }
        };
        if goes_on { same } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source { end: 1, start: 0 };

    #[test]
    fn what_is_read_ends_before_the_start() {
        assert_eq!(SOURCE.completed(vec![5, 6]), [5, 6, 1, 0]);
        assert_eq!(SOURCE.completed(vec![5, 1]), [5, 1, 0]);
        assert_eq!(SOURCE.completed(vec![5, 1, 0, 7]), [5, 1, 0, 7]);
        // The start may be a token of what is read.
        assert_eq!(SOURCE.length(&[5, 0, 6, 1, 0, 7]), Some(4));
        assert_eq!(SOURCE.length(&[1, 0]), Some(1));
        assert_eq!(SOURCE.length(&[5, 0]), None);
        assert!(SOURCE.checked(&[5, 6, 1]).is_err());
    }

    #[test]
    fn what_was_read_is_kept_as_a_whole() {
        let keeping = Keeping::Source(SOURCE);
        let of = |kept: &[u32], tokens: &[u32]| {
            let same = kept.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            keeping.of(kept, tokens, same.min(tokens.len() - 1))
        };
        assert_eq!(of(&[5, 6, 1, 0, 8, 9], &[5, 6, 1, 0]), 3);
        assert_eq!(of(&[5, 6, 1, 0, 8, 9], &[5, 6, 1, 0, 8, 7]), 5);
        assert_eq!(of(&[5, 6, 1], &[5, 6, 1, 0]), 3);
        assert_eq!(of(&[5, 6, 1, 0, 8], &[5, 7, 1, 0]), 0);
        assert_eq!(of(&[5, 6, 1, 0, 8], &[5, 6, 1, 6, 1, 0]), 0);
        assert_eq!(of(&[], &[1, 0]), 0);
    }
}
