//! What a language model goes on with, and what it took.

use std::time::Duration;
use wginfer::lm::{GenerateOptions, LanguageModel, Prompt, SamplerOptions};

/// The tokens, what the prompt took and what the steps after it took.
pub fn generated(
    model: &mut LanguageModel,
    prompt: &[u32],
    count: usize,
) -> (Vec<u32>, (Duration, Duration)) {
    let options = GenerateOptions {
        max_tokens: count,
        ignore_end: true,
        sampler: SamplerOptions::default(),
        ..GenerateOptions::default()
    };
    let prompt = Prompt::Tokens(prompt.to_vec());
    let mut generation = model.generate(prompt, &options).expect("starts");
    for piece in &mut generation {
        piece.expect("goes on");
    }
    let stats = generation.stats();
    (generation.tokens().to_vec(), (stats.first_token, stats.decode))
}
