//! An engine on its own thread.

use crate::support::backends::Named;
use crate::*;
use std::time::{Duration, Instant};
use wginfer::Backend;
use wginfer::lm::engine::{EngineHandle, Health};

fn request(tokens: &[u32], options: GenerateOptions) -> Request {
    Request { tokens: tokens.into(), work: Work::Generate(options) }
}

fn answer(events: impl Iterator<Item = Event>) -> Answer {
    let mut answer = Answer::default();
    events.for_each(|event| answer.take(event));
    answer
}

/// Waits for what another thread brings about.
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn threads(backend: &Named) -> Result<(), Failed> {
    let handle = EngineHandle::start(engine(backend, 2)?)?;
    let wanted = alone(&mut model(backend)?, &prompt(1, 9), &plain(6))?;
    // One is dropped, one cancelled by another thread, the rest are answered.
    let dropped = handle.submit_blocking(request(&prompt(5, 4), plain(100_000)))?;
    let cancelled = handle.submit_blocking(request(&prompt(6, 4), plain(100_000)))?;
    let askers: Vec<_> = (0..6)
        .map(|_| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let told = handle.submit_blocking(request(&prompt(1, 9), plain(6)));
                answer(told.unwrap()).tokens()
            })
        })
        .collect();
    drop(dropped);
    cancelled.ticket().cancel();
    // It may have ended already: the context of the model is short.
    let reason = answer(cancelled).reason;
    assert!(matches!(reason, Some(FinishReason::Cancelled | FinishReason::Context)), "{reason:?}");
    for asker in askers {
        assert_eq!(asker.join().unwrap(), wanted);
    }
    until("all end", || handle.unfinished() == 0);
    let counters = handle.counters();
    assert_eq!((counters.running, counters.waiting), (0, 0));
    // Who waits when the engine stops is told.
    let waiting = handle.submit_blocking(request(&prompt(5, 4), plain(100_000)))?;
    handle.stop();
    let last = answer(waiting);
    assert!(last.failure.is_some() || last.reason.is_some(), "{last:?}");
    assert_eq!(handle.health(), Health::Stopped);
    assert!(handle.submit_blocking(request(&prompt(1, 9), plain(6))).is_err());
    Ok(())
}

/// However the engine's thread ends, who waits is told and nothing more is taken.
pub fn panics(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 8192, ..TinyModel::default() };
    let handle = EngineHandle::start(engine_of(backend, file(&tiny)?, &options(2))?)?;
    let long = || handle.submit_blocking(request(&prompt(5, 4), plain(8000)));
    let running = long()?;
    let panicking = Box::new(|_| panic!("a sink that panics, as a test wants"));
    let ticket = handle.submit(request(&prompt(1, 4), plain(4)), panicking)?;
    let waiting = long()?;
    until("the thread ends", || handle.health() == Health::Stopped);
    assert_eq!(handle.unfinished(), 0);
    for told in [running, waiting] {
        let last = answer(told);
        assert!(last.failure.as_ref().is_some_and(|why| why.contains("stopped")), "{last:?}");
    }
    assert!(long().is_err());
    assert_eq!(handle.unfinished(), 0);
    drop(ticket);
    handle.stop();
    Ok(())
}

/// A device that is lost is opened again, and answers are the same.
pub fn recovers(backend: &Named) -> Result<(), Failed> {
    let backend = own(backend, &DeviceOptions::default())?;
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(()) };
    let handle = EngineHandle::start(engine(&backend, 2)?)?;
    let ask = || handle.submit_blocking(request(&prompt(1, 9), plain(5))).map(answer);
    let wanted = ask()?.tokens();
    gpu.lose_for_test();
    let failed = ask()?;
    assert!(failed.failure.as_ref().is_some_and(|e| e.contains("lost")), "{failed:?}");
    until("the device comes back", || handle.health() == Health::Ready && handle.losses() == 1);
    assert_eq!(ask()?.tokens(), wanted);
    handle.stop();
    Ok(())
}
