//! `POST /v1/rerank`: how well documents answer a query, in the form of Jina's interface,
//! which llama.cpp's server has too.

use super::error::ApiError;
use super::run::Run;
use super::{App, body, completions, models};
use crate::lm::engine::{Request as Sequence, Work};
use axum::Json;
use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Documents of one request at most.
const MOST_DOCUMENTS: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ranking {
    model: Option<String>,
    query: String,
    documents: Vec<Document>,
    /// So many of the best are told.
    top_n: Option<usize>,
    /// Whether the documents are told along with their scores.
    #[serde(default)]
    return_documents: bool,
    /// It changes nothing here.
    #[serde(rename = "user")]
    _user: Option<String>,
}

/// A text, by itself or as the member of an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn text(&self) -> &str {
        match self {
            Document::Text(text) | Document::Object { text } => text,
        }
    }
}

pub(super) async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let asked: Ranking = body::json(&app, request).await?;
    models::check(&app, asked.model.as_deref())?;
    let texts: Vec<String> = asked.documents.iter().map(|one| one.text().to_string()).collect();
    if !(1..=MOST_DOCUMENTS).contains(&texts.len()) {
        let message = format!("1 to {MOST_DOCUMENTS} documents, not {}", texts.len());
        return Err(ApiError::param("documents", message));
    }
    if asked.top_n == Some(0) {
        return Err(ApiError::param("top_n", "top_n must be at least 1"));
    }
    let query = asked.query.clone();
    let pairs = completions::made(&app, move |file| {
        texts.iter().map(|text| file.pair_tokens(&query, text)).collect()
    });
    let pairs = pairs.await?;
    let count: usize = pairs.iter().map(Vec::len).sum();
    let sequence = |tokens| Sequence { tokens, work: Work::Rank };
    let run = Run::start(&app, pairs.into_iter().map(sequence).collect())?;
    let scores = run.collect().await?.into_iter();
    let mut ranked: Vec<(usize, f32)> =
        scores.map(|one| one.vector.first().copied().unwrap_or(f32::NAN)).enumerate().collect();
    if ranked.iter().any(|(_, score)| score.is_nan()) {
        return Err(crate::error::Error::internal("a score that is no number").into());
    }
    // The first of equals stays first.
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(asked.top_n.unwrap_or(usize::MAX));
    let result = |(index, score): (usize, f32)| {
        let mut result = json!({ "index": index, "relevance_score": score });
        if asked.return_documents
            && let Some(document) = asked.documents.get(index)
        {
            result["document"] = json!({ "text": document.text() });
        }
        result
    };
    Ok(Json(json!({
        "object": "list",
        "model": app.options.model,
        "results": ranked.into_iter().map(result).collect::<Vec<_>>(),
        "usage": { "prompt_tokens": count, "total_tokens": count },
    })))
}
