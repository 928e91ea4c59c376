//! Texts to token ids.

use super::folder::Folder;
use crate::error::{Error, Result};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, PostProcessor, Tokenizer, TruncationDirection};

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const SETTINGS: &str = "tokenizer_config.json";

/// How many tokens a text came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens of the whole text, special ones included.
    pub total: usize,
    /// Those that had a part in its vector; what is beyond them was cut off.
    pub used: usize,
}

impl TokenCount {
    /// Whether the end of the text was cut off.
    pub fn is_cut(self) -> bool {
        self.used < self.total
    }
}

/// A text as token ids.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    pub(super) count: TokenCount,
}

/// A tokenizer that cuts texts off at a number of tokens.
#[derive(Debug)]
pub(super) struct TextTokenizer {
    file: String,
    tokenizer: Tokenizer,
    lower: bool,
    /// Special tokens of a text.
    added: usize,
    /// The most tokens of a text, special ones included.
    pub(super) most: usize,
}

impl TextTokenizer {
    /// The tokenizer in a folder: `tokenizer.json`, or else a WordPiece
    /// vocabulary in `vocab.txt`. Texts get `most` tokens, or fewer where the
    /// folder says so.
    pub(super) fn open(folder: &Folder, most: usize, lower: bool) -> Result<Self> {
        let (name, mut tokenizer) = match folder.has(TOKENIZER) || !folder.has(VOCABULARY) {
            true => (TOKENIZER, whole(folder)?),
            false => (VOCABULARY, word_piece(folder)?),
        };
        let file = folder.file(name).display().to_string();
        let most = most.min(most_allowed(folder)?.unwrap_or(usize::MAX));
        let added = tokenizer.get_post_processor().map_or(0, |added| added.added_tokens(false));
        if added >= most {
            let what = format!("{added} special tokens leave no room in {most} for a text");
            return Err(Error::format(&file, "post_processor", what));
        }
        // What the file says of either is for its own users.
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| Error::format(&file, "truncation", error))?;
        Ok(TextTokenizer { file, tokenizer, lower, added, most })
    }

    /// A text's token ids, all below `vocabulary`.
    ///
    /// # Errors
    /// If the tokenizer cannot express the text, or an id is not in the table.
    pub(super) fn encode(&self, text: &str, vocabulary: usize) -> Result<Encoded> {
        let lowered;
        let text = if self.lower {
            lowered = text.to_lowercase();
            &lowered
        } else {
            text
        };
        let wrong = |error: tokenizers::Error| Error::format(&self.file, "tokenizer", error);
        let mut encoding = self.tokenizer.encode_fast(text, true).map_err(wrong)?;
        let total = encoding.len();
        if total > self.most {
            // Once more without special tokens, so that those at the end stay. The
            // tokenizer's own truncation does not say how much there was.
            encoding = self.tokenizer.encode_fast(text, false).map_err(wrong)?;
            encoding.truncate(self.most - self.added, 0, TruncationDirection::Right);
            encoding = self.tokenizer.post_process(encoding, None, true).map_err(wrong)?;
        }
        let ids = encoding.get_ids().to_vec();
        if ids.len() > self.most {
            let what = format!("gives {} tokens, at most {} were asked for", ids.len(), self.most);
            return Err(Error::format(&self.file, "post_processor", what));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            let what = format!("gives token {id}, the model has {vocabulary} tokens");
            return Err(Error::format(&self.file, "tokenizer", what));
        }
        let count = TokenCount { total, used: ids.len() };
        Ok(Encoded { ids, count })
    }
}

fn whole(folder: &Folder) -> Result<Tokenizer> {
    let text = folder.tokenizer_text(TOKENIZER)?;
    let file = folder.file(TOKENIZER).display().to_string();
    text.parse().map_err(|error| Error::format(&file, "tokenizer", error))
}

/// `model_max_length`: some writers put a number there that stands for none.
fn most_allowed(folder: &Folder) -> Result<Option<usize>> {
    const KEY: &str = "model_max_length";
    let Some(settings) = folder.settings(SETTINGS)? else { return Ok(None) };
    let Some(value) = settings.get(KEY) else { return Ok(None) };
    match value.as_f64() {
        Some(most) if most >= 1.0 => Ok((most < 1e9).then_some(most as usize)),
        _ => Err(settings.error(KEY, format_args!("expected a number above 0, got {value}"))),
    }
}

/// BERT's own tokenizer, from one token a line.
fn word_piece(folder: &Folder) -> Result<Tokenizer> {
    let text = folder.tokenizer_text(VOCABULARY)?;
    let file = folder.file(VOCABULARY).display().to_string();
    let wrong = |error: tokenizers::Error| Error::format(&file, "vocabulary", error);
    let vocabulary = WordPiece::read_bytes(text.as_bytes()).map_err(wrong)?;
    let token = |name: &str| {
        let id = vocabulary.get(name).copied();
        let missing = || Error::format(&file, format_args!("token '{name}'"), "missing");
        Ok((name.to_string(), id.ok_or_else(missing)?))
    };
    let (separator, start) = (token("[SEP]")?, token("[CLS]")?);
    let special: Vec<_> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .into_iter()
        .filter(|name| vocabulary.contains_key(*name))
        .map(|name| AddedToken::from(name, true))
        .collect();
    token("[UNK]")?;
    let (lower, strip, chinese) = letters(folder)?;
    let model = WordPiece::builder().vocab(vocabulary).build().map_err(wrong)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, chinese, strip, lower)))
        .map_err(wrong)?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(BertProcessing::new(separator, start)));
    tokenizer.add_special_tokens(special).map_err(wrong)?;
    Ok(tokenizer)
}

/// Whether text is put into small letters, loses its accents (`None`: as it is
/// put into small letters), and has spaces put around Chinese characters.
fn letters(folder: &Folder) -> Result<(bool, Option<bool>, bool)> {
    let Some(settings) = folder.settings(SETTINGS)? else { return Ok((true, None, true)) };
    Ok((
        settings.flag("do_lower_case")?.unwrap_or(true),
        settings.flag("strip_accents")?,
        settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
    ))
}
