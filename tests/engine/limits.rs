//! What ends early or is refused, and what stays.

use crate::support::backends::Named;
use crate::*;
use wginfer::{Backend, ErrorKind};

/// With the next step the slot has another sequence.
pub fn cancelling(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 1)?;
    let first = submit(&mut engine, &prompt(1, 9), &plain(100))?;
    let second = submit(&mut engine, &prompt(2, 1), &plain(3))?;
    let third = submit(&mut engine, &prompt(3, 1), &plain(3))?;
    for _ in 0..5 {
        step(&mut engine)?;
    }
    assert_eq!(engine.counters().running, 1);
    engine.cancel(first);
    engine.cancel(third);
    assert_eq!((engine.counters().running, engine.counters().waiting), (0, 1));
    let told = step(&mut engine)?;
    let reasons: Vec<_> = told
        .iter()
        .map(|(id, event)| match event {
            Event::Finished { reason, .. } => (*id, *reason),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [first, third].map(|id| (id, FinishReason::Cancelled)));
    let told = step(&mut engine)?;
    assert!(matches!(told[..], [(id, Event::Piece(_))] if id == second), "{told:?}");
    // Cancelling what has ended does nothing.
    engine.cancel(first);
    let answers = finish(&mut engine)?;
    assert_eq!(answers.len(), 1, "{answers:?}");
    Ok(())
}

pub fn context(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 16, ..TinyModel::default() };
    let mut engine = engine_of(backend, file(&tiny)?, &options(2))?;
    let short = submit(&mut engine, &prompt(1, 3), &plain(100))?;
    let whole = submit(&mut engine, &prompt(2, 16), &plain(100))?;
    let answers = finish(&mut engine)?;
    let mut model = model_of(backend, file(&tiny)?)?;
    for (id, tokens) in [(short, prompt(1, 3)), (whole, prompt(2, 16))] {
        assert_eq!(answers[&id].reason, Some(FinishReason::Context));
        // The last token needs no place.
        assert_eq!(answers[&id].pieces.len(), 17 - tokens.len());
        assert_eq!(answers[&id].tokens(), alone(&mut model, &tokens, &plain(100))?);
    }
    let error = submit(&mut engine, &prompt(3, 17), &plain(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let error = submit(&mut engine, &[], &plain(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    let error = submit(&mut engine, &[1 << 20], &plain(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    let none = ask(&mut engine, &prompt(3, 5), &plain(0))?;
    assert_eq!((none.pieces.len(), none.reason), (0, Some(FinishReason::Length)));
    Ok(())
}

pub fn queue(backend: &Named) -> Result<(), Failed> {
    let few = EngineOptions { queue: 2, ..options(1) };
    let mut engine = engine_of(backend, file(&TinyModel::default())?, &few)?;
    for seed in 0..3 {
        submit(&mut engine, &prompt(seed, 4), &plain(2))?;
    }
    let error = submit(&mut engine, &prompt(4, 4), &plain(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert_eq!(finish(&mut engine)?.len(), 3);
    submit(&mut engine, &prompt(4, 4), &plain(2))?;
    for slots in [0, 257] {
        let error = engine_of(backend, file(&TinyModel::default())?, &options(slots)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    }
    Ok(())
}

/// Caches that cannot grow fail who needs it, and nobody else.
pub fn memory(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 1 << 14, ..TinyModel::default() };
    let free = own(backend, &DeviceOptions::default())?;
    let Backend::Gpu(gpu) = &free.backend else { return Ok(()) };
    let mut engine = engine_of(&free, file(&tiny)?, &options(2))?;
    let wanted = ask(&mut engine, &prompt(1, 9), &plain(60))?;
    // Room for what the step of a long prompt works on, and not for its caches.
    let budget = gpu.memory().total_peak + 1_000_000;
    drop(engine);
    let limited = DeviceOptions { memory_budget: Some(budget), ..DeviceOptions::default() };
    let tight = own(backend, &limited)?;
    let mut engine = engine_of(&tight, file(&tiny)?, &options(2))?;
    let short = submit(&mut engine, &prompt(1, 9), &plain(60))?;
    let long = submit(&mut engine, &prompt(2, 5000), &plain(2))?;
    let answers = finish(&mut engine)?;
    let failure = answers[&long].failure.as_ref().ok_or("it had room")?;
    assert!(failure.contains("memory_budget"), "{failure}");
    assert_eq!(answers[&short].tokens(), wanted.tokens());
    Ok(())
}

/// Those that run are told; those that wait are computed afterwards.
pub fn lost(backend: &Named) -> Result<(), Failed> {
    let backend = own(backend, &DeviceOptions::default())?;
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(()) };
    let mut engine = engine(&backend, 1)?;
    let wanted = ask(&mut engine, &prompt(1, 9), &plain(5))?;
    let running = submit(&mut engine, &prompt(1, 9), &plain(5))?;
    let waiting = submit(&mut engine, &prompt(1, 9), &plain(5))?;
    step(&mut engine)?;
    gpu.lose_for_test();
    let told = step(&mut engine)?;
    assert!(matches!(told[..], [(id, Event::Failed(_))] if id == running), "{told:?}");
    assert!(engine.is_lost());
    assert_eq!(step(&mut engine).unwrap_err().kind(), ErrorKind::DeviceLost);
    let again = wgpu_reopen(&backend.backend)?;
    again.block_on(engine.rebuild(&again))?;
    let answers = finish(&mut engine)?;
    assert_eq!(answers[&waiting].tokens(), wanted.tokens());
    assert_eq!(answers[&waiting].stats.reused_tokens, 0);
    Ok(())
}

/// A loss that is found out where caches grow is one as well.
pub fn lost_in_growing(backend: &Named) -> Result<(), Failed> {
    let backend = own(backend, &DeviceOptions::default())?;
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(()) };
    let tiny = TinyModel { context: 1 << 14, ..TinyModel::default() };
    let mut engine = engine_of(&backend, file(&tiny)?, &options(1))?;
    let wanted = ask(&mut engine, &prompt(1, 9), &plain(5))?;
    let long = submit(&mut engine, &prompt(2, 5000), &plain(2))?;
    let waiting = submit(&mut engine, &prompt(1, 9), &plain(5))?;
    gpu.lose_for_test();
    let told = step(&mut engine)?;
    assert!(matches!(told[..], [(id, Event::Failed(_))] if id == long), "{told:?}");
    assert!(engine.is_lost());
    // Nothing was computed: it was the growth that failed.
    assert_eq!(engine.counters().prompt_steps, 1);
    let again = wgpu_reopen(&backend.backend)?;
    again.block_on(engine.rebuild(&again))?;
    assert_eq!(finish(&mut engine)?[&waiting].tokens(), wanted.tokens());
    Ok(())
}

fn wgpu_reopen(backend: &Backend) -> Result<Backend> {
    backend.block_on(backend.reopen())
}
