//! A model from a GGUF file: its tokenizer, and what computes.

use super::batch::{COUNTS, bounds};
use super::embedder::{EmbedOptions, Weights};
use super::tokens::{Encoded, TokenCount};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::lm::encoder::Reader;
use crate::lm::spec::DecoderSpec;
use crate::lm::tokenizer::EncodeOptions;
use crate::lm::{ModelFile, ModelOptions};
use crate::session::{Progress, Session};
use std::sync::Arc;

/// The most tokens of a text taken without being asked for.
const USUAL_MOST: usize = 8192;

/// A model on a backend.
#[derive(Debug)]
pub(super) struct GgufEncoder {
    pub(super) session: Session,
    pub(super) reader: Reader,
    file: Arc<ModelFile>,
}

/// The tokenizer of a file, which cuts texts off at a number of tokens.
#[derive(Debug)]
pub(super) struct GgufTokens {
    file: Arc<ModelFile>,
    /// The most tokens of a text, special ones included.
    pub(super) most: usize,
}

impl GgufEncoder {
    /// Makes a parsed file ready.
    pub(super) async fn open(
        gguf: GgufFile,
        backend: &Backend,
        options: &EmbedOptions,
        progress: Progress<'_>,
    ) -> Result<(Self, GgufTokens)> {
        if options.weights != Weights::Auto {
            let expected = "no choice of weights for a GGUF file";
            return Err(Error::input("weights", expected, format!("{:?}", options.weights)));
        }
        let file = Arc::new(ModelFile::new(gguf)?.with_loras(&options.loras)?);
        file.gives_vectors()?;
        let reader = Reader::open(&file)?;
        let context = file.spec().reader().context;
        let most = options.most_tokens.unwrap_or(USUAL_MOST).min(context);
        let tokens = GgufTokens::new(file.clone(), most)?;
        let model = ModelOptions {
            policy: options.policy.clone(),
            disabled_passes: options.disabled_passes.clone(),
            submission_ms: options.submission_ms,
            ..ModelOptions::default()
        };
        let counts = COUNTS.iter().map(|&count| count as u64).collect();
        let bounds = (bounds(most), counts);
        let session = Reader::session(&file, backend, &model, bounds, progress).await?;
        Ok((GgufEncoder { session, reader, file }, tokens))
    }

    /// The model's sizes and choices.
    pub(super) fn spec(&self) -> &DecoderSpec {
        self.file.spec()
    }

    /// The vectors of the tokens of texts; see [`Reader::run`].
    pub(super) async fn run(
        &mut self,
        texts: &[&Encoded],
        length: usize,
    ) -> Result<(Vec<f32>, usize, usize)> {
        let texts: Vec<&[u32]> = texts.iter().map(|text| text.ids.as_slice()).collect();
        let mut all = Vec::new();
        for texts in texts.chunks(self.reader.room(length)) {
            all.extend(self.reader.run(&mut self.session, texts, length).await?);
        }
        Ok((all, length, self.reader.width))
    }
}

impl GgufTokens {
    fn new(file: Arc<ModelFile>, most: usize) -> Result<Self> {
        let tokens = GgufTokens { file, most };
        let added = tokens.added();
        if added >= most {
            let what = format!("{added} special tokens leave no room in {most} for a text");
            return Err(Error::format(&tokens.file.spec().file, "tokenizer", what));
        }
        Ok(tokens)
    }

    /// Special tokens of a text.
    fn added(&self) -> usize {
        let tokenizer = self.file.tokenizer();
        usize::from(tokenizer.adds_bos()) + usize::from(tokenizer.adds_eos())
    }

    /// A text's token ids. One that is too long is cut off at its end, before the token
    /// that ends a text.
    ///
    /// # Errors
    /// If the vocabulary cannot express the text.
    pub(super) fn encode(&self, text: &str) -> Result<Encoded> {
        let tokenizer = self.file.tokenizer();
        let mut ids = tokenizer.encode(text, EncodeOptions::TEXT)?;
        let total = ids.len();
        if total > self.most {
            let end = ids.last().copied().filter(|_| tokenizer.adds_eos());
            ids.truncate(self.most - usize::from(end.is_some()));
            ids.extend(end);
        }
        Ok(Encoded { count: TokenCount { total, used: ids.len() }, ids })
    }
}
