//! Thoughts, apart from what is said, and what a template is told of them.

use crate::client::Answer;
use crate::server::{Server, Setup};
use crate::support::backends::Named;
use crate::support::tiny_model::TinyModel;
use libtest_mimic::Failed;
use serde_json::{Value, json};

/// A template such as that of DeepSeek-R1, which begins the thoughts, and lets them be.
const TEMPLATE: &str = "{{ reasoning_effort }}{% for m in messages %}<|im_start|>{{ m.role }}\n\
    {{ m.reasoning_content }}{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n\
    {% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}";

fn start(backend: &Named) -> Result<Server, Failed> {
    let tiny = TinyModel { template: Some(TEMPLATE), context: 1024, ..TinyModel::default() };
    Setup { tiny, ..Setup::default() }.start(backend)
}

/// Letters only: white space around thoughts is left out.
fn letters(mut more: Value) -> Value {
    more["logit_bias"] = ('a'..='p').map(|c| ((c as u32).to_string(), json!(50))).collect();
    more
}

fn message(answer: &Value) -> (&str, &str) {
    let message = &answer["choices"][0]["message"];
    let of = |name: &str| message[name].as_str().unwrap_or("");
    (of("reasoning_content"), of("content"))
}

/// What all parts of a stream tell.
fn streamed(answer: &Answer) -> Result<(String, String), Failed> {
    let (mut thought, mut text) = (String::new(), String::new());
    for event in answer.events().iter().filter(|event| *event != "[DONE]") {
        let delta = serde_json::from_str::<Value>(event)?["choices"][0]["delta"].clone();
        thought.push_str(delta["reasoning_content"].as_str().unwrap_or(""));
        text.push_str(delta["content"].as_str().unwrap_or(""));
    }
    Ok((thought, text))
}

fn prompt_tokens(answer: &Value) -> Result<u64, Failed> {
    Ok(answer["usage"]["prompt_tokens"].as_u64().ok_or("no count")?)
}

/// The template begins the thoughts, which the model never ends: all is thought.
pub fn opened(backend: &Named) -> Result<(), Failed> {
    let server = start(backend)?;
    let answer = server.chat("well?", letters(json!({}))).good();
    let (thought, text) = message(&answer);
    assert_eq!((thought.len(), text), (12, ""), "{answer}");
    let stream = server.chat("well?", letters(json!({ "stream": true })));
    assert_eq!(streamed(&stream)?, (thought.to_string(), String::new()));
    // Told as text where that is asked for.
    let whole = server.chat("well?", letters(json!({ "reasoning_format": "none" }))).good();
    assert_eq!(message(&whole), ("", thought));
    let same = server.chat("well?", letters(json!({ "reasoning_format": "deepseek" }))).good();
    assert_eq!(message(&same), (thought, ""));
    server.chat("well?", json!({ "reasoning_format": "other" })).error(400);
    // Without thoughts, both ways to say so are one.
    let spared = json!({ "chat_template_kwargs": { "enable_thinking": false } });
    let spared = server.chat("well?", letters(spared)).good();
    let (thought, text) = message(&spared);
    assert_eq!((thought, text.len()), ("", 12), "{spared}");
    let none = server.chat("well?", letters(json!({ "reasoning_effort": "none" }))).good();
    assert_eq!(message(&none), ("", text));
    // The vocabulary has tokens for `th` and `in`.
    assert_eq!(prompt_tokens(&spared)? + "<think>\n".len() as u64 - 2, prompt_tokens(&answer)?);
    Ok(server.join()?)
}

/// A form is that of what is said: the thoughts that the prompt begins are ended.
pub fn formed(backend: &Named) -> Result<(), Failed> {
    let server = start(backend)?;
    let format = json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "it", "schema": { "enum": ["x"] } } }, "ignore_eos": false });
    let answer = server.chat("well?", format).good();
    assert_eq!(message(&answer), ("", "\"x\""), "{answer}");
    let plain = server.chat("well?", json!({})).good();
    // The vocabulary has tokens for `th` and `in`.
    let closing = "\n</think>\n\n".len() as u64 - 2;
    assert_eq!(prompt_tokens(&answer)?, prompt_tokens(&plain)? + closing);
    Ok(server.join()?)
}

/// What was thought before, and how much is to be thought, reach the template.
pub fn told(backend: &Named) -> Result<(), Failed> {
    let server = start(backend)?;
    let count = |more: Value| prompt_tokens(&server.chat("well?", more).good());
    let plain = count(json!({}))?;
    assert_eq!(count(json!({ "reasoning_effort": "high" }))?, plain + 4);
    let values = json!({ "reasoning_effort": "medium" });
    assert_eq!(count(json!({ "chat_template_kwargs": values }))?, plain + 6);
    let said = |thought: Value| {
        json!({ "messages": [{ "role": "user", "content": "well?" },
            { "role": "assistant", "content": "ok", "reasoning_content": thought }] })
    };
    assert_eq!(count(said(json!("xyz")))?, count(said(Value::Null))? + 3);
    let taken = json!({ "chat_template_kwargs": { "messages": [] } });
    let message = server.chat("well?", taken).error(400);
    assert!(message.contains("messages"), "{message}");
    let wrong = json!({ "chat_template_kwargs": [1] });
    server.chat("well?", wrong).error(400);
    Ok(server.join()?)
}
