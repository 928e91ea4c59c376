//! The two forms of answers: messages of a chat, and plain text.

use super::echo::{self, Before};
use super::places::Placed;
use super::run::Collected;
use super::tools::{self, Tools};
use super::{now, random};
use crate::lm::chat::{AnswerStream, Told, ToolCall};
use crate::lm::tokenizer::Tokenizer;
use crate::lm::{ChatTemplate, FinishReason, GenerationStats, LogProbabilities, ModelFile};
use serde_json::{Map, Value, json};

/// What thoughts are called beside `content`; OpenAI tells none, others have the name.
pub(super) const THOUGHT: &str = "reasoning_content";

/// Which form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Chat {
        /// What may be called.
        tools: Option<Tools>,
        /// Whether thoughts are told as text.
        whole: bool,
    },
    /// With what is told before each answer, where something is: its prompt.
    Text(Vec<Before>),
}

/// What is the same in all parts of an answer.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) shape: Shape,
    id: String,
    created: u64,
    model: String,
    /// How the prompt of a chat ends.
    asked: String,
}

impl Head {
    pub(super) fn new(shape: Shape, model: &str, asked: String) -> Self {
        let kind = match shape {
            Shape::Chat { .. } => "chatcmpl",
            Shape::Text(_) => "cmpl",
        };
        let id = format!("{kind}-{:016x}{:016x}", random(), random());
        Head { shape, id, created: now(), model: model.into(), asked }
    }

    fn object(&self, streamed: bool) -> &'static str {
        match (&self.shape, streamed) {
            (Shape::Chat { .. }, false) => "chat.completion",
            (Shape::Chat { .. }, true) => "chat.completion.chunk",
            (Shape::Text(_), _) => "text_completion",
        }
    }

    /// An answer, or a part of one.
    pub(super) fn wrap(&self, streamed: bool, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let mut value = json!({
            "id": self.id,
            "object": self.object(streamed),
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            value["usage"] = usage;
        }
        value
    }

    /// What takes an answer apart into what is said, thoughts and calls of tools.
    pub(super) fn parts(&self, template: Option<&ChatTemplate>) -> AnswerStream {
        match &self.shape {
            Shape::Chat { tools, whole } => {
                let tools = tools.as_ref().map(|tools| (tools.style, &tools.told[..]));
                match whole {
                    true => AnswerStream::with_thoughts(tools),
                    false => AnswerStream::new(template, tools, &self.asked),
                }
            }
            Shape::Text(_) => AnswerStream::with_thoughts(None),
        }
    }

    /// The end of an answer, and the calls that are told of it.
    pub(super) fn finish(&self, parts: &mut AnswerStream) -> (Told, Vec<ToolCall>) {
        let (rest, calls) = parts.finish();
        match &self.shape {
            Shape::Chat { tools, .. } => (rest, tools::wanted(tools.as_ref(), calls)),
            Shape::Text(_) => (rest, calls),
        }
    }

    /// All that one sequence came to.
    pub(super) fn choice(&self, index: usize, one: &Collected, file: &ModelFile) -> Value {
        let told = (&one.foreseen[..], &one.placed);
        let probabilities = self.probabilities(index, told, file.tokenizer());
        let finish = one.reason.map(finish_reason);
        match &self.shape {
            Shape::Chat { .. } => {
                let mut parts = self.parts(file.template());
                let begun = parts.push(&one.text);
                let (rest, calls) = self.finish(&mut parts);
                let (text, thought) = (begun.text + &rest.text, begun.thought + &rest.thought);
                let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
                if !thought.is_empty() {
                    message[THOUGHT] = thought.into();
                }
                if !calls.is_empty() {
                    message["tool_calls"] = tools::told(&calls, false).into();
                    if text.trim().is_empty() {
                        message["content"] = Value::Null;
                    }
                }
                json!({
                    "index": index,
                    "message": message,
                    "logprobs": probabilities,
                    "finish_reason": if calls.is_empty() { finish } else { Some("tool_calls") },
                })
            }
            Shape::Text(_) => json!({
                "index": index,
                "text": format!("{}{}", self.before(index).map_or("", |b| &b.text), one.text),
                "logprobs": probabilities,
                "finish_reason": finish,
            }),
        }
    }

    /// The part of a stream that opens a choice, where there is one: with the prompt, and
    /// its tokens where they are told.
    pub(super) fn opening(
        &self,
        index: usize,
        foreseen: &[(u32, Option<LogProbabilities>)],
        tokenizer: &Tokenizer,
    ) -> Option<Value> {
        if let Shape::Text(_) = self.shape {
            let before = self.before(index)?;
            let probabilities = self.probabilities(index, (foreseen, &Vec::new()), tokenizer);
            return Some(self.delta(index, &before.text, probabilities, Value::Null));
        }
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        Some(json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null }))
    }

    /// What is told before a text.
    fn before(&self, index: usize) -> Option<&Before> {
        match &self.shape {
            Shape::Text(before) => before.get(index),
            Shape::Chat { .. } => None,
        }
    }

    /// The part of a stream with the next text of a choice.
    pub(super) fn part(
        &self,
        index: usize,
        told: &Told,
        placed: &Placed,
        tokenizer: &Tokenizer,
    ) -> Value {
        let probabilities = self.probabilities(index, (&[], placed), tokenizer);
        let mut choice = self.delta(index, &told.text, probabilities, Value::Null);
        if !told.thought.is_empty() {
            choice["delta"] = of_told(told);
        }
        choice
    }

    /// The part of a stream with calls of tools.
    pub(super) fn called(&self, index: usize, calls: &[ToolCall]) -> Value {
        let delta = json!({ "tool_calls": tools::told(calls, true) });
        json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null })
    }

    /// The part of a stream that ends a choice.
    pub(super) fn ending(&self, index: usize, reason: FinishReason, called: bool) -> Value {
        let reason = if called { "tool_calls" } else { finish_reason(reason) }.into();
        match self.shape {
            Shape::Chat { .. } => json!({
                "index": index, "delta": {}, "logprobs": null, "finish_reason": reason,
            }),
            Shape::Text(_) => self.delta(index, "", Value::Null, reason),
        }
    }

    fn delta(&self, index: usize, text: &str, logprobs: Value, finish: Value) -> Value {
        match self.shape {
            Shape::Chat { .. } => json!({
                "index": index,
                "delta": { "content": text },
                "logprobs": logprobs,
                "finish_reason": finish,
            }),
            Shape::Text(_) => json!({
                "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish,
            }),
        }
    }

    /// Of tokens of the prompt and of the text. Null where they were not asked for.
    fn probabilities(
        &self,
        index: usize,
        (foreseen, placed): (&[(u32, Option<LogProbabilities>)], &Placed),
        tokenizer: &Tokenizer,
    ) -> Value {
        let before = self.before(index);
        let shift = before.map_or(0, |before| before.characters);
        let mut with = before.map_or(Vec::new(), |b| echo::placed(&b.text, foreseen, tokenizer));
        with.extend(placed.iter().filter_map(|(at, piece)| {
            Some((at + shift, piece.token, Some(piece.log_probabilities.as_ref()?)))
        }));
        if with.is_empty() {
            return Value::Null;
        }
        match self.shape {
            Shape::Chat { .. } => {
                let content = with.iter().filter_map(|(_, token, p)| Some((*token, (*p)?)));
                let content: Vec<Value> =
                    content.map(|(token, p)| of_chat(token, p, tokenizer)).collect();
                json!({ "content": content, "refusal": null })
            }
            Shape::Text(_) => of_text(&with, tokenizer),
        }
    }
}

