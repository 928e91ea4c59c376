//! A folder's or a GGUF file's model on a backend, from texts to vectors.

use super::batch::{Batch, batches};
use super::engine::{Engine, Opened};
use super::folder::Folder;
use super::gguf::{GgufEncoder, GgufTokens};
use super::modules::Modules;
use super::pooling::{Head, Pooling};
use super::spec::EncoderSpec;
use super::tokens::{Encoded, TextTokenizer, TokenCount};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::exec::WorkingMemory;
use crate::formats::gguf::{self, GgufFile};
use crate::kernels::Policy;
use crate::lm::Lora;
use crate::lm::spec::DecoderSpec;
use crate::session::{Progress, SessionOptions};
use std::collections::BTreeSet;
use std::path::Path;

/// The most tokens computed together on software and on a GPU: beyond some
/// number more bring nothing but memory taken.
const SOFTWARE_BUDGET: usize = 2048;
const GPU_BUDGET: usize = 16384;

/// Which of a folder's files has the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// Safetensors where there are any, else the ONNX model.
    #[default]
    Auto,
    /// Safetensors.
    Safetensors,
    /// The ONNX model.
    Onnx,
}

/// How a model is opened.
#[derive(Debug, Clone)]
pub struct EmbedOptions {
    /// Which file to take.
    pub weights: Weights,
    /// The kinds of pooling; empty: what the folder says, else the mean.
    pub pooling: Vec<Pooling>,
    /// Whether vectors are scaled to length 1; `None`: what the folder says,
    /// else not.
    pub normalise: Option<bool>,
    /// What is put before each text; `None`: what the folder says, else nothing.
    pub prompt: Option<String>,
    /// The most tokens of a text, special ones included; what is beyond is cut
    /// off. `None`: what the folder says, which is never exceeded.
    pub most_tokens: Option<usize>,
    /// The most tokens computed together, padding included. `None`: 16384 on a
    /// GPU, 2048 elsewhere.
    pub batch_tokens: Option<usize>,
    /// The choice of kernel variants, and whether products may be in f16.
    pub policy: Policy,
    /// Names of passes to leave out; see [`PASSES`](crate::passes::PASSES).
    pub disabled_passes: BTreeSet<String>,
    /// As [`SessionOptions::submission_ms`].
    pub submission_ms: f64,
    /// LoRA adapters, which add to the matrices of a model from a GGUF file.
    pub loras: Vec<Lora>,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        EmbedOptions {
            weights: Weights::Auto,
            pooling: Vec::new(),
            normalise: None,
            prompt: None,
            most_tokens: None,
            batch_tokens: None,
            policy: Policy::default(),
            disabled_passes: BTreeSet::new(),
            submission_ms: SessionOptions::default().submission_ms,
            loras: Vec::new(),
        }
    }
}

/// What texts came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// A vector for each text, in the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// How many tokens each text has, and how many of them had a part.
    pub tokens: Vec<TokenCount>,
}

/// What makes tokens of texts.
#[derive(Debug)]
enum Texts {
    /// A folder's, and the number of the model's tokens.
    Folder(Box<TextTokenizer>, usize),
    Gguf(GgufTokens),
}

impl Texts {
    fn encode(&self, text: &str) -> Result<Encoded> {
        match self {
            Texts::Folder(tokenizer, vocabulary) => tokenizer.encode(text, *vocabulary),
            Texts::Gguf(tokenizer) => tokenizer.encode(text),
        }
    }

    fn most(&self) -> usize {
        match self {
            Texts::Folder(tokenizer, _) => tokenizer.most,
            Texts::Gguf(tokenizer) => tokenizer.most,
        }
    }
}

/// A model that turns texts into vectors.
#[derive(Debug)]
pub struct Embedder {
    backend: Backend,
    engine: Engine,
    tokenizer: Texts,
    head: Head,
    prompt: String,
    budget: usize,
}

impl Embedder {
    /// Opens the model in a folder or in a GGUF file, with everything as it says, and
    /// waits until its weights are there. Files with weights must not be changed
    /// while the model is open.
    ///
    /// # Errors
    /// If a file is missing, cannot be read or is malformed ([`Error::Io`],
    /// [`Error::Format`]), the model is of a family that is not supported
    /// ([`Error::Unsupported`]), or it does not fit the device.
    pub fn open(folder: impl AsRef<Path>, backend: &Backend) -> Result<Self> {
        Self::open_with(folder, backend, &EmbedOptions::default())
    }

