//! Which model is served.

use super::App;
use super::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn all(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [model(&app)] }))
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check(&app, Some(&id))?;
    Ok(Json(model(&app)))
}

fn model(app: &App) -> Value {
    json!({
        "id": app.options.model,
        "object": "model",
        "created": app.started,
        "owned_by": "wginfer",
    })
}

/// There is one model, and a request must mean it if it means any.
pub(super) fn check(app: &App, name: Option<&str>) -> Result<(), ApiError> {
    let Some(name) = name.filter(|&name| name != app.options.model) else { return Ok(()) };
    let message = format!("there is no model '{name}', only '{}'", app.options.model);
    let error = ApiError::param("model", message).code("model_not_found");
    Err(error.status(StatusCode::NOT_FOUND))
}
