//! Byte pairs over whole lines, the tokenizer of Gemma 4: SentencePiece's spelling, with
//! a mark for a space and single bytes for what no token spells, and merges by rank. Text
//! is cut before and behind line ends only; line ends that are a token together are that
//! one.

use super::sentencepiece::SPACE;
use super::vocab::TokenIds;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use tokenizers::Model;
use tokenizers::models::bpe::BPE;

/// Merges over whole lines.
pub(super) struct Lines(BPE);

impl Lines {
    /// Reads the merges of a file.
    ///
    /// # Errors
    /// [`Error::Format`] naming the merge that is wrong.
    pub(super) fn read(file: &GgufFile, ids: TokenIds) -> Result<Self> {
        super::vocab::bpe(file, ids, super::vocab::Merging::Characters).map(Lines)
    }

    pub(super) fn token_id(&self, spelling: &str) -> Option<u32> {
        self.0.token_to_id(spelling)
    }

    /// Appends the tokens of a text.
    ///
    /// # Errors
    /// If the vocabulary has neither a character nor its bytes.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut spelling = String::new();
        for piece in pieces(text) {
            if let Some(id) = self.whole(piece) {
                ids.push(id);
                continue;
            }
            spelling.clear();
            let marked = piece.chars().map(|c| if c == ' ' { SPACE } else { c });
            spelling.extend(marked);
            let tokens = self.0.tokenize(&spelling).map_err(Error::internal)?;
            // What has no token is dropped silently in there.
            if tokens.iter().map(|t| t.offsets.1 - t.offsets.0).sum::<usize>() != spelling.len() {
                let what = format!("{piece:?}, of which no token has a part");
                return Err(Error::input("text", "what the vocabulary can express", what));
            }
            ids.extend(tokens.iter().map(|t| t.id));
        }
        Ok(())
    }

    /// The token of line ends.
    fn whole(&self, piece: &str) -> Option<u32> {
        if piece.starts_with('\n') { self.token_id(piece) } else { None }
    }
}

/// Runs of line ends, and what is between them.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let ends = rest.starts_with('\n');
        let length = rest.find(|c| (c == '\n') != ends).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some(piece).filter(|piece| !piece.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_line_ends_alone() {
        let cut = |text| pieces(text).collect::<Vec<_>>();
        assert_eq!(cut("a b\n\n c\n"), ["a b", "\n\n", " c", "\n"]);
        assert_eq!(cut("\r\nä"), ["\r", "\n", "ä"]);
        assert!(cut("").is_empty());
    }
}
