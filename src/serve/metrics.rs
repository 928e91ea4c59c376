//! What a Prometheus server asks for.

use super::App;
use super::error::ApiError;
use crate::lm::engine::{EngineHandle, Event, Health};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// In seconds.
const FIRST_TOKEN: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// Tokens per second.
const RATES: [f64; 10] = [0.3, 1.0, 3.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0];

/// What is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    first_token: Histogram,
    rate: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    path: String,
    status: u32,
}

impl Metrics {
    pub(super) fn new(engine: EngineHandle) -> Self {
        let mut registry = Registry::with_prefix("wginfer");
        let requests = Family::default();
        let first_token = Histogram::new(FIRST_TOKEN);
        let rate = Histogram::new(RATES);
        registry.register("http_requests", "Requests that were answered", requests.clone());
        registry.register(
            "first_token_seconds",
            "From getting a slot to the first token",
            first_token.clone(),
        );
        registry.register(
            "decode_tokens_per_second",
            "Of each sequence, its first token apart",
            rate.clone(),
        );
        registry.register_collector(Box::new(OfEngine(engine)));
        Metrics { registry, requests, first_token, rate }
    }

    /// Counts what an event tells.
    pub(super) fn note(&self, event: &Event) {
        let Event::Finished { stats, .. } = event else { return };
        if stats.tokens > 0 {
            self.first_token.observe(stats.first_token.as_secs_f64());
        }
        if stats.steps > 0 {
            self.rate.observe(stats.decode_rate());
        }
    }
}

/// Counts each answer, by the route and not by what a client wrote.
pub(super) async fn count(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let path = path.map_or_else(|| "other".into(), |path| path.as_str().to_string());
    let labels = Labels { path, status: response.status().as_u16().into() };
    app.metrics.requests.get_or_create(&labels).inc();
    response
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &app.metrics.registry) {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return ApiError::new(status, error.to_string()).into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The engine's own counters.
#[derive(Debug)]
struct OfEngine(EngineHandle);

impl Collector for OfEngine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = self.0.counters();
        let ready = self.0.health() == Health::Ready;
        let gauges = [
            ("ready", "Whether sequences are taken", i64::from(ready)),
            ("sequences_running", "Sequences in slots", counters.running as i64),
            ("sequences_waiting", "Sequences that wait for a slot", counters.waiting as i64),
            ("slots", "Sequences that can run at once", self.0.slots() as i64),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        let totals = [
            ("sequences", "Sequences that ended", counters.ended),
            ("prompt_tokens", "Tokens of prompts that were computed", counters.prompt_tokens),
            ("reused_tokens", "Tokens of prompts that were in caches", counters.reused_tokens),
            ("generated_tokens", "Tokens generated", counters.tokens),
            ("prompt_steps", "Steps in which prompts were computed", counters.prompt_steps),
            ("decode_steps", "Steps of one token for each sequence", counters.decode_steps),
            ("drafted_tokens", "Tokens that a draft proposed", counters.drafted),
            ("accepted_tokens", "Those of them that were taken", counters.accepted),
            ("device_losses", "How often the device was lost", self.0.losses()),
        ];
        for (name, help, value) in totals {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
