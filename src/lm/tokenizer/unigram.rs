//! SentencePiece's unigram model, the tokenizer of T5 and its relatives: of all
//! ways to cut a text, the one whose tokens have the highest sum of scores.
//!
//! Sums are f32 and compared in SentencePiece's order (`unigram_model.cc`), so that
//! ways of equal sums fall as they do there.

use super::TokenKind;
use super::charmap::CharMap;
use super::prefixes::Prefixes;
use super::sentencepiece::{SPACE, byte_tokens};
use super::vocab::{self, TokenIds, Vocab, token_id};
use crate::error::Result;
use crate::formats::gguf::GgufFile;

/// How much worse than the worst token one is that is not known.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Tokens by their text, with scores.
pub(super) struct Unigram {
    ids: TokenIds,
    /// The tokens of text.
    prefixes: Prefixes,
    scores: Vec<f32>,
    /// The token of each byte, for what the vocabulary cannot spell.
    bytes: Vec<Option<u32>>,
    unknown: u32,
    unknown_score: f32,
    map: Option<CharMap>,
    /// Whether a text begins with a space that is not there.
    pub(super) space_prefix: bool,
    /// Whether several spaces are one, and those around a text none.
    merges_spaces: bool,
}

/// The best way to a place in a text.
#[derive(Clone, Copy)]
struct Way {
    score: f32,
    /// Where its last token begins; `None` while there is no way.
    from: Option<usize>,
    token: u32,
}

impl Unigram {
    /// Reads the vocabulary of a file.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key concerned.
    pub(super) fn read(file: &GgufFile, ids: TokenIds, vocab: &Vocab) -> Result<Self> {
        let meta = file.metadata();
        let scores = vocab::scores(file, vocab.len())?;
        const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
        let first = vocab.of_kinds(&[TokenKind::Unknown]).map(|(id, _)| id).next();
        let unknown = token_id(&meta, UNKNOWN, vocab.len())?.or(first);
        let unknown = unknown.ok_or_else(|| meta.error(UNKNOWN, "missing"))?;
        let texts = || vocab.of_kinds(&[TokenKind::Normal]).filter(|(_, text)| !text.is_empty());
        let prefixes = Prefixes::new(vocab, texts().map(|(id, _)| id));
        let score = |id: u32| scores.get(id as usize).copied().unwrap_or(0.0);
        let worst = texts().map(|(id, _)| score(id)).fold(f32::MAX, f32::min);
        let flag = |name: &str, default| {
            Ok(meta.opt_bool(&format!("tokenizer.ggml.{name}"))?.unwrap_or(default))
        };
        Ok(Unigram {
            ids,
            prefixes,
            bytes: byte_tokens(vocab),
            unknown,
            unknown_score: worst - UNKNOWN_PENALTY,
            scores,
            map: CharMap::read(&meta)?,
            space_prefix: flag("add_space_prefix", true)?,
            merges_spaces: flag("remove_extra_whitespaces", true)?,
        })
    }

    /// The token with this text in the file's spelling.
    pub(super) fn token_id(&self, spelling: &str) -> Option<u32> {
        self.ids.get(spelling).copied()
    }

    /// Appends the tokens of a text between special tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let text = self.normalised(text);
        let ways = self.ways(vocab, &text);
        let mut parts = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let Some(way) = ways.get(end) else { break };
            let Some(from) = way.from else { break };
            parts.push((from..end, way.token));
            end = from;
        }
        let mut unknown_before = false;
        for (range, token) in parts.into_iter().rev() {
            let unknown = token == self.unknown;
            match self.spelled(text.as_bytes().get(range).unwrap_or_default()) {
                Some(bytes) if unknown => out.extend(bytes),
                // Several in a row are one.
                _ if unknown && unknown_before => (),
                _ => out.push(token),
            }
            unknown_before = unknown;
        }
    }

    /// Tokens for bytes, if there are some for all.
    fn spelled(&self, bytes: &[u8]) -> Option<Vec<u32>> {
        bytes.iter().map(|&byte| self.bytes[usize::from(byte)]).collect()
    }

    /// For each place of a text the best way to it.
    fn ways(&self, vocab: &Vocab, text: &str) -> Vec<Way> {
        let none = Way { score: 0.0, from: None, token: self.unknown };
        let mut ways = vec![none; text.len() + 1];
        for (start, c) in text.char_indices() {
            let here = ways[start].score;
            let mut offer = |length: usize, token: u32, score: f32| {
                let way = &mut ways[start + length];
                if way.from.is_none() || here + score > way.score {
                    *way = Way { score: here + score, from: Some(start), token };
                }
            };
            let mut single = false;
            self.prefixes.each(vocab, &text.as_bytes()[start..], &mut |length, token| {
                single |= length == c.len_utf8();
                offer(length, token, self.scores[token as usize]);
            });
            if !single {
                offer(c.len_utf8(), self.unknown, self.unknown_score);
            }
        }
        ways
    }

    /// A text as the model was trained on it.
    fn normalised(&self, text: &str) -> String {
        let mut body = String::with_capacity(text.len() + 1);
        let mut spaced = self.merges_spaces;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let mapped = self.map.as_ref().and_then(|map| map.longest(rest));
            let (length, written) = mapped.unwrap_or((c.len_utf8(), &rest[..c.len_utf8()]));
            let written = if spaced { written.trim_start_matches(' ') } else { written };
            body.push_str(written);
            if self.merges_spaces && !written.is_empty() {
                spaced = written.ends_with(' ');
            }
            rest = &rest[length..];
        }
        // The mark of a space cannot be told from one.
        let body = body.replace(SPACE, " ");
        let body = if self.merges_spaces { body.trim_end_matches(' ') } else { &body };
        if body.is_empty() || !self.space_prefix { body.into() } else { format!(" {body}") }
    }
}
