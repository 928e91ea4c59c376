//! Models of which a part reads the prompt as a whole, and another writes what follows.

use crate::support::backends::Named;
use crate::*;
use wginfer::ErrorKind;
use wginfer::lm::engine::EngineDraft;
use wginfer::lm::{Draft, WhenFull};

/// Tokens that are read.
const LENGTHS: [usize; 8] = [1, 2, 7, 9, 33, 64, 100, 150];

/// A small model of T5's gated form.
fn two_parts() -> Result<GgufFile> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders");
    wginfer::formats::gguf::open(folder.join("t5--gated.gguf"))
}

/// A prompt that is read, with its end and the start of what is written.
fn read(seed: usize, length: usize) -> Vec<u32> {
    let text = prompt(seed, length).into_iter().map(|token| 8 + token % 250);
    text.chain([2, 0]).collect()
}

/// Eight sequences in eight slots and in three; tokens are written while others are read.
pub fn eight_at_once(backend: &Named) -> Result<(), Failed> {
    let options = |seed: usize| GenerateOptions { ignore_end: true, ..plain(20 - seed) };
    let mut wanted = Vec::new();
    for (seed, &length) in LENGTHS.iter().enumerate() {
        // A model of its own each: nothing is left of an earlier sequence.
        let mut model = model_of(backend, two_parts()?)?;
        wanted.push(alone(&mut model, &read(seed, length), &options(seed))?);
    }
    for slots in [8, 3] {
        let mut engine = engine_of(backend, two_parts()?, &crate::options(slots))?;
        let prompts = LENGTHS.iter().enumerate();
        let ids: Result<Vec<_>> = prompts
            .map(|(seed, &length)| submit(&mut engine, &read(seed, length), &options(seed)))
            .collect();
        let answers = finish(&mut engine)?;
        for ((id, wanted), length) in ids?.iter().zip(&wanted).zip(LENGTHS) {
            assert_eq!(answers[id].failure, None, "{length} read");
            assert_eq!(answers[id].tokens(), *wanted, "{length} read, {slots} slots");
        }
    }
    Ok(())
}

/// Caches that grow while other slots hold what they have read.
pub fn growing(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine_of(backend, two_parts()?, &options(3))?;
    // The first one writes until the others are read; together they take more than the
    // caches begin with, by what is read and by what is written.
    let texts = [(read(1, 30), 40), (read(2, 300), 10), (read(3, 250), 30), (read(4, 20), 280)];
    let mut ids = Vec::new();
    for (tokens, count) in &texts {
        ids.push(submit(&mut engine, tokens, &plain(*count))?);
    }
    let answers = finish(&mut engine)?;
    for ((tokens, count), id) in texts.iter().zip(ids) {
        assert_eq!(answers[&id].failure, None, "{} read", tokens.len());
        let wanted = alone(&mut model_of(backend, two_parts()?)?, tokens, &plain(*count))?;
        assert_eq!(wanted.len(), *count);
        assert_eq!(answers[&id].tokens(), wanted, "{} read", tokens.len());
    }
    Ok(())
}

