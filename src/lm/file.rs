//! A language model's file: sizes, tokenizer, template, and where weights are.

use super::chat::{ChatMessage, ChatOptions, ChatTemplate, FINAL};
use super::decoder::{self, DecoderOptions, Layout, names};
use super::encoder::DENSE;
use super::engine::Work;
use super::generate::{GenerateOptions, Prompt, WhenFull};
use super::grammar::{Grammar, GrammarSource, Grammars};
use super::lora::LowRank;
use super::model::ModelOptions;
use super::ranker::ranks;
use super::spec::DecoderSpec;
use super::tokenizer::{EncodeOptions, Tokenizer};
use crate::backend::Backend;
use crate::embed::bounds;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::session::{Progress, Session, SessionOptions, SharedWeights};
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The longest context taken without being asked for, in tokens: caches and
/// tables grow with it.
const DEFAULT_CONTEXT: usize = 8192;

/// What errors call a template that is not the file's.
const GIVEN_TEMPLATE: &str = "the chat template that was given";

/// Tokens at the end of a prompt that may spell what thoughts begin with.
const LAST_TOKENS: usize = 32;

/// What a GGUF file says of a language model. Everything here can be asked
/// without a backend, and from several threads.
#[derive(Debug)]
pub struct ModelFile {
    gguf: GgufFile,
    spec: DecoderSpec,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    grammars: OnceLock<Grammars>,
    pub(super) ranks: bool,
    pub(super) added: LowRank,
    /// What the sessions of a model's two parts have in common on a device.
    shared: SharedWeights,
}

/// The sizes of a session over a decoder.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// Positions there are tables for.
    pub(super) context: usize,
    /// Tokens of one sequence that caches have room for at first.
    pub(super) capacity: usize,
    /// Sequences.
    pub(super) batch: usize,
    pub(super) layout: Layout,
    /// For symbols of the graph, the bounds that plans are made for.
    pub(super) buckets: BTreeMap<String, Vec<u64>>,
}

