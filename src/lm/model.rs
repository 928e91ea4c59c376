//! A language model on a backend: weights, caches, tokenizer, template.

use super::chat::ChatTemplate;
use super::decoder::{self, DecoderOptions, names};
use super::spec::DecoderSpec;
use super::tokenizer::Tokenizer;
use crate::backend::{Backend, BackendChoice};
use crate::error::{Error, Result};
use crate::formats::gguf::{self, GgufFile};
use crate::gpu::DeviceOptions;
use crate::kernels::Policy;
use crate::session::{Progress, RunOptions, Session, SessionOptions};
use crate::tensor::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The longest context taken without being asked for, in tokens: caches and
/// tables grow with it.
const DEFAULT_CONTEXT: usize = 8192;

/// The least a cache has room for, in tokens.
const LEAST_CAPACITY: usize = 256;

/// How a language model is opened.
#[derive(Debug, Clone)]
pub struct ModelOptions {
    /// Which backend to use.
    pub backend: BackendChoice,
    /// How a device is opened.
    pub device: DeviceOptions,
    /// The element type of the key and value caches: F16 or F32.
    pub cache: DType,
    /// The longest sequence, in tokens. `None`: the model's own, at most 8192.
    pub context: Option<usize>,
    /// The choice of kernel variants, and whether products may be in f16.
    pub policy: Policy,
    /// Names of passes to leave out; see [`PASSES`](crate::passes::PASSES).
    pub disabled_passes: BTreeSet<String>,
    /// As [`SessionOptions::submission_ms`].
    pub submission_ms: f64,
}

impl Default for ModelOptions {
    fn default() -> Self {
        ModelOptions {
            backend: BackendChoice::Auto,
            device: DeviceOptions::default(),
            cache: DType::F16,
            context: None,
            policy: Policy::default(),
            disabled_passes: BTreeSet::new(),
            submission_ms: SessionOptions::default().submission_ms,
        }
    }
}

/// A language model, ready to compute logits and text.
#[derive(Debug)]
pub struct LanguageModel {
    file: Arc<GgufFile>,
    spec: DecoderSpec,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    options: ModelOptions,
    backend: Backend,
    why: String,
    session: Session,
    context: usize,
    capacity: usize,
    chunk: usize,
}

impl LanguageModel {
    /// Opens a GGUF file on the backend the options ask for, and waits until
    /// its weights are there.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed, its architecture, tokenizer
    /// or tensor types are not supported, no adapter fits, or the model does
    /// not fit the device.
    pub fn open(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        let (backend, why) = Backend::open_blocking(&options.backend, options.device.clone())?;
        let file = gguf::open(path)?;
        let mut model = backend.block_on(Self::load(file, &backend, options, &mut |_, _| {}))?;
        model.why = why;
        Ok(model)
    }

    /// Loads a parsed file onto an opened backend.
    ///
    /// # Errors
    /// As [`LanguageModel::open`].
    pub async fn load(
        file: GgufFile,
        backend: &Backend,
        options: &ModelOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let spec = DecoderSpec::from_gguf(&file)?;
        let tokenizer = Tokenizer::from_gguf(&file)?;
        if tokenizer.vocab_len() > spec.vocabulary {
            let what = format!(
                "{} tokens, but tensor 'token_embd.weight' has {} rows",
                tokenizer.vocab_len(),
                spec.vocabulary
            );
            return Err(Error::format(file.name(), "key 'tokenizer.ggml.tokens'", what));
        }
        let template = template(&file, &tokenizer);
        let context = context(&spec, options)?;
        let file = Arc::new(file);
        let capacity = LEAST_CAPACITY.min(context);
        let chunk = chunk_for(backend);
        let session =
            session(&file, &spec, backend, options, (context, capacity, chunk), progress).await?;
        Ok(LanguageModel {
            file,
            spec,
            tokenizer,
            template,
            options: options.clone(),
            backend: backend.clone(),
            why: String::new(),
            session,
            context,
            capacity,
            chunk,
        })
    }

    /// The model's sizes and choices.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's chat template, if its file has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// What computes.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Why this backend was picked; empty if the caller brought it.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The session under the model, for counters and profiles.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The longest sequence, in tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Loads the weights anew onto another backend, such as the device opened
    /// again after it was lost ([`Backend::reopen`]). The caches are empty
    /// afterwards. On an error the model stays where it was.
    ///
    /// # Errors
    /// As [`LanguageModel::load`].
    pub async fn rebuild(&mut self, backend: &Backend) -> Result<()> {
        let chunk = chunk_for(backend);
        let sizes = (self.context, self.capacity, chunk);
        self.session =
            session(&self.file, &self.spec, backend, &self.options, sizes, &mut |_, _| {}).await?;
        (self.backend, self.chunk) = (backend.clone(), chunk);
        Ok(())
    }

    /// Opens the device again after it was lost and loads the weights anew,
    /// waiting for them. The caches are empty afterwards.
    ///
    /// # Errors
    /// As [`LanguageModel::load`].
    pub fn rebuild_blocking(&mut self) -> Result<()> {
        let backend = pollster::block_on(self.backend.reopen())?;
        backend.block_on(self.rebuild(&backend))
    }

    /// Makes room in the caches for a sequence of `tokens`, so that the steps
    /// to come need not.
    ///
    /// # Errors
    /// [`Error::Limit`] if that is more than the context.
    pub async fn reserve(&mut self, tokens: usize) -> Result<()> {
        if tokens > self.context {
            return Err(Error::Limit {
                what: "the sequence".into(),
                limit_name: "context (tokens)".into(),
                needed: tokens as u64,
                limit: self.context as u64,
            });
        }
        if tokens > self.capacity {
            let capacity = tokens.next_power_of_two().min(self.context);
            self.session.set_symbol(names::CAPACITY, capacity as u64).await?;
            self.capacity = capacity;
        }
        Ok(())
    }

