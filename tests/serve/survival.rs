//! Crowds, clients that go away, devices that do, and the end.

use crate::client::{connect, read, request};
use crate::server::{Setup, alone, chat, until};
use crate::support::backends::{self, Named};
use crate::support::tiny_model::TinyModel;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wginfer::Backend;
use wginfer::gpu::{DeviceOptions, Gpu};
use wginfer::lm::Prompt;
use wginfer::lm::engine::Health;
use wginfer::serve::ServeOptions;

const CHAT: &str = "/v1/chat/completions";

/// Everybody is answered, and with what they would get alone.
pub fn crowd(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let texts: Vec<String> = (0..8).map(|i| format!("{} the end", "in ".repeat(i))).collect();
    let wanted: Result<Vec<_>, _> =
        texts.iter().map(|text| alone(backend, Prompt::Ask(text.clone()), 12)).collect();
    let wanted = wanted?;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|i| {
                let (server, text) = (&server, &texts[i % 8]);
                scope.spawn(move || server.chat(text, json!({})).good())
            })
            .collect();
        for (i, client) in clients.into_iter().enumerate() {
            let answer = client.join().expect("a client panicked");
            let said = answer["choices"][0]["message"]["content"].as_str();
            assert_eq!(said, Some(&wanted[i % 8][..]), "client {i}");
        }
    });
    let counters = server.engine.counters();
    assert_eq!((counters.ended, counters.tokens), (64, 64 * 12));
    // Together: far fewer steps than tokens.
    assert!(counters.decode_steps < 64 * 12 / 2, "{counters:?}");
    Ok(server.join()?)
}

/// In the middle of a stream, and before an answer.
pub fn vanishing(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 8192, ..TinyModel::default() };
    let server = Setup { tiny, slots: 2, ..Setup::default() }.start(backend)?;
    for stream in [true, false] {
        let long = chat("x", json!({ "max_tokens": 8000, "stream": stream })).to_string();
        let mut clients: Vec<_> = (0..3).map(|_| connect(server.address)).collect();
        // One by one: the first must not be the one that waits for a slot.
        for (before, client) in clients.iter_mut().enumerate() {
            client.write_all(request(CHAT, &long, "").as_bytes())?;
            until("it is there", || server.engine.unfinished() == before + 1);
        }
        if stream {
            // Some of it has come.
            let mut some = [0; 600];
            clients[0].read_exact(&mut some)?;
            assert!(some.starts_with(b"HTTP/1.0 200") || some.starts_with(b"HTTP/1.1 200"));
        }
        let begun = Instant::now();
        drop(clients);
        until("all slots are free", || server.engine.unfinished() == 0);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let counters = server.engine.counters();
    assert!(counters.tokens < 6 * 8000, "{counters:?}");
    server.chat("x", json!({})).good();
    Ok(server.join()?)
}

/// A text that would go on for ever, to somebody who never reads it.
pub fn stalled(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 512, ..TinyModel::default() };
    let serve = ServeOptions { stall: Duration::from_millis(500), ..Setup::default().serve };
    let server = Setup { tiny, serve, ..Setup::default() }.start(backend)?;
    // Much is told of each token, so that what waits on the way is soon full.
    let endless = json!({ "max_tokens": 1_000_000, "context_shift": true, "stream": true,
        "n": 4, "logprobs": true, "top_logprobs": 20 });
    let mut client = connect(server.address);
    client.write_all(request(CHAT, &chat("x", endless).to_string(), "").as_bytes())?;
    until("it runs", || server.engine.unfinished() == 4);
    until("its slots are free", || server.engine.unfinished() == 0);
    server.chat("x", json!({})).good();
    drop(client);
    Ok(server.join()?)
}

pub fn lost(backend: &Named) -> Result<(), Failed> {
    if !backend.is_gpu() {
        return Ok(());
    }
    let (own, gpu) = device_of_its_own(backend)?;
    let server = Setup::default().start(&own)?;
    let wanted = server.chat("in the end", json!({})).good();
    gpu.lose_for_test();
    server.chat("in the end", json!({})).error(503);
    until("it comes back", || server.engine.health() == Health::Ready);
    assert_eq!(server.engine.losses(), 1);
    let answer = server.chat("in the end", json!({})).good();
    assert_eq!(answer["choices"], wanted["choices"]);
    assert_eq!(server.get("/health").status, 200);
    Ok(server.join()?)
}

/// The same of an encoder, whose session has no caches.
pub fn lost_encoder(backend: &Named) -> Result<(), Failed> {
    if !backend.is_gpu() {
        return Ok(());
    }
    let (own, gpu) = device_of_its_own(backend)?;
    let server = Setup::default().start_encoder(&own)?;
    let body = json!({ "model": "tiny", "input": ["A man is eating food.", "x"] });
    let ask = || server.post("/v1/embeddings", &body);
    let wanted = vectors(&ask().good());
    gpu.lose_for_test();
    ask().error(503);
    until("it comes back", || server.engine.health() == Health::Ready);
    assert_eq!(server.engine.losses(), 1);
    // Texts that meet in a step are computed together, in another order of sums than one
    // by one, and whether these two meet hangs on when they arrive.
    let again = vectors(&ask().good());
    assert_eq!(again.len(), wanted.len());
    for (i, (&got, &expected)) in again.iter().zip(&wanted).enumerate() {
        assert!((got - expected).abs() < 1e-5, "{i}: {got}, not {expected}");
    }
    Ok(server.join()?)
}

/// The elements of all vectors of an answer, one after the other.
fn vectors(answer: &Value) -> Vec<f64> {
    let data = answer["data"].as_array().expect("vectors");
    assert_eq!(data.len(), 2);
    let elements = |one: &Value| one["embedding"].as_array().expect("a vector").clone();
    data.iter().flat_map(elements).map(|v| v.as_f64().expect("a number")).collect()
}

/// A device that may be lost: others are shared.
fn device_of_its_own(backend: &Named) -> Result<(Named, Arc<Gpu>), Failed> {
    let found = backends::gpus(&DeviceOptions::default());
    let own = found.into_iter().find(|o| o.name == backend.name).ok_or("the adapter is gone")?;
    let Backend::Gpu(gpu) = &own.backend else { return Err("it is no GPU".into()) };
    let gpu = gpu.clone();
    Ok((own, gpu))
}

/// What runs is finished, nobody new is let in, and then it is over.
pub fn stopping(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 2048, ..TinyModel::default() };
    // The answer has to end by itself, on a busy machine too.
    let serve = ServeOptions { grace: Duration::from_secs(110), ..Setup::default().serve };
    let mut server = Setup { tiny, serve, ..Setup::default() }.start(backend)?;
    let mut client = connect(server.address);
    let body = chat("x", json!({ "max_tokens": 150 })).to_string();
    client.write_all(request(CHAT, &body, "").as_bytes())?;
    until("it runs", || server.engine.unfinished() == 1);
    server.ask_to_stop();
    let answer = read(&mut client).good();
    assert_eq!(answer["usage"]["completion_tokens"], 150);
    until("nobody listens", || std::net::TcpStream::connect(server.address).is_err());
    Ok(server.join()?)
}
