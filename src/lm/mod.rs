//! Language models: decoder blocks as data, tokenizers, chat, sampling.

mod architecture;
pub mod chat;
pub mod decoder;
pub mod experts;
pub mod generate;
pub mod model;
mod rope;
pub mod sampler;
pub mod spec;
pub mod stream;
mod tensors;
pub mod tokenizer;

pub use chat::{ChatMessage, ChatTemplate};
pub use generate::{FinishReason, GenerateOptions, Generation, GenerationStats, Prompt};
pub use model::{LanguageModel, ModelOptions};
pub use sampler::{Sampler, SamplerOptions};
