//! Many sequences at once: each gets what it gets alone, whatever the others
//! do, and what is around them: prefixes, stops, losses, threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod ahead;
mod alone;
mod endings;
#[cfg(feature = "grammar")]
mod guided;
mod limits;
mod reading;
mod sharing;
mod states;
#[path = "../support/mod.rs"]
mod support;
mod threads;

use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::HashMap;
use support::backends::{self, Named};
use support::tiny_model::TinyModel;
use wginfer::formats::gguf::GgufFile;
use wginfer::gpu::DeviceOptions;
use wginfer::lm::engine::{Engine, EngineOptions, Event, Request, SequenceId, Work};
use wginfer::lm::{
    FinishReason, GenerateOptions, GenerationStats, LanguageModel, ModelOptions, Piece, Prompt,
};
use wginfer::{DType, Result};

type Body = fn(&Named) -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("together_as_alone", alone::together_as_alone),
    ("eight_together_as_alone", alone::eight_at_once),
    ("every_architecture_together_as_alone", alone::every_architecture),
    ("caches_grow_under_others", alone::caches_grow),
    ("decoding_makes_nothing", alone::decoding_makes_nothing),
    ("prompts_and_tokens_take_turns", alone::turns),
    ("a_prefix_is_not_computed_again", sharing::prefixes),
    ("a_beginning_that_prompts_share_stays", sharing::systems),
    ("vectors_leave_chats_alone", sharing::vectors_beside_chats),
    ("a_short_text_waits_for_no_others", sharing::short_texts),
    ("a_full_slot_is_left_alone", sharing::full_slots),
    ("a_model_keeps_its_last_sequence", sharing::one_after_another),
    ("stops_end_a_text", endings::stops),
    ("probabilities_and_biases", endings::probabilities),
    ("nothing_ends_too_early", endings::least),
    ("a_generation_is_cancelled", endings::cancelled_generation),
    ("a_long_prompt_is_cancelled", endings::cancelled_prompt),
    ("cancelling_frees_a_slot", limits::cancelling),
    ("a_full_context_ends_a_text", limits::context),
    ("a_full_queue_is_an_error", limits::queue),
    ("no_memory_fails_one", limits::memory),
    ("a_device_lost_in_growing_comes_back", limits::lost_in_growing),
    ("a_lost_device_comes_back", limits::lost),
    ("hidden_states_are_what_the_head_reads", sharing::hidden_states),
    ("threads_share_an_engine", threads::threads),
    ("a_worker_that_panics_tells_all", threads::panics),
    ("a_worker_recovers", threads::recovers),
    ("a_state_goes_on_or_begins_anew", states::prefixes),
    ("a_state_goes_on_in_pieces", states::pieces),
    ("a_state_is_computed_anew_when_full", states::forgetting),
    ("a_state_takes_no_draft", states::drafts),
    ("eight_that_are_read_as_alone", reading::eight_at_once),
    ("caches_grow_beside_what_was_read", reading::growing),
    ("a_dropped_step_reads_again", reading::dropped),
    ("what_was_read_is_kept_as_a_whole", reading::prefixes),
    ("cancelling_what_is_read", reading::cancelling),
    ("writing_makes_nothing", reading::decoding_makes_nothing),
    ("what_cannot_be_where_prompts_are_read", reading::refusals),
    ("a_draft_changes_no_text", ahead::greedy),
    ("a_draft_changes_no_chances", ahead::drawn),
    ("a_draft_of_other_tokens_is_refused_by_an_engine", ahead::strange),
    ("a_draft_comes_back_with_its_device", ahead::lost),
];

#[cfg(feature = "grammar")]
const GUIDED: &[(&str, Body)] = &[
    ("texts_follow_grammars", guided::grammars),
    ("a_call_has_the_form_of_its_model", guided::calls),
    ("a_full_context_is_forgotten_in_part", guided::forgetting),
    ("drafts_change_nothing", guided::drafts),
    ("a_draft_of_other_tokens_is_refused", guided::strange_drafts),
];
#[cfg(not(feature = "grammar"))]
const GUIDED: &[(&str, Body)] = &[];

/// What takes too long where whole models do.
const LONG: &[(&str, Body)] = &[("smollm2_together_as_alone", alone::smollm2)];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        let long = if backend.is_slow() { &[] } else { LONG };
        for (name, body) in BODIES.iter().chain(GUIDED).chain(long) {
            let backend = backend.clone();
            let name = format!("engine::{}::{name}", backend.name);
            trials.push(Trial::test(name, move || body(&backend)));
        }
    }
    backends::conclude(&arguments, trials);
}

