//! The sequences of one request, run together.

use super::App;
use super::error::ApiError;
use super::places::{Placed, Places};
use crate::lm::engine::{Event, Request, Ticket};
use crate::lm::{FinishReason, GenerationStats, LogProbabilities};
use axum::http::StatusCode;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

/// How long to wait before a place is asked for again.
const AGAIN: Duration = Duration::from_millis(20);

/// Sequences that are cancelled when this is dropped, as it is when the client
/// is gone.
///
/// At most as many as there are slots are with the engine at one time: a large
/// request does not take all places.
pub(super) struct Run {
    app: Arc<App>,
    sender: UnboundedSender<(usize, Event)>,
    events: UnboundedReceiver<(usize, Event)>,
    /// What the engine has not got yet.
    waiting: VecDeque<(usize, Request)>,
    /// What it has; dropping one cancels.
    tickets: HashMap<usize, Ticket>,
    deadline: Instant,
}

/// What one sequence came to.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) text: String,
    /// The tokens of the prompt, where their probabilities are wanted.
    pub(super) foreseen: Vec<(u32, Option<LogProbabilities>)>,
    /// The tokens of the text whose probabilities are wanted.
    pub(super) placed: Placed,
    pub(super) reason: Option<FinishReason>,
    pub(super) stats: GenerationStats,
    pub(super) vector: Vec<f32>,
}

impl Run {
    /// Submits the first sequences; what is refused now is refused altogether.
    pub(super) fn start(app: &Arc<App>, requests: Vec<Request>) -> Result<Self, ApiError> {
        // No sequence is longer than the context, so neither is this queue.
        let (sender, events) = mpsc::unbounded_channel();
        let mut run = Run {
            app: app.clone(),
            sender,
            events,
            waiting: requests.into_iter().enumerate().collect(),
            tickets: HashMap::new(),
            deadline: Instant::now() + app.options.answer.min(Duration::from_secs(1 << 30)),
        };
        run.fill()?;
        Ok(run)
    }

    /// How many sequences have not ended.
    fn unfinished(&self) -> usize {
        self.waiting.len() + self.tickets.len()
    }

    /// Submits as many as may be, one at least.
    fn fill(&mut self) -> Result<(), ApiError> {
        while self.tickets.len() < self.app.engine.slots()
            && let Some((index, request)) = self.waiting.front().cloned()
        {
            let sender = self.sender.clone();
            let sink = Box::new(move |event| sender.send((index, event)).is_ok());
            match self.app.engine.submit(request, sink) {
                Ok(ticket) => self.tickets.insert(index, ticket),
                Err(_) if !self.tickets.is_empty() => return Ok(()),
                Err(error) => return Err(ApiError::refused(&error)),
            };
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// As [`Self::fill`]; whoever has begun waits for a place.
    async fn refill(&mut self) -> Result<(), ApiError> {
        loop {
            match self.fill() {
                Err(error) if error.status == StatusCode::TOO_MANY_REQUESTS => {
                    if Instant::now() > self.deadline {
                        return Err(late());
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done,
            }
        }
    }

    /// What happens next, and to which sequence; `None` once all have ended.
    pub(super) async fn next(&mut self) -> Result<Option<(usize, Event)>, ApiError> {
        if self.unfinished() == 0 {
            return Ok(None);
        }
        self.refill().await?;
        let next = tokio::time::timeout_at(self.deadline, self.events.recv()).await;
        match next.map_err(|_| late())? {
            Some((_, Event::Failed(error))) => Err(ApiError::from(&*error)),
            Some((index, event)) => {
                if event.is_last() {
                    self.tickets.remove(&index);
                }
                Ok(Some((index, event)))
            }
            None => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the engine was stopped")),
        }
    }

    /// Waits for all of it.
    pub(super) async fn collect(mut self) -> Result<Vec<Collected>, ApiError> {
        let mut all: Vec<Collected> = Vec::new();
        all.resize_with(self.unfinished(), Collected::default);
        let mut places = vec![Places::default(); all.len()];
        let app = self.app.clone();
        while let Some((index, event)) = self.next().await? {
            self.app.metrics.note(&event);
            let (Some(one), Some(places)) = (all.get_mut(index), places.get_mut(index)) else {
                continue;
            };
            match event {
                Event::Piece(piece) => {
                    one.text.push_str(&piece.text);
                    let bytes = app.engine.file().tokenizer().token_bytes(piece.token)?;
                    one.placed.extend(places.take(piece, bytes));
                }
                Event::Finished { rest, reason, stats } => {
                    one.text.push_str(&rest);
                    one.placed.extend(places.finish(&rest));
                    (one.reason, one.stats) = (Some(reason), *stats);
                }
                Event::Foreseen(foreseen) => one.foreseen = foreseen,
                Event::Embedded(vector) | Event::Ranked(vector) => one.vector = vector,
                Event::Failed(error) => return Err(ApiError::from(&*error)),
            }
        }
        Ok(all)
    }
}

fn late() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "the answer took too long").code("timeout")
}
