//! Generating text, piece by piece.

use super::chat::{ChatMessage, Values};
use super::continuation::{Continuation, Piece};
use super::draft::Ahead;
pub use super::draft::Draft;
use super::file::beyond_context;
use super::grammar::Grammar;
use super::known::Known;
use super::model::LanguageModel;
use super::parts::Keeping;
use super::probability::LogProbabilities;
use super::sampler::SamplerOptions;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use web_time::Instant;

/// What to continue.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// A question: put through the model's chat template if its file has one,
    /// taken as plain text otherwise.
    Ask(String),
    /// Plain text to continue.
    Text(String),
    /// A conversation, put through the model's chat template.
    Chat(Vec<ChatMessage>),
    /// A conversation with whatever the model's chat template looks at, and tools
    /// that the model may call; see [`ChatTemplate::render_values`].
    ///
    /// [`ChatTemplate::render_values`]: super::ChatTemplate::render_values
    Values {
        /// The messages, each an object.
        messages: Vec<serde_json::Value>,
        /// The tools, in OpenAI's form.
        tools: Vec<serde_json::Value>,
        /// What else the template is told, by name.
        values: Values,
    },
    /// Tokens to continue.
    Tokens(Vec<u32>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Prompt::Ask(text.into())
    }
}

/// How to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Stop after so many tokens.
    pub max_tokens: usize,
    /// Before so many tokens neither the model nor a stop token or a stop string
    /// ends the text.
    pub min_tokens: usize,
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// Go on after a token that ends the text.
    pub ignore_end: bool,
    /// Strings that end the text; they are no part of it.
    pub stop: Vec<String>,
    /// Tokens that end the text, beside those of the model.
    pub stop_tokens: Vec<u32>,
    /// What is added to the logits of tokens before anything else; minus
    /// infinity bars one.
    pub logit_bias: Vec<(u32, f32)>,
    /// How likely the tokens were: of each, and of so many of the most likely
    /// ones in its place.
    pub log_probabilities: Option<usize>,
    /// What the text must follow, of the model that generates it.
    pub grammar: Option<Grammar>,
    /// What happens when the context is full.
    pub when_full: WhenFull,
}

/// What happens when the context is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The text ends, and says so ([`FinishReason::Context`]).
    #[default]
    Stop,
    /// The model goes on with the first tokens, as many as are to be kept, and the
    /// latest half of the others; it forgets those between. They are computed anew,
    /// which takes as long as a prompt of so many.
    Forget {
        /// How many tokens at the beginning stay.
        keep: usize,
    },
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_tokens: 256,
            min_tokens: 0,
            sampler: SamplerOptions::default(),
            ignore_end: false,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            logit_bias: Vec::new(),
            log_probabilities: None,
            grammar: None,
            when_full: WhenFull::Stop,
        }
    }
}

impl GenerateOptions {
    /// Whether all options make sense.
    pub(super) fn check_all(&self) -> Result<()> {
        self.check()?;
        self.sampler.check()
    }

    /// Whether the options make sense, the sampler's apart.
    pub(super) fn check(&self) -> Result<()> {
        if self.min_tokens > self.max_tokens {
            let most = format!("at most max_tokens, {}", self.max_tokens);
            return Err(Error::input("min_tokens", most, self.min_tokens));
        }
        match self.logit_bias.iter().find(|(_, b)| b.is_nan() || *b == f32::INFINITY) {
            Some((id, bias)) => Err(Error::input(
                format_args!("logit_bias of token {id}"),
                "a number or minus infinity",
                bias,
            )),
            None => Ok(()),
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended the text.
    End,
    /// A stop string or a stop token ended it.
    Stop,
    /// `max_tokens` were generated.
    Length,
    /// The context is full.
    Context,
    /// The caller wanted no more.
    Cancelled,
}

/// What a generation took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationStats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were in the caches already.
    pub reused_tokens: usize,
    /// Tokens generated.
    pub tokens: usize,
    /// Tokens that a draft proposed.
    pub drafted: usize,
    /// Those of them that the model chose, too.
    pub accepted: usize,
    /// From the start until the prompt was computed.
    pub prefill: Duration,
    /// From the start until the first token was chosen.
    pub first_token: Duration,
    /// For the steps after the prompt.
    pub decode: Duration,
    /// Steps after the prompt.
    pub steps: usize,
    /// Why it ended, once it has.
    pub finish: Option<FinishReason>,
}

impl GenerationStats {
    /// Prompt tokens computed per second.
    pub fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens - self.reused_tokens, self.prefill)
    }

    /// Generated tokens per second, the first one apart.
    pub fn decode_rate(&self) -> f64 {
        rate(self.steps, self.decode)
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// A text being generated: an iterator over its pieces, each valid UTF-8.
///
/// Tokens at the beginning of the prompt that an earlier generation of the same
/// model left in its caches are not computed again.
#[derive(Debug)]
pub struct Generation<'m> {
    model: &'m mut LanguageModel,
    text: Continuation,
    /// How many of its tokens are in the cache; `None` before the first step.
    cached: Option<usize>,
    log_probabilities: Vec<LogProbabilities>,
    stats: GenerationStats,
    canceller: Canceller,
    ahead: Option<Ahead<'m>>,
    done: bool,
}

