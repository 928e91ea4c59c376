//! Generating text, piece by piece.

use super::chat::ChatMessage;
use super::model::LanguageModel;
use super::sampler::{Sampler, SamplerOptions};
use super::stream::Utf8Stream;
use super::tokenizer::EncodeOptions;
use crate::error::{Error, Result};
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
    /// Tokens to continue.
    Tokens(Vec<u32>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Prompt::Ask(text.into())
    }
}

/// How to generate.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Stop after so many tokens.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// Go on after a token that ends the text.
    pub ignore_end: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions { max_tokens: 256, sampler: SamplerOptions::default(), ignore_end: false }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended the text.
    End,
    /// `max_tokens` were generated.
    Length,
    /// The context is full.
    Context,
}

/// What a generation took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationStats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub tokens: usize,
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
    /// Prompt tokens per second.
    pub fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill)
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
#[derive(Debug)]
pub struct Generation<'m> {
    model: &'m mut LanguageModel,
    sampler: Sampler,
    stream: Utf8Stream,
    options: GenerateOptions,
    /// The prompt and everything generated.
    tokens: Vec<u32>,
    /// How many of them are in the cache.
    cached: usize,
    stats: GenerationStats,
    done: bool,
}

impl LanguageModel {
    /// The tokens of a prompt.
    ///
    /// # Errors
    /// If the prompt is empty, or a conversation is given to a model without
    /// a chat template.
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let rendered = |messages: &[ChatMessage]| {
            let template = self.template().ok_or_else(|| {
                Error::unsupported("chat", "the model's file has no chat template; give plain text")
            })?;
            let text = template.render(messages, true)?;
            self.tokenizer().encode(&text, EncodeOptions::PROMPT)
        };
        let empty = || Error::input("prompt", "some text", "nothing");
        let plain = EncodeOptions { eos: Some(false), ..EncodeOptions::TEXT };
        match prompt {
            Prompt::Ask(text) | Prompt::Text(text) if text.is_empty() => Err(empty()),
            Prompt::Ask(text) if self.template().is_some() => rendered(&[ChatMessage::user(text)]),
            Prompt::Ask(text) | Prompt::Text(text) => self.tokenizer().encode(text, plain),
            Prompt::Chat(messages) if messages.is_empty() => Err(empty()),
            Prompt::Chat(messages) => rendered(messages),
            Prompt::Tokens(tokens) if tokens.is_empty() => Err(empty()),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
        }
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
        let tokens = self.prompt_tokens(&prompt.into())?;
        if tokens.len() > self.context() {
            return Err(Error::Limit {
                what: "the prompt".into(),
                limit_name: "context (tokens)".into(),
                needed: tokens.len() as u64,
                limit: self.context() as u64,
            });
        }
        let sampler = Sampler::new(options.sampler.clone())?;
        let stats = GenerationStats { prompt_tokens: tokens.len(), ..Default::default() };
        Ok(Generation {
            model: self,
            sampler,
            stream: Utf8Stream::new(),
            options: options.clone(),
            tokens,
            cached: 0,
            stats,
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
        &self.tokens
    }

    /// The next piece of text; `None` at the end. A piece may be empty while a
    /// character is still incomplete.
    ///
    /// # Errors
    /// If the device fails, or the logits are not numbers.
    pub async fn next_piece(&mut self) -> Result<Option<String>> {
        if self.done {
            return Ok(None);
        }
        if self.stats.tokens >= self.options.max_tokens {
            return Ok(self.finish(FinishReason::Length));
        }
        if self.tokens.len() > self.model.context() {
            return Ok(self.finish(FinishReason::Context));
        }
        let token = self.next_token().await?;
        if !self.options.ignore_end && self.model.tokenizer().is_end(token) {
            return Ok(self.finish(FinishReason::End));
        }
        self.tokens.push(token);
        self.stats.tokens += 1;
        Ok(Some(self.stream.push(self.model.tokenizer().token_bytes(token)?)))
    }

    async fn next_token(&mut self) -> Result<u32> {
        let begun = Instant::now();
        let first = self.cached == 0;
        if first {
            let room = self.tokens.len().saturating_add(self.options.max_tokens);
            self.model.reserve(room.min(self.model.context())).await?;
        }
        let logits = self.model.forward(&self.tokens[self.cached..], self.cached).await?;
        self.cached = self.tokens.len();
        let computed = begun.elapsed();
        let token = self.sampler.sample(&logits, &self.tokens)?;
        if first {
            self.stats.prefill = computed;
            self.stats.first_token = begun.elapsed();
        } else {
            self.stats.decode += begun.elapsed();
            self.stats.steps += 1;
        }
        Ok(token)
    }

    /// Ends with what the stream still holds.
    fn finish(&mut self, reason: FinishReason) -> Option<String> {
        self.done = true;
        self.stats.finish = Some(reason);
        Some(self.stream.finish()).filter(|rest| !rest.is_empty())
    }
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
