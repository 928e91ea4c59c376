//! The vocabulary and merges of a file.

use super::sentencepiece::{SPACE, byte_of};
use super::special::{END_TEXTS, GAP_TEXTS, PLAIN_S};
use super::{bytes, longest};
use crate::error::{Error, Result};
use crate::formats::gguf::{GgufFile, Metadata, Strs, Value};
use tokenizers::models::bpe::BPE;
pub(super) use tokenizers::models::bpe::Vocab as TokenIds;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";

/// What loading may take beside the file itself: this many bytes and a fifth
/// of the file. A file in use stays far below it; one made of nothing but
/// short tokens would not.
const MEMORY: u64 = 64_000_000;

/// What a token is for: `tokenizer.ggml.token_type`, with the numbers of
/// `llama_token_type` in llama.cpp's `llama.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// Stands for what the vocabulary cannot express.
    Unknown,
    /// Structure of the prompt, such as the start of a message.
    Control,
    /// Added by the model's makers; matched as a whole in any text.
    UserDefined,
    /// Never used.
    Unused,
    /// A single byte.
    Byte,
}

/// How a file spells what tokens stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// A visible character for each byte.
    Bytes,
    /// Text, with a mark for a space; single bytes as `<0x0A>`.
    Text,
    /// The same, with merges.
    Lines,
    /// Text with its spaces; single bytes as `<0x0A>`.
    Plain,
    /// Bytes as Python writes them.
    Escaped,
}

/// Bytes and kinds of all tokens.
pub(super) struct Vocab {
    kinds: Vec<TokenKind>,
    /// Token `i` is `text[ends[i - 1]..ends[i]]`.
    ends: Vec<u32>,
    text: Vec<u8>,
}

impl Vocab {
    /// Reads the tokens, and their ids by spelling.
    ///
    /// # Errors
    /// [`Error::Format`] naming the key concerned, [`Error::Limit`] where the
    /// vocabulary is too large for its file.
    pub(super) fn load(file: &GgufFile, spelling: Spelling) -> Result<(Self, TokenIds)> {
        let meta = &file.metadata();
        let tokens = meta.strs_of(TOKENS)?;
        let merges = match spelling {
            Spelling::Bytes | Spelling::Lines => Some(meta.strs_of(MERGES)?),
            Spelling::Text | Spelling::Plain | Spelling::Escaped => None,
        };
        if tokens.is_empty() || u32::try_from(tokens.len()).is_err() {
            return Err(meta.error(TOKENS, format!("{} tokens", tokens.len())));
        }
        let limit = MEMORY + file.file_bytes() / 5;
        let needed = memory(&tokens, merges.as_ref());
        if needed > limit {
            return Err(Error::Limit {
                what: format!(
                    "{}: a vocabulary of {} tokens and {} merges",
                    file.name(),
                    tokens.len(),
                    merges.map_or(0, |merges| merges.len())
                ),
                limit_name: "bytes of host memory (64 MB and a fifth of the file)".into(),
                needed,
                limit,
            });
        }
        let kinds = control_by_text(kinds(meta, tokens.len())?, &tokens);
        let mut vocab = Vocab { kinds, ends: Vec::with_capacity(tokens.len()), text: Vec::new() };
        let mut ids = TokenIds::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            vocab.push(id, token, spelling).map_err(|what| meta.error(TOKENS, what))?;
            // Nothing can stand for no text; some files have empty tokens.
            if !token.is_empty()
                && let Some(first) = ids.insert(token.into(), id as u32)
            {
                let what = format!("'{}' is token {first} and {id}", token.escape_debug());
                return Err(meta.error(TOKENS, what));
            }
        }
        Ok((vocab, ids))
    }

    fn push(
        &mut self,
        id: usize,
        token: &str,
        spelling: Spelling,
    ) -> std::result::Result<(), String> {
        match (self.kinds[id], spelling) {
            (TokenKind::Normal | TokenKind::Byte, Spelling::Bytes) => {
                bytes::decode(token, &mut self.text);
            }
            (_, Spelling::Escaped) => longest::unescape(token, &mut self.text)?,
            (TokenKind::Normal, Spelling::Text | Spelling::Lines) => {
                self.text.extend_from_slice(token.replace(SPACE, " ").as_bytes());
            }
            (TokenKind::Byte, Spelling::Text | Spelling::Plain | Spelling::Lines) => {
                let what = || format!("'{}' is no byte", token.escape_debug());
                self.text.push(byte_of(token).ok_or_else(what)?);
            }
            _ => self.text.extend_from_slice(token.as_bytes()),
        }
        let end = u32::try_from(self.text.len()).map_err(|_| "more than 4 GiB of text")?;
        self.ends.push(end);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let end = *self.ends.get(id as usize)? as usize;
        let start = match id.checked_sub(1) {
            Some(before) => *self.ends.get(before as usize)? as usize,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// Every token of some kinds, with its text.
    pub(super) fn of_kinds(
        &self,
        wanted: &'static [TokenKind],
    ) -> impl Iterator<Item = (u32, &[u8])> {
        let matching = |&id: &u32| self.kind(id).is_some_and(|kind| wanted.contains(&kind));
        (0..self.len() as u32).filter(matching).filter_map(|id| Some((id, self.bytes(id)?)))
    }
}

/// What merges join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merging {
    /// Bytes.
    Bytes {
        /// Whether a piece that is a token is that one, whatever the merges say.
        whole: bool,
    },
    /// Characters; those without a token are their bytes.
    Characters,
}

