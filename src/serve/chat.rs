//! `POST /v1/chat/completions`.

use super::error::ApiError;
use super::options::Common;
use super::shape::{Shape, THOUGHT};
use super::tools::Tools;
use super::{App, body, completions};
use crate::lm::Prompt;
use crate::lm::chat::Values;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most likely tokens told of each, at most.
const MOST_TOP: usize = 20;

/// What most templates call whether the model is to think.
const THINKING: &str = "enable_thinking";

#[derive(Debug, Deserialize)]
struct Chat {
    messages: Vec<Message>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    /// Whether an answer may call more than one tool.
    parallel_tool_calls: Option<bool>,
    /// What the template is told beside the conversation.
    chat_template_kwargs: Option<Values>,
    /// The same of one name; `none` also says not to think.
    reasoning_effort: Option<String>,
    /// Where thoughts are told, as in llama.cpp's server.
    reasoning_format: Option<ReasoningFormat>,
    #[serde(flatten)]
    common: Common,
}

/// Where thoughts are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReasoningFormat {
    /// In `content`, as the model writes them.
    None,
    /// In `reasoning_content`.
    #[serde(alias = "deepseek")]
    Auto,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
    tool_calls: Option<Vec<Value>>,
    tool_call_id: Option<String>,
    name: Option<String>,
    /// What was thought before an earlier answer.
    reasoning_content: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

pub(super) async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let chat: Chat = body::json(&app, request).await?;
    app.engine.file().writes()?;
    if chat.messages.is_empty() {
        return Err(ApiError::param("messages", "messages must have at least one message"));
    }
    let messages = chat.messages.into_iter().enumerate();
    let messages = messages.map(|(i, one)| message(i, one)).collect::<Result<Vec<_>, _>>()?;
    let template = app.engine.file().template();
    let mut tools = Tools::read(chat.tools.unwrap_or_default(), chat.tool_choice, template)?;
    if let Some(tools) = &mut tools {
        tools.single = chat.parallel_tool_calls == Some(false);
    }
    let probabilities = match (chat.logprobs.unwrap_or(false), chat.top_logprobs) {
        (true, top) => Some(top.unwrap_or(0)),
        (false, None | Some(0)) => None,
        (false, Some(_)) => {
            return Err(ApiError::param("top_logprobs", "top_logprobs needs logprobs"));
        }
    };
    if probabilities.is_some_and(|top| top > MOST_TOP) {
        let message = format!("top_logprobs must be at most {MOST_TOP}");
        return Err(ApiError::param("top_logprobs", message));
    }
    let told = tools.as_ref().map(|tools| tools.told.clone()).unwrap_or_default();
    let values = values(chat.chat_template_kwargs, chat.reasoning_effort);
    let prompts = vec![Prompt::Values { messages, tools: told, values }];
    let whole = match chat.reasoning_format {
        None => app.options.thoughts_in_text,
        Some(format) => format == ReasoningFormat::None,
    };
    completions::complete(app, Shape::Chat { tools, whole }, prompts, chat.common, probabilities)
        .await
}

/// What the template is told.
fn values(given: Option<Values>, effort: Option<String>) -> Values {
    let mut values = given.unwrap_or_default();
    match effort {
        Some(effort) if effort == "none" => {
            values.entry(THINKING).or_insert(false.into());
        }
        Some(effort) => {
            values.insert("reasoning_effort".into(), effort.into());
        }
        None => (),
    }
    values
}

/// A message, by its number, as templates look at it.
fn message(number: usize, message: Message) -> Result<Value, ApiError> {
    let role = match message.role.as_str() {
        role @ ("system" | "user" | "assistant" | "tool") => role,
        // Its newer name.
        "developer" => "system",
        other => {
            let text = format!("the role '{other}' is not supported");
            return Err(ApiError::param("messages", text));
        }
    };
    let content = match message.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let texts: Result<Vec<String>, _> = parts.into_iter().map(text).collect();
            texts?.concat()
        }
    };
    let mut value = json!({ "role": role, "content": content });
    if let Some(calls) = message.tool_calls {
        let called = |(i, call)| called(&format!("messages[{number}].tool_calls[{i}]"), call);
        value["tool_calls"] =
            calls.into_iter().enumerate().map(called).collect::<Result<_, _>>()?;
    }
    // Templates have two names for it, and some refuse one beside a text.
    let thought = message.reasoning_content.filter(|thought| !thought.is_empty());
    let alone = thought.clone().filter(|_| value["content"] == "");
    let further = [
        ("tool_call_id", message.tool_call_id),
        ("name", message.name),
        ("thinking", alone),
        (THOUGHT, thought),
    ];
    for (name, more) in further {
        if let Some(more) = more {
            value[name] = more.into();
        }
    }
    Ok(value)
}

/// A call with its arguments as templates want them: as an object, not as text.
fn called(place: &str, mut call: Value) -> Result<Value, ApiError> {
    let wrong = |what: String| ApiError::param("messages", format!("{place}{what}"));
    let function = call.get_mut("function").and_then(Value::as_object_mut);
    let named = function.filter(|function| function.get("name").is_some_and(Value::is_string));
    let function = named.ok_or_else(|| wrong(" is no call of a function with a name".into()))?;
    if let Some(arguments) = function.get_mut("arguments")
        && let Some(text) = arguments.as_str()
    {
        *arguments = serde_json::from_str(text)
            .map_err(|error| wrong(format!(".function.arguments: {error}")))?;
    }
    Ok(call)
}

fn text(part: Part) -> Result<String, ApiError> {
    match (part.kind.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        (kind, _) => {
            Err(ApiError::param("messages", format!("content of type '{kind}' is not supported")))
        }
    }
}
