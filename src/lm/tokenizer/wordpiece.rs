//! WordPiece, the tokenizer of BERT: words, and of words that are not known the
//! longest beginnings that are.
//!
//! Files spell the beginning of a word with the mark of a space and its other
//! parts as they are; the crate that cuts words wants `##` before the latter.

use super::TokenKind;
use super::sentencepiece::SPACE;
use super::vocab::{TokenIds, Vocab, token_id};
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use tokenizers::models::wordpiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";

/// Words and parts of words.
pub(super) struct WordPiece {
    ids: TokenIds,
    cutter: tokenizers::Tokenizer,
}

impl WordPiece {
    /// Reads the vocabulary of a file.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no token for words that are not known.
    pub(super) fn read(file: &GgufFile, ids: TokenIds, vocab: &Vocab) -> Result<Self> {
        let meta = file.metadata();
        let named = token_id(&meta, UNKNOWN, vocab.len())?;
        let unknown = named.or_else(|| ids.get("[UNK]").copied());
        let unknown = unknown.ok_or_else(|| meta.error(UNKNOWN, "missing"))?;
        let respelled = |(text, &id): (&String, &u32)| {
            let text = match (vocab.kind(id), text.strip_prefix(SPACE)) {
                (Some(TokenKind::Normal), Some(word)) => word.to_string(),
                (Some(TokenKind::Normal), None) => format!("##{text}"),
                _ => text.clone(),
            };
            (text, id)
        };
        let words: TokenIds = ids.iter().map(respelled).collect();
        let unknown = words.iter().find(|(_, id)| **id == unknown).map(|(text, _)| text.clone());
        let unknown = unknown.ok_or_else(|| meta.error(UNKNOWN, "a token without text"))?;
        // Nothing in a file says whether capitals count; words with some do.
        let lower = !words.keys().any(|word| capital(word));
        let wrong = |error: tokenizers::Error| meta.error("tokenizer.ggml.tokens", error);
        let model = wordpiece::WordPiece::builder().vocab(words).unk_token(unknown);
        let mut cutter = tokenizers::Tokenizer::new(model.build().map_err(wrong)?);
        cutter
            .with_normalizer(Some(BertNormalizer::new(true, true, None, lower)))
            .map_err(wrong)?
            .with_pre_tokenizer(Some(BertPreTokenizer));
        Ok(WordPiece { ids, cutter })
    }

    /// The token with this text in the file's spelling.
    pub(super) fn token_id(&self, spelling: &str) -> Option<u32> {
        self.ids.get(spelling).copied()
    }

    /// Appends the tokens of a text between special tokens.
    ///
    /// # Errors
    /// None in practice.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let encoded = self.cutter.encode_fast(text, false).map_err(Error::internal)?;
        out.extend_from_slice(encoded.get_ids());
        Ok(())
    }
}

/// Whether a word has a capital; what stands in brackets is none.
fn capital(word: &str) -> bool {
    !word.starts_with('[') && word.chars().any(|c| c.is_ascii_uppercase())
}