/// The merges of a file, ready to be applied.
///
/// # Errors
/// [`Error::Format`] naming the merge that is wrong.
pub(super) fn bpe(file: &GgufFile, ids: TokenIds, merging: Merging) -> Result<BPE> {
    let meta = &file.metadata();
    let merges = read_merges(meta, &meta.strs_of(MERGES)?, &ids)?;
    BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(matches!(merging, Merging::Bytes { whole: true }))
        .byte_fallback(merging == Merging::Characters)
        // The crate keeps its cache in thread-local storage for good.
        .cache_capacity(0)
        .build()
        .map_err(|e| meta.error(MERGES, e))
}

/// The scores of a file's tokens: all 0 where it has none, as in llama.cpp.
///
/// # Errors
/// [`Error::Format`] if there is not one number for each.
pub(super) fn scores(file: &GgufFile, tokens: usize) -> Result<Vec<f32>> {
    let meta = &file.metadata();
    if meta.get(SCORES).is_none() {
        return Ok(vec![0.0; tokens]);
    }
    let scores: Vec<f32> = match meta.opt_i64s(SCORES) {
        Ok(Some(whole)) => whole.map(|score| score as f32).collect(),
        _ => meta.f32s_of(SCORES)?.collect(),
    };
    if scores.len() != tokens {
        return Err(meta.error(SCORES, format!("{} scores for {tokens} tokens", scores.len())));
    }
    match scores.iter().position(|score| score.is_nan()) {
        Some(id) => Err(meta.error(SCORES, format!("token {id} has no number"))),
        None => Ok(scores),
    }
}

/// What a vocabulary takes at most while it is loaded, in bytes: two hash
/// maps of tokens, the list and the hash map of merges, and the texts.
fn memory(tokens: &Strs<'_>, merges: Option<&Strs<'_>>) -> u64 {
    // Hash maps have a power of two of places, at most 7/8 of them in use,
    // and a byte of control for each.
    let places = |n: usize| (n as u64 * 8 / 7).next_power_of_two();
    let text = |strings: &Strs<'_>| strings.iter().map(|s| s.len() as u64).sum::<u64>();
    let merged = merges.map_or(0, Strs::len);
    let (count, pairs) = (tokens.len() as u64, merged as u64);
    const STRING: u64 = 24 + 16; // the struct, and what an allocation adds
    let token_maps = 2 * (33 * places(tokens.len()) + 16 * count);
    // The map of merges grows by doubling: an old one stands beside it.
    let merge_map = 17 * places(merged) * 3 / 2;
    token_maps
        + 3 * text(tokens)
        + 5 * count
        + merge_map
        + 2 * STRING * pairs
        + merges.map_or(0, text)
}

