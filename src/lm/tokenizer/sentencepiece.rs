//! SentencePiece's BPE with scores, the tokenizer of Llama 2, Mistral and Gemma:
//! neighbours merge to the token of the highest score until none is left.
//!
//! The order of merges is that of SentencePiece (`bpe_model.cc`): the best score
//! first, of equal ones the leftmost. The crate for tokenizers knows merges by
//! rank only, which orders some of them otherwise.

use super::vocab::{TokenIds, Vocab};
use crate::error::{Error, Result};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What stands for a space in the file's spelling.
pub(super) const SPACE: char = '\u{2581}';

/// Tokens by their spelling, with scores.
pub(super) struct SentencePiece {
    ids: TokenIds,
    scores: Vec<f32>,
    /// The token of each byte, for what the vocabulary cannot spell.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    /// Whether a text begins with a space that is not there.
    pub(super) space_prefix: bool,
}

/// A part of the text; merged ones give their bytes to the left one.
struct Symbol {
    start: usize,
    len: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that are a token together.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Pair {
    /// The better one is greater: a higher score, then further left.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePiece {
    pub(super) fn new(
        ids: TokenIds,
        scores: Vec<f32>,
        vocab: &Vocab,
        unknown: Option<u32>,
        space_prefix: bool,
    ) -> Self {
        let bytes = spelled_bytes(vocab, &ids);
        SentencePiece { ids, scores, bytes, unknown, space_prefix }
    }

    /// The token with this text in the file's spelling.
    pub(super) fn token_id(&self, spelling: &str) -> Option<u32> {
        self.ids.get(spelling).copied()
    }

    /// Appends the tokens of a piece of text. `first`: nothing or a special token
    /// stands before it.
    ///
    /// # Errors
    /// If there is a byte that no token stands for.
    pub(super) fn encode(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let mut spelled = String::with_capacity(text.len() + 3);
        if first && self.space_prefix {
            spelled.push(SPACE);
        }
        spelled.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        let symbols = self.merged(&spelled);
        let mut next = Some(0);
        while let Some(symbol) = next.and_then(|at| symbols.get(at)) {
            let part = &spelled[symbol.start..symbol.start + symbol.len];
            match self.token_id(part) {
                Some(id) => out.push(id),
                None => self.spell_bytes(part, out)?,
            }
            next = symbol.after;
        }
        Ok(())
    }

    fn merged(&self, text: &str) -> Vec<Symbol> {
        let count = text.chars().count();
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| Symbol {
                start,
                len: c.len_utf8(),
                before: i.checked_sub(1),
                after: (i + 1 < count).then_some(i + 1),
            })
            .collect();
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.len() {
            self.offer(text, &symbols, Some(right - 1), Some(right), &mut queue);
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (&symbols[pair.left], &symbols[pair.right]);
            // One of them has grown or is gone since.
            if left.len == 0 || right.len == 0 || left.len + right.len != pair.len {
                continue;
            }
            let after = right.after;
            symbols[pair.left].len = pair.len;
            symbols[pair.left].after = after;
            symbols[pair.right].len = 0;
            if let Some(after) = after {
                symbols[after].before = Some(pair.left);
            }
            let before = symbols[pair.left].before;
            self.offer(text, &symbols, before, Some(pair.left), &mut queue);
            self.offer(text, &symbols, Some(pair.left), after, &mut queue);
        }
        symbols
    }

    /// Adds two neighbours to the queue if they are a token together.
    fn offer(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
        queue: &mut BinaryHeap<Pair>,
    ) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (start, len) = (symbols[left].start, symbols[left].len + symbols[right].len);
        if let Some(id) = self.token_id(&text[start..start + len]) {
            let score = self.scores.get(id as usize).copied().unwrap_or(f32::MIN);
            queue.push(Pair { score, left, right, len });
        }
    }

    fn spell_bytes(&self, part: &str, out: &mut Vec<u32>) -> Result<()> {
        let start = out.len();
        for byte in part.bytes() {
            match self.bytes[usize::from(byte)] {
                Some(id) => out.push(id),
                None => {
                    // Without byte tokens it is one unknown token.
                    out.truncate(start);
                    let none = || {
                        let what = format!("byte 0x{byte:02x} in {part:?}, which no token has");
                        Error::input("text", "what the vocabulary can express", what)
                    };
                    out.push(self.unknown.ok_or_else(none)?);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The token of each byte, where there is one: also one that no type says to be a byte, if
/// it is spelled as one. llama.cpp looks for the spelling alone.
fn spelled_bytes(vocab: &Vocab, ids: &TokenIds) -> Vec<Option<u32>> {
    let mut bytes = byte_tokens(vocab);
    for (byte, token) in bytes.iter_mut().enumerate().filter(|(_, token)| token.is_none()) {
        *token = ids.get(format!("<0x{byte:02X}>").as_str()).copied();
    }
    bytes
}

/// The token of each byte, where there is one.
pub(super) fn byte_tokens(vocab: &Vocab) -> Vec<Option<u32>> {
    let mut bytes = vec![None; 256];
    for (id, text) in vocab.of_kinds(&[super::TokenKind::Byte]) {
        if let [byte] = text {
            bytes[usize::from(*byte)] = Some(id);
        }
    }
    bytes
}

/// The byte that a token of that kind is spelled for: `<0x0A>`.
pub(super) fn byte_of(spelling: &str) -> Option<u8> {
    let digits = spelling.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}
