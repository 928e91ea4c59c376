//! Text to tokens and back, from a GGUF file's metadata.

mod bytes;
mod charmap;
mod cheapest;
mod lines;
mod longest;
mod prefixes;
mod pretokenize;
mod sentencepiece;
mod special;
#[cfg(test)]
mod tests;
mod unigram;
mod vocab;
mod wordpiece;

pub use vocab::TokenKind;

use crate::error::{Error, Result};
use crate::formats::gguf::{GgufFile, Metadata};
use cheapest::Cheapest;
use lines::Lines;
use longest::Longest;
use pretokenize::{Family, PreTokenizer};
use sentencepiece::SentencePiece;
use special::{END_TEXTS, PLAIN_S, Specials};
use tokenizers::Model;
use tokenizers::models::bpe::BPE;
use unigram::Unigram;
use vocab::{Merging, Spelling, Vocab, no_token, token_id, token_id_if_there};
use wordpiece::WordPiece;

/// The values of `tokenizer.ggml.model` that are read: byte-level BPE,
/// SentencePiece's BPE with scores, its unigrams, WordPiece, BPE over lines, the longest
/// tokens, and those that cost least.
const MODELS: [&str; 7] = ["gpt2", "llama", "t5", "bert", "gemma4", "rwkv", "plamo2"];

/// Tokens of models whose `<|end|>` ends a part of a turn, not the turn.
const ENDS_OF_TURNS: [[&str; 2]; 2] = [["<|return|>", "<|call|>"], ["<|calls|>", "<|flush|>"]];

/// Where tokens are that old files do not name, by the kind of tokenizer.
const PLACES: [(&str, &str, u32, TokenKind); 10] = [
    ("bert", "bos", 101, TokenKind::Control),
    ("bert", "seperator", 102, TokenKind::Control),
    ("llama", "bos", 1, TokenKind::Control),
    ("llama", "eos", 2, TokenKind::Control),
    ("llama", "unknown", 0, TokenKind::Unknown),
    ("plamo2", "bos", 1, TokenKind::Control),
    ("plamo2", "eos", 2, TokenKind::Control),
    ("plamo2", "unknown", 0, TokenKind::Unknown),
    ("t5", "eos", 1, TokenKind::Control),
    ("t5", "unknown", 2, TokenKind::Unknown),
];

/// The special tokens of Phi-3 that leave the white space behind them; its other
/// ones take it. Files do not say so: llama.cpp goes by the name of the model, too
/// (`llama-vocab.cpp`).
const KEEP_SPACES: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

fn strips_spaces(meta: &Metadata<'_>) -> Result<bool> {
    let name = meta.opt_str("general.name")?.unwrap_or("").to_lowercase();
    Ok(name.contains("phi-3") || name.contains("phi3"))
}

/// What makes tokens of text between special tokens.
enum Merger {
    Bytes { bpe: BPE, pre: PreTokenizer },
    Scores(SentencePiece),
    Unigram(Unigram),
    Words(Box<WordPiece>),
    Lines(Box<Lines>),
    Longest(Box<Longest>),
    Cheapest(Box<Cheapest>),
}

/// What files leave to the kind of tokenizer.
struct Kind {
    vocab: Vocab,
    merger: Merger,
    /// Whether BOS and EOS are added.
    adds: (bool, bool),
}

/// A tokenizer of byte pairs, of SentencePiece's pieces, or of words.
///
/// It holds some hundred bytes a token and never panics on any text.
pub struct Tokenizer {
    merger: Merger,
    vocab: Vocab,
    /// Matched in any text.
    user_defined: Specials,
    /// Matched where special tokens are asked for: those and control tokens.
    specials: Specials,
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    /// What stands behind EOS between two texts.
    separator: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    ends: Vec<u32>,
}

