//! `POST /v1/completions`, and what it shares with chats.

use super::echo::Before;
use super::error::ApiError;
use super::options::{Common, ResponseFormat};
use super::run::Run;
use super::shape::{Head, Shape, usage};
use super::stream::{self, Telling};
use super::{App, body, models};
use crate::error::Result as LibraryResult;
use crate::lm::engine::{Request as Sequence, Work};
use crate::lm::{Grammar, GrammarSource, ModelFile, Prompt};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// The most likely tokens told of each, at most.
const MOST_TOP: usize = 5;

/// Prompts, and answers, of one request at most.
const MOST_PROMPTS: usize = 256;

#[derive(Debug, Deserialize)]
struct Completion {
    prompt: Input,
    logprobs: Option<usize>,
    /// Whether the prompt is told before the answer.
    echo: Option<bool>,
    #[serde(flatten)]
    common: Common,
}

/// One text or several, as text or as tokens.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Many(Vec<Vec<u32>>),
}

impl Input {
    pub(super) fn prompts(self, name: &str) -> Result<Vec<Prompt>, ApiError> {
        let prompts: Vec<Prompt> = match self {
            Input::Text(text) => vec![Prompt::Text(text)],
            Input::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            Input::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
            Input::Many(many) => many.into_iter().map(Prompt::Tokens).collect(),
        };
        match prompts.len() {
            1..=MOST_PROMPTS => Ok(prompts),
            0 => Err(ApiError::param(name, format!("{name} is empty"))),
            n => Err(ApiError::param(name, format!("at most {MOST_PROMPTS} texts, not {n}"))),
        }
    }
}

pub(super) async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let completion: Completion = body::json(&app, request).await?;
    app.engine.file().writes()?;
    if completion.logprobs.is_some_and(|top| top > MOST_TOP) {
        return Err(ApiError::param("logprobs", format!("logprobs must be at most {MOST_TOP}")));
    }
    let prompts = completion.prompt.prompts("prompt")?;
    let before = match completion.echo.unwrap_or(false) {
        true => {
            let choices = completion.common.choices()?;
            let texts = prompts.iter().map(|prompt| told(&app, prompt).map(Before::from));
            let each = |before: Before| std::iter::repeat_n(before, choices);
            texts.collect::<LibraryResult<Vec<_>>>()?.into_iter().flat_map(each).collect()
        }
        false => Vec::new(),
    };
    complete(app, Shape::Text(before), prompts, completion.common, completion.logprobs).await
}

/// A prompt as text.
fn told(app: &App, prompt: &Prompt) -> LibraryResult<String> {
    match prompt {
        Prompt::Text(text) => Ok(text.clone()),
        Prompt::Tokens(tokens) => app.engine.file().tokenizer().decode(tokens, true),
        _ => Ok(String::new()),
    }
}

/// How tokens are made of a prompt.
type TokensOf = fn(&ModelFile, &Prompt) -> LibraryResult<Vec<u32>>;

/// The tokens of prompts. Texts may be long, and templates are programs: that is
/// nothing for the threads that talk to clients.
pub(super) async fn tokens(
    app: &Arc<App>,
    prompts: Vec<Prompt>,
    tokens: TokensOf,
) -> Result<Vec<Vec<u32>>, ApiError> {
    made(app, move |file| prompts.iter().map(|prompt| tokens(file, prompt)).collect()).await
}

/// The tokens of texts, none of which may be longer than the context.
pub(super) async fn made(
    app: &Arc<App>,
    make: impl FnOnce(&ModelFile) -> LibraryResult<Vec<Vec<u32>>> + Send + 'static,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let shared = app.clone();
    let made = tokio::task::spawn_blocking(move || make(shared.engine.file()));
    let internal = |error: tokio::task::JoinError| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let all = made.await.map_err(internal)??;
    let context = app.engine.context();
    match all.iter().find(|tokens| tokens.len() > context) {
        None => Ok(all),
        Some(tokens) => {
            let text = format!("{} tokens, but the context has {context}", tokens.len());
            Err(ApiError::bad(text).code("context_length_exceeded"))
        }
    }
}

/// A grammar over the model's tokens, which takes a moment to make.
async fn grammar(app: &Arc<App>, source: GrammarSource) -> Result<Grammar, ApiError> {
    let shared = app.clone();
    let made = tokio::task::spawn_blocking(move || shared.engine.file().grammar(&source));
    let internal = |error: tokio::task::JoinError| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    Ok(made.await.map_err(internal)??)
}

/// What follows a prompt.
type Opening = fn(&ModelFile, &[u32]) -> LibraryResult<Vec<u32>>;

/// What an answer must follow, and where it begins: a form is that of what is said, not
/// of thoughts before it.
fn form(shape: &Shape, common: &Common) -> Result<(Option<GrammarSource>, Opening), ApiError> {
    if let Shape::Chat { tools: Some(tools), .. } = shape
        && let Some(source) = tools.source()?
    {
        return Ok((Some(source), ModelFile::opening_of_call));
    }
    match (common.response_format.as_ref().and_then(ResponseFormat::source), shape) {
        (Some(source), Shape::Chat { .. }) => Ok((Some(source), ModelFile::opening_of_answer)),
        (source, _) => Ok((source, |_, _| Ok(Vec::new()))),
    }
}

pub(super) async fn complete(
    app: Arc<App>,
    shape: Shape,
    prompts: Vec<Prompt>,
    common: Common,
    log_probabilities: Option<usize>,
) -> Result<Response, ApiError> {
    models::check(&app, common.model.as_deref())?;
    common.check_rest()?;
    let choices = common.choices()?;
    // A wrong parameter is found out before anything is worked on.
    let echoes = matches!(&shape, Shape::Text(before) if !before.is_empty());
    let mut options = common.generate(app.engine.context(), i64::from(!echoes))?;
    options.log_probabilities = log_probabilities;
    let (form, opening) = form(&shape, &common)?;
    if let Some(source) = form {
        options.grammar = Some(grammar(&app, source).await?);
    }
    if prompts.len() * choices > MOST_PROMPTS {
        let message = format!("at most {MOST_PROMPTS} answers, not {}", prompts.len() * choices);
        return Err(ApiError::param("n", message));
    }
    let (mut sequences, mut asked) = (Vec::new(), String::new());
    for mut tokens in tokens(&app, prompts, ModelFile::prompt_tokens).await? {
        tokens.extend(opening(app.engine.file(), &tokens)?);
        // A chat has one prompt, and a text needs none.
        if let Shape::Chat { .. } = shape {
            asked = app.engine.file().end_of(&tokens)?;
        }
        for choice in 0..choices {
            let mut options = options.clone();
            options.sampler.seed = options.sampler.seed.wrapping_add(choice as u64);
            let work = match echoes && log_probabilities.is_some() {
                true => Work::Echo(options),
                false => Work::Generate(options),
            };
            sequences.push(Sequence { tokens: tokens.clone(), work });
        }
    }
    let count = sequences.len();
    let run = Run::start(&app, sequences)?;
    let head = Head::new(shape, &app.options.model, asked);
    if common.stream.unwrap_or(false) {
        let telling = Telling { head, choices, usage: common.streams_usage() };
        return stream::answer(app, run, count, telling).await;
    }
    let all = run.collect().await?;
    let file = app.engine.file();
    let each: Vec<Value> =
        all.iter().enumerate().map(|(i, one)| head.choice(i, one, file)).collect();
    let usage = usage(all.iter().map(|one| &one.stats), choices);
    Ok(Json(head.wrap(false, each, Some(usage))).into_response())
}
