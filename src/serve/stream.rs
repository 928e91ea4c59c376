//! Answers as server-sent events.

use super::App;
use super::error::ApiError;
use super::places::{Placed, Places};
use super::run::Run;
use super::shape::{Head, usage};
use crate::lm::chat::{AnswerStream, Told};
use crate::lm::engine::Event;
use crate::lm::tokenizer::Tokenizer;
use crate::lm::{GenerationStats, LogProbabilities};
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
    /// For each sequence, whether it was opened.
    opened: Vec<bool>,
    /// For each sequence, where its tokens stand.
    places: Vec<Places>,
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
        opened: vec![false; sequences],
        places: vec![Places::default(); sequences],
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
        if let Some(opened) = self.opened.get_mut(index)
            && !std::mem::replace(opened, true)
            && let Some(opening) =
                self.telling.head.opening(index, foreseen(&event), self.tokenizer())
        {
            self.send_choice(opening);
        }
        let (Some(parts), Some(places)) = (self.parts.get_mut(index), self.places.get_mut(index))
        else {
            return;
        };
        match event {
            Event::Piece(piece) => {
                let told = parts.push(&piece.text);
                // The engine made it of the same vocabulary.
                let bytes = self.app.engine.file().tokenizer().token_bytes(piece.token);
                let placed = places.take(piece, bytes.unwrap_or_default());
                self.send_text(index, &told, &placed);
            }
            Event::Finished { rest, reason, stats } => {
                let placed = places.finish(&rest);
                let mut told = parts.push(&rest);
                let (more, called) = self.telling.head.finish(parts);
                told.text.push_str(&more.text);
                told.thought.push_str(&more.thought);
                self.send_text(index, &told, &placed);
                if !called.is_empty() {
                    self.send_choice(self.telling.head.called(index, &called));
                }
                self.send_choice(self.telling.head.ending(index, reason, !called.is_empty()));
                if let Some(place) = self.stats.get_mut(index) {
                    *place = *stats;
                }
            }
            // Told with what opens the text, or not asked for here.
            Event::Foreseen(_) | Event::Embedded(_) | Event::Ranked(_) | Event::Failed(_) => (),
        }
    }

    /// Sends what there is, if there is something.
    fn send_text(&mut self, index: usize, told: &Told, placed: &Placed) {
        if *told == Told::default() && placed.is_empty() {
            return;
        }
        let part = self.telling.head.part(index, told, placed, self.tokenizer());
        self.send_choice(part);
    }

    fn tokenizer(&self) -> &Tokenizer {
        self.app.engine.file().tokenizer()
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

/// The tokens of a prompt, where they are told.
fn foreseen(event: &Event) -> &[(u32, Option<LogProbabilities>)] {
    match event {
        Event::Foreseen(tokens) => tokens,
        _ => &[],
    }
}