impl Kind {
    /// Reads what makes tokens of text: `model` is one of [`MODELS`].
    fn read(file: &GgufFile, model: &str) -> Result<Self> {
        let meta = file.metadata();
        let spelling = match model {
            "gpt2" => Spelling::Bytes,
            "gemma4" => Spelling::Lines,
            "rwkv" => Spelling::Escaped,
            "plamo2" => Spelling::Plain,
            _ => Spelling::Text,
        };
        if model == "gpt2" {
            let family = family(&meta, file.name())?;
            let (vocab, ids) = Vocab::load(file, spelling)?;
            let bpe = vocab::bpe(file, ids, Merging::Bytes { whole: family.ignore_merges })?;
            let merger = Merger::Bytes { bpe, pre: family.compile()? };
            return Ok(Kind { vocab, merger, adds: (family.add_bos, false) });
        }
        let (vocab, ids) = Vocab::load(file, spelling)?;
        let (merger, adds) = match model {
            "t5" => (Merger::Unigram(Unigram::read(file, ids, &vocab)?), (false, true)),
            "gemma4" => (Merger::Lines(Box::new(Lines::read(file, ids)?)), (true, false)),
            "rwkv" => (Merger::Longest(Box::new(Longest::new(ids, &vocab)?)), (false, false)),
            "plamo2" => {
                (Merger::Cheapest(Box::new(Cheapest::read(file, ids, &vocab)?)), (false, false))
            }
            "bert" => (Merger::Words(Box::new(WordPiece::read(file, ids, &vocab)?)), (true, true)),
            _ => {
                let scores = vocab::scores(file, vocab.len())?;
                let unknown = vocab.token_at(
                    &meta,
                    "tokenizer.ggml.unknown_token_id",
                    Some((0, TokenKind::Unknown)),
                )?;
                let prefix = meta.opt_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
                let pieces = SentencePiece::new(ids, scores, &vocab, unknown, prefix);
                (Merger::Scores(pieces), (true, false))
            }
        };
        Ok(Kind { vocab, merger, adds })
    }
}

/// How [`Tokenizer::encode`] treats a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether the texts of control tokens (`<|im_start|>`) become those
    /// tokens. Leave it off for text from outside: it could pose as structure
    /// of the prompt. User-defined tokens are matched either way.
    pub special: bool,
    /// Whether BOS comes first. `None` follows the file, and does not add a
    /// second one to a text that begins with it.
    pub bos: Option<bool>,
    /// Whether EOS comes last. `None` follows the file.
    pub eos: Option<bool>,
}

impl EncodeOptions {
    /// Plain text: no special tokens in it, BOS and EOS as the file says.
    pub const TEXT: Self = EncodeOptions { special: false, bos: None, eos: None };
    /// A rendered chat template: special tokens in it, BOS as the file says,
    /// no EOS.
    pub const PROMPT: Self = EncodeOptions { special: true, bos: None, eos: Some(false) };
    /// A part of a text: nothing is added.
    pub const PART: Self = EncodeOptions { special: false, bos: Some(false), eos: Some(false) };
}

impl Tokenizer {
    /// Reads the tokenizer of a file: `tokenizer.ggml.model` must be `gpt2`
    /// (byte-level BPE) with a known pre-tokenizer in `tokenizer.ggml.pre`,
    /// `rwkv`, `plamo2`, `gemma4`, `llama` (SentencePiece's BPE with scores), `t5` (its
    /// unigrams) or `bert` (WordPiece).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for other models and pre-tokenizers, naming the
    /// known ones; [`Error::Format`] naming the key for a vocabulary that
    /// contradicts itself; [`Error::Limit`] for one that needs more than 64 MB
    /// and a fifth of the file in memory.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let meta = file.metadata();
        let model = meta.str_of("tokenizer.ggml.model")?;
        if !MODELS.contains(&model) {
            return Err(Error::unsupported(
                format_args!("{}: key 'tokenizer.ggml.model'", file.name()),
                format_args!("tokenizer '{}'; known: {}", model.escape_debug(), MODELS.join(", ")),
            ));
        }
        let Kind { vocab, merger, adds } = Kind::read(file, model)?;
        let key = |name: &str| format!("tokenizer.ggml.{name}_token_id");
        let id = |name: &str| token_id(&meta, &key(name), vocab.len());
        let place =
            |name: &str| PLACES.iter().find(|(of, named, ..)| (*of, *named) == (model, name));
        let placed = |name: &str| {
            let place = place(name).map(|&(_, _, id, kind)| (id, kind));
            vocab.token_at(&meta, &key(name), place)
        };
        let there = |name: &str| token_id_if_there(&meta, &key(name), vocab.len());
        let (eot, eom) = (there("eot")?, there("eom")?);
        // Texts of words begin with what is called a class, and end with a separator, as
        // files spell it.
        let (bos, eos) = match model {
            "bert" => (id("bos")?.or(id("cls")?).or(placed("bos")?), placed("seperator")?),
            _ => (placed("bos")?, placed("eos")?.or(id("seperator")?)),
        };
        let eos = if eos.is_none() { placed("eos")? } else { eos };
        let (unknown, padding) = (placed("unknown")?, there("padding")?);
        let added = |name: &str, default, token: Option<u32>| {
            let key = format!("tokenizer.ggml.add_{name}_token");
            let add = meta.opt_bool(&key)?.unwrap_or(default);
            match (add, token) {
                (true, None) => {
                    Err(meta.error(&key, format!("true, but there is no {name} token")))
                }
                _ => Ok(add),
            }
        };
        let add_bos = added("bos", adds.0 && bos.is_some(), bos)?;
        let add_eos = added("eos", adds.1 && eos.is_some(), eos)?;

