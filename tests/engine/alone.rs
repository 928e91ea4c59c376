//! What a sequence gets does not depend on who is computed with it.

use crate::support::backends::Named;
use crate::support::demo_model;
use crate::*;
use wginfer::Backend;
use wginfer::lm::SamplerOptions;
use wginfer::lm::spec::architectures;

/// Lengths from one token to more than a chunk of a software adapter.
const LENGTHS: [usize; 8] = [1, 2, 7, 8, 9, 33, 64, 150];

/// Greedy, drawn of a few tokens, and drawn with what needs the logits of all, by turns.
fn varied(seed: usize) -> GenerateOptions {
    let mut options = plain(12 + seed);
    let penalty = [None, Some(1.0), Some(1.1)][seed % 3];
    if let Some(repetition_penalty) = penalty {
        options.sampler = SamplerOptions {
            temperature: 0.9,
            top_k: 40,
            top_p: 0.95,
            repetition_penalty,
            seed: seed as u64,
            ..SamplerOptions::default()
        };
    }
    options
}

/// Eight sequences on three slots, so that some join when others leave.
pub fn together_as_alone(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 3)?;
    let mut submitted = Vec::new();
    for (seed, &length) in LENGTHS.iter().enumerate() {
        let tokens = prompt(seed, length);
        submitted.push((submit(&mut engine, &tokens, &varied(seed))?, tokens, varied(seed)));
    }
    let answers = finish(&mut engine)?;
    for (id, tokens, options) in submitted {
        // A model of its own each: nothing is left of an earlier sequence.
        let wanted = alone(&mut model(backend)?, &tokens, &options)?;
        assert_eq!(answers[&id].tokens(), wanted, "a prompt of {}", tokens.len());
        assert_eq!(answers[&id].reason, Some(FinishReason::Length));
        assert_eq!(answers[&id].stats.prompt_tokens, tokens.len());
        assert_eq!(answers[&id].stats.tokens, wanted.len());
    }
    Ok(())
}

/// Eight sequences of as many lengths in the same steps, with caches of either type.
pub fn eight_at_once(backend: &Named) -> Result<(), Failed> {
    let runner = &backend.backend;
    let load = |cache| ModelOptions { cache, ..ModelOptions::default() };
    for cache in [DType::F32, ModelOptions::default().cache] {
        let options = EngineOptions { model: load(cache), slots: 8, queue: 0 };
        let mut engine = engine_of(backend, file(&TinyModel::default())?, &options)?;
        // The later its prompt is computed, the fewer tokens follow it.
        let all: Vec<(Vec<u32>, GenerateOptions)> =
            (0..8).map(|seed| (prompt(seed, LENGTHS[seed]), plain(40 - seed))).collect();
        let ids: Result<Vec<_>> =
            all.iter().map(|(tokens, options)| submit(&mut engine, tokens, options)).collect();
        let (mut answers, mut together) = (HashMap::<SequenceId, Answer>::new(), 0);
        while !engine.is_idle() {
            let told = step(&mut engine)?;
            let pieces = told.iter().filter(|(_, event)| matches!(event, Event::Piece(_)));
            together += usize::from(pieces.count() == 8);
            told.into_iter().for_each(|(id, event)| answers.entry(id).or_default().take(event));
        }
        assert!(together > 8, "{together} steps of eight");
        for (id, (tokens, options)) in ids?.iter().zip(&all) {
            let parsed = file(&TinyModel::default())?;
            let (options_of, mut untold) = (load(cache), |_, _| {});
            let model = LanguageModel::load(parsed, runner, &options_of, &mut untold);
            let wanted = alone(&mut runner.block_on(model)?, tokens, options)?;
            assert_eq!(answers[id].tokens(), wanted, "a prompt of {}, {cache:?}", tokens.len());
        }
    }
    Ok(())
}

/// Windows, soft caps, norms and fused weights, over slots.
pub fn every_architecture(backend: &Named) -> Result<(), Failed> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders");
    // Forms whose blocks differ from each other, or see less than all.
    let forms = ["gemma4--experts", "llama4--chunks", "nemotron_h_moe--narrow", "t5--every"];
    let names = architectures().chain(forms).enumerate();
    for (_, name) in names.filter(|(i, _)| backend.takes(*i, 8)) {
        let path = folder.join(format!("{name}.gguf"));
        let open = || wginfer::formats::gguf::open(&path);
        let mut engine = engine_of(backend, open()?, &options(2))?;
        let vocabulary = engine.file().spec().vocabulary;
        let tokens = |seed, length| -> Vec<u32> {
            prompt(seed, length).iter().map(|token| token % vocabulary as u32).collect()
        };
        let file = engine.file().clone();
        let prompts = [tokens(1, 3), tokens(2, 40), tokens(3, 11)]
            .map(|tokens| file.prompt_tokens(&Prompt::Tokens(tokens)));
        let prompts = prompts.into_iter().collect::<Result<Vec<_>>>()?;
        let ids: Result<Vec<_>> =
            prompts.iter().map(|tokens| submit(&mut engine, tokens, &plain(10))).collect();
        let answers = finish(&mut engine)?;
        let mut model = model_of(backend, open()?)?;
        for (id, tokens) in ids?.iter().zip(&prompts) {
            let wanted = alone(&mut model, tokens, &plain(10))?;
            assert_eq!(answers[id].failure, None, "{name}, {}", tokens.len());
            assert_eq!(answers[id].tokens(), wanted, "{name}, {}", tokens.len());
        }
    }
    Ok(())
}

