//! What is asked of an engine, and what it tells.

use crate::error::Error;
use crate::lm::continuation::Piece;
use crate::lm::generate::{FinishReason, GenerateOptions, GenerationStats};
use crate::lm::model::ModelOptions;
use crate::lm::probability::LogProbabilities;
use std::sync::Arc;

/// How an engine is made.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The model's: backend, caches, the longest sequence.
    pub model: ModelOptions,
    /// How many sequences run at the same time, 1 to 256. Each has its part of
    /// the caches.
    pub slots: usize,
    /// How many more may wait for a slot.
    pub queue: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions { model: ModelOptions::default(), slots: 4, queue: 64 }
    }
}

/// The number of a sequence; none is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub(super) u64);

/// What is asked of an engine.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt; see [`ModelFile::prompt_tokens`](crate::lm::ModelFile::prompt_tokens).
    pub tokens: Vec<u32>,
    /// What is wanted.
    pub work: Work,
}

/// What is wanted of a sequence.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one for each sequence that is submitted")]
pub enum Work {
    /// Text that follows it.
    Generate(GenerateOptions),
    /// The same, and before it how likely the prompt's own tokens are
    /// ([`Event::Foreseen`]), with as many of the most likely ones as the options'
    /// `log_probabilities` say. All of the prompt is computed, whatever a slot keeps of
    /// it, and `max_tokens` of 0 is what only asks about the prompt.
    Echo(GenerateOptions),
    /// Its vector: of what the model's head would read at each of its tokens the mean, or
    /// what the file says; of an encoder all that its file says, of length 1.
    Embed,
    /// How a ranker judges it: a query and a document, see
    /// [`ModelFile::pair_tokens`](crate::lm::ModelFile::pair_tokens).
    Rank,
}

/// What became of a sequence in a step.
#[derive(Debug, Clone)]
pub enum Event {
    /// The tokens of the prompt, and how likely each was after those before it; nothing
    /// of the first one. Comes before the first token of a text.
    Foreseen(Vec<(u32, Option<LogProbabilities>)>),
    /// A token was generated.
    Piece(Piece),
    /// The text ended; the last event of a sequence.
    Finished {
        /// Text that was held back.
        rest: String,
        /// Why it ended.
        reason: FinishReason,
        /// What it took.
        stats: Box<GenerationStats>,
    },
    /// The vector that was asked for, as long as the model is wide; the last
    /// event of a sequence.
    Embedded(Vec<f32>),
    /// What a ranker's classifier says: a number for each of its labels, the first of how
    /// well the document answers; the last event of a sequence.
    Ranked(Vec<f32>),
    /// It could not be computed; the last event of a sequence.
    Failed(Arc<Error>),
}

impl Event {
    /// Whether nothing more comes of the sequence.
    pub fn is_last(&self) -> bool {
        !matches!(self, Event::Piece(_) | Event::Foreseen(_))
    }
}

/// What an engine has done, and what it has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Sequences in slots.
    pub running: usize,
    /// Sequences that wait for a slot.
    pub waiting: usize,
    /// Sequences that ended, in whatever way.
    pub ended: u64,
    /// Steps in which prompts were computed.
    pub prompt_steps: u64,
    /// Steps of one token for each sequence.
    pub decode_steps: u64,
    /// Tokens of prompts that had to be computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were in the caches already.
    pub reused_tokens: u64,
    /// Tokens generated.
    pub tokens: u64,
    /// Tokens that a draft proposed and that were looked at.
    pub drafted: u64,
    /// Those of them that were taken.
    pub accepted: u64,
}