impl ModelFile {
    /// Reads what a parsed file says of the model.
    ///
    /// # Errors
    /// If its architecture, tokenizer or tensor types are not supported, or
    /// what it says does not fit together.
    pub fn new(gguf: GgufFile) -> Result<Self> {
        let spec = DecoderSpec::from_gguf(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        // A row without a token could be chosen, and would be no text. llama.cpp wants as
        // many of both as well.
        if tokenizer.vocab_len() != spec.vocabulary {
            let what = format!(
                "{} tokens, but tensor '{}' has {} rows",
                tokenizer.vocab_len(),
                spec.embedding,
                spec.vocabulary
            );
            return Err(Error::format(gguf.name(), "key 'tokenizer.ggml.tokens'", what));
        }
        let template = template(&gguf, &tokenizer);
        let ranks = ranks(&gguf, &spec.architecture)?;
        Ok(ModelFile {
            gguf,
            spec,
            tokenizer,
            template,
            grammars: OnceLock::new(),
            ranks,
            added: LowRank::default(),
            shared: SharedWeights::default(),
        })
    }

    /// As [`ModelFile::new`], with another chat template, or with what it is told.
    ///
    /// # Errors
    /// As [`ModelFile::new`]; [`Error::Format`] if the template is none, [`Error::Input`]
    /// for values with names that it is given anyway, or without a template.
    pub fn with_chat(gguf: GgufFile, chat: &ChatOptions) -> Result<Self> {
        let mut file = ModelFile::new(gguf)?;
        if let Some(source) = &chat.template {
            let own = ChatTemplate::of_model(source, GIVEN_TEMPLATE, &file.tokenizer)?;
            file.template = Some(own);
        }
        if !chat.values.is_empty() {
            let none = || Error::input("values of the chat template", "a template", "none");
            let template = file.template.take().ok_or_else(none)?;
            file.template = Some(template.with_values(chat.values.clone())?);
        }
        Ok(file)
    }

    /// As [`ModelFile::with_chat`], with the LoRA adapters of the options as well.
    pub(super) fn with_options(gguf: GgufFile, options: &ModelOptions) -> Result<Self> {
        ModelFile::with_chat(gguf, &options.chat)?.with_loras(&options.loras)
    }

    /// The parsed file.
    pub fn gguf(&self) -> &GgufFile {
        &self.gguf
    }

    /// The model's sizes and choices.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The elements of a text's vector.
    pub fn vector_width(&self) -> usize {
        let rows = |name| self.gguf.tensor_info(name).and_then(|info| info.extents().first());
        DENSE.iter().rev().find_map(|name| rows(name)).copied().unwrap_or(self.spec.width)
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's chat template, if its file has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// A grammar over the model's tokens, for
    /// [`GenerateOptions::grammar`](super::GenerateOptions::grammar). The first one
    /// takes a moment: the vocabulary is sorted for it.
    ///
    /// # Errors
    /// [`Error::Input`] with what is wrong with the source; [`Error::Unsupported`]
    /// without the feature `grammar`.
    pub fn grammar(&self, source: &GrammarSource) -> Result<Grammar> {
        if let Some(grammars) = self.grammars.get() {
            return grammars.grammar(source);
        }
        let made = Grammars::new(&self.tokenizer, self.spec.vocabulary)?;
        self.grammars.get_or_init(|| made).grammar(source)
    }

    /// The tokens of a prompt. Where a part of the model reads, they are what it reads, with
    /// the token that ends it, and behind that what is written begins.
    ///
    /// # Errors
    /// If the prompt is empty, or a conversation is given to a model without
    /// a chat template.
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let tokens = self.tokens_of(prompt)?;
        Ok(match self.spec.source {
            Some(source) => source.completed(tokens),
            None => tokens,
        })
    }

    fn tokens_of(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let empty = || Error::input("prompt", "some text", "nothing");
        let plain = EncodeOptions { eos: Some(false), ..EncodeOptions::TEXT };
        match prompt {
            Prompt::Ask(text) | Prompt::Text(text) if text.is_empty() => Err(empty()),
            Prompt::Ask(text) if self.template.is_some() => {
                self.rendered(&[ChatMessage::new("user", text)])
            }
            Prompt::Ask(text) | Prompt::Text(text) => self.tokenizer.encode(text, plain),
            Prompt::Chat(messages) if messages.is_empty() => Err(empty()),
            Prompt::Chat(messages) => self.rendered(messages),
            Prompt::Values { messages, .. } if messages.is_empty() => Err(empty()),
            Prompt::Values { messages, tools, values } => {
                let text = self.usable_template()?.render_values(messages, tools, values, true)?;
                self.tokenizer.encode(&text, EncodeOptions::PROMPT)
            }
            Prompt::Tokens(tokens) if tokens.is_empty() => Err(empty()),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
        }
    }

    /// The tokens of a text as a whole, with all that the file wants around it.
    ///
    /// # Errors
    /// If the text is empty or the vocabulary cannot express it.
    pub fn text_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        match prompt {
            Prompt::Text(text) if !text.is_empty() => {
                self.tokenizer.encode(text, EncodeOptions::TEXT)
            }
            other => self.prompt_tokens(other),
        }
    }

    /// How a prompt ends, as text: as much as tells whether it begins thoughts.
    ///
    /// # Errors
    /// If an id is no token.
    pub fn end_of(&self, prompt: &[u32]) -> Result<String> {
        let last = prompt.len().saturating_sub(LAST_TOKENS);
        self.tokenizer.decode(&prompt[last..], true)
    }

    /// What follows a prompt where an answer is to have a form: in a model that answers
    /// in channels, the header of what it says; the end of the thoughts that the prompt
    /// begins; otherwise nothing.
    ///
    /// # Errors
    /// If the vocabulary cannot spell it, or an id of the prompt is no token.
    pub fn opening_of_answer(&self, prompt: &[u32]) -> Result<Vec<u32>> {
        let Some(template) = &self.template else { return Ok(Vec::new()) };
        let opening = match template.has_channels() {
            true => Some(FINAL.into()),
            false => self.end_of_thoughts(prompt)?,
        };
        self.part(opening)
    }

    /// As [`ModelFile::opening_of_answer`], where the form is that of a call of a tool,
    /// which has a channel of its own.
    ///
    /// # Errors
    /// As [`ModelFile::opening_of_answer`].
    pub fn opening_of_call(&self, prompt: &[u32]) -> Result<Vec<u32>> {
        self.part(self.end_of_thoughts(prompt)?)
    }

    fn end_of_thoughts(&self, prompt: &[u32]) -> Result<Option<String>> {
        let Some(template) = &self.template else { return Ok(None) };
        Ok(template.end_of_thoughts(&self.end_of(prompt)?))
    }

