//! Who may ask.

use super::App;
use super::error::ApiError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Everything but `/health` needs the key, if there is one.
pub(super) async fn check_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let open = request.uri().path() == "/health";
    match &app.options.api_key {
        Some(key) if !open && !has_key(request.headers(), key) => {
            ApiError::new(StatusCode::UNAUTHORIZED, "the API key is missing or wrong")
                .code("invalid_api_key")
                .into_response()
        }
        _ => next.run(request).await,
    }
}

/// Compared in a time that tells nothing of where a wrong key differs.
fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let Some((scheme, given)) = given.and_then(|value| value.split_at_checked(7)) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_the_key_fits() {
        let fits = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            has_key(&headers, "secret")
        };
        assert!(fits("Bearer secret") && fits("bearer secret"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "", "secret", "Basic secret"] {
            assert!(!fits(wrong), "{wrong}");
        }
        assert!(!has_key(&HeaderMap::new(), "secret"));
    }
}
