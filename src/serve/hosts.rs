//! By which names a server may be asked.
//!
//! A page in a browser may let a name of its own stand for this machine's address once it
//! is loaded (DNS rebinding), and is then free to read what a local server answers. Its
//! requests still carry that name.

use super::App;
use super::error::ApiError;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Stands for all names.
const ANY: &str = "*";

/// Refuses requests under strange names, where the server is this machine's own and asks
/// for no key: a page does not know one.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let strange = match app.local && app.options.api_key.is_none() {
        true => named(&request).filter(|host| !known(host, &app.options.hosts)),
        false => None,
    };
    match strange {
        None => next.run(request).await,
        Some(host) => {
            let text = format!(
                "this server is not known as '{host}'; whoever runs it can say so \
                 (--allow-host), or ask for a key"
            );
            ApiError::new(StatusCode::FORBIDDEN, text).code("unknown_host").into_response()
        }
    }
}

/// The name that a request is for, without its port. Requests of programs may have none;
/// a browser's always do.
fn named(request: &Request) -> Option<String> {
    if let Some(host) = request.uri().host() {
        return Some(host.into());
    }
    let value = request.headers().get(header::HOST)?;
    let whole = String::from_utf8_lossy(value.as_bytes()).into_owned();
    match Authority::try_from(value.as_bytes()) {
        Ok(authority) => Some(authority.host().into()),
        Err(_) => Some(whole),
    }
}

/// Whether a name stands for this machine, or was allowed.
fn known(host: &str, allowed: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    };
    local || allowed.iter().any(|name| name == ANY || name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_names_of_its_own() {
        for own in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(known(own, &[]), "{own}");
        }
        let allowed = ["box.lan".to_string()];
        for strange in ["evil.com", "localhost.evil.com", "10.0.0.1", "[::2]", "0.0.0.0", ""] {
            assert!(!known(strange, &allowed), "{strange}");
            assert!(known(strange, &[ANY.into()]));
        }
        assert!(known("Box.lan", &allowed) && !known("box.lan", &[]));
    }

    #[test]
    fn a_request_is_for_a_name() {
        let host = |value: &str| {
            let request = Request::builder().uri("/v1/models").header(header::HOST, value);
            named(&request.body(axum::body::Body::empty()).unwrap())
        };
        assert_eq!(host("localhost:8080").as_deref(), Some("localhost"));
        assert_eq!(host("[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(host("evil.com").as_deref(), Some("evil.com"));
        assert_eq!(host("not a name").as_deref(), Some("not a name"));
        assert_eq!(named(&Request::new(axum::body::Body::empty())), None);
        let whole = Request::builder().uri("http://evil.com/v1/models");
        let whole = whole.header(header::HOST, "localhost");
        assert_eq!(named(&whole.body(axum::body::Body::empty()).unwrap()).unwrap(), "evil.com");
    }
}