/// Ends a generation from another thread, before its next token or the next part of a
/// long prompt.
#[derive(Debug, Clone, Default)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    /// Ends the generation it came from.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl LanguageModel {
    /// The tokens of a prompt.
    ///
    /// # Errors
    /// If the prompt is empty, or a conversation is given to a model without
    /// a chat template.
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        self.file().prompt_tokens(prompt)
    }

    /// Starts to generate; nothing is computed until the first piece is asked
    /// for.
    ///
    /// # Errors
    /// If the prompt is empty or longer than the context, or the options make
    /// no sense.
    pub fn generate(
        &mut self,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Generation<'_>> {
        self.begin(prompt.into(), options, None)
    }

    /// As [`LanguageModel::generate`], with a smaller model that runs ahead: what it
    /// proposes is computed in one step, and kept as far as this model takes it. At
    /// temperature 0 the text is the one that it would be without, as far as logits are
    /// not so close that the rounding of kernels for other numbers of rows decides.
    /// Where tokens are drawn it is as likely as without (speculative sampling, arXiv
    /// 2211.17192), and the same for the same seed and draft.
    ///
    /// # Errors
    /// As [`LanguageModel::generate`]; [`Error::Input`] if the two have not the same
    /// vocabulary.
    pub fn generate_with<'m>(
        &'m mut self,
        draft: Draft<'m>,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Generation<'m>> {
        let ahead = Ahead::new(draft, self)?;
        self.begin(prompt.into(), options, Some(ahead))
    }

    fn begin<'m>(
        &'m mut self,
        prompt: Prompt,
        options: &GenerateOptions,
        ahead: Option<Ahead<'m>>,
    ) -> Result<Generation<'m>> {
        self.file().check_options(options)?;
        let tokens = self.prompt_tokens(&prompt)?;
        if tokens.len() > self.context() {
            return Err(beyond_context("the prompt", tokens.len(), self.context()));
        }
        let stats = GenerationStats { prompt_tokens: tokens.len(), ..Default::default() };
        let begins = self.spec().source.is_some();
        Ok(Generation {
            model: self,
            text: Continuation::new(tokens, options)?.beginning(begins),
            cached: None,
            log_probabilities: Vec::new(),
            stats,
            canceller: Canceller::default(),
            ahead,
            done: false,
        })
    }
}

