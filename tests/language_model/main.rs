//! Language models, on a tiny one with random weights: caches that grow, steps
//! that make nothing, devices that are lost, weights on their way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod choosing;
mod logged;
#[path = "../support/mod.rs"]
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use support::backends::{self, Named};
use support::tiny_model::TinyModel;
use wginfer::formats::gguf::GgufFile;
use wginfer::gpu::DeviceOptions;
use wginfer::lm::{GenerateOptions, LanguageModel, ModelOptions, Prompt};
use wginfer::{Backend, DType, ErrorKind, Result};

type Body = fn(&Named) -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("decoding_makes_nothing", decoding_makes_nothing),
    ("caches_grow_or_stay", caches_grow_or_stay),
    ("a_device_chooses_as_the_host_does", choosing::as_the_host),
    ("a_logit_that_is_no_number_is_an_error", choosing::no_number),
    ("a_lost_device_is_opened_again", a_lost_device_is_opened_again),
    ("progress_ends_at_the_total", progress_ends_at_the_total),
    ("every_pass_can_be_left_out", every_pass_can_be_left_out),
    ("a_model_too_large_is_refused_at_once", a_model_too_large),
];

/// Longer than one chunk's smallest bucket.
const PROMPT: [u32; 11] = [65, 66, 250, 3, 4, 5, 77, 78, 79, 80, 81];

/// A context whose caches are large beside everything else of the model.
const LONG: usize = 1 << 16;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for (name, body) in BODIES {
            let backend = backend.clone();
            let name = format!("language_model::{}::{name}", backend.name);
            trials.push(Trial::test(name, move || body(&backend)));
        }
    }
    trials.push(Trial::test("defaults_are_logged_once", logged::defaults));
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

fn fresh(backend: &Named) -> Result<Named, Failed> {
    own(backend, &DeviceOptions::default())
}

fn file(model: &TinyModel) -> Result<GgufFile> {
    GgufFile::parse(model.bytes()?, "tiny.gguf")
}

fn load(backend: &Named, model: &TinyModel, options: &ModelOptions) -> Result<LanguageModel> {
    let backend = &backend.backend;
    backend.block_on(LanguageModel::load(file(model)?, backend, options, &mut |_, _| {}))
}

fn forward(model: &mut LanguageModel, tokens: &[u32], past: usize) -> Result<Vec<f32>> {
    let backend = model.backend().clone();
    backend.block_on(model.forward(tokens, past))
}

fn reserve(model: &mut LanguageModel, tokens: usize) -> Result<()> {
    let backend = model.backend().clone();
    backend.block_on(model.reserve(tokens))
}

fn generate(model: &mut LanguageModel, count: usize) -> Result<Vec<u32>> {
    let options =
        GenerateOptions { max_tokens: count, ignore_end: true, ..GenerateOptions::default() };
    let mut generation = model.generate(Prompt::Tokens(PROMPT.into()), &options)?;
    for piece in &mut generation {
        piece?;
    }
    Ok(generation.tokens()[PROMPT.len()..].to_vec())
}

/// Over ten steps of one token: no plan, pipeline, bind group or buffer is made,
/// and each step is one submission.
fn decoding_makes_nothing(backend: &Named) -> Result<(), Failed> {
    let backend = fresh(backend)?;
    let mut model = load(&backend, &TinyModel::default(), &ModelOptions::default())?;
    forward(&mut model, &PROMPT, 0)?;
    let mut past = PROMPT.len();
    let mut step = |model: &mut LanguageModel| {
        past += 1;
        forward(model, &[past as u32], past - 1)
    };
    step(&mut model)?;
    let made = |model: &LanguageModel| {
        let counters = model.session().counters();
        let device = match model.backend() {
            Backend::Gpu(gpu) => gpu.counters(),
            Backend::Cpu => Default::default(),
        };
        ((device, counters.plans), counters)
    };
    let (before, counted) = made(&model);
    for _ in 0..10 {
        step(&mut model)?;
    }
    let (after, now) = made(&model);
    assert_eq!(after, before);
    assert_eq!(now.runs - counted.runs, 10);
    let submissions = if backend.is_gpu() { 10 } else { 0 };
    assert_eq!(now.submissions - counted.submissions, submissions);
    Ok(())
}

