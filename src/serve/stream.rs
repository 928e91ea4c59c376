//! Answers as server-sent events.

use super::App;
use super::error::ApiError;
use super::run::Run;
use super::shape::{Head, usage};
use crate::lm::GenerationStats;
use crate::lm::chat::{AnswerStream, Told};
use crate::lm::engine::Event;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How a stream is told.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) head: Head,
    /// Sequences of one prompt.
    pub(super) choices: usize,
    /// Whether what it took is told at the end.
    pub(super) usage: bool,
}

struct Stream {
    app: Arc<App>,
    run: Run,
    telling: Telling,
    /// What is to be sent.
    ready: VecDeque<Sent>,
    /// For each sequence, whether it was opened, and the bytes told.
    told: Vec<(bool, usize)>,
    stats: Vec<GenerationStats>,
    /// For each sequence, what takes its text apart.
    parts: Vec<AnswerStream>,
    done: bool,
}

/// Answers once the first token is there: what fails before has a status of its
/// own.
pub(super) async fn answer(
    app: Arc<App>,
    mut run: Run,
    sequences: usize,
    telling: Telling,
) -> Result<Response, ApiError> {
    let first = run.next().await?;
    let template = app.engine.file().template();
    let parts = (0..sequences).map(|_| telling.head.parts(template)).collect();
    let mut stream = Stream {
        app,
        run,
        telling,
        parts,
        ready: VecDeque::new(),
        told: vec![(false, 0); sequences],
        stats: vec![GenerationStats::default(); sequences],
        done: false,
    };
    if let Some((index, event)) = first {
        stream.take(index, event);
    }
    let events = stream::unfold(stream, |mut stream| async {
        let sent = stream.next().await?;
        Some((Ok::<_, Infallible>(sent), stream))
    });
    // A client that is gone is only found out by writing to it.
    let alive = KeepAlive::new().interval(Duration::from_secs(5));
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

impl Stream {
    async fn next(&mut self) -> Option<Sent> {
        while self.ready.is_empty() && !self.done {
            match self.run.next().await {
                Ok(Some((index, event))) => self.take(index, event),
                Ok(None) => self.end(),
                Err(error) => {
                    self.send(&error.body());
                    self.done = true;
                }
            }
        }
        self.ready.pop_front()
    }

    fn send(&mut self, value: &Value) {
        // One line: JSON has its line breaks escaped.
        self.ready.push_back(Sent::default().data(value.to_string()));
    }

    fn send_choice(&mut self, choice: Value) {
        let value = self.telling.head.wrap(true, vec![choice], None);
        self.send(&value);
    }

    fn take(&mut self, index: usize, event: Event) {
        self.app.metrics.note(&event);
        if let Some((opened, _)) = self.told.get_mut(index)
            && !std::mem::replace(opened, true)
            && let Some(opening) = self.telling.head.opening(index)
        {
            self.send_choice(opening);
        }
        match event {
            Event::Piece(piece) => {
                let Some(parts) = self.parts.get_mut(index) else { return };
                let told = parts.push(&piece.text);
                if told != Told::default() || piece.log_probabilities.is_some() {
                    self.send_text(index, &told, Some(&piece));
                }
            }
            Event::Finished { rest, reason, stats } => {
                let Some(parts) = self.parts.get_mut(index) else { return };
                let mut told = parts.push(&rest);
                let (more, called) = parts.finish();
                told.text.push_str(&more.text);
                told.thought.push_str(&more.thought);
                if told != Told::default() {
                    self.send_text(index, &told, None);
                }
                if !called.is_empty() {
                    self.send_choice(self.telling.head.called(index, &called));
                }
                self.send_choice(self.telling.head.ending(index, reason, !called.is_empty()));
                if let Some(place) = self.stats.get_mut(index) {
                    *place = *stats;
                }
            }
            // Not asked for here.
            Event::Embedded(_) | Event::Ranked(_) | Event::Failed(_) => (),
        }
    }

    fn send_text(&mut self, index: usize, told: &Told, piece: Option<&crate::lm::Piece>) {
        let Some((_, bytes)) = self.told.get_mut(index) else { return };
        let before = *bytes;
        *bytes += told.text.len();
        let tokenizer = self.app.engine.file().tokenizer();
        let part = self.telling.head.part(index, told, piece, before, tokenizer);
        self.send_choice(part);
    }

    fn end(&mut self) {
        if self.telling.usage {
            let usage = usage(self.stats.iter(), self.telling.choices);
            let value = self.telling.head.wrap(true, Vec::new(), Some(usage));
            self.send(&value);
        }
        self.ready.push_back(Sent::default().data("[DONE]"));
        self.done = true;
    }
}