impl Generation<'_> {
    /// What it took so far.
    pub fn stats(&self) -> &GenerationStats {
        &self.stats
    }

    /// The prompt's tokens and the generated ones.
    pub fn tokens(&self) -> &[u32] {
        self.text.tokens()
    }

    /// For each generated token, where they were asked for.
    pub fn log_probabilities(&self) -> &[LogProbabilities] {
        &self.log_probabilities
    }

    /// The next piece of text; `None` at the end. A piece may be empty while a
    /// character is still incomplete, or a stop string may have begun.
    ///
    /// # Errors
    /// If the device fails, or the logits are not numbers.
    pub async fn next_piece(&mut self) -> Result<Option<String>> {
        if self.done {
            return Ok(None);
        }
        if self.canceller.asked() {
            return Ok(self.finish(FinishReason::Cancelled));
        }
        if let Some(reason) = self.text.limit(self.model.context()) {
            return Ok(self.finish(reason));
        }
        if let Some(kept) = self.text.forget(self.model.context()) {
            self.cached = Some(if self.model.spec().goes_back() { kept } else { 0 });
        }
        let begun = Instant::now();
        let first = self.cached.is_none();
        let Some(cached) = self.caught_up().await? else {
            return Ok(self.finish(FinishReason::Cancelled));
        };
        let Some(piece) = self.next_token(cached, begun, first).await? else {
            return Ok(self.finish(FinishReason::End));
        };
        self.stats.tokens += 1;
        self.log_probabilities.extend(piece.log_probabilities);
        Ok(Some(piece.text))
    }

    /// What ends this generation from elsewhere.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Ends the text before its end, and gives what was held back of it. What
    /// is in the caches stays there for the next prompt.
    pub fn cancel(&mut self) -> String {
        if self.done {
            String::new()
        } else {
            self.finish(FinishReason::Cancelled).unwrap_or_default()
        }
    }

    /// Computes what of the text is not in the cache, but for the last step, and gives
    /// how much is then; `None` where it was cancelled on the way.
    async fn caught_up(&mut self) -> Result<Option<usize>> {
        let cached = match self.cached {
            Some(cached) => cached,
            None => self.prepare().await?,
        };
        let goes_on = || !self.canceller.asked();
        let filled = self.model.fill(&self.text.fed()[cached..], cached, goes_on).await?;
        self.cached = Some(cached + filled);
        Ok(self.cached.filter(|_| !self.canceller.asked()))
    }

    /// The next token, of which `cached` are computed; what took since `begun` is that
    /// of the prompt if it is the `first`.
    async fn next_token(
        &mut self,
        cached: usize,
        begun: Instant,
        first: bool,
    ) -> Result<Option<Piece>> {
        let (known, proposal) = match &mut self.ahead {
            Some(ahead) => {
                let (logits, proposal) = ahead.logits(self.model, &mut self.text, cached).await?;
                (Known::All(logits), proposal)
            }
            None => {
                let wanted = self.text.wanted();
                let new = &self.text.fed()[cached..];
                (self.model.forward_to(new, cached, wanted).await?, None)
            }
        };
        self.cached = Some(self.text.fed().len());
        if let Some(ahead) = &self.ahead {
            (self.stats.drafted, self.stats.accepted) = ahead.counts();
        }
        let computed = begun.elapsed();
        let piece = self.text.advance(self.model.file().tokenizer(), &known, proposal.as_ref())?;
        if first {
            self.stats.prefill = computed;
            self.stats.first_token = begun.elapsed();
        } else {
            self.stats.decode += begun.elapsed();
            self.stats.steps += 1;
        }
        Ok(piece)
    }

    /// Makes room, and finds what of the prompt is in the caches already.
    async fn prepare(&mut self) -> Result<usize> {
        let tokens = self.text.fed();
        let room = tokens.len().saturating_add(self.text.options().max_tokens);
        let reused = reusable(self.model.kept(), tokens, self.model.spec().keeping());
        self.stats.reused_tokens = reused;
        self.model.reserve(room.min(self.model.context())).await?;
        Ok(reused)
    }

    /// Ends with what was still held back.
    fn finish(&mut self, reason: FinishReason) -> Option<String> {
        self.done = true;
        let rest = self.text.finish(reason);
        self.stats.finish = self.text.finished();
        Some(rest).filter(|rest| !rest.is_empty())
    }
}

/// How many of a text's tokens need not be computed again where those of `kept` were
/// computed last. The last one is in any case: its logits are wanted.
pub(super) fn reusable(kept: &[u32], tokens: &[u32], keeping: Keeping) -> usize {
    let same = common(kept, tokens).min(tokens.len().saturating_sub(1));
    keeping.of(kept, tokens, same)
}

/// How many tokens two sequences have in common at their beginning.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Iterator for Generation<'_> {
    type Item = Result<String>;

    /// Waits for the next piece.
    fn next(&mut self) -> Option<Self::Item> {
        let backend = self.model.backend().clone();
        let piece = backend.block_on(self.next_piece()).transpose();
        if let Some(Err(_)) = piece {
            self.done = true;
        }
        piece
    }
}