    /// As [`Embedder::open`], with options.
    ///
    /// # Errors
    /// As [`Embedder::open`]; [`Error::Input`] for options that mean nothing.
    pub fn open_with(
        folder: impl AsRef<Path>,
        backend: &Backend,
        options: &EmbedOptions,
    ) -> Result<Self> {
        backend.block_on(Self::load(folder, backend, options, &mut |_, _| {}))
    }

    /// As [`Embedder::open_with`], reporting the upload of weights.
    ///
    /// # Errors
    /// As [`Embedder::open_with`].
    pub async fn load(
        folder: impl AsRef<Path>,
        backend: &Backend,
        options: &EmbedOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        check(options)?;
        // A name that ends as one is meant as one, whether the file is there or not.
        let ends = folder.as_ref().extension().is_some_and(|end| end == "gguf");
        if folder.as_ref().is_file() || ends && !folder.as_ref().is_dir() {
            let file = gguf::open(folder.as_ref())?;
            return Self::from_gguf(file, backend, options, progress).await;
        }
        if !options.loras.is_empty() {
            let given = format!("{} for a folder", options.loras.len());
            return Err(Error::input("LoRA adapters", "a GGUF file, or none", given));
        }
        let modules = Modules::read(&Folder::new(folder.as_ref()))?;
        let folder = &modules.encoder;
        let Opened { engine, most, vocabulary } =
            Engine::open(folder, backend, options, modules.most_tokens, progress).await?;
        let most = most.min(options.most_tokens.unwrap_or(usize::MAX));
        let tokenizer = TextTokenizer::open(folder, most, modules.lower)?;
        let mut head = modules.head;
        if !options.pooling.is_empty() {
            head.pooling.clone_from(&options.pooling);
        }
        head.normalise = options.normalise.unwrap_or(head.normalise);
        Ok(Embedder {
            backend: backend.clone(),
            engine,
            tokenizer: Texts::Folder(Box::new(tokenizer), vocabulary),
            head,
            prompt: options.prompt.clone().unwrap_or(modules.prompt),
            budget: options.batch_tokens.unwrap_or_else(|| budget(backend)),
        })
    }

    /// As [`Embedder::load`], of a GGUF file that was parsed.
    ///
    /// # Errors
    /// As [`Embedder::open_with`]; [`Error::Unsupported`] for a model that gives no
    /// vectors.
    pub async fn from_gguf(
        file: GgufFile,
        backend: &Backend,
        options: &EmbedOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        check(options)?;
        let (encoder, tokens) = GgufEncoder::open(file, backend, options, progress).await?;
        let mut head = encoder.reader.head.clone();
        if !options.pooling.is_empty() {
            head.pooling.clone_from(&options.pooling);
        }
        if head.pooling.len() > 1 && !encoder.reader.dense.is_empty() {
            let expected = "one kind in front of the matrices that the model has behind it";
            return Err(Error::input("pooling", expected, head.pooling.len()));
        }
        head.normalise = options.normalise.unwrap_or(head.normalise);
        Ok(Embedder {
            backend: backend.clone(),
            engine: Engine::Gguf(Box::new(encoder)),
            tokenizer: Texts::Gguf(tokens),
            head,
            prompt: options.prompt.clone().unwrap_or_default(),
            budget: options.batch_tokens.unwrap_or_else(|| budget(backend)),
        })
    }

    /// As [`Embedder::from_gguf`], waiting for it.
    ///
    /// # Errors
    /// As [`Embedder::from_gguf`].
    pub fn from_gguf_blocking(
        file: GgufFile,
        backend: &Backend,
        options: &EmbedOptions,
    ) -> Result<Self> {
        backend.block_on(Self::from_gguf(file, backend, options, &mut |_, _| {}))
    }

    /// What computes.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The encoder's sizes and choices; `None` if it is an ONNX model or from a GGUF file.
    pub fn spec(&self) -> Option<&EncoderSpec> {
        match &self.engine {
            Engine::Graph(encoder) => Some(&encoder.spec),
            Engine::Onnx(_) | Engine::Gguf(_) => None,
        }
    }

