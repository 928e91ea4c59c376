//! Answers that follow a schema, and that call tools.

use crate::server::Setup;
use crate::support::backends::Named;
use crate::support::tiny_model::TinyModel;
use libtest_mimic::Failed;
use serde_json::{Value, json};

const TEMPLATE: &str = "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}\
    {% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\
    {% for call in m.tool_calls or [] %}{{ call.function.arguments.at }}{% endfor %}\
    <|im_end|>\n{% endfor %}<|im_start|>assistant\n";

/// For a model that would rather put white space than anything else, and then end.
fn spacious(extra: Value) -> Value {
    let mut value = more(extra);
    let space = ["9", "10", "13", "32"].map(|id| (id, 100));
    // Then whatever begins and ends an object.
    let all = space.into_iter().chain([("123", 50), ("125", 50)]);
    value["logit_bias"] = all.map(|(id, bias)| (id.to_string(), Value::from(bias))).collect();
    value["max_tokens"] = 400.into();
    value
}

fn more(extra: Value) -> Value {
    let mut value = json!({ "max_tokens": 120, "ignore_eos": false });
    for (key, one) in extra.as_object().expect("an object") {
        value[key] = one.clone();
    }
    value
}

fn setup() -> Setup {
    Setup {
        tiny: TinyModel { template: Some(TEMPLATE), context: 1024, ..TinyModel::default() },
        ..Setup::default()
    }
}

fn tools() -> Value {
    let tool = |name: &str, at: &[&str]| {
        json!({ "type": "function", "function": { "name": name, "parameters": {
            "type": "object",
            "properties": { "at": { "enum": at } },
            "required": ["at"], "additionalProperties": false,
        } } })
    };
    json!([tool("sky", &["noon", "night"]), tool("sea", &["ebb"])])
}

pub fn formats(backend: &Named) -> Result<(), Failed> {
    let server = setup().start(backend)?;
    let schema = json!({
        "type": "object",
        "properties": { "name": { "enum": ["x", "y"] }, "good": { "type": "boolean" } },
        "required": ["name", "good"], "additionalProperties": false,
    });
    let format = json!({ "response_format": {
        "type": "json_schema", "json_schema": { "name": "it", "strict": true, "schema": schema },
    } });
    let answer = server.chat("well?", spacious(format.clone())).good();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop", "{answer}");
    let value: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap_or(""))?;
    assert!(value["good"].is_boolean() && value.as_object().map(|o| o.len()) == Some(2), "{value}");
    // The same in a stream.
    let mut streamed = spacious(format);
    streamed["stream"] = true.into();
    let text: String = server
        .chat("well?", streamed)
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_string()))
        .collect();
    assert_eq!(serde_json::from_str::<Value>(&text)?, value);
    // Any object, and anything at all.
    for format in [
        json!({ "type": "json_object" }),
        json!({ "type": "json_schema", "json_schema": { "name": "it", "schema": true } }),
    ] {
        let asked = spacious(json!({ "response_format": format }));
        let answer = server.chat("well?", asked).good();
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or("");
        serde_json::from_str::<Value>(text)?;
    }
    let wrong = json!({ "response_format": {
        "type": "json_schema", "json_schema": { "name": "it", "schema": { "type": "nonsense" } },
    } });
    server.chat("well?", more(wrong)).error(400);
    server.chat("well?", more(json!({ "response_format": { "type": "other" } }))).error(400);
    // Penalties and a full context.
    let plain = json!({ "frequency_penalty": 1.5, "presence_penalty": -1.0, "typical_p": 0.9,
        "context_shift": true, "max_tokens": 6 });
    server.chat("well?", more(plain)).good();
    Ok(server.join()?)
}

/// A template such as that of gpt-oss.
const CHANNELS: &str = "{{ tools | tojson }}{% for m in messages %}<|start|>{{ m.role }}\
    <|channel|>final<|message|>{{ m.thinking }}{{ m.content }}<|end|>{% endfor %}\
    <|start|>assistant";

/// A model that answers in channels: calls are messages of their own, and a form is
/// that of what is said.
pub fn channels(backend: &Named) -> Result<(), Failed> {
    let mut setup = setup();
    setup.tiny.template = Some(CHANNELS);
    let server = setup.start(backend)?;
    let forced = json!({ "tools": tools(), "tool_choice":
        { "type": "function", "function": { "name": "sea" } } });
    let choice = server.chat("well?", more(forced.clone())).good()["choices"][0].clone();
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "sea", "{choice}");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap_or(""))?;
    assert_eq!(arguments, json!({ "at": "ebb" }));
    assert_eq!(choice["message"]["content"], Value::Null);
    let format = json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "it", "schema": { "enum": ["x"] } } } });
    let answer = server.chat("well?", more(format)).good();
    assert_eq!(answer["choices"][0]["message"]["content"], "\"x\"", "{answer}");
    // What was thought before is told to the template.
    let asked = |thought: &str| {
        let messages = json!([{ "role": "user", "content": "well?" },
            { "role": "assistant", "reasoning_content": thought }]);
        let answer = server.chat("", json!({ "messages": messages, "max_tokens": 1 })).good();
        Ok::<_, Failed>(answer["usage"]["prompt_tokens"].as_u64().ok_or("no count")?)
    };
    assert_eq!(asked("xyzxyz")?, asked("xyz")? + 3);
    Ok(server.join()?)
}

