//! A small model that runs ahead of an engine's sequences.

use crate::support::backends::Named;
use crate::*;
use std::collections::BTreeMap;
use wginfer::ErrorKind;
use wginfer::lm::SamplerOptions;
use wginfer::lm::engine::EngineDraft;

/// An engine over the tiny model, with one of another seed ahead.
fn drafted(
    backend: &Named,
    (seed, tokens): (u64, usize),
    options: &EngineOptions,
) -> Result<Engine> {
    let draft = file(&TinyModel { seed, ..TinyModel::default() })?;
    let draft = EngineDraft { file: draft, tokens };
    engine_with(backend, file(&TinyModel::default())?, draft, options)
}

fn engine_with(
    backend: &Named,
    model: GgufFile,
    draft: EngineDraft,
    options: &EngineOptions,
) -> Result<Engine> {
    let runner = &backend.backend;
    let mut untold = |_, _| {};
    runner.block_on(Engine::load_with_draft(model, Some(draft), runner, options, &mut untold))
}

/// Several at once, of different lengths, one of which comes later and one of which
/// goes: each gets what it gets alone.
pub fn greedy(backend: &Named) -> Result<(), Failed> {
    let mut model = model(backend)?;
    // The model itself and one that is no help; more tokens than fit a step of eight.
    for ahead in [(1, 4), (2, 3), (1, 9)] {
        let mut engine = drafted(backend, ahead, &options(4))?;
        let mut ids = Vec::new();
        for (i, length) in [5, 40, 1, 17].into_iter().enumerate() {
            let tokens = prompt(i, length);
            let options = plain(6 + 11 * i);
            ids.push((submit(&mut engine, &tokens, &options)?, tokens, options));
        }
        let gone = submit(&mut engine, &prompt(9, 6), &plain(50))?;
        for _ in 0..3 {
            assert!(step(&mut engine)?.iter().all(|(_, event)| !matches!(event, Event::Failed(_))));
        }
        // What these steps told is told again by what is alone below.
        engine.cancel(gone);
        let late = prompt(7, 9);
        let id = submit(&mut engine, &late, &plain(20))?;
        let answers = finish(&mut engine)?;
        assert_eq!(answers[&id].tokens(), alone(&mut model, &late, &plain(20))?, "{ahead:?}");
        for (id, tokens, options) in ids {
            let Some(answer) = answers.get(&id) else { continue };
            let wanted = alone(&mut model, &tokens, &options)?;
            assert!(wanted.ends_with(&answer.tokens()), "{ahead:?}");
            assert_eq!(answer.stats.tokens, options.max_tokens);
            let stats = &answer.stats;
            assert!(stats.drafted > 0 && stats.accepted <= stats.drafted, "{stats:?}");
            // A model agrees with itself.
            assert!(ahead.0 != 1 || stats.accepted == stats.drafted, "{stats:?}");
        }
        let counters = engine.counters();
        assert!(counters.drafted > 0 && counters.accepted <= counters.drafted, "{counters:?}");
        // Steps give more than a token where the draft is right.
        assert!(ahead.0 != 1 || counters.decode_steps * 2 < counters.tokens, "{counters:?}");
        // A prefix that is kept is what it would be without proposals.
        let again = ask(&mut engine, &late, &plain(20))?;
        assert_eq!(again.tokens(), alone(&mut model, &late, &plain(20))?);
    }
    // A context that is full ends a text at the same token.
    let tiny = TinyModel { context: 24, ..TinyModel::default() };
    let wanted = alone(&mut model_of(backend, file(&tiny)?)?, &prompt(4, 9), &plain(60))?;
    let draft = EngineDraft { file: file(&tiny)?, tokens: 5 };
    let mut engine = engine_with(backend, file(&tiny)?, draft, &options(2))?;
    let answer = ask(&mut engine, &prompt(4, 9), &plain(60))?;
    assert_eq!((answer.tokens(), answer.reason), (wanted, Some(FinishReason::Context)));
    Ok(())
}

