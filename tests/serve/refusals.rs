//! What is refused, and how.

use crate::client::{self, connect, read, request};
use crate::server::{Server, Setup, chat, until};
use crate::support::backends::Named;
use crate::support::tiny_model::TinyModel;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use wginfer::serve::ServeOptions;

const CHAT: &str = "/v1/chat/completions";

fn options() -> ServeOptions {
    ServeOptions { model: "tiny".into(), ..ServeOptions::default() }
}

pub fn malformed(backend: &Named) -> Result<(), Failed> {
    let server = Setup::default().start(backend)?;
    for body in ["", "{", "[]", "null", "{\"model\":\"tiny\"}", "\u{1}"] {
        client::post(server.address, CHAT, body, "").error(400);
    }
    let bad = |more: Value, status: u16, word: &str| {
        let message = server.chat("x", more).error(status);
        assert!(message.contains(word), "{message}");
    };
    bad(json!({ "messages": [] }), 400, "at least one message");
    bad(json!({ "messages": [{ "role": "wizard", "content": "x" }] }), 400, "wizard");
    let image = json!([{ "type": "image_url", "image_url": { "url": "x" } }]);
    bad(json!({ "messages": [{ "role": "user", "content": image }] }), 400, "image_url");
    let function = json!({ "function": { "name": "f", "arguments": "{" } });
    for (call, place) in [
        (json!("zzz"), "messages[1].tool_calls[1]"),
        (json!(5), "messages[1].tool_calls[1]"),
        (json!({ "function": 5 }), "messages[1].tool_calls[1]"),
        (json!({ "function": true }), "messages[1].tool_calls[1]"),
        (json!({ "function": { "arguments": "{}" } }), "messages[1].tool_calls[1]"),
        (function, "messages[1].tool_calls[1].function.arguments"),
    ] {
        let whole = json!({ "function": { "name": "f", "arguments": "{}" } });
        let messages = json!([{ "role": "user", "content": "x" },
            { "role": "assistant", "tool_calls": [whole, call] }]);
        bad(json!({ "messages": messages }), 400, place);
    }
    bad(json!({ "model": "other" }), 404, "other");
    bad(json!({ "temperature": 9 }), 400, "temperature");
    bad(json!({ "max_tokens": 0 }), 400, "max_tokens");
    bad(json!({ "max_tokens": -2 }), 400, "max_tokens");
    bad(json!({ "n": 1000 }), 400, "n must be");
    bad(json!({ "presence_penalty": 3 }), 400, "presence_penalty");
    bad(json!({ "tools": [{ "type": "function" }] }), 400, "tools");
    bad(json!({ "logit_bias": { "100000": 5 } }), 400, "logit_bias");
    bad(json!({ "min_tokens": 100 }), 400, "min_tokens");
    bad(json!({ "top_logprobs": 2 }), 400, "logprobs");
    bad(
        json!({ "messages": [{ "role": "user", "content": "long ".repeat(300) }] }),
        400,
        "context",
    );
    let body = json!({ "model": "tiny", "prompt": [[999_999]] });
    server.post("/v1/completions", &body).error(400);
    let body = json!({ "model": "tiny", "input": "x", "dimensions": 65 });
    server.post("/v1/embeddings", &body).error(400);
    server.get(CHAT).error(405);
    server.get("/v1/nothing").error(404);
    server.get("/..%2f..%2fetc/passwd").error(404);
    // A page in a browser can send this to a local server without asking.
    let text = chat("x", json!({})).to_string();
    let sent = request(CHAT, &text, "").replace("application/json", "text/plain");
    client::send(server.address, &sent).error(415);
    // No HTTP at all.
    assert_eq!(client::send(server.address, "hello\r\n\r\n").status, 400);
    // After all that it answers.
    server.chat("x", json!({})).good();
    Ok(server.join()?)
}