/// With too little memory for larger caches the model goes on with those it has.
fn caches_grow_or_stay(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: LONG, ..TinyModel::default() };
    let free = fresh(backend)?;
    let all = ModelOptions { context: Some(LONG), ..ModelOptions::default() };
    let mut model = load(&free, &tiny, &all)?;
    let first = forward(&mut model, &PROMPT, 0)?;
    let second = forward(&mut model, &[7], PROMPT.len())?;
    let states = model.session().memory().states;
    reserve(&mut model, 400)?;
    let third = forward(&mut model, &[8], PROMPT.len() + 1)?;
    let Backend::Gpu(gpu) = &free.backend else { return Ok(()) };
    let most = gpu.memory().total_peak;
    drop(model);
    // Each of the four caches takes a quarter of this in the end, 4 MiB; what is
    // only taken while loading is less than one.
    let grown = states * (LONG / 256) as u64;
    for quarters in [0, 1, 2, 4] {
        let budget = most + grown * quarters / 4;
        let options = DeviceOptions { memory_budget: Some(budget), ..DeviceOptions::default() };
        let tight = own(backend, &options)?;
        let mut model = load(&tight, &tiny, &all)?;
        assert_eq!(forward(&mut model, &PROMPT, 0)?, first);
        let grows = reserve(&mut model, LONG);
        if quarters < 4 {
            let error = grows.expect_err("there is no room for this");
            assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
            assert!(error.to_string().contains("memory_budget"), "{error}");
            assert_eq!(model.session().memory().states, states);
        } else {
            grows?;
        }
        assert_eq!(forward(&mut model, &[7], PROMPT.len())?, second, "{quarters}");
        reserve(&mut model, 400)?;
        assert_eq!(forward(&mut model, &[8], PROMPT.len() + 1)?, third, "{quarters}");
    }
    Ok(())
}

fn a_lost_device_is_opened_again(backend: &Named) -> Result<(), Failed> {
    let backend = fresh(backend)?;
    let mut model = load(&backend, &TinyModel::default(), &ModelOptions::default())?;
    let tokens = generate(&mut model, 8)?;
    assert_eq!(tokens.len(), 8);
    if let Backend::Gpu(gpu) = &backend.backend {
        gpu.lose_for_test();
        let error = generate(&mut model, 8).expect_err("the device is lost");
        assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}");
    }
    model.rebuild_blocking()?;
    assert_eq!(generate(&mut model, 8)?, tokens);
    Ok(())
}

/// On a device; on the CPU weights stay in the file's map.
fn progress_ends_at_the_total(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { weights: DType::Q8_0, ..TinyModel::default() };
    let file = file(&tiny)?;
    let weights: u64 = file.tensors().filter_map(|tensor| tensor.bytes()).sum();
    let mut told = Vec::new();
    let mut progress = |done: u64, total: u64| told.push((done, total));
    let options = ModelOptions::default();
    let model = LanguageModel::load(file, &backend.backend, &options, &mut progress);
    let context = backend.backend.block_on(model)?.context();
    if !backend.is_gpu() {
        assert_eq!(told, []);
        return Ok(());
    }
    // Cosines and sines in F32 for the eight pairs of a head come on top.
    let total = weights + (context * 8 * 2 * 4) as u64;
    assert!(told.iter().all(|(done, all)| *all == total && *done <= total), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "{told:?}");
    assert_eq!(told.last(), Some(&(total, total)));
    Ok(())
}

/// The graph may be fused and memory shared: the tokens stay the same.
fn every_pass_can_be_left_out(backend: &Named) -> Result<(), Failed> {
    let mut runs = vec![Vec::new()];
    runs.extend(wginfer::passes::PASSES.iter().map(|pass| vec![pass.name]));
    runs.push(wginfer::passes::PASSES.iter().map(|pass| pass.name).collect());
    let mut all = Vec::new();
    for left_out in &runs {
        let disabled_passes = left_out.iter().map(|name| name.to_string()).collect();
        let options =
            ModelOptions { disabled_passes, cache: DType::F32, ..ModelOptions::default() };
        let mut model = load(backend, &TinyModel::default(), &options)?;
        let tokens = generate(&mut model, 6)?;
        all.push((tokens, model.session().memory()));
    }
    for (left_out, (tokens, _)) in runs.iter().zip(&all) {
        assert_eq!(tokens, &all[0].0, "without {left_out:?}");
    }
    Ok(())
}

/// Nothing is uploaded before it is known that all of it may fit.
fn a_model_too_large(backend: &Named) -> Result<(), Failed> {
    let budget = 300_000;
    let options = DeviceOptions { memory_budget: Some(budget), ..DeviceOptions::default() };
    let tight = own(backend, &options)?;
    let Backend::Gpu(gpu) = &tight.backend else { return Ok(()) };
    let file = file(&TinyModel::default())?;
    let weights: u64 = file.tensors().filter_map(|tensor| tensor.bytes()).sum();
    assert!(weights > budget);
    let mut told = 0;
    let mut progress = |_, _| told += 1;
    let options = ModelOptions::default();
    let model = LanguageModel::load(file, &tight.backend, &options, &mut progress);
    let error = gpu.block_on(model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let message = error.to_string();
    assert!(message.contains("the model (") && message.contains("memory_budget"), "{message}");
    assert!(message.contains(&budget.to_string()), "{message}");
    assert_eq!((told, gpu.counters().buffers), (0, 0));
    Ok(())
}