/// A backend of its own: counters, budgets and losses are the device's.
fn own(backend: &Named, options: &DeviceOptions) -> Result<Named, Failed> {
    if !backend.is_gpu() {
        return Ok(backend.clone());
    }
    let found = backends::gpus(options).into_iter().find(|other| other.name == backend.name);
    found.ok_or_else(|| "the adapter is gone".into())
}

fn file(model: &TinyModel) -> Result<GgufFile> {
    GgufFile::parse(model.bytes()?, "tiny.gguf")
}

/// Caches in f32, so that what rounds is only arithmetic.
fn model_options() -> ModelOptions {
    ModelOptions { cache: DType::F32, ..ModelOptions::default() }
}

fn options(slots: usize) -> EngineOptions {
    EngineOptions { model: model_options(), slots, queue: 16 }
}

fn engine(backend: &Named, slots: usize) -> Result<Engine> {
    engine_of(backend, file(&TinyModel::default())?, &options(slots))
}

fn engine_of(backend: &Named, file: GgufFile, options: &EngineOptions) -> Result<Engine> {
    let runner = &backend.backend;
    runner.block_on(Engine::load(file, runner, options, &mut |_, _| {}))
}

fn model(backend: &Named) -> Result<LanguageModel> {
    model_of(backend, file(&TinyModel::default())?)
}

fn model_of(backend: &Named, file: GgufFile) -> Result<LanguageModel> {
    let runner = &backend.backend;
    runner.block_on(LanguageModel::load(file, runner, &model_options(), &mut |_, _| {}))
}

/// What a sequence came to.
#[derive(Debug, Clone, Default)]
struct Answer {
    pieces: Vec<Piece>,
    text: String,
    reason: Option<FinishReason>,
    stats: GenerationStats,
    vector: Vec<f32>,
    failure: Option<String>,
}

impl Answer {
    fn tokens(&self) -> Vec<u32> {
        self.pieces.iter().map(|piece| piece.token).collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Piece(piece) => {
                self.text.push_str(&piece.text);
                self.pieces.push(piece);
            }
            Event::Finished { rest, reason, stats } => {
                self.text.push_str(&rest);
                (self.reason, self.stats) = (Some(reason), *stats);
            }
            Event::Embedded(vector) => self.vector = vector,
            Event::Foreseen(_) => unreachable!("no prompt is told here"),
            Event::Ranked(_) => unreachable!("nothing is ranked here"),
            Event::Failed(error) => self.failure = Some(error.to_string()),
        }
    }
}

fn submit(engine: &mut Engine, tokens: &[u32], options: &GenerateOptions) -> Result<SequenceId> {
    engine.submit(Request { tokens: tokens.into(), work: Work::Generate(options.clone()) })
}

fn step(engine: &mut Engine) -> Result<Vec<(SequenceId, Event)>> {
    let backend = engine.backend().clone();
    backend.block_on(engine.step())
}

/// Steps until nothing is left to do.
fn finish(engine: &mut Engine) -> Result<HashMap<SequenceId, Answer>> {
    let mut answers: HashMap<SequenceId, Answer> = HashMap::new();
    while !engine.is_idle() {
        for (id, event) in step(engine)? {
            answers.entry(id).or_default().take(event);
        }
    }
    Ok(answers)
}

/// One sequence by itself.
fn ask(engine: &mut Engine, tokens: &[u32], options: &GenerateOptions) -> Result<Answer> {
    let id = submit(engine, tokens, options)?;
    Ok(finish(engine)?.remove(&id).unwrap_or_default())
}

/// What a model with one sequence generates.
fn alone(model: &mut LanguageModel, tokens: &[u32], options: &GenerateOptions) -> Result<Vec<u32>> {
    let mut generation = model.generate(Prompt::Tokens(tokens.into()), options)?;
    for piece in &mut generation {
        piece?;
    }
    Ok(generation.tokens()[tokens.len()..].to_vec())
}

/// Greedy, and not ended by the model.
fn plain(count: usize) -> GenerateOptions {
    GenerateOptions { max_tokens: count, ignore_end: true, ..GenerateOptions::default() }
}

/// Prompts of ordinary tokens, each of another length and different from its
/// first token on.
fn prompt(seed: usize, length: usize) -> Vec<u32> {
    (0..length).map(|i| ((seed * 37 + i * i * 11 + i * 5 + 1) % 250) as u32).collect()
}
