//! Prompts that are told before what follows, and how likely their tokens are.

use crate::server::{Server, Setup};
use crate::support::backends::Named;
use crate::support::tiny_model::TinyModel;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use std::path::Path;
use wginfer::DType;
use wginfer::formats::gguf::{self, GgufFile};
use wginfer::lm::{LanguageModel, ModelOptions, Prompt};

/// How far logarithms of probabilities may be apart.
const TOLERANCE: f64 = 2e-4;

/// A small model, and what transformers computes with it.
#[derive(serde::Deserialize)]
struct Judged {
    tokens: Vec<u32>,
    lengths: Vec<usize>,
    logits: Vec<Vec<f32>>,
}

/// What is told of a token: its logarithm, and those of the most likely ones.
fn told(answer: &Value, at: usize) -> (&Value, &Value) {
    let told = &answer["choices"][0]["logprobs"];
    (&told["token_logprobs"][at], &told["top_logprobs"][at])
}

fn logarithms(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let off = |logit: &f32| f64::from(logit - highest);
    let sum: f64 = logits.iter().map(|logit| off(logit).exp()).sum();
    logits.iter().map(|logit| off(logit) - sum.ln()).collect()
}

fn ask(server: &Server, prompt: impl Into<Value>, more: Value) -> Value {
    let mut body = json!({ "model": "tiny", "prompt": prompt.into(), "max_tokens": 1, "echo": true,
        "logprobs": 5, "temperature": 0, "ignore_eos": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    match body["stream"].as_bool() {
        Some(true) => joined(&server.post("/v1/completions", &body).events()),
        _ => server.post("/v1/completions", &body).good(),
    }
}

/// A stream as the answer that it makes.
fn joined(events: &[String]) -> Value {
    let parts = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let (mut text, mut lists) = (String::new(), json!({}));
    for part in parts {
        let choice = &part["choices"][0];
        text.push_str(choice["text"].as_str().unwrap_or_default());
        for (name, list) in choice["logprobs"].as_object().into_iter().flatten() {
            let mut all = lists[name].as_array().cloned().unwrap_or_default();
            all.extend(list.as_array().unwrap().iter().cloned());
            lists[name] = all.into();
        }
    }
    json!({ "choices": [{ "text": text, "logprobs": lists }] })
}

/// After so many tokens as transformers was asked about, their logarithms are its own.
pub fn judged(backend: &Named) -> Result<(), Failed> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders");
    let judged: Judged = serde_json::from_slice(&std::fs::read(data.join("llama.json"))?)?;
    let server = Setup::default().start_with(gguf::open(data.join("llama.gguf"))?, backend)?;
    let tokens = &judged.tokens;
    let answer = ask(&server, tokens.clone(), json!({}));
    let all = answer["choices"][0]["logprobs"]["tokens"].as_array().ok_or("no tokens")?;
    assert_eq!(all.len(), tokens.len() + 1);
    assert_eq!(told(&answer, 0), (&Value::Null, &Value::Null));
    for (&length, logits) in judged.lengths.iter().zip(&judged.logits) {
        let wanted = logarithms(logits);
        let best = wanted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // The token behind them, or the one that was chosen.
        let next = tokens.get(length).map_or(best, |&token| wanted[token as usize]);
        let (chosen, top) = told(&answer, length);
        let chosen = chosen.as_f64().ok_or("no number")?;
        assert!((chosen - next).abs() < TOLERANCE, "{length}: {chosen}, not {next}");
        let top = top.as_object().ok_or("no tokens")?.values().filter_map(Value::as_f64);
        let top = top.fold(f64::NEG_INFINITY, f64::max);
        assert!((top - best).abs() < TOLERANCE, "{length}: {top}, not {best}");
    }
    // Only the prompt.
    let prompt = ask(&server, tokens.clone(), json!({ "max_tokens": 0 }));
    assert_eq!(prompt["usage"]["completion_tokens"], 0);
    assert_eq!(prompt["choices"][0]["finish_reason"], "length");
    let both = |answer: &Value, list: &str| {
        answer["choices"][0]["logprobs"][list].as_array().unwrap()[..tokens.len()].to_vec()
    };
    for list in ["tokens", "text_offset"] {
        assert_eq!(both(&prompt, list), both(&answer, list));
    }
    Ok(server.join()?)
}

/// A prompt of several steps, whole and in a stream, with others beside it: as the model by
/// itself has it after each token.
pub fn long(backend: &Named) -> Result<(), Failed> {
    let short = "the thin é€🙂 end ".repeat(2);
    let text = short.repeat(5);
    let tiny = TinyModel { context: 512, ..TinyModel::default() };
    let file = GgufFile::parse(tiny.bytes()?, "tiny.gguf")?;
    let runner = &backend.backend;
    let options = ModelOptions { cache: DType::F32, ..ModelOptions::default() };
    let mut model = runner.block_on(LanguageModel::load(file, runner, &options, &mut |_, _| {}))?;
    let tokens = model.prompt_tokens(&Prompt::Text(text.clone()))?;
    assert!(tokens.len() > 140, "{} are one step", tokens.len());
    let mut wanted = Vec::new();
    for at in 0..tokens.len() {
        let logits = runner.block_on(model.forward(&tokens[at..=at], at))?;
        wanted.push(logarithms(&logits));
    }
    for ahead in [false, true] {
        let tiny = tiny.clone();
        let ahead = ahead.then(|| (tiny.clone(), 3));
        let server = Setup { tiny, ahead, ..Setup::default() }.start(backend)?;
        // What a slot keeps of the prompt is no reason to say less.
        let plain = ask(&server, text.clone(), json!({ "echo": false, "max_tokens": 4 }));
        let more = json!({ "max_tokens": 4 });
        let answer = std::thread::scope(|scope| {
            let other = scope.spawn(|| ask(&server, short.clone(), more.clone()));
            let mine = ask(&server, text.clone(), more.clone());
            let other = other.join().unwrap();
            // Both begin alike.
            let first = |answer: &Value| told(answer, 5).0.as_f64().unwrap();
            assert!((first(&other) - first(&mine)).abs() < TOLERANCE);
            mine
        });
        let said = plain["choices"][0]["text"].as_str().ok_or("no text")?;
        assert_eq!(answer["choices"][0]["text"], format!("{text}{said}"));
        check(&answer, &text, &tokens, &wanted)?;
        check(&ask(&server, text.clone(), json!({ "stream": true })), &text, &tokens, &wanted)?;
        server.join()?;
    }
    Ok(())
}

fn check(answer: &Value, text: &str, tokens: &[u32], wanted: &[Vec<f64>]) -> Result<(), Failed> {
    let lists = &answer["choices"][0]["logprobs"];
    assert_eq!(told(answer, 0), (&Value::Null, &Value::Null));
    let characters: Vec<char> = text.chars().collect();
    let mut behind = 0;
    for (i, &token) in tokens.iter().enumerate() {
        if i > 0 {
            let next = wanted[i - 1][token as usize];
            let (chosen, top) = told(answer, i);
            let chosen = chosen.as_f64().ok_or("no number")?;
            assert!((chosen - next).abs() < TOLERANCE, "{i}: {chosen}, not {next}");
            assert_eq!(top.as_object().map(|top| top.len()), Some(5), "{i}");
        }
        let at = lists["text_offset"][i].as_u64().ok_or("no place")? as usize;
        let spelt = lists["tokens"][i].as_str().ok_or("no token")?;
        match spelt.strip_prefix("bytes:") {
            Some(_) => assert!(characters[at].len_utf8() > 1, "{spelt} at {at}"),
            None => {
                let here: String = characters[at..].iter().take(spelt.chars().count()).collect();
                assert_eq!(here, spelt);
            }
        }
        assert!(at >= behind, "{at} after {behind}");
        behind = at;
    }
    // What follows stands behind the prompt.
    assert_eq!(lists["text_offset"][tokens.len()], characters.len());
    Ok(())
}
