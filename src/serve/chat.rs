//! `POST /v1/chat/completions`.

use super::error::ApiError;
use super::options::Common;
use super::shape::Shape;
use super::{App, body, completions};
use crate::lm::{ChatMessage, Prompt};
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;

/// The most likely tokens told of each, at most.
const MOST_TOP: usize = 20;

#[derive(Debug, Deserialize)]
struct Chat {
    messages: Vec<Message>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
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
    let messages: Result<Vec<_>, _> = chat.messages.into_iter().map(message).collect();
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
    let prompts = vec![Prompt::Chat(messages?)];
    completions::complete(app, Shape::Chat, prompts, chat.common, probabilities).await
}

fn message(message: Message) -> Result<ChatMessage, ApiError> {
    let role = match message.role.as_str() {
        role @ ("system" | "user" | "assistant") => role,
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
    Ok(ChatMessage::new(role, content))
}

fn text(part: Part) -> Result<String, ApiError> {
    match (part.kind.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        (kind, _) => {
            Err(ApiError::param("messages", format!("content of type '{kind}' is not supported")))
        }
    }
}