    /// Runs tokens that follow `past` tokens already in the cache, in chunks.
    /// Gives the logits of the last token: F32 `[vocabulary]`.
    ///
    /// # Errors
    /// [`Error::Input`] for no tokens or an id outside the vocabulary,
    /// [`Error::Limit`] past the context, and the device's failures.
    pub async fn forward(&mut self, tokens: &[u32], past: usize) -> Result<Vec<f32>> {
        let mut last = Vec::new();
        let count = tokens.len().div_ceil(self.chunk);
        for (i, chunk) in tokens.chunks(self.chunk).enumerate() {
            // Only the last chunk's last token is read back.
            let rows = if i + 1 == count { vec![chunk.len() as i32 - 1] } else { Vec::new() };
            last = self.step(chunk, past + i * self.chunk, &rows).await?;
        }
        if last.is_empty() {
            return Err(Error::input("tokens", "at least one", "none"));
        }
        Ok(last)
    }

    /// As [`LanguageModel::forward`] for at most one chunk's tokens, with the
    /// logits of chosen tokens: F32 `[rows, vocabulary]`.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    pub async fn step(&mut self, tokens: &[u32], past: usize, rows: &[i32]) -> Result<Vec<f32>> {
        self.check_tokens(tokens, rows)?;
        self.reserve(past + tokens.len()).await?;
        let query = tokens.len();
        let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
        let positions: Vec<i32> = (past..past + query).map(|position| position as i32).collect();
        let inputs = [
            (names::TOKENS, Tensor::from_i32(&[1, query], &ids)?),
            (names::POSITIONS, Tensor::from_i32(&[1, query], &positions)?),
            (names::PAST, Tensor::from_i32(&[1], &[past as i32])?),
            (names::ROWS, Tensor::from_i32(&[rows.len()], rows)?),
        ];
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let options = RunOptions { one_submission: query == 1 };
        let outputs = self.session.run_with(&inputs, &options).await?;
        let logits = outputs.into_iter().find(|(name, _)| name == names::LOGITS);
        let (_, logits) = logits.ok_or_else(|| Error::internal("a decoder without logits"))?;
        logits.to_f32()
    }

    fn check_tokens(&self, tokens: &[u32], rows: &[i32]) -> Result<()> {
        if tokens.is_empty() || tokens.len() > self.chunk {
            let expected = format!("1 to {}", self.chunk);
            return Err(Error::input("tokens of one step", expected, tokens.len()));
        }
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= self.spec.vocabulary) {
            let expected = format!("a token id below {}", self.spec.vocabulary);
            return Err(Error::input("token", expected, id));
        }
        if let Some(row) = rows.iter().find(|&&row| row < 0 || row as usize >= tokens.len()) {
            return Err(Error::input("row", format!("0 to {}", tokens.len() - 1), row));
        }
        Ok(())
    }

    /// The most tokens of one step.
    pub fn chunk(&self) -> usize {
        self.chunk
    }
}

/// The file's chat template. One that cannot be used is no reason not to load
/// the model: plain text needs none, and a conversation is refused.
fn template(file: &GgufFile, tokenizer: &Tokenizer) -> Option<ChatTemplate> {
    file.metadata().get("tokenizer.chat_template")?;
    match ChatTemplate::from_gguf(file, tokenizer) {
        Ok(template) => Some(template),
        Err(error) => {
            log::warn!("the chat template cannot be used: {error}");
            None
        }
    }
}

fn context(spec: &DecoderSpec, options: &ModelOptions) -> Result<usize> {
    match options.context {
        None => Ok(spec.context.min(DEFAULT_CONTEXT)),
        Some(asked) if (1..=spec.context).contains(&asked) => Ok(asked),
        Some(asked) => Err(Error::Limit {
            what: "the context asked for".into(),
            limit_name: "the model's context_length".into(),
            needed: asked as u64,
            limit: spec.context as u64,
        }),
    }
}

/// Longer chunks use a GPU better; software gains nothing past some length.
fn chunk_for(backend: &Backend) -> usize {
    match backend {
        Backend::Gpu(gpu) if !gpu.caps().is_software() => 512,
        _ => 128,
    }
}

async fn session(
    file: &GgufFile,
    spec: &DecoderSpec,
    backend: &Backend,
    options: &ModelOptions,
    (context, capacity, chunk): (usize, usize, usize),
    progress: Progress<'_>,
) -> Result<Session> {
    let weights = |name: &str| match file.tensor_info(name) {
        Some(_) => file.tensor(name).map(Some),
        None => Ok(None),
    };
    let decoder = DecoderOptions { cache: options.cache, positions: context };
    let graph = decoder::build(spec, &weights, decoder)?;
    let buckets: Vec<u64> =
        [1, 8, 32, 128, 512].into_iter().filter(|&n| n <= chunk as u64).collect();
    let options = SessionOptions {
        symbols: BTreeMap::from([
            (names::CAPACITY.into(), capacity as u64),
            (names::BATCH.into(), 1),
        ]),
        buckets: BTreeMap::from([
            (names::QUERY.into(), buckets.clone()),
            (names::ROW_COUNT.into(), buckets),
        ]),
        policy: options.policy.clone(),
        disabled_passes: options.disabled_passes.clone(),
        submission_ms: options.submission_ms,
        ..SessionOptions::default()
    };
    Session::with_progress(graph, backend, options, progress).await
}