    /// The tokens of a text of structure.
    fn part(&self, text: Option<String>) -> Result<Vec<u32>> {
        let options = EncodeOptions { special: true, ..EncodeOptions::PART };
        text.map_or(Ok(Vec::new()), |text| self.tokenizer.encode(&text, options))
    }

    fn rendered(&self, messages: &[ChatMessage]) -> Result<Vec<u32>> {
        let text = self.usable_template()?.render(messages, true)?;
        self.tokenizer.encode(&text, EncodeOptions::PROMPT)
    }

    fn usable_template(&self) -> Result<&ChatTemplate> {
        self.template.as_ref().ok_or_else(|| {
            let what = "the model's file has no usable chat template; give plain text";
            Error::unsupported("chat", what)
        })
    }

    /// The longest sequence, in tokens: as asked for, else the model's own and
    /// at most 8192.
    pub(super) fn context(&self, options: &ModelOptions) -> Result<usize> {
        match options.context {
            None => Ok(self.spec.context.min(DEFAULT_CONTEXT)),
            Some(asked) if (1..=self.spec.context).contains(&asked) => Ok(asked),
            Some(asked) => Err(Error::Limit {
                what: "the context asked for".into(),
                limit_name: "the model's context_length".into(),
                needed: asked as u64,
                limit: self.spec.context as u64,
            }),
        }
    }