        let separator = separator(&meta, model, id("seperator")?.or(eos))?;

        use TokenKind::{Control, Unknown, UserDefined};
        let phi = strips_spaces(&meta)?;
        let strips = |text: &[u8]| phi && !KEEP_SPACES.iter().any(|kept| kept.as_bytes() == text);
        let user_defined = Specials::new(&vocab, &[UserDefined], &strips, file.name())?;
        let kinds = &[UserDefined, Control, Unknown];
        let specials = Specials::new(&vocab, kinds, &strips, file.name())?;
        let has = |wanted: &str| {
            vocab.of_kinds(&[Control, UserDefined]).any(|(_, text)| text == wanted.as_bytes())
        };
        let parts = ENDS_OF_TURNS.iter().any(|both| both.iter().all(|text| has(text)));
        let plain = PLAIN_S.iter().any(|text| has(text));
        let is_end = |text: &[u8]| {
            let found = END_TEXTS.iter().find(|end| end.as_bytes() == text);
            found.is_some_and(|&end| !(parts && end == "<|end|>" || plain && end == "</s>"))
        };
        let mut ends: Vec<u32> = vocab
            .of_kinds(&[Control, UserDefined])
            .filter(|(_, text)| is_end(text))
            .map(|(id, _)| id)
            .chain(
                [eos, eot, eom, there("fim_pad")?, there("fim_rep")?, there("fim_sep")?]
                    .into_iter()
                    .flatten(),
            )
            .collect();
        ends.sort_unstable();
        ends.dedup();
        Ok(Tokenizer {
            merger,
            vocab,
            user_defined,
            specials,
            bos,
            eos,
            eot,
            unknown,
            padding,
            separator,
            add_bos,
            add_eos,
            ends,
        })
    }

    /// The number of tokens; every id is below it. A model's embedding must
    /// have at least as many rows.
    pub fn vocab_len(&self) -> usize {
        self.vocab.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that ends a turn, where the file names one.
    pub fn eot(&self) -> Option<u32> {
        self.eot
    }

    /// The token for what cannot be expressed.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The token that fills unused places of a batch.
    pub fn padding(&self) -> Option<u32> {
        self.padding
    }

    /// Whether the file asks for BOS before a text.
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether the file asks for EOS after a text.
    pub fn adds_eos(&self) -> bool {
        self.add_eos
    }

    /// The tokens after which generation ends, in ascending order.
    pub fn end_tokens(&self) -> &[u32] {
        &self.ends
    }

    /// Whether generation ends with this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// What a token is for; `None` for an id that is no token.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.vocab.kind(id)
    }

    /// The token with this text in the file's spelling (`Ġ` or `▁` for a space).
    pub fn token_id(&self, spelling: &str) -> Option<u32> {
        match &self.merger {
            Merger::Bytes { bpe, .. } => bpe.token_to_id(spelling),
            Merger::Scores(pieces) => pieces.token_id(spelling),
            Merger::Unigram(pieces) => pieces.token_id(spelling),
            Merger::Words(words) => words.token_id(spelling),
            Merger::Lines(lines) => lines.token_id(spelling),
            Merger::Longest(longest) => longest.token_id(spelling),
            Merger::Cheapest(cheapest) => cheapest.token_id(spelling),
        }
    }

    /// The bytes a token stands for. They need not be whole characters; see
    /// [`super::stream::Utf8Stream`].
    ///
    /// # Errors
    /// If the id is no token.
    pub fn token_bytes(&self, id: u32) -> Result<&[u8]> {
        self.vocab.bytes(id).ok_or_else(|| no_token(id, self.vocab_len()))
    }

    /// The tokens that have one of some texts in theirs, ascending.
    pub(super) fn tokens_with(&self, texts: &[&str]) -> Vec<u32> {
        let has = |id: &u32| {
            let bytes = self.vocab.bytes(*id).unwrap_or_default();
            texts.iter().any(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        };
        (0..self.vocab_len() as u32).filter(has).collect()
    }

    /// The text of tokens; bytes that are not UTF-8 become U+FFFD. Control
    /// tokens are written out if `special`, otherwise left out.
    ///
    /// # Errors
    /// If an id is no token.
    pub fn decode(&self, ids: &[u32], special: bool) -> Result<String> {
        let mut bytes = Vec::new();
        for &id in ids {
            let text = self.token_bytes(id)?;
            if special || self.kind(id) != Some(TokenKind::Control) {
                bytes.extend_from_slice(text);
            }
        }
        Ok(String::from_utf8_lossy(self.without_added(&bytes)).into_owned())
    }

    /// The bytes of a whole text without the space that encoding puts before one.
    pub(in crate::lm) fn without_added<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let spaced = match &self.merger {
            Merger::Bytes { .. } | Merger::Lines(_) | Merger::Longest(_) | Merger::Cheapest(_) => {
                false
            }
            Merger::Scores(pieces) => pieces.space_prefix,
            Merger::Unigram(pieces) => pieces.space_prefix,
            Merger::Words(_) => true,
        };
        if spaced { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes }
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// If the text has a byte that the vocabulary cannot express, or BOS or
    /// EOS is asked for and the file has none.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        let specials = if options.special { &self.specials } else { &self.user_defined };
        let mut spelling = String::new();
        // With what was done: whether nothing or a special token came last.
        let mut state = (&mut ids, true);
        specials.split(
            &mut state,
            text,
            |(ids, first), part| match &self.merger {
                Merger::Bytes { bpe, pre } => {
                    pre.split(part, &mut |piece| merge(bpe, piece, &mut spelling, ids))
                }
                Merger::Scores(pieces) => {
                    pieces.encode(part, *first, ids)?;
                    *first &= part.is_empty();
                    Ok(())
                }
                Merger::Unigram(pieces) => {
                    pieces.encode(&self.vocab, part, ids);
                    Ok(())
                }
                Merger::Words(words) => words.encode(part, ids),
                Merger::Lines(lines) => lines.encode(part, ids),
                Merger::Longest(longest) => longest.encode(part, ids),
                Merger::Cheapest(cheapest) => {
                    cheapest.encode(&self.vocab, part, ids);
                    Ok(())
                }
            },
            |(ids, first), id| {
                ids.push(id);
                *first = true;
            },
        )?;
        let wanted = |name: &str, token: Option<u32>| {
            token.ok_or_else(|| Error::input(name, "a file that has this token", "none"))
        };
        let doubled = self.bos.is_some() && ids.first() == self.bos.as_ref();
        if options.bos.unwrap_or(self.add_bos && !doubled) {
            ids.insert(0, wanted("bos", self.bos)?);
        }
        if options.eos.unwrap_or(self.add_eos) {
            ids.push(wanted("eos", self.eos)?);
        }
        Ok(ids)
    }

    /// The tokens of two texts that belong together, as models are trained to compare
    /// them: each ends as a text by itself does, and those of RoBERTa have one more
    /// separator between them. Special tokens in them are text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; [`Error::Unsupported`] where nothing in the file says how
    /// one text ends and the other begins.
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<Vec<u32>> {
        if !self.add_eos && self.separator.is_none() {
            let what = "the file does not say what stands between two texts";
            return Err(Error::unsupported("pair of texts", what));
        }
        let mut ids = self.encode(first, EncodeOptions::TEXT)?;
        ids.extend(self.separator);
        let options = EncodeOptions { bos: Some(false), ..EncodeOptions::TEXT };
        ids.extend(self.encode(second, options)?);
        Ok(ids)
    }
}