/// A step that is dropped leaves nothing wrong, before its source is in the caches or
/// behind that.
pub fn dropped(backend: &Named) -> Result<(), Failed> {
    let runner = &backend.backend;
    let (tokens, options) = (read(5, 60), plain(8));
    let wanted = alone(&mut model_of(backend, two_parts()?)?, &tokens, &options)?;
    let mut model = model_of(backend, two_parts()?)?;
    for polls in 0..12 {
        let mut forward = Box::pin(model.forward(&tokens, 0));
        runner.block_on(async {
            let mut left = polls;
            std::future::poll_fn(|cx| {
                let there = forward.as_mut().poll(cx).is_ready();
                left -= if left > 0 { 1 } else { 0 };
                if there || left == 0 {
                    return std::task::Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        });
        drop(forward);
        assert_eq!(alone(&mut model, &tokens, &options)?, wanted, "dropped at poll {polls}");
    }
    Ok(())
}

/// What was read is not read again, but as a whole or not at all.
pub fn prefixes(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine_of(backend, two_parts()?, &options(1))?;
    let options = GenerateOptions { ignore_end: true, ..plain(6) };
    let first = read(1, 40);
    let answer = ask(&mut engine, &first, &options)?;
    let longer = [first.clone(), answer.tokens()].concat();
    let mut other = first.clone();
    other[20] += 1;
    // The source; what was written as well, but for its last token; another source.
    for (tokens, reused) in [(first, 41), (longer, 47), (other, 0)] {
        let answer = ask(&mut engine, &tokens, &options)?;
        assert_eq!(answer.stats.reused_tokens, reused);
        let wanted = alone(&mut model_of(backend, two_parts()?)?, &tokens, &options)?;
        assert_eq!(answer.tokens(), wanted, "{reused} reused");
    }
    // The same of a model by itself.
    let mut model = model_of(backend, two_parts()?)?;
    let tokens = read(2, 30);
    let wanted = alone(&mut model, &tokens, &options)?;
    for _ in 0..2 {
        let mut generation = model.generate(Prompt::Tokens(tokens.clone()), &options)?;
        generation.by_ref().collect::<Result<Vec<_>>>()?;
        assert_eq!(generation.stats().reused_tokens, 31);
        assert_eq!(generation.tokens()[tokens.len()..], wanted);
    }
    Ok(())
}

/// A sequence that was cancelled before and behind its reading leaves nothing.
pub fn cancelling(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine_of(backend, two_parts()?, &options(2))?;
    let options = GenerateOptions { ignore_end: true, ..plain(8) };
    let stays = submit(&mut engine, &read(1, 20), &options)?;
    let (before, behind) = (read(2, 50), read(3, 60));
    let goes = submit(&mut engine, &before, &options)?;
    // One is read in a step.
    let mut told = step(&mut engine)?;
    engine.cancel(goes);
    let goes = submit(&mut engine, &behind, &options)?;
    for _ in 0..3 {
        told.extend(step(&mut engine)?);
    }
    engine.cancel(goes);
    let last = submit(&mut engine, &before, &options)?;
    let mut answers: HashMap<SequenceId, Answer> = HashMap::new();
    told.into_iter().for_each(|(id, event)| answers.entry(id).or_default().take(event));
    while !engine.is_idle() {
        for (id, event) in step(&mut engine)? {
            answers.entry(id).or_default().take(event);
        }
    }
    assert_eq!(answers[&goes].reason, Some(FinishReason::Cancelled));
    for (id, tokens) in [(stays, read(1, 20)), (last, before)] {
        let wanted = alone(&mut model_of(backend, two_parts()?)?, &tokens, &options)?;
        assert_eq!(answers[&id].tokens(), wanted);
    }
    Ok(())
}

/// Steps behind the first of a length make no plan, whatever was read.
pub fn decoding_makes_nothing(backend: &Named) -> Result<(), Failed> {
    let runner = &backend.backend;
    let mut model = model_of(backend, two_parts()?)?;
    let tokens = read(4, 30);
    runner.block_on(model.reserve(200))?;
    runner.block_on(model.forward(&tokens, 0))?;
    runner.block_on(model.forward(&[9], tokens.len()))?;
    let plans = model.session().counters().plans;
    for at in 1..10 {
        runner.block_on(model.forward(&[9], tokens.len() + at))?;
    }
    // A source of another length within the same bound.
    runner.block_on(model.forward(&read(5, 25), 0))?;
    assert_eq!(model.session().counters().plans, plans);
    Ok(())
}

/// What cannot be with a part that reads says so.
pub fn refusals(backend: &Named) -> Result<(), Failed> {
    let runner = &backend.backend;
    let mut model = model_of(backend, two_parts()?)?;
    let tokens = read(1, 10);
    let unsupported = |error: Option<wginfer::Error>, told: &str| {
        let error = error.unwrap_or_else(|| panic!("{told}: it was taken"));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        assert!(text.contains("'t5'") && text.contains(told), "{text}");
    };
    let forgets = GenerateOptions { when_full: WhenFull::Forget { keep: 4 }, ..plain(4) };
    let begun = model.generate(Prompt::Tokens(tokens.clone()), &forgets);
    unsupported(begun.err(), "forgetting");
    unsupported(runner.block_on(model.perplexity(&tokens, 8, &mut |_| true)).err(), "perplexity");
    let mut small = model_of(backend, two_parts()?)?;
    let draft = Draft { model: &mut small, tokens: 2 };
    let prompt = Prompt::Tokens(tokens.clone());
    unsupported(model.generate_with(draft, prompt, &plain(4)).err(), "draft");
    let draft = Some(EngineDraft { file: two_parts()?, tokens: 2 });
    let (two, mut untold) = (options(2), |_, _| {});
    let engine = Engine::load_with_draft(two_parts()?, draft, runner, &two, &mut untold);
    unsupported(runner.block_on(engine).err(), "draft");
    let mut engine = engine_of(backend, two_parts()?, &options(2))?;
    for (work, told) in [
        (Work::Generate(forgets), "forgetting"),
        (Work::Echo(plain(4)), "how likely"),
        (Work::Embed, "wginfer embed"),
    ] {
        let request = Request { tokens: tokens.clone(), work };
        unsupported(engine.submit(request).err(), told);
    }
    // Nothing says where what is read ends, or it is gone on with from its middle.
    let input = |error: Option<wginfer::Error>| {
        let error = error.expect("it was taken");
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    };
    input(submit(&mut engine, &tokens[..8], &plain(4)).err());
    input(runner.block_on(model.forward(&tokens[..8], 0)).err());
    input(runner.block_on(model.forward(&[9], 12)).err());
    runner.block_on(model.forward(&tokens, 0))?;
    input(runner.block_on(model.forward(&[9], 5)).err());
    // What is written begins with its own token.
    input(runner.block_on(model.forward(&[9], 11)).err());
    runner.block_on(model.forward(&[9], tokens.len()))?;
    Ok(())
}
