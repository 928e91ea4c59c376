//! Language models: decoder blocks as data, tokenizers, chat, sampling.

pub mod chat;
pub mod decoder;
pub mod generate;
pub mod model;
pub mod sampler;
pub mod spec;
pub mod stream;
pub mod tokenizer;

pub use generate::{FinishReason, GenerateOptions, Generation, GenerationStats, Prompt};
pub use model::{LanguageModel, ModelOptions};