/// Templates of models that write calls in other forms, by the marks they have.
const FORMS: [&str; 3] = [
    "{{ tools }}<tool_call><function=name><parameter=key>",
    "{{ tools }}<tool_call><arg_key>key</arg_key>",
    "{{ tools }}[TOOL_CALLS]name[ARGS]",
];

/// Calls that are not JSON as a whole: what is text, the schema says.
pub fn forms(backend: &Named) -> Result<(), Failed> {
    for form in FORMS {
        let mut setup = setup();
        setup.tiny.template = Some(form);
        let server = setup.start(backend)?;
        let tools = json!([{ "type": "function", "function": { "name": "sky", "parameters": {
            "type": "object", "properties": {
                "at": { "enum": ["12", "13"] }, "n": { "enum": [4, 5] },
            }, "required": ["at", "n"],
        } } }]);
        let forced = json!({ "tools": tools, "tool_choice": "required" });
        let choice = server.chat("well?", more(forced.clone())).good()["choices"][0].clone();
        assert_eq!(choice["finish_reason"], "tool_calls", "{form}: {choice}");
        let function = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!(function["name"], "sky");
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap_or(""))?;
        assert!(arguments["at"] == "12" || arguments["at"] == "13", "{form}: {arguments}");
        assert!(arguments["n"] == 4 || arguments["n"] == 5, "{form}: {arguments}");
        // The same in a stream.
        let mut streamed = more(forced);
        streamed["stream"] = true.into();
        let events = server.chat("well?", streamed).events();
        let values = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
        let mut deltas = values.map(|value| value["choices"][0]["delta"].clone());
        let call = deltas.find(|delta| delta["tool_calls"].is_array()).ok_or("a call")?;
        assert_eq!(call["tool_calls"][0]["function"], *function, "{form}");
        if form.contains("[ARGS]") {
            server.join()?;
            continue;
        }
        // Text without quotes ends with its mark: what is cut off is no call, and is told.
        let tools = json!([{ "type": "function", "function": { "name": "sky", "parameters": {
            "type": "object", "properties": { "at": { "type": "string" } },
        } } }]);
        let cut = json!({ "tools": tools, "tool_choice": "required", "max_tokens": 48,
            "temperature": 0 });
        let choice = server.chat("well?", more(cut)).good()["choices"][0].clone();
        assert_eq!(choice["finish_reason"], "length", "{form}: {choice}");
        let text = choice["message"]["content"].as_str().unwrap_or("");
        assert!(text.contains("sky") && text.contains("at"), "{form}: {choice}");
        server.join()?;
    }
    Ok(())
}

pub fn calls(backend: &Named) -> Result<(), Failed> {
    let server = setup().start(backend)?;
    let forced = json!({ "tools": tools(), "tool_choice": "required" });
    let answer = server.chat("well?", more(forced.clone())).good();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    let function = &call["function"];
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap_or(""))?;
    let fits = match function["name"].as_str() {
        Some("sky") => arguments["at"] == "noon" || arguments["at"] == "night",
        Some("sea") => arguments["at"] == "ebb",
        _ => false,
    };
    assert!(fits && call["type"] == "function" && call["id"].is_string(), "{answer}");
    // The same in a stream, and nothing of it as text.
    let mut streamed = more(forced);
    streamed["stream"] = true.into();
    let events: Vec<Value> = server
        .chat("well?", streamed)
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str(event).ok())
        .collect();
    let choices: Vec<&Value> = events.iter().map(|event| &event["choices"][0]).collect();
    let told = choices.iter().find_map(|c| c["delta"]["tool_calls"][0].as_object());
    let told = told.ok_or("a call")?;
    assert_eq!(told["function"], *function);
    assert_eq!(told["index"], 0);
    assert!(choices.iter().all(|c| c["delta"]["content"].as_str().unwrap_or("").is_empty()));
    assert_eq!(choices.last().ok_or("an end")?["finish_reason"], "tool_calls");
    // One by its name.
    let sea = json!({ "tools": tools(), "tool_choice":
        { "type": "function", "function": { "name": "sea" } } });
    let answer = server.chat("well?", more(sea)).good();
    let function = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "sea");
    // What was called, and what came of it, goes into the prompt.
    let before = server.chat("well?", json!({ "max_tokens": 2 })).good();
    let history = json!({ "max_tokens": 2, "tools": tools(), "tool_choice": "auto", "messages": [
        { "role": "user", "content": "well?" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": call["id"], "content": "blue" },
    ] });
    let after = server.chat("", history).good();
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0);
    assert!(tokens(&after) > tokens(&before) + 100, "{after}");
    for (wrong, part) in [
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "tools": [{}] }), "tools[0]"),
        (json!({ "tools": tools(), "tool_choice": "sometimes" }), "tool_choice"),
        (
            json!({ "tools": tools(), "tool_choice":
            { "type": "function", "function": { "name": "moon" } } }),
            "tool_choice",
        ),
    ] {
        let message = server.chat("well?", more(wrong)).error(400);
        assert!(message.contains(part), "{message}");
    }
    server.join()?;
    // A model that does not know of tools.
    let server = Setup::default().start(backend)?;
    let message = server.chat("well?", more(json!({ "tools": tools() }))).error(400);
    assert!(message.contains("does not know of tools"), "{message}");
    server.chat("well?", json!({ "tools": [], "tool_choice": "none" })).good();
    Ok(server.join()?)
}