/// Drawn texts are as likely as the model makes them, whatever is proposed.
pub fn drawn(backend: &Named) -> Result<(), Failed> {
    const KEPT: usize = 3;
    let count = if backend.is_slow() { 200 } else { 600 };
    let tokens = prompt(3, 4);
    let sampler =
        |seed| SamplerOptions { temperature: 1.0, top_k: KEPT, seed, ..Default::default() };
    let chances = chances(backend, &tokens, KEPT)?;
    let sum: f64 = chances.values().sum();
    assert!((sum - 1.0).abs() < 1e-9 && chances.len() == KEPT.pow(3), "{sum}");
    for seed in [1, 2] {
        let mut engine =
            drafted(backend, (seed, 2), &EngineOptions { queue: count, ..options(8) })?;
        for seed in 0..count as u64 {
            let options = GenerateOptions { sampler: sampler(seed), ..plain(4) };
            submit(&mut engine, &tokens, &options)?;
        }
        let mut seen: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
        for answer in finish(&mut engine)?.values() {
            *seen.entry(answer.tokens()[..3].to_vec()).or_default() += 1.0 / count as f64;
        }
        assert!(seen.keys().all(|text| chances.contains_key(text)), "a text that is not possible");
        let off = |(text, chance): (&Vec<u32>, &f64)| {
            (seen.get(text).copied().unwrap_or(0.0) - chance).abs() / 2.0
        };
        let off: f64 = chances.iter().map(off).sum();
        // What so many draws are off by chance, twice over.
        let bound = ((chances.len() as f64) / (count as f64)).sqrt();
        assert!(off < bound, "{off} of {bound}, draft of seed {seed}");
        let counters = engine.counters();
        assert!(counters.drafted > 0, "{counters:?}");
        // The model agrees with itself, but for rounding; the other one does not.
        let all = counters.accepted as f64 / counters.drafted as f64;
        assert!((seed == 1 && all > 0.98) || (seed == 2 && all < 0.9), "{counters:?}");
    }
    Ok(())
}

/// How likely each text of three tokens is after a prompt, of the `kept` likeliest
/// tokens at each place.
fn chances(
    backend: &Named,
    tokens: &[u32],
    kept: usize,
) -> Result<BTreeMap<Vec<u32>, f64>, Failed> {
    let mut model = model(backend)?;
    let mut texts = BTreeMap::from([(Vec::new(), 1.0)]);
    for _ in 0..3 {
        let mut longer = BTreeMap::new();
        for (text, chance) in texts {
            let whole = [tokens, &text].concat();
            let logits = backend.backend.block_on(model.forward(&whole, 0))?;
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
            let weight = |id: usize| f64::from(logits[id]).exp();
            let total: f64 = order[..kept].iter().map(|&id| weight(id)).sum();
            for &id in &order[..kept] {
                longer.insert([&text[..], &[id as u32]].concat(), chance * weight(id) / total);
            }
        }
        texts = longer;
    }
    Ok(texts)
}

pub fn strange(backend: &Named) -> Result<(), Failed> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders/llama.gguf");
    for (tokens, wanted) in [(2, "token 0 is '<pad>'"), (0, "1 to 64")] {
        let draft = EngineDraft { file: wginfer::formats::gguf::open(&path)?, tokens };
        let model = file(&TinyModel::default())?;
        let error = engine_with(backend, model, draft, &options(1))
            .err()
            .ok_or("a draft that cannot help")?;
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(wanted), "{error}");
    }
    Ok(())
}

/// What is built anew after a loss runs ahead as before.
pub fn lost(backend: &Named) -> Result<(), Failed> {
    let backend = own(backend, &DeviceOptions::default())?;
    let mut engine = drafted(&backend, (1, 4), &options(2))?;
    let before = ask(&mut engine, &prompt(2, 7), &plain(20))?;
    let runner = backend.backend.clone();
    runner.block_on(engine.rebuild(&runner))?;
    assert!(engine.counters().accepted > 0);
    let after = ask(&mut engine, &prompt(2, 7), &plain(20))?;
    assert_eq!(before.tokens(), after.tokens());
    assert!(after.stats.accepted > 0 && after.stats.accepted == after.stats.drafted);
    Ok(())
}