    /// The same of a model from a GGUF file.
    pub fn gguf_spec(&self) -> Option<&DecoderSpec> {
        match &self.engine {
            Engine::Gguf(encoder) => Some(encoder.spec()),
            Engine::Graph(_) | Engine::Onnx(_) => None,
        }
    }

    /// How tokens become a vector.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What is put before each text.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// The most tokens of a text, special ones included; what is beyond is cut
    /// off.
    pub fn most_tokens(&self) -> usize {
        self.tokenizer.most()
    }

    /// Plans made so far: texts of every length need only a few.
    pub fn plans(&self) -> u64 {
        self.engine.plans()
    }

    /// Working memory in bytes, and the most of it that any plan so far needs at one
    /// time. Weights are not in it.
    pub fn memory(&self) -> WorkingMemory {
        self.engine.memory()
    }

    /// The nodes of an ONNX model that ran on the CPU so far though the backend is
    /// a GPU, each with the reason.
    pub fn fallbacks(&self) -> Vec<crate::onnx::Fallback> {
        self.engine.fallbacks()
    }

    /// Turns texts into vectors. Texts of like lengths are computed together,
    /// which changes nothing for any of them.
    ///
    /// # Errors
    /// [`Error::Input`] for a text without any token, [`Error::Format`] if the
    /// tokenizer and the model do not fit each other, and what the device fails
    /// with.
    pub async fn embed(&mut self, texts: &[&str]) -> Result<Embeddings> {
        let encoded = self.encode(texts)?;
        let lengths: Vec<_> = encoded.iter().map(|text| text.ids.len()).collect();
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in batches(&lengths, self.tokenizer.most(), self.budget) {
            self.step(&encoded, &batch, &mut vectors).await?;
        }
        let tokens = encoded.iter().map(|text| text.count).collect();
        Ok(Embeddings { vectors, tokens })
    }

    /// The vectors of texts, in their order, waiting for them. A text that had
    /// to be cut off is reported in the log; [`Embedder::embed`] counts tokens.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_blocking(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let backend = self.backend.clone();
        let Embeddings { vectors, tokens } = backend.block_on(self.embed(texts))?;
        for (i, count) in tokens.iter().enumerate().filter(|(_, count)| count.is_cut()) {
            log::warn!("text {i} has {} tokens; {} of them were used", count.total, count.used);
        }
        Ok(vectors)
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<Encoded>> {
        let encode = |(i, text): (usize, &&str)| {
            let text = match self.prompt.is_empty() {
                true => self.tokenizer.encode(text)?,
                false => self.tokenizer.encode(&format!("{}{text}", self.prompt))?,
            };
            match text.ids.is_empty() {
                true => Err(Error::input(format!("text {i}"), "at least one token", "none")),
                false => Ok(text),
            }
        };
        texts.iter().enumerate().map(encode).collect()
    }

    async fn step(
        &mut self,
        encoded: &[Encoded],
        batch: &Batch,
        vectors: &mut [Vec<f32>],
    ) -> Result<()> {
        let texts: Vec<_> = batch.texts.iter().map(|&text| &encoded[text]).collect();
        let (all, length, width) =
            self.engine.run(&texts, batch.length, self.tokenizer.most()).await?;
        let lost = || Error::internal("fewer vectors than tokens");
        for (i, &text) in batch.texts.iter().enumerate() {
            let start = i * length * width;
            let end = start + encoded[text].ids.len() * width;
            let tokens = all.get(start..end).ok_or_else(lost)?;
            vectors[text] = self.head.through(tokens, width, self.engine.dense())?;
        }
        Ok(())
    }
}

/// Refuses numbers that mean nothing.
fn check(options: &EmbedOptions) -> Result<()> {
    for (name, value) in
        [("most_tokens", options.most_tokens), ("batch_tokens", options.batch_tokens)]
    {
        if value == Some(0) {
            return Err(Error::input(name, "at least 1", 0));
        }
    }
    Ok(())
}

fn budget(backend: &Backend) -> usize {
    match backend {
        Backend::Gpu(gpu) if !gpu.caps().is_software() => GPU_BUDGET,
        _ => SOFTWARE_BUDGET,
    }
}
