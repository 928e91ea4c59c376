//! An HTTP server over a language model, with OpenAI's interface.

mod body;
mod chat;
mod completions;
mod connections;
mod echo;
mod embeddings;
mod error;
mod guard;
mod hosts;
mod metrics;
mod models;
mod options;
mod places;
mod rerank;
mod run;
mod shape;
mod stream;
mod tools;

use crate::error::{Error, Result};
use crate::lm::engine::{EngineHandle, Health};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use error::ApiError;
use metrics::Metrics;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The name the model is served under.
    pub model: String,
    /// What clients must send as `Authorization: Bearer KEY`; `None` asks for
    /// nothing.
    pub api_key: Option<String>,
    /// The most bytes of a request's body.
    pub body_bytes: usize,
    /// How long the head, and then the body, of a request may take to arrive.
    pub arrival: Duration,
    /// How long an answer may take, the wait for a slot included.
    pub answer: Duration,
    /// How long answers may go on after the server is asked to stop.
    pub grace: Duration,
    /// The most connections at one time; more wait.
    pub connections: usize,
    /// How long a client may read nothing of what is written to it before it is cut off.
    pub stall: Duration,
    /// Names under which the server may be asked beside those of this machine; `*` is any.
    /// Looked at only where no other machine can reach it and no key is asked for.
    pub hosts: Vec<String>,
    /// Whether thoughts are told in `content`, as the model writes them, unless a request
    /// says otherwise; else in `reasoning_content`.
    pub thoughts_in_text: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            model: "model".into(),
            api_key: None,
            body_bytes: 4 << 20,
            arrival: Duration::from_secs(30),
            answer: Duration::from_secs(600),
            grace: Duration::from_secs(30),
            connections: 512,
            stall: Duration::from_secs(60),
            hosts: Vec::new(),
            thoughts_in_text: false,
        }
    }
}

/// What all requests share.
#[derive(Debug)]
struct App {
    engine: EngineHandle,
    options: ServeOptions,
    metrics: Metrics,
    /// Whether only this machine can reach it.
    local: bool,
    /// In seconds since 1970.
    started: u64,
}

/// Serves until `stop` is ready, then lets answers end and returns. The engine
/// goes on.
///
/// # Errors
/// If the runtime cannot be started or the listener is of no use.
pub fn serve(
    engine: EngineHandle,
    listener: TcpListener,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let address = listener.local_addr();
    let local = address.as_ref().is_ok_and(is_local);
    let name = address.map_or_else(|_| "listener".into(), |at| at.to_string());
    let failed = |source| Error::Io { path: name.clone().into(), source };
    listener.set_nonblocking(true).map_err(failed)?;
    // Requests are small beside what the engine does on its own thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("wginfer http")
        .enable_all()
        .build()
        .map_err(failed)?;
    let done = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let app = App {
            metrics: Metrics::new(engine.clone()),
            engine,
            local,
            started: now(),
            options: options.clone(),
        };
        connections::accept(listener, router(Arc::new(app)), &options, stop).await;
        Ok(())
    });
    // What is left has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

/// Ready when the process is asked to stop: SIGINT (Ctrl-C) or SIGTERM.
pub async fn asked_to_stop() {
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            log::warn!("Ctrl-C is not handled: {error}");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminated = async {
            match signal(SignalKind::terminate()) {
                Ok(mut signal) => {
                    signal.recv().await;
                }
                Err(error) => {
                    log::warn!("SIGTERM is not handled: {error}");
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = interrupted => (),
            () = terminated => (),
        }
    }
    #[cfg(not(unix))]
    interrupted.await;
}

/// Whether only this machine can reach an address.
pub fn is_local(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/v1/models", get(models::all))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/completions", post(completions::answer))
        .route("/v1/embeddings", post(embeddings::answer))
        .route("/v1/rerank", post(rerank::answer))
        .route("/metrics", get(metrics::show))
        .route("/health", get(health))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method);
    // Panics are caught inside of what counts answers.
    guard::catch_panics(routes)
        .layer(middleware::from_fn_with_state(app.clone(), guard::check_key))
        .layer(middleware::from_fn_with_state(app.clone(), hosts::check))
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .with_state(app)
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let (status, word) = match app.engine.health() {
        Health::Ready => (StatusCode::OK, "ok"),
        Health::Recovering => (StatusCode::SERVICE_UNAVAILABLE, "recovering"),
        Health::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
    };
    (status, axum::Json(serde_json::json!({ "status": word }))).into_response()
}

async fn nothing_here() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this address")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this address has another method")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A number that nobody can guess and no other request has.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