/// A real model, its weights quantised.
pub fn smollm2(backend: &Named) -> Result<(), Failed> {
    let open = || wginfer::formats::gguf::open(demo_model::path()?).map_err(Failed::from);
    let mut engine = engine_of(backend, open()?, &options(3))?;
    let mut model = model_of(backend, open()?)?;
    let asked = ["Why is the sky blue?", "Count to five.", "Name a river in Egypt."];
    let prompts: Result<Vec<_>> =
        asked.iter().map(|text| model.prompt_tokens(&Prompt::from(*text))).collect();
    let prompts = prompts?;
    let ids: Result<Vec<_>> =
        prompts.iter().map(|tokens| submit(&mut engine, tokens, &plain(6))).collect();
    let answers = finish(&mut engine)?;
    for (id, tokens) in ids?.iter().zip(&prompts) {
        assert_eq!(answers[id].tokens(), alone(&mut model, tokens, &plain(6))?);
        println!("{}: {:?}", backend.name, answers[id].text);
    }
    Ok(())
}

/// A long sequence makes all caches grow while a short one is in the middle.
pub fn caches_grow(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 2048, ..TinyModel::default() };
    let mut engine = engine_of(backend, file(&tiny)?, &options(2))?;
    let states = engine.session().memory().states;
    let short = submit(&mut engine, &prompt(1, 5), &plain(30))?;
    let mut answers: HashMap<SequenceId, Answer> = HashMap::new();
    for _ in 0..10 {
        for (id, event) in step(&mut engine)? {
            answers.entry(id).or_default().take(event);
        }
    }
    let long = submit(&mut engine, &prompt(2, 300), &plain(20))?;
    for (id, mut answer) in finish(&mut engine)? {
        let before = answers.entry(id).or_default();
        before.pieces.append(&mut answer.pieces);
    }
    assert!(engine.session().memory().states > states);
    let mut model = model_of(backend, file(&tiny)?)?;
    assert_eq!(answers[&short].tokens(), alone(&mut model, &prompt(1, 5), &plain(30))?);
    assert_eq!(answers[&long].tokens(), alone(&mut model, &prompt(2, 300), &plain(20))?);
    Ok(())
}

/// Once a number of sequences was met, a step of so many makes no plan,
/// pipeline, bind group or buffer, and is one submission.
pub fn decoding_makes_nothing(backend: &Named) -> Result<(), Failed> {
    let backend = own(backend, &DeviceOptions::default())?;
    let mut engine = engine(&backend, 4)?;
    for seed in 0..3 {
        submit(&mut engine, &prompt(seed, 9), &plain(40))?;
    }
    let decoding = |engine: &Engine| engine.counters().decode_steps;
    while decoding(&engine) < 3 {
        step(&mut engine)?;
    }
    let made = |engine: &Engine| {
        let counters = engine.session().counters();
        let device = match engine.backend() {
            Backend::Gpu(gpu) => gpu.counters(),
            Backend::Cpu => Default::default(),
        };
        ((device, counters.plans), counters)
    };
    let (before, counted) = made(&engine);
    for _ in 0..10 {
        // All three in the same step.
        let pieces = step(&mut engine)?;
        assert_eq!(pieces.len(), 3, "{pieces:?}");
    }
    let (after, now) = made(&engine);
    assert_eq!(after, before);
    assert_eq!(now.runs - counted.runs, 10);
    let submissions = if backend.is_gpu() { 10 } else { 0 };
    assert_eq!(now.submissions - counted.submissions, submissions);
    Ok(())
}

/// A long prompt does not hold up those that are generating.
pub fn turns(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 2048, ..TinyModel::default() };
    let mut engine = engine_of(backend, file(&tiny)?, &options(2))?;
    let first = submit(&mut engine, &prompt(1, 4), &plain(60))?;
    for _ in 0..4 {
        step(&mut engine)?;
    }
    submit(&mut engine, &prompt(2, 900), &plain(2))?;
    let before = engine.counters();
    let mut pieces = 0;
    while engine.counters().prompt_steps < before.prompt_steps + 2 {
        pieces += step(&mut engine)?.iter().filter(|(id, _)| *id == first).count() as u64;
    }
    let decoded = engine.counters().decode_steps - before.decode_steps;
    assert!(pieces == decoded && decoded >= 1, "{pieces} pieces in {decoded} steps");
    Ok(())
}