/// The token that stands behind EOS between two texts, if there is one: in texts of
/// words none does. Where a file does not say, models with unigrams (XLM-RoBERTa) have it.
fn separator(meta: &Metadata<'_>, model: &str, token: Option<u32>) -> Result<Option<u32>> {
    let said = meta.opt_bool("tokenizer.ggml.add_sep_token")?;
    let there = model != "bert" && said.unwrap_or(model == "t5");
    Ok(token.filter(|_| there))
}

/// Merges the bytes of a piece to tokens.
fn merge(bpe: &BPE, piece: &str, spelling: &mut String, ids: &mut Vec<u32>) -> Result<()> {
    spelling.clear();
    bytes::encode(piece.as_bytes(), spelling);
    let tokens = bpe.tokenize(spelling).map_err(Error::internal)?;
    // Characters without a token are dropped silently in there.
    if tokens.iter().map(|t| t.offsets.1 - t.offsets.0).sum::<usize>() != spelling.len() {
        return Err(inexpressible(bpe, piece));
    }
    ids.extend(tokens.iter().map(|t| t.id));
    Ok(())
}

fn inexpressible(bpe: &BPE, piece: &str) -> Error {
    let missing = piece.bytes().find(|&byte| {
        let mut one = String::new();
        bytes::encode(&[byte], &mut one);
        bpe.token_to_id(&one).is_none()
    });
    let what = match missing {
        Some(byte) => format!("byte 0x{byte:02x} in {piece:?}, which no token has"),
        None => format!("{piece:?}"),
    };
    Error::input("text", "what the vocabulary can express", what)
}

fn family(meta: &Metadata<'_>, file: &str) -> Result<&'static Family> {
    let pre = meta.opt_str("tokenizer.ggml.pre")?;
    if pre.is_none() {
        log::warn!("{file}: no 'tokenizer.ggml.pre'; the default cuts text as few models do");
    }
    Family::named(pre.unwrap_or("default"), file)
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocab_len())
    }
}