    /// A tensor by its name; `None` if there is none.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        if let Some(tensor) = self.added.tensor(name) {
            return Ok(Some(tensor.clone()));
        }
        // Files of Falcon-H1, Hunyuan 3 and PLaMo have such names without their ends.
        const NORMS: [&str; 6] = [
            ".ffn_norm",
            ".post_attention_norm",
            ".post_ffw_norm",
            ".ssm_dt_norm",
            ".ssm_b_norm",
            ".ssm_c_norm",
        ];
        let of_norm = |bare: &&str| NORMS.iter().any(|end| bare.ends_with(end));
        let norm = name.strip_suffix(".weight").filter(of_norm);
        let choice = name.strip_suffix(".bias").filter(|bare| bare.ends_with(".exp_probs_b"));
        let bare = norm.or(choice);
        let names = [Some(name), bare];
        let mut there = names.into_iter().flatten();
        match there.find(|name| self.gguf.tensor_info(name).is_some()) {
            Some(name) => narrowed(self.gguf.name(), name, self.gguf.tensor(name)?).map(Some),
            None => Ok(None),
        }
    }

    /// Where weights on a device are shared, by a model in two parts.
    pub(super) fn shared_weights(&self) -> Option<SharedWeights> {
        self.spec.source.map(|_| self.shared.clone())
    }

    /// A session over the decoder's graph, its weights where they belong.
    pub(super) async fn session(
        &self,
        backend: &Backend,
        options: &ModelOptions,
        sizes: Sizes,
        progress: Progress<'_>,
    ) -> Result<Session> {
        self.writes()?;
        let mut sizes = sizes;
        if self.spec.source.is_some() {
            // Steps that bring no source have no rows of one.
            let rows = [0].into_iter().chain(bounds(sizes.context)).collect();
            sizes.buckets.insert(names::READ_COUNT.into(), rows);
        }
        let Sizes { context, capacity, batch, layout, buckets } = sizes;
        let decoder =
            DecoderOptions { cache: options.cache, positions: context, layout, chooses: true };
        let graph = self.graph(|weights| decoder::build(&self.spec, weights, decoder))?;
        // One token, and the longest step with the logits of one token.
        let end = |name: &str, steps: &[u64]| match name {
            names::QUERY => steps.last().copied(),
            _ => steps.first().copied(),
        };
        let least = |(name, steps): (&String, &Vec<u64>)| Some((name.clone(), *steps.first()?));
        let most = |(name, steps): (&String, &Vec<u64>)| Some((name.clone(), end(name, steps)?));
        let ahead = vec![
            buckets.iter().filter_map(most).collect(),
            buckets.iter().filter_map(least).collect(),
        ];
        let options = SessionOptions {
            symbols: BTreeMap::from([
                (names::CAPACITY.into(), capacity as u64),
                (names::BATCH.into(), batch as u64),
            ]),
            buckets,
            policy: options.policy.clone(),
            disabled_passes: options.disabled_passes.clone(),
            submission_ms: options.submission_ms,
            weights: self.shared_weights(),
            ahead,
            ..SessionOptions::default()
        };
        Session::with_progress(graph, backend, options, progress).await
    }

    /// Refuses a model that reads texts and writes none.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an encoder.
    pub fn writes(&self) -> Result<()> {
        match self.spec.sees_behind {
            false => Ok(()),
            true => {
                let what = format!(
                    "generation: architecture '{}' turns texts into vectors (`wginfer embed`)",
                    self.spec.architecture
                );
                Err(Error::unsupported(self.gguf.name(), what))
            }
        }
    }

    /// Refuses a model that says how well texts answer, and gives no vectors.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a ranker.
    pub(crate) fn gives_vectors(&self) -> Result<()> {
        match self.ranks {
            false => Ok(()),
            true => {
                let what = "vectors: this model ranks documents (`wginfer serve`, /v1/rerank)";
                Err(Error::unsupported(self.gguf.name(), what))
            }
        }
    }

    /// Refuses what a model with a part that reads cannot do.
    pub(super) fn must_be_whole(&self, what: &str) -> Result<()> {
        match self.spec.source {
            None => Ok(()),
            Some(_) => {
                let what = format!("{what}: '{}' reads its prompt", self.spec.architecture);
                Err(Error::unsupported(self.gguf.name(), what))
            }
        }
    }

    /// Refuses options that the model cannot follow.
    pub(super) fn check_options(&self, options: &GenerateOptions) -> Result<()> {
        match options.when_full {
            WhenFull::Stop => Ok(()),
            WhenFull::Forget { .. } => self.must_be_whole("forgetting a part of the context"),
        }
    }

    /// A prompt that a part of the model reads has an end.
    pub(super) fn check_prompt(&self, tokens: &[u32]) -> Result<()> {
        match self.spec.source {
            Some(source) => source.checked(tokens).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Refuses what the model cannot do.
    pub(super) fn check_work(&self, work: &Work) -> Result<()> {
        match work {
            Work::Generate(options) => {
                self.check_options(options)?;
                self.writes()
            }
            Work::Echo(_) => {
                self.must_be_whole("how likely a prompt is")?;
                self.writes()
            }
            Work::Embed => {
                self.must_be_whole("vectors beside texts (`wginfer embed` gives them)")?;
                self.gives_vectors()
            }
            Work::Rank if self.ranks => Ok(()),
            Work::Rank => {
                let what = "ranking: the file's pooling_type is not that of a ranker";
                Err(Error::unsupported(self.gguf.name(), what))
            }
        }
    }

    /// Every token is one of the vocabulary.
    pub(super) fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        match tokens.iter().find(|&&id| id as usize >= self.spec.vocabulary) {
            None => Ok(()),
            Some(id) => {
                let expected = format!("a token id below {}", self.spec.vocabulary);
                Err(Error::input("token", expected, id))
            }
        }
    }
}

/// F64 as F32, which is what models are computed in.
fn narrowed(file: &str, name: &str, tensor: Tensor) -> Result<Tensor> {
    if tensor.dtype() != DType::F64 {
        return Ok(tensor);
    }
    let narrow = |eight: &[u8]| {
        let wide = bytemuck::pod_read_unaligned::<f64>(eight);
        let value = wide as f32;
        match value.is_finite() == wide.is_finite() {
            true => Ok(value),
            false => Err(Error::unsupported(
                format!("{file}: tensor '{name}'"),
                format!("{wide:e}, which F32 does not hold"),
            )),
        }
    };
    let values: Result<Vec<f32>> = tensor.bytes().chunks_exact(8).map(narrow).collect();
    Tensor::from_f32(tensor.extents(), &values?)
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

/// More tokens than the context has.
pub(super) fn beyond_context(what: &str, needed: usize, context: usize) -> Error {
    Error::Limit {
        what: what.into(),
        limit_name: "the context's tokens".into(),
        needed: needed as u64,
        limit: context as u64,
    }
}

/// Longer chunks use a GPU better; software gains nothing past some length.
pub(super) fn chunk_for(backend: &Backend) -> usize {
    match backend {
        Backend::Gpu(gpu) if !gpu.caps().is_software() => 512,
        _ => 128,
    }
}
