//! The tokenizer of PLaMo 2 and 3: of all ways to cut a text the one whose tokens cost
//! least. A token costs its score, a character that is written in bytes as much as 1000.
//!
//! Costs are whole ten-thousandths, and ways of equal cost fall as they do in the model's own
//! tokenizer, which goes from a text's end to its beginning and tries long tokens first.

use super::TokenKind;
use super::prefixes::Prefixes;
use super::sentencepiece::byte_tokens;
use super::vocab::{self, TOKENS, TokenIds, Vocab};
use crate::error::Result;
use crate::formats::gguf::GgufFile;

/// Parts of a score that are told apart.
const PARTS: f64 = 1e4;
/// What a character costs that no token spells.
const UNKNOWN: i64 = 10_000_000;
/// What a token costs that is never taken.
const NEVER: i64 = 20_000_000;

/// Tokens of text with their costs.
pub(super) struct Cheapest {
    ids: TokenIds,
    prefixes: Prefixes,
    /// By token.
    costs: Vec<i64>,
    /// The token of each byte.
    bytes: Vec<u32>,
}

/// The best way from a place of a text to its end.
#[derive(Clone, Copy)]
struct Way {
    cost: i64,
    /// Bytes of its first token, or of the character that is written in bytes.
    length: usize,
    token: Option<u32>,
}

impl Cheapest {
    /// Reads the vocabulary of a file.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key concerned: each byte must have
    /// a token.
    pub(super) fn read(file: &GgufFile, ids: TokenIds, vocab: &Vocab) -> Result<Self> {
        let scores = vocab::scores(file, vocab.len())?;
        let cost = |score: &f32| match (f64::from(*score) * PARTS).round() {
            parts if parts.is_finite() => {
                -parts.clamp(-f64::from(i32::MAX), f64::from(i32::MAX)) as i64
            }
            _ => NEVER,
        };
        let costs: Vec<i64> = scores.iter().map(cost).collect();
        let missing = |byte: usize| {
            file.metadata().error(TOKENS, format!("no token <0x{byte:02X}> of a byte"))
        };
        let bytes = byte_tokens(vocab).into_iter().enumerate();
        let bytes: Result<Vec<u32>> =
            bytes.map(|(byte, token)| token.ok_or_else(|| missing(byte))).collect();
        // What is structure is no text that is spelled like it; llama.cpp does not tell them
        // apart.
        let texts = vocab.of_kinds(&[TokenKind::Normal, TokenKind::UserDefined]);
        let usable = |id: &u32| costs.get(*id as usize).is_some_and(|&cost| cost < NEVER);
        let texts = texts.filter(|(_, text)| !text.is_empty()).map(|(id, _)| id);
        let prefixes = Prefixes::new(vocab, texts.filter(usable));
        Ok(Cheapest { ids, prefixes, costs, bytes: bytes? })
    }

    /// The token with this text in the file's spelling.
    pub(super) fn token_id(&self, spelling: &str) -> Option<u32> {
        self.ids.get(spelling).copied()
    }

    /// Appends the tokens of a text.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let ways = self.ways(vocab, text);
        let mut at = 0;
        while let Some(way) = ways.get(at).filter(|way| way.length > 0) {
            let spelled = text.as_bytes().get(at..at + way.length).unwrap_or_default();
            match way.token {
                Some(token) => out.push(token),
                None => out.extend(spelled.iter().map(|&byte| self.bytes[usize::from(byte)])),
            }
            at += way.length;
        }
    }

    /// For each place of a text the best way from it.
    fn ways(&self, vocab: &Vocab, text: &str) -> Vec<Way> {
        let mut ways = vec![Way { cost: 0, length: 0, token: None }; text.len() + 1];
        for (at, c) in text.char_indices().rev() {
            let mut best: Option<Way> = None;
            self.prefixes.each(vocab, &text.as_bytes()[at..], &mut |length, token| {
                let cost = ways[at + length].cost.saturating_add(self.costs[token as usize]);
                // Of ways that cost the same the one with the longer token.
                if best.is_none_or(|best| cost <= best.cost) {
                    best = Some(Way { cost, length, token: Some(token) });
                }
            });
            let length = c.len_utf8();
            let cost = ways[at + length].cost.saturating_add(UNKNOWN);
            let spelled = Way { cost, length, token: None };
            ways[at] = best.filter(|best| best.cost <= cost).unwrap_or(spelled);
        }
        ways
    }
}
