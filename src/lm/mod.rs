//! Language models: decoder blocks as data, tokenizers, chat, sampling.

mod architecture;
pub mod chat;
pub mod companions;
mod continuation;
pub mod cycles;
pub mod decoder;
mod draft;
pub(crate) mod encoder;
pub mod engine;
pub mod experts;
mod file;
pub mod generate;
mod grammar;
pub mod heads;
mod keys;
mod known;
mod latent;
mod layers;
mod limits;
pub mod lora;
pub mod model;
pub mod parts;
mod perplexity;
mod probability;
mod ranker;
mod reading;
pub mod recurrent;
mod relative;
mod rope;
pub mod sampler;
pub mod snapshot;
pub mod spec;
pub mod stop;
pub mod stream;
pub mod streams;
pub mod switch;
mod tensors;
pub mod tokenizer;
mod xielu;

pub use chat::{ChatMessage, ChatTemplate};
pub use continuation::Piece;
pub use file::ModelFile;
pub use generate::{
    Canceller, Draft, FinishReason, GenerateOptions, Generation, GenerationStats, Prompt, WhenFull,
};
pub use grammar::{Grammar, GrammarSource};
pub use lora::Lora;
pub use model::{LanguageModel, ModelOptions};
pub use perplexity::Perplexity;
pub use probability::LogProbabilities;
pub use sampler::{Sampler, SamplerOptions};
pub use snapshot::Snapshot;