/// A part of a message with thoughts, and with text where there is some.
fn of_told(told: &Told) -> Value {
    let mut delta = json!({ THOUGHT: told.thought });
    if !told.text.is_empty() {
        delta["content"] = told.text.as_str().into();
    }
    delta
}

fn of_chat(token: u32, p: &LogProbabilities, tokenizer: &Tokenizer) -> Value {
    let one = |token: u32, logarithm: f32| {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        json!({
            "token": String::from_utf8_lossy(bytes),
            "logprob": finite(logarithm),
            "bytes": bytes,
        })
    };
    let top: Vec<Value> = p.top.iter().map(|&(token, value)| one(token, value)).collect();
    let mut value = one(token, p.chosen);
    value["top_logprobs"] = top.into();
    value
}

/// Null for the first token of a prompt, before which there is nothing.
fn of_text(with: &[echo::Told<'_>], tokenizer: &Tokenizer) -> Value {
    let text = |token: u32| legible(tokenizer.token_bytes(token).unwrap_or_default());
    let tokens: Vec<String> = with.iter().map(|(_, token, _)| text(*token)).collect();
    let chosen: Vec<Option<f32>> = with.iter().map(|(.., p)| Some(finite((*p)?.chosen))).collect();
    let top = |p: Option<&LogProbabilities>| -> Value {
        let Some(p) = p else { return Value::Null };
        let mut all = Map::new();
        for &(token, value) in &p.top {
            // Of two that read the same, the first is the more likely one.
            all.entry(text(token)).or_insert_with(|| finite(value).into());
        }
        Value::Object(all)
    };
    let top: Vec<Value> = with.iter().map(|(.., p)| top(*p)).collect();
    let offsets: Vec<usize> = with.iter().map(|(at, ..)| *at).collect();
    json!({
        "tokens": tokens,
        "token_logprobs": chosen,
        "top_logprobs": top,
        "text_offset": offsets,
    })
}

/// A token as text; one that is a part of a character as OpenAI writes it.
fn legible(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let parts = bytes.iter().map(|byte| match byte {
                0x20..0x7f => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            format!("bytes:{}", parts.collect::<String>())
        }
    }
}

/// JSON has no infinity; OpenAI writes -9999 for what cannot be.
fn finite(logarithm: f32) -> f32 {
    logarithm.max(-9999.0)
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::End | FinishReason::Stop => "stop",
        FinishReason::Length | FinishReason::Context => "length",
        FinishReason::Cancelled => "cancelled",
    }
}

/// What all sequences of a request took; prompts that several share count once.
pub(super) fn usage<'a>(stats: impl Iterator<Item = &'a GenerationStats>, choices: usize) -> Value {
    let (mut prompt, mut reused, mut tokens) = (0, 0, 0);
    for (index, stats) in stats.enumerate() {
        if index % choices.max(1) == 0 {
            prompt += stats.prompt_tokens;
            reused += stats.reused_tokens;
        }
        tokens += stats.tokens;
    }
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "prompt_tokens_details": { "cached_tokens": reused },
    })
}
