//! What is asked for is what comes.

use crate::server::{Setup, alone, chat};
use crate::support::backends::Named;
use crate::support::tiny_model::TinyModel;
use base64::Engine as _;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use wginfer::embed::{EmbedOptions, Embedder};
use wginfer::lm::Prompt;

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().expect("a text")
}

pub fn texts(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let wanted = alone(backend, Prompt::Ask("in the end".into()), 12)?;
    let answer = server.chat("in the end", json!({})).good();
    assert_eq!(content(&answer), wanted);
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "tiny");
    // There is only one, which need not be named.
    let unnamed = server.chat("in the end", json!({ "model": null })).good();
    assert_eq!(unnamed["choices"], answer["choices"]);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    assert_eq!(answer["usage"]["completion_tokens"], 12);
    let prompt = answer["usage"]["prompt_tokens"].as_u64().ok_or("a number")?;
    assert_eq!(answer["usage"]["total_tokens"], prompt + 12);
    // Content in parts, and a role by its newer name.
    let parts = json!({ "messages": [
        { "role": "user", "content": [
            { "type": "text", "text": "in the" }, { "type": "text", "text": " end" },
        ]},
    ]});
    let again = server.chat("", parts).good();
    assert_eq!(content(&again), wanted);
    // All but the last token of the prompt was there.
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], prompt - 1);

    let wanted = alone(backend, Prompt::Text("the thin".into()), 9)?;
    let more = alone(backend, Prompt::Tokens(vec![3, 4, 5]), 9)?;
    let body = |prompt: Value| {
        json!({ "model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": 9,
                "ignore_eos": true })
    };
    let answer = server.post("/v1/completions", &body(json!("the thin"))).good();
    assert_eq!(answer["choices"][0]["text"], wanted);
    assert_eq!(answer["object"], "text_completion");
    let answer = server.post("/v1/completions", &body(json!([[3, 4, 5], [3, 4, 5]]))).good();
    assert_eq!(answer["choices"][0]["text"], more);
    assert_eq!(answer["choices"][1]["text"], more);
    assert_eq!(answer["choices"][1]["index"], 1);
    assert_eq!(answer["usage"]["prompt_tokens"], 6);
    // The prompt comes before what follows, whole or in a stream.
    let mut echoed = body(json!(["the thin", "the thin"]));
    echoed["echo"] = json!(true);
    let answer = server.post("/v1/completions", &echoed).good();
    for choice in 0..2 {
        assert_eq!(answer["choices"][choice]["text"], format!("the thin{wanted}"));
    }
    echoed["prompt"] = json!("the thin");
    echoed["stream"] = json!(true);
    let mut events = server.post("/v1/completions", &echoed).events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let mut text = String::new();
    for event in &events {
        let part = serde_json::from_str::<Value>(event)?;
        text.push_str(part["choices"][0]["text"].as_str().ok_or("a text")?);
    }
    assert_eq!(text, format!("the thin{wanted}"));
    // Nothing but the prompt, and nothing at all.
    let only = json!({ "model": "tiny", "prompt": "the thin", "echo": true, "max_tokens": 0 });
    assert_eq!(server.post("/v1/completions", &only).good()["choices"][0]["text"], "the thin");
    let nothing = json!({ "model": "tiny", "prompt": "the thin", "max_tokens": 0 });
    server.post("/v1/completions", &nothing).error(400);
    Ok(server.join()?)
}