fn kinds(meta: &Metadata<'_>, tokens: usize) -> Result<Vec<TokenKind>> {
    let Some(numbers) = meta.opt_i64s(TYPES)? else {
        return Ok(vec![TokenKind::Normal; tokens]);
    };
    if numbers.len() != tokens {
        return Err(meta.error(TYPES, format!("{} types for {tokens} tokens", numbers.len())));
    }
    let kind = |(id, number)| match number {
        // 0 is "undefined" and is treated as text everywhere.
        0 | 1 => Ok(TokenKind::Normal),
        2 => Ok(TokenKind::Unknown),
        3 => Ok(TokenKind::Control),
        4 => Ok(TokenKind::UserDefined),
        5 => Ok(TokenKind::Unused),
        6 => Ok(TokenKind::Byte),
        other => Err(meta.error(TYPES, format!("token {id} is of type {other}, not 0 to 6"))),
    };
    numbers.enumerate().map(kind).collect()
}

/// Tokens whose texts no text has by chance are structure, whatever a file calls them:
/// some were written by programs that knew only plain tokens. llama.cpp overrides the
/// type of the same ones (`llama-vocab.cpp`).
fn control_by_text(mut kinds: Vec<TokenKind>, tokens: &Strs<'_>) -> Vec<TokenKind> {
    let text = tokens.iter().any(|token| PLAIN_S.contains(&token));
    for (token, kind) in tokens.iter().zip(&mut kinds) {
        let structure = END_TEXTS.contains(&token) || GAP_TEXTS.contains(&token);
        if structure && !(text && token == "</s>") && *kind != TokenKind::Unknown {
            *kind = TokenKind::Control;
        }
    }
    kinds
}

/// The merges, each checked to join two tokens to a third: the crate that
/// applies them takes that for granted.
fn read_merges(
    meta: &Metadata<'_>,
    lines: &Strs<'_>,
    ids: &TokenIds,
) -> Result<Vec<(String, String)>> {
    let mut merges = Vec::with_capacity(lines.len());
    let mut joined = String::new();
    for (i, line) in lines.iter().enumerate() {
        let wrong = |what: &str| {
            Err(meta.error(MERGES, format!("merge {i}, '{}': {what}", line.escape_debug())))
        };
        let Some((left, right)) = line.split_once(' ') else {
            return wrong("not two tokens");
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        for token in [left, right, joined.as_str()] {
            if !ids.contains_key(token) {
                return wrong(&format!("'{}' is no token", token.escape_debug()));
            }
        }
        merges.push((left.into(), right.into()));
    }
    Ok(merges)
}

/// The id a key holds, checked to be a token. All ones, or -1, is how some files say
/// that there is none.
pub(super) fn token_id(meta: &Metadata<'_>, key: &str, tokens: usize) -> Result<Option<u32>> {
    if let Some(Value::U32(u32::MAX) | Value::I32(-1)) = meta.get(key) {
        log::info!("{key} says that there is none");
        return Ok(None);
    }
    let Some(id) = meta.opt_u64(key)? else { return Ok(None) };
    match u32::try_from(id) {
        Ok(small) if (small as usize) < tokens => Ok(Some(small)),
        _ => Err(meta.error(key, format!("token {id} of a vocabulary of {tokens}"))),
    }
}

/// As [`token_id`], of a token that text is not made into: files of models whose
/// vocabulary was changed later name some that are not there, which are none.
pub(super) fn token_id_if_there(
    meta: &Metadata<'_>,
    key: &str,
    tokens: usize,
) -> Result<Option<u32>> {
    if token_id(meta, key, tokens).is_err()
        && let Some(id) = meta.opt_u64(key)?
    {
        log::warn!("{key}: token {id} of a vocabulary of {tokens} is none");
        return Ok(None);
    }
    token_id(meta, key, tokens)
}

impl Vocab {
    /// The token of a key or, where a file does not have it, one that is of a kind: the
    /// place that a kind of tokenizer has for it.
    pub(super) fn token_at(
        &self,
        meta: &Metadata<'_>,
        key: &str,
        place: Option<(u32, TokenKind)>,
    ) -> Result<Option<u32>> {
        if meta.get(key).is_some() {
            return token_id(meta, key, self.len());
        }
        let found = place.filter(|&(id, kind)| self.kind(id) == Some(kind)).map(|(id, _)| id);
        if let Some(id) = found {
            log::info!("{key} is not given: {id}");
        }
        Ok(found)
    }
}

/// An id that is no token.
pub(super) fn no_token(id: u32, tokens: usize) -> Error {
    Error::input("token id", format_args!("below {tokens}"), id)
}
