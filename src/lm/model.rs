//! A language model on a backend: weights, caches, tokenizer, template.

use super::chat::{ChatOptions, ChatTemplate};
use super::decoder::{Layout, names};
use super::file::{ModelFile, Sizes, beyond_context, chunk_for};
use super::known::{Asked, Known, Rows, Wanted};
use super::lora::Lora;
use super::parts::Source;
use super::reading::{self, Reading};
use super::spec::DecoderSpec;
use super::tokenizer::Tokenizer;
use crate::backend::{Backend, BackendChoice};
use crate::error::{Error, Result};
use crate::exec::{Profile, WorkingMemory};
use crate::formats::gguf::{self, GgufFile};
use crate::gpu::DeviceOptions;
use crate::kernels::Policy;
use crate::session::{Progress, RunOptions, Session, SessionOptions};
use crate::tensor::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The least a cache has room for, in tokens.
pub(super) const LEAST_CAPACITY: usize = 256;

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
    /// How conversations are put to the model.
    pub chat: ChatOptions,
    /// LoRA adapters, which add to the model's matrices.
    pub loras: Vec<Lora>,
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
            chat: ChatOptions::default(),
            loras: Vec::new(),
        }
    }
}

/// A language model, ready to compute logits and text.
#[derive(Debug)]
pub struct LanguageModel {
    file: ModelFile,
    options: ModelOptions,
    backend: Backend,
    why: String,
    session: Session,
    context: usize,
    capacity: usize,
    chunk: usize,
    /// The tokens whose keys and values are in the caches.
    kept: Vec<u32>,
    /// The part that reads, where there is one.
    reading: Option<Reading>,
    /// How many of the tokens that are kept it has read.
    source: usize,
    /// What it made of them, until a step has brought it to the caches.
    read: Option<Tensor>,
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
        let file = ModelFile::with_options(file, options)?;
        let context = file.context(options)?;
        let capacity = LEAST_CAPACITY.min(context);
        let chunk = chunk_for(backend);
        let sizes = sizes(context, capacity, chunk);
        let session = file.session(backend, options, sizes, progress).await?;
        let reading = Reading::open(&file, backend, options, context, progress).await?;
        Ok(LanguageModel {
            file,
            options: options.clone(),
            backend: backend.clone(),
            why: String::new(),
            session,
            context,
            capacity,
            chunk,
            kept: Vec::new(),
            reading,
            source: 0,
            read: None,
        })
    }

    /// What the model's file says.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The model's sizes and choices.
    pub fn spec(&self) -> &DecoderSpec {
        self.file.spec()
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.file.tokenizer()
    }

    /// The model's chat template, if its file has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.file.template()
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

    /// Memory beside the weights, as [`Session::memory`] has it; of a model in two parts that
    /// of both.
    pub fn memory(&self) -> WorkingMemory {
        let memory = self.session.memory();
        self.reading.as_ref().map_or(memory, |reading| memory.beside(reading.memory()))
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
        let sizes = sizes(self.context, self.capacity, chunk);
        let untold = &mut |_, _| {};
        let session = self.file.session(backend, &self.options, sizes, untold).await?;
        self.reading =
            Reading::open(&self.file, backend, &self.options, self.context, untold).await?;
        self.session = session;
        self.forget_all();
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
            return Err(beyond_context("the sequence", tokens, self.context));
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
    /// [`Error::Input`] for no tokens or an id outside the vocabulary, or for a `past`
    /// other than 0 and all of [`LanguageModel::kept`] where the model cannot go back
    /// ([`DecoderSpec::goes_back`]), or one within what a part of it has read
    /// ([`DecoderSpec::source`]),
    /// [`Error::Limit`] past the context, and the device's failures.
    pub async fn forward(&mut self, tokens: &[u32], past: usize) -> Result<Vec<f32>> {
        match self.forward_to(tokens, past, Wanted::All).await? {
            Known::All(logits) => Ok(logits),
            Known::Leading(_) => Err(Error::internal("a choice in the place of logits")),
        }
    }

    /// As [`LanguageModel::forward`], with as much of the last token's logits as is
    /// wanted.
    pub(super) async fn forward_to(
        &mut self,
        tokens: &[u32],
        past: usize,
        wanted: Wanted,
    ) -> Result<Known> {
        let before = self.fill(tokens, past, || true).await?;
        // Only the last chunk's last token is read back.
        let last = tokens.get(before..).unwrap_or_default();
        let asked = Asked::one(last.len() as i32 - 1, wanted);
        self.rows(last, past + before, &asked).await?.row(wanted, 0)
    }

    /// Has the tokens read that come before those that are written, and gives how many
    /// these are. What was kept is forgotten.
    async fn read(&mut self, source: Source, tokens: &[u32]) -> Result<usize> {
        let count = source.checked(tokens)?;
        self.file.check_tokens(&tokens[..count])?;
        self.reserve(tokens.len()).await?;
        self.forget_all();
        let Some(reading) = &mut self.reading else {
            return Err(Error::internal("nothing that reads"));
        };
        self.read = Some(reading.read(&tokens[..count]).await?);
        self.kept = tokens[..count].to_vec();
        self.source = count;
        Ok(count)
    }

    pub(super) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The caches are those of these tokens.
    pub(super) fn finish_restoring(&mut self, tokens: &[u32]) {
        self.kept = tokens.to_vec();
    }

    /// Nothing is kept from here on.
    pub(super) fn forget_all(&mut self) {
        self.kept.clear();
        (self.source, self.read) = (0, None);
    }

    /// Runs all chunks of `tokens` but the last, as long as it `goes_on`; nothing is read
    /// back. Gives how many tokens these were.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    pub(super) async fn fill(
        &mut self,
        tokens: &[u32],
        past: usize,
        goes_on: impl Fn() -> bool,
    ) -> Result<usize> {
        let mut done = match self.spec().source {
            Some(source) if past == 0 => self.read(source, tokens).await?,
            _ => 0,
        };
        while tokens.len() - done > self.chunk && goes_on() {
            let chunk = &tokens[done..done + self.chunk];
            self.rows(chunk, past + done, &Asked::default()).await?;
            done += self.chunk;
        }
        Ok(done)
    }

    /// As [`LanguageModel::forward`] for at most one chunk's tokens, with the
    /// logits of chosen tokens: F32 `[rows, vocabulary]`.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    pub async fn step(&mut self, tokens: &[u32], past: usize, rows: &[i32]) -> Result<Vec<f32>> {
        Ok(self.rows(tokens, past, &Asked::all(rows)).await?.into_logits())
    }

    async fn rows(&mut self, tokens: &[u32], past: usize, asked: &Asked) -> Result<Rows> {
        let inputs = self.prepared(tokens, past, asked).await?;
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let options = RunOptions { one_submission: tokens.len() == 1 && self.read.is_none() };
        let before = self.forget(past);
        let outputs = self.session.run_with(&inputs, &options).await;
        self.taken(tokens, before, outputs)
    }

    /// As [`LanguageModel::step`] for the last token's logits, and what each piece of
    /// its work took.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    pub async fn profile(&mut self, tokens: &[u32], past: usize) -> Result<(Vec<f32>, Profile)> {
        let asked = Asked::all(&[tokens.len() as i32 - 1]);
        let inputs = self.prepared(tokens, past, &asked).await?;
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let before = self.forget(past);
        let (outputs, profile) =
            self.session.profile(&inputs).await.inspect_err(|_| self.forget_all())?;
        Ok((self.taken(tokens, before, Ok(outputs))?.into_logits(), profile))
    }

    /// What is written stands behind what was read, and begins with its first token.
    fn check_behind_source(&self, source: Source, tokens: &[u32], past: usize) -> Result<()> {
        if self.source == 0 || past < self.source {
            let read = self.source;
            let expected = format!("at least the {read} tokens that `forward` has read from 0 on");
            return Err(Error::input("past", expected, past));
        }
        if past == self.source && tokens.first() != Some(&source.start) {
            let expected = format!("{} to begin with, behind what was read", source.start);
            return Err(Error::input("tokens", expected, format!("{:?}", tokens.first())));
        }
        Ok(())
    }

    /// The inputs of a step, once there is room for it.
    async fn prepared(
        &mut self,
        tokens: &[u32],
        past: usize,
        asked: &Asked,
    ) -> Result<Vec<(&'static str, Tensor)>> {
        self.check_tokens(tokens, &asked.all)?;
        if let Some(source) = self.spec().source {
            self.check_behind_source(source, tokens, past)?;
        }
        if !self.spec().goes_back() && past != 0 && past != self.kept.len() {
            let expected = format!("0 or {}: this model cannot go back", self.kept.len());
            return Err(Error::input("past", expected, past));
        }
        self.reserve(past + tokens.len()).await?;
        let query = tokens.len();
        let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
        // What was read has no places among what is written.
        let past = past - self.source;
        let positions: Vec<i32> = (past..past + query).map(|position| position as i32).collect();
        let [all, best, top] = asked.inputs()?;
        let mut inputs = vec![
            (names::TOKENS, Tensor::from_i32(&[1, query], &ids)?),
            (names::POSITIONS, Tensor::from_i32(&[1, query], &positions)?),
            (names::PAST, Tensor::from_i32(&[1], &[past as i32])?),
            all,
            best,
            top,
        ];
        if self.spec().source.is_some() {
            let place = if self.read.is_some() { 0 } else { self.capacity };
            let seen = self.source as i32 - query as i32;
            let width = self.spec().width;
            let read = self.read.as_ref();
            inputs.extend(reading::inputs(read, width, &[place as i32], &[seen])?);
        }
        Ok(inputs)
    }

    /// Should a step fail or be dropped, nothing is known of what follows `past`, or of
    /// anything if the model cannot go back. Gives what is known if it does not: all
    /// before it, if that is.
    fn forget(&mut self, past: usize) -> Option<Vec<u32>> {
        self.kept.truncate(past);
        let whole = self.kept.len() == past;
        if self.spec().goes_back() {
            return whole.then(Vec::new);
        }
        let before = std::mem::take(&mut self.kept);
        whole.then_some(before)
    }

    /// What came of a step, whose tokens are in the caches now, behind those `before`.
    fn taken(
        &mut self,
        tokens: &[u32],
        before: Option<Vec<u32>>,
        outputs: Result<Vec<(String, Tensor)>>,
    ) -> Result<Rows> {
        let outputs = outputs.inspect_err(|_| self.forget_all())?;
        self.read = None;
        if let Some(before) = before {
            self.kept.extend(before);
            self.kept.extend_from_slice(tokens);
        }
        Rows::new(&outputs, self.spec().vocabulary)
    }

    fn check_tokens(&self, tokens: &[u32], rows: &[i32]) -> Result<()> {
        if tokens.is_empty() || tokens.len() > self.chunk {
            let expected = format!("1 to {}", self.chunk);
            return Err(Error::input("tokens of one step", expected, tokens.len()));
        }
        self.file.check_tokens(tokens)?;
        if let Some(row) = rows.iter().find(|&&row| row < 0 || row as usize >= tokens.len()) {
            return Err(Error::input("row", format!("0 to {}", tokens.len() - 1), row));
        }
        Ok(())
    }

    /// The tokens whose keys and values are in the caches, as far as they are
    /// known: those of the last sequence from its beginning on.
    pub fn kept(&self) -> &[u32] {
        &self.kept
    }

    /// The most tokens of one step.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// The numbers of tokens that steps are rounded up to, each with a plan of its own.
    pub fn steps(&self) -> Vec<usize> {
        steps(self.chunk)
    }
}

fn steps(chunk: usize) -> Vec<usize> {
    [1, 8, 32, 128, 512].into_iter().filter(|&n| n <= chunk).collect()
}

/// One sequence; a step is rounded up to a few lengths.
fn sizes(context: usize, capacity: usize, chunk: usize) -> Sizes {
    let steps: Vec<u64> = steps(chunk).into_iter().map(|n| n as u64).collect();
    // What nothing is asked of costs nothing, but the choice that is mostly asked for: so
    // the last piece of a prompt needs no other plan than those before.
    let rows = [0].into_iter().chain(steps.iter().copied()).collect();
    let buckets = BTreeMap::from([
        (names::QUERY.into(), steps),
        (names::ROW_COUNT.into(), rows),
        (names::BEST_COUNT.into(), vec![1]),
        (names::TOP_COUNT.into(), vec![0, 1]),
    ]);
    Sizes { context, capacity, batch: 1, layout: Layout::Sequences, buckets }
}
