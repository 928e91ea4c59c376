//! Reading a request's body, within its limits.

use super::App;
use super::error::ApiError;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How much of a body that is too large is read and dropped, so that its sender
/// comes to see the answer.
const DROPPED: usize = 64 << 20;

/// The JSON in a request.
///
/// A web page can make a browser send text to a local server without asking
/// anybody, but not JSON under its own name; so that name is asked for.
pub(super) async fn json<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the Content-Type must be application/json",
        ));
    }
    let (most, arrival) = (app.options.body_bytes, app.options.arrival);
    let bytes = bytes(request.into_body(), most, arrival).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad(format!("the body is not what is expected: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = given.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

async fn bytes(mut body: Body, most: usize, arrival: Duration) -> Result<Vec<u8>, ApiError> {
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive");
    let collected = async { Limited::new(&mut body, most).collect().await };
    match tokio::time::timeout(arrival, collected).await.map_err(late)? {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => {
            // Whoever is still sending then sees a connection that broke.
            let _ = tokio::time::timeout(arrival, Limited::new(body, DROPPED).collect()).await;
            let message = format!("the body may have at most {most} bytes");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(error) => Err(ApiError::bad(format!("the body did not arrive: {error}"))),
    }
}
