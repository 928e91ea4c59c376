//! A language model on wginfer as a server of timings: see `../../README.md` for the
//! lines it reads. Arguments: an adapter's name, the path of a GGUF file.

#![allow(clippy::expect_used, reason = "a benchmark program: what is wrong should stop it")]

#[path = "../generated.rs"]
mod generated;

use generated::generated;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};
use wginfer::Backend;
use wginfer::lm::{LanguageModel, ModelOptions};

/// "The capital of France is", and what llama.cpp answers in f32.
const PROMPT: [u32; 5] = [504, 3575, 282, 4649, 314];
const ANSWER: [u32; 8] = [7042, 30, 198, 198, 504, 2988, 314, 42];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let adapter = arguments.next().expect("an adapter's name");
    let path = arguments.next().expect("a model");
    let options =
        ModelOptions { backend: adapter.parse().expect("a name"), ..ModelOptions::default() };
    let begun = Instant::now();
    let mut model = LanguageModel::open(path, &options).expect("opens");
    let loading = begun.elapsed();
    assert!(matches!(model.backend(), Backend::Gpu(_)), "{adapter} is no GPU");
    println!("ready wginfer, {}", model.why());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, count) = line.split_once(' ').expect("a name and a number");
        let count: u32 = count.parse().expect("a number");
        println!("{}", answer(&mut model, name, count, loading));
        std::io::stdout().flush().expect("is read");
    }
}

fn answer(model: &mut LanguageModel, name: &str, count: u32, loading: Duration) -> String {
    let Some((work, Ok(size))) = name.split_once('/').map(|(work, size)| (work, size.parse()))
    else {
        return "unknown".to_string();
    };
    let run: fn(&mut LanguageModel, u32) -> Duration = match work {
        "smollm2_prefill" => prefill,
        "smollm2_decode" => decode,
        _ => return "unknown".to_string(),
    };
    if count == 0 {
        let begun = Instant::now();
        let (tokens, _) = generated(model, &PROMPT, ANSWER.len());
        let first = loading + begun.elapsed();
        let right = tokens[PROMPT.len()..] == ANSWER;
        return if right { millis(first, 1) } else { format!("wrong: {tokens:?}") };
    }
    millis((0..count).map(|_| run(model, size)).sum(), count)
}

fn millis(time: Duration, count: u32) -> String {
    (time.as_secs_f64() * 1e3 / f64::from(count)).to_string()
}

/// All tokens, and the choice of what follows the last.
fn prefill(model: &mut LanguageModel, count: u32) -> Duration {
    let tokens: Vec<u32> = (0..count).map(|i| 100 + 37 * i % 4000).collect();
    // What another prompt left in the caches is not to be used.
    generated(model, &PROMPT, 1);
    generated(model, &tokens, 1).1.0
}

/// So many tokens, one after the other, after a short prompt that does not count.
fn decode(model: &mut LanguageModel, count: u32) -> Duration {
    generated(model, &PROMPT, count as usize + 1).1.1
}