pub fn bodies(backend: &Named) -> Result<(), Failed> {
    let arrival = Duration::from_millis(400);
    let serve = ServeOptions { body_bytes: 10_000, arrival, ..options() };
    let server = Setup { serve, ..Setup::default() }.start(backend)?;
    let message = server.chat(&"x".repeat(3_000_000), json!({})).error(413);
    assert!(message.contains("10000"), "{message}");
    // In pieces that do not say how many there are.
    let piece = format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(20);
    let sent = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{piece}0\r\n\r\n"
    );
    assert_eq!(client::send(server.address, &sent).status, 413);
    // A body that never comes, and a head that never ends.
    let mut slow = connect(server.address);
    let sent = request(CHAT, "{}", "").replace("Content-Length: 2", "Content-Length: 2000");
    slow.write_all(sent.as_bytes())?;
    read(&mut slow).error(408);
    let mut slow = connect(server.address);
    slow.write_all(b"POST /v1/chat")?;
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut slow, &mut rest)?;
    server.chat("x", json!({})).good();
    Ok(server.join()?)
}

pub fn keys(backend: &Named) -> Result<(), Failed> {
    let serve = ServeOptions { api_key: Some("right".into()), ..options() };
    let server = Setup { serve, ..Setup::default() }.start(backend)?;
    let body = chat("x", json!({})).to_string();
    let ask = |headers: &str| client::post(server.address, CHAT, &body, headers);
    for wrong in ["", "Authorization: Bearer wrong\r\n", "Authorization: right\r\n"] {
        let answer = ask(wrong);
        answer.error(401);
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
    }
    for path in ["/v1/models", "/metrics", "/anything"] {
        server.get(path).error(401);
    }
    assert_eq!(server.get("/health").status, 200);
    ask("Authorization: Bearer right\r\n").good();
    Ok(server.join()?)
}

/// A page in a browser that has a name of its own stand for this machine still asks under
/// that name.
pub fn names(backend: &Named) -> Result<(), Failed> {
    let body = chat("x", json!({})).to_string();
    let ask = |server: &Server, host: &str| {
        client::post(server.address, CHAT, &body, &format!("Host: {host}\r\n"))
    };
    let server = Setup::default().start(backend)?;
    for own in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:9"] {
        ask(&server, own).good();
    }
    let message = ask(&server, "evil.example").error(403);
    assert!(message.contains("evil.example") && message.contains("--allow-host"), "{message}");
    assert_eq!(client::get(server.address, "/health", "Host: evil.example\r\n").status, 403);
    server.join()?;
    // One that was allowed, and one for whoever knows the key.
    let serve = ServeOptions { hosts: vec!["box.example".into()], ..options() };
    let server = Setup { serve, ..Setup::default() }.start(backend)?;
    ask(&server, "box.example:80").good();
    ask(&server, "evil.example").error(403);
    server.join()?;
    let serve = ServeOptions { api_key: Some("right".into()), ..options() };
    let server = Setup { serve, ..Setup::default() }.start(backend)?;
    ask(&server, "box.example").error(401);
    ask(&server, "box.example\r\nAuthorization: Bearer right").good();
    Ok(server.join()?)
}

/// One place: whoever comes second is told to come again.
pub fn full(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 8192, ..TinyModel::default() };
    let server = Setup { tiny, slots: 1, queue: 0, ..Setup::default() }.start(backend)?;
    let mut first = connect(server.address);
    let long = chat("x", json!({ "max_tokens": 8000, "stream": true })).to_string();
    first.write_all(request(CHAT, &long, "").as_bytes())?;
    until("the first one runs", || server.engine.unfinished() == 1);
    let answer = server.chat("x", json!({}));
    answer.error(429);
    assert!(answer.head.to_lowercase().contains("retry-after"), "{}", answer.head);
    assert_eq!(server.get("/health").status, 200);
    drop(first);
    until("the place is free", || server.engine.unfinished() == 0);
    server.chat("x", json!({})).good();
    // More than there are places, in one request, one after another.
    let body = json!({ "model": "tiny", "input": ["a", "b", "c", "d", "e"] });
    let answer = server.post("/v1/embeddings", &body).good();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(5));
    Ok(server.join()?)
}

pub fn late(backend: &Named) -> Result<(), Failed> {
    let serve = ServeOptions { answer: Duration::from_millis(60), ..options() };
    let tiny = TinyModel { context: 8192, ..TinyModel::default() };
    let server = Setup { tiny, serve, ..Setup::default() }.start(backend)?;
    let answer = server.chat("x", json!({ "max_tokens": 8000 }));
    answer.error(408);
    assert_eq!(answer.json()["error"]["type"], "timeout_error");
    until("its slot is free", || server.engine.unfinished() == 0);
    Ok(server.join()?)
}
