//! `POST /v1/embeddings`: the vectors of texts, of length 1: what an encoder gives, or a
//! decoder's hidden states pooled as its file says, else their mean.

use super::completions::{Input, tokens};
use super::error::ApiError;
use super::run::Run;
use super::{App, body, models};
use crate::lm::ModelFile;
use crate::lm::engine::{Request as Sequence, Work};
use axum::Json;
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedding {
    model: Option<String>,
    input: Input,
    #[serde(default)]
    encoding_format: Encoding,
    /// The first so many elements, scaled to length 1: what models are trained for that
    /// learn vectors within vectors (Matryoshka).
    dimensions: Option<usize>,
    /// It changes nothing here.
    #[serde(rename = "user")]
    _user: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

pub(super) async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let asked: Embedding = body::json(&app, request).await?;
    models::check(&app, asked.model.as_deref())?;
    let width = app.engine.file().vector_width();
    let dimensions = asked.dimensions.unwrap_or(width);
    if !(1..=width).contains(&dimensions) {
        let message = format!("this model gives 1 to {width} dimensions, not {dimensions}");
        return Err(ApiError::param("dimensions", message));
    }
    let all = tokens(&app, asked.input.prompts("input")?, ModelFile::text_tokens).await?;
    let count: usize = all.iter().map(Vec::len).sum();
    let sequence = |tokens| Sequence { tokens, work: Work::Embed };
    let run = Run::start(&app, all.into_iter().map(sequence).collect())?;
    let data: Vec<Value> = run
        .collect()
        .await?
        .into_iter()
        .enumerate()
        .map(|(index, mut one)| {
            one.vector.truncate(dimensions);
            let embedding = written(&normalised(one.vector), asked.encoding_format);
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "model": app.options.model,
        "usage": { "prompt_tokens": count, "total_tokens": count },
    })))
}

fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
    vector
}

fn written(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
            STANDARD.encode(bytes).into()
        }
    }
}
