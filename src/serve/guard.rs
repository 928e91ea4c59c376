//! Who may ask, and what becomes of a handler that panics.

use super::App;
use super::error::ApiError;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tower_http::catch_panic::CatchPanicLayer;

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

/// A handler that panics is an answer (500) like any other, not a connection that ends.
pub(super) fn catch_panics<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        log::error!("a handler panicked: {text}");
        let told = "the server failed at this request; its log says how";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
    }))
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
    use axum::body::Body;
    use axum::http::HeaderValue;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

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

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let routes = Router::new().route("/", get(|| async { Vec::<StatusCode>::new()[0] }));
        let service = TowerToHyperService::new(catch_panics(routes));
        let response = service.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["type"], "server_error");
    }
}