pub fn streams(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let wanted = alone(backend, Prompt::Ask("in the end".into()), 12)?;
    let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let mut events = server.chat("in the end", options).events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let events: Vec<Value> =
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (usage, parts) = events.split_last().ok_or("no events")?;
    assert_eq!(usage["usage"]["completion_tokens"], 12);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(parts[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(parts.iter().all(|part| part["object"] == "chat.completion.chunk"));
    assert!(parts.iter().all(|part| part["id"] == usage["id"]));
    let text: String =
        parts.iter().filter_map(|part| part["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, wanted);
    let last = parts.last().ok_or("no parts")?;
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(last["choices"][0]["delta"], json!({}));

    // Two prompts at once: each choice is told by itself.
    let body = json!({ "model": "tiny", "prompt": ["the thin", "in"], "temperature": 0,
                       "max_tokens": 7, "ignore_eos": true, "stream": true });
    let mut events = server.post("/v1/completions", &body).events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let mut texts = [String::new(), String::new()];
    for event in &events {
        let choice = &serde_json::from_str::<Value>(event)?["choices"][0];
        let index = choice["index"].as_u64().ok_or("an index")? as usize;
        texts[index].push_str(choice["text"].as_str().ok_or("a text")?);
    }
    for (text, prompt) in texts.iter().zip(["the thin", "in"]) {
        assert_eq!(*text, alone(backend, Prompt::Text(prompt.into()), 7)?);
    }
    Ok(server.join()?)
}

pub fn parameters(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let ask = |more: Value| server.chat("in the end", more).good();
    let whole = content(&ask(json!({}))).to_string();
    // Drawn: a seed decides, and choices differ.
    let drawn = |seed: u64| {
        let more = json!({ "temperature": 1.5, "seed": seed, "n": 3, "top_p": 0.99 });
        let answer = server.chat("in the end", more).good();
        let all = answer["choices"].as_array().expect("choices").clone();
        all.iter().map(|c| c["message"]["content"].to_string()).collect::<Vec<_>>()
    };
    let first = drawn(5);
    assert_eq!(first, drawn(5));
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    assert_ne!(first, drawn(6));
    // A stop string of plain characters, out of a text made of them.
    let bars: serde_json::Map<String, Value> = (0..263)
        .filter(|id| !(33..127).contains(id))
        .map(|id: u32| (id.to_string(), json!(-100)))
        .collect();
    let plain = content(&ask(json!({ "logit_bias": bars }))).to_string();
    assert_eq!(plain.len(), 12, "{plain:?}");
    assert_ne!(plain, whole);
    let stop = &plain[6..8];
    let answer = ask(json!({ "logit_bias": bars, "stop": [stop, "never"] }));
    assert_eq!(content(&answer), &plain[..plain.find(stop).unwrap()]);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    Ok(server.join()?)
}

pub fn probabilities(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let answer = server.chat("in the end", json!({ "logprobs": true, "top_logprobs": 2 })).good();
    let all = answer["choices"][0]["logprobs"]["content"].as_array().ok_or("none")?.clone();
    assert_eq!(all.len(), 12);
    let mut bytes = Vec::new();
    for one in &all {
        let top = one["top_logprobs"].as_array().ok_or("none")?;
        assert_eq!((top.len(), &top[0]["logprob"]), (2, &one["logprob"]));
        assert!(one["logprob"].as_f64().is_some_and(|p| p < 0.0 && p > -20.0), "{one}");
        bytes.extend(one["bytes"].as_array().ok_or("none")?.iter().filter_map(Value::as_u64));
    }
    let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte as u8).collect();
    assert_eq!(content(&answer), String::from_utf8_lossy(&bytes));
    let body = json!({ "model": "tiny", "prompt": "the thin", "max_tokens": 4, "logprobs": 3,
                       "temperature": 0, "ignore_eos": true });
    let answer = server.post("/v1/completions", &body).good();
    let told = &answer["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(told[list].as_array().map(Vec::len), Some(4), "{told}");
    }
    assert_eq!(told["text_offset"][0], 0);
    Ok(server.join()?)
}

/// Tokens stand where their characters do, those of a stop string nowhere.
pub fn places(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let form = json!({ "type": "json_schema", "json_schema": { "name": "it",
        "schema": { "const": "aé€🙂 zthe end" } } });
    let body = |more: Value| {
        let mut body = json!({ "model": "tiny", "prompt": "x", "max_tokens": 60, "logprobs": 5,
            "temperature": 0, "response_format": form });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (stop, wanted) in
        [(json!([]), "\"aé€🙂 zthe end\""), (json!(["the e", "€🙂?"]), "\"aé€🙂 z")]
    {
        let answer = server.post("/v1/completions", &body(json!({ "stop": stop }))).good();
        let choice = &answer["choices"][0];
        assert_eq!(choice["text"], wanted, "{answer}");
        let told = &choice["logprobs"];
        let text: Vec<char> = wanted.chars().collect();
        let mut joined = Vec::new();
        let tokens = told["tokens"].as_array().ok_or("no tokens")?;
        for (i, token) in tokens.iter().enumerate() {
            let token = token.as_str().ok_or("no text")?;
            let at = told["text_offset"][i].as_u64().ok_or("no offset")? as usize;
            assert_eq!(told["top_logprobs"][i].as_object().map(|top| top.len()), Some(5), "{told}");
            match token.strip_prefix("bytes:\\x") {
                Some(byte) => {
                    joined.push(u8::from_str_radix(byte, 16)?);
                    assert!(text[at].len_utf8() > 1, "{token} at {at}");
                }
                None => {
                    joined.extend(token.bytes());
                    let there: String = text[at..].iter().take(token.chars().count()).collect();
                    assert_eq!(there, token, "at {at}");
                }
            }
        }
        // No token of the stop string, and all of the others.
        assert_eq!(String::from_utf8(joined)?, wanted);
        // The same in a stream.
        let streamed = body(json!({ "stop": stop, "stream": true }));
        let mut offsets = Vec::new();
        for event in server.post("/v1/completions", &streamed).events() {
            let Ok(event) = serde_json::from_str::<Value>(&event) else { continue };
            let part = &event["choices"][0]["logprobs"]["text_offset"];
            offsets.extend(part.as_array().into_iter().flatten().cloned());
        }
        assert_eq!(Value::from(offsets), told["text_offset"]);
    }
    Ok(server.join()?)
}

pub fn embeddings(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let inputs: Vec<String> = (0..9).map(|i| format!("text {i} of the thing")).collect();
    let body = json!({ "model": "tiny", "input": inputs });
    let answer = server.post("/v1/embeddings", &body).good();
    let data = answer["data"].as_array().ok_or("no data")?;
    assert_eq!(data.len(), 9);
    let vectors: Vec<Vec<f64>> = data
        .iter()
        .map(|one| one["embedding"].as_array().unwrap().iter().filter_map(Value::as_f64).collect())
        .collect();
    for vector in &vectors {
        let length: f64 = vector.iter().map(|v| v * v).sum();
        assert!(vector.len() == 64 && (length - 1.0).abs() < 1e-5, "{length}");
    }
    assert_ne!(vectors[0], vectors[1]);
    assert!(answer["usage"]["prompt_tokens"].as_u64().is_some_and(|count| count > 9));
    let body = json!({ "model": "tiny", "input": inputs[3], "encoding_format": "base64" });
    let answer = server.post("/v1/embeddings", &body).good();
    let text = answer["data"][0]["embedding"].as_str().ok_or("no text")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
    let values = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    for (got, wanted) in values.zip(&vectors[3]) {
        assert!((f64::from(got) - wanted).abs() < 1e-5, "{got}, expected {wanted}");
    }
    // A part of a vector is scaled to length 1 by itself.
    let body = json!({ "model": "tiny", "input": inputs[3], "dimensions": 10 });
    let answer = server.post("/v1/embeddings", &body).good();
    let part = answer["data"][0]["embedding"].as_array().ok_or("no vector")?;
    assert_eq!(part.len(), 10);
    let length = vectors[3][..10].iter().map(|v| v * v).sum::<f64>().sqrt();
    for (got, wanted) in part.iter().filter_map(Value::as_f64).zip(&vectors[3]) {
        assert!((got - wanted / length).abs() < 1e-5, "{got}, expected {wanted} / {length}");
    }
    for wrong in [0, 65] {
        let body = json!({ "model": "tiny", "input": "x", "dimensions": wrong });
        let said = server.post("/v1/embeddings", &body).error(400);
        assert!(said.contains("64 dimensions"), "{said}");
    }
    Ok(server.join()?)
}

/// A server over an encoder: vectors as the library gives them, and no text.
pub fn encoder(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start_encoder(backend)?;
    let texts = ["A man is eating food.", "x", "CAPITALS, naïve façades and 東京!"];
    let body = json!({ "model": "tiny", "input": texts });
    let answer = server.post("/v1/embeddings", &body).good();
    let options = EmbedOptions::default();
    let file = crate::server::encoder()?;
    let mut embedder = Embedder::from_gguf_blocking(file, &backend.backend, &options)?;
    for (i, expected) in embedder.embed_blocking(&texts)?.iter().enumerate() {
        let got = answer["data"][i]["embedding"].as_array().ok_or("no vector")?;
        assert_eq!(got.len(), expected.len());
        for (got, &expected) in got.iter().filter_map(Value::as_f64).zip(expected) {
            assert!((got - f64::from(expected)).abs() < 1e-5, "{i}: {got}, not {expected}");
        }
    }
    for (path, body) in [
        ("/v1/chat/completions", chat("hello", json!({}))),
        ("/v1/completions", json!({ "model": "tiny", "prompt": "hello" })),
    ] {
        let said = server.post(path, &body).error(400);
        assert!(said.contains("'bert'"), "{said}");
    }
    let long = json!({ "model": "tiny", "input": "word ".repeat(500) });
    let said = server.post("/v1/embeddings", &long).error(400);
    assert!(said.contains("context"), "{said}");
    Ok(server.join()?)
}

/// The best documents come first, with llama.cpp's scores.
pub fn ranked(backend: &Named) -> Result<(), Failed> {
    let (file, judged) = crate::server::made("rankers/bert.json")?;
    let server = Setup::default().start_with(file, backend)?;
    let body = |more: Value| {
        let mut body = json!({
            "model": "tiny", "query": judged["query"], "documents": judged["texts"],
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let answer = server.post("/v1/rerank", &body(json!({}))).good();
    let results = answer["results"].as_array().ok_or("no results")?;
    assert_eq!(results.len(), 4);
    let score = |one: &Value| one["relevance_score"].as_f64().unwrap_or(f64::NAN);
    assert!(results.windows(2).all(|two| score(&two[0]) >= score(&two[1])), "{answer}");
    for one in results {
        let index = one["index"].as_u64().ok_or("no index")? as usize;
        let wanted = judged["scores"][index].as_f64().ok_or("no score")?;
        assert!((score(one) - wanted).abs() < 2e-3, "{one}, not {wanted}");
    }
    let count: usize =
        judged["ids"].as_array().unwrap().iter().map(|ids| ids.as_array().unwrap().len()).sum();
    assert_eq!(answer["usage"]["total_tokens"], count);
    let best = body(json!({ "top_n": 1, "return_documents": true }));
    let best = server.post("/v1/rerank", &best).good();
    let best = best["results"].as_array().ok_or("no results")?;
    assert_eq!((best.len(), &best[0]["index"]), (1, &results[0]["index"]));
    let index = best[0]["index"].as_u64().ok_or("no index")? as usize;
    assert_eq!(best[0]["document"]["text"], judged["texts"][index]);
    for (wrong, why) in [
        (json!({ "documents": [] }), "documents"),
        (json!({ "top_n": 0 }), "top_n"),
        (json!({ "documents": ["word ".repeat(500)] }), "context"),
        (json!({ "documents": [7] }), "body"),
    ] {
        let said = server.post("/v1/rerank", &body(wrong)).error(400);
        assert!(said.contains(why), "{said}");
    }
    let said = server.post("/v1/embeddings", &json!({ "model": "tiny", "input": "x" })).error(400);
    assert!(said.contains("ranks"), "{said}");
    server.join()?;
    let server = Setup::default().start_encoder(backend)?;
    let said = server.post("/v1/rerank", &body(json!({}))).error(400);
    assert!(said.contains("pooling_type"), "{said}");
    Ok(server.join()?)
}

pub fn around(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    let models = server.get("/v1/models").good();
    assert_eq!(models["data"][0]["id"], "tiny");
    assert_eq!(server.get("/v1/models/tiny").good()["object"], "model");
    server.get("/v1/models/other").error(404);
    assert_eq!(server.get("/health").good()["status"], "ok");
    server.chat("in the end", json!({})).good();
    server.post("/v1/chat/completions", &json!({})).error(400);
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200);
    let path = r#"path="/v1/chat/completions""#;
    for line in [
        format!("wginfer_http_requests_total{{{path},status=\"200\"}} 1"),
        format!("wginfer_http_requests_total{{{path},status=\"400\"}} 1"),
        "wginfer_generated_tokens_total 12".into(),
        "wginfer_sequences_total 1".into(),
        "wginfer_ready 1".into(),
        "wginfer_slots 4".into(),
        "wginfer_first_token_seconds_count 1".into(),
    ] {
        assert!(metrics.body.lines().any(|other| other == line), "{line} in {}", metrics.body);
    }
    // Whoever asks for nothing new is told of the same.
    assert_eq!(chat("x", json!({}))["model"], "tiny");
    Ok(server.join()?)
}

/// With a model ahead answers are what they are without, and the counters tell of it.
pub fn ahead(backend: &Named) -> Result<(), Failed> {
    for seed in [1, 2] {
        let tiny = TinyModel { seed, ..TinyModel::default() };
        let server = Setup { ahead: Some((tiny, 4)), ..Setup::default() }.start(backend)?;
        let answer = server.chat("Why?", json!({})).good();
        let wanted = alone(backend, Prompt::Ask("Why?".into()), 12)?;
        assert_eq!(answer["choices"][0]["message"]["content"], wanted, "{answer}");
        // Drawn texts are the same for the same seed, one alone and several at once.
        let drawn = json!({ "temperature": 1.2, "seed": 5, "n": 3, "max_tokens": 20 });
        let answer = server.chat("Why?", drawn.clone()).good();
        assert_eq!(answer["choices"].as_array().map(Vec::len), Some(3));
        let again = server.chat("Why?", drawn).good();
        let text = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
        assert_eq!(text(&answer), text(&again));
        let metrics = server.get("/metrics").body;
        let count = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        let drafted = count("wginfer_drafted_tokens_total");
        let accepted = count("wginfer_accepted_tokens_total");
        assert!(drafted > 0 && accepted <= drafted && (seed != 1 || accepted > 0), "{metrics}");
        server.join()?;
    }
    Ok(())
}
