//! Many sequences at once over one model: slots that sequences join and leave
//! at any step, each computed together with all others.

mod draft;
mod layout;
mod reading;
mod request;
mod run;
mod sequence;
mod sizes;
mod slot;
mod whole;
mod worker;

pub use draft::EngineDraft;
pub use request::{EngineCounters, EngineOptions, Event, Request, SequenceId, Work};
pub use worker::{EngineHandle, Health, Sink, Ticket, Told};

use super::draft::must_go_back;
use super::encoder::Reader;
use super::file::{ModelFile, beyond_context};
use super::generate::FinishReason;
use super::model::LEAST_CAPACITY;
use super::reading::Reading;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::GgufFile;
use crate::session::{Progress, Session};
use draft::Ahead;
use sequence::{Behind, Sequence};
use sizes::{chunk_of, sizes};
use slot::Slot;
use std::collections::VecDeque;
use std::sync::Arc;
use whole::whole_session;

/// Tokens that room is made for ahead of time; more are found as they come.
const AHEAD: usize = 512;

/// The most slots of an engine.
const MOST_SLOTS: usize = 256;

/// A model that computes many sequences at once.
///
/// [`Engine::submit`] puts a sequence in the queue, [`Engine::step`] computes:
/// one token for every sequence whose prompt is done, or a chunk of the prompts
/// that are not, turn by turn. Each sequence gets the tokens that it would get
/// alone, as far as logits are not so close that the rounding of kernels for
/// other numbers of rows decides.
///
/// Nothing here blocks or starts threads; [`EngineHandle`] does.
#[derive(Debug)]
pub struct Engine {
    file: Arc<ModelFile>,
    options: EngineOptions,
    backend: Backend,
    session: Session,
    context: usize,
    capacity: usize,
    chunk: usize,
    slots: Vec<Slot>,
    queue: VecDeque<Sequence>,
    next_id: u64,
    now: u64,
    /// Whether the last step computed prompts.
    prompts_last: bool,
    /// Events of sequences that ended outside of a step.
    early: Vec<(SequenceId, Event)>,
    lost: bool,
    /// A small model that runs ahead.
    ahead: Option<Ahead>,
    /// What becomes of the vectors of a text's tokens.
    behind: Behind,
    /// How an encoder's session is used.
    reader: Option<Reader>,
    /// The part that reads, of a model with one that writes beside it.
    reading: Option<Reading>,
    counters: EngineCounters,
}

/// One slot's part in a step.
#[derive(Debug, Clone, Copy)]
struct Share {
    slot: usize,
    tokens: usize,
}

impl Engine {
    /// Loads a parsed file onto an opened backend.
    ///
    /// # Errors
    /// As [`LanguageModel::load`](super::LanguageModel::load); [`Error::Input`]
    /// for a number of slots that makes no sense.
    pub async fn load(
        file: GgufFile,
        backend: &Backend,
        options: &EngineOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        Engine::load_with_draft(file, None, backend, options, progress).await
    }

    /// As [`Engine::load`], with a small model that runs ahead of all sequences: what
    /// it proposes is computed in one step, and kept as far as the model takes it. At
    /// temperature 0 texts are what they would be without; above it each text is as
    /// likely as without (speculative sampling, arXiv 2211.17192).
    ///
    /// # Errors
    /// As [`Engine::load`]; [`Error::Input`] if the two have not the same vocabulary.
    pub async fn load_with_draft(
        file: GgufFile,
        draft: Option<EngineDraft>,
        backend: &Backend,
        options: &EngineOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        if !(1..=MOST_SLOTS).contains(&options.slots) {
            return Err(Error::input("slots", format!("1 to {MOST_SLOTS}"), options.slots));
        }
        let file = Arc::new(ModelFile::with_options(file, &options.model)?);
        let context = file.context(&options.model)?;
        let capacity = LEAST_CAPACITY.min(context);
        let chunk = chunk_of(backend, options.slots);
        let ahead = match draft {
            Some(draft) => {
                must_go_back(file.spec())?;
                Some(Ahead::load(draft, &file, backend, options, progress).await?)
            }
            None => None,
        };
        let each = 1 + ahead.as_ref().map_or(0, |ahead| ahead.tokens);
        let reader = match file.spec().sees_behind {
            true => Some(Reader::open(&file)?),
            false => None,
        };
        let session = match &reader {
            Some(_) => whole_session(&file, backend, options, context, progress).await?,
            None => {
                let sizes = sizes(context, capacity, chunk, options.slots, each);
                file.session(backend, &options.model, sizes, progress).await?
            }
        };
        let reading = Reading::open(&file, backend, &options.model, context, progress).await?;
        let behind = Behind::open(&file)?;
        let slots = (0..options.slots).map(|_| Slot::default()).collect();
        Ok(Engine {
            file,
            options: options.clone(),
            backend: backend.clone(),
            session,
            context,
            capacity,
            chunk,
            slots,
            queue: VecDeque::new(),
            next_id: 0,
            now: 0,
            prompts_last: false,
            early: Vec::new(),
            lost: false,
            ahead,
            behind,
            reader,
            reading,
            counters: EngineCounters::default(),
        })
    }

    /// What the model's file says; to be kept by who makes prompts.
    pub fn file(&self) -> &Arc<ModelFile> {
        &self.file
    }

    /// What computes.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The session under the engine, for counters.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// How the engine was made.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The longest sequence, in tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What has been done, and what is to do.
    pub fn counters(&self) -> EngineCounters {
        let running = self.slots.iter().filter(|slot| slot.sequence.is_some()).count();
        EngineCounters { running, waiting: self.queue.len(), ..self.counters }
    }

    /// Whether there is nothing to compute and nothing to tell.
    pub fn is_idle(&self) -> bool {
        let running = self.slots.iter().any(|slot| slot.sequence.is_some());
        !running && self.queue.is_empty() && self.early.is_empty()
    }

    /// Whether the device was lost: steps fail until [`Engine::rebuild`].
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Takes a sequence into the queue.
    ///
    /// # Errors
    /// [`Error::Input`] for no tokens, one outside of the vocabulary or options
    /// that make no sense; [`Error::Limit`] for a prompt longer than the
    /// context, or if as many wait as may.
    pub fn submit(&mut self, request: Request) -> Result<SequenceId> {
        if request.tokens.is_empty() {
            return Err(Error::input("prompt", "at least one token", "none"));
        }
        self.file.check_work(&request.work)?;
        self.file.check_tokens(&request.tokens)?;
        self.file.check_prompt(&request.tokens)?;
        if request.tokens.len() > self.context {
            return Err(beyond_context("the prompt", request.tokens.len(), self.context));
        }
        let free = self.slots.iter().filter(|slot| slot.sequence.is_none()).count();
        let places = free + self.options.queue;
        if self.queue.len() >= places {
            return Err(no_place(self.queue.len(), places));
        }
        let id = SequenceId(self.next_id);
        let sequence = Sequence::new(id, request, &self.behind, self.reading.is_some())?;
        self.next_id += 1;
        self.queue.push_back(sequence);
        Ok(id)
    }

    /// Ends a sequence; its slot is free at once. Its last event comes with the
    /// next step. Nothing happens if it has ended already.
    pub fn cancel(&mut self, id: SequenceId) {
        let waiting = self.queue.iter().position(|sequence| sequence.id == id);
        let waiting = waiting.and_then(|i| self.queue.remove(i));
        let running = || {
            let slot = self
                .slots
                .iter_mut()
                .find(|slot| slot.sequence.as_ref().is_some_and(|sequence| sequence.id == id));
            slot.and_then(|slot| slot.sequence.take())
        };
        if let Some(mut sequence) = waiting.or_else(running) {
            let event = sequence.end(FinishReason::Cancelled);
            self.early.push((id, event));
        }
    }

    /// Computes one step and tells what became of each sequence in it. Gives
    /// nothing only if there is nothing to do.
    ///
    /// A sequence that cannot go on gets [`Event::Failed`], the others go on. If
    /// the device is lost in the step, all that run get it; those that wait stay.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device was lost in an earlier step.
    pub async fn step(&mut self) -> Result<Vec<(SequenceId, Event)>> {
        let mut events = std::mem::take(&mut self.early);
        if events.is_empty() {
            if self.lost {
                return Err(lost());
            }
            self.forget_dropped();
            self.admit(&mut events).await;
            if self.lost {
                return Ok(self.counted(events));
            }
            if self.reader.is_some() {
                self.run_whole(&mut events).await;
                return Ok(self.counted(events));
            }
            self.read_one(&mut events).await;
            if self.lost {
                return Ok(self.counted(events));
            }
            let shares = self.shares();
            self.draft(&shares, &mut events).await;
            let shares = self.make_room(shares, &mut events).await;
            if !shares.is_empty() {
                self.run(&shares, &mut events).await;
            }
        }
        Ok(self.counted(events))
    }

    fn counted(&mut self, events: Vec<(SequenceId, Event)>) -> Vec<(SequenceId, Event)> {
        self.counters.ended += events.iter().filter(|(_, event)| event.is_last()).count() as u64;
        events
    }

    fn fail(&mut self, slot: usize, error: &Arc<Error>, events: &mut Vec<(SequenceId, Event)>) {
        if let Some(sequence) = self.slots[slot].sequence.take() {
            events.push((sequence.id, Event::Failed(error.clone())));
        }
    }

    /// A failed run leaves the caches of its slots in an unknown state; a lost
    /// device leaves nothing.
    fn fail_all(&mut self, shares: &[Share], error: Error, events: &mut Vec<(SequenceId, Event)>) {
        self.lost = error.kind() == ErrorKind::DeviceLost;
        let error = Arc::new(error);
        let all = 0..self.slots.len();
        let concerned = all.filter(|&i| self.lost || shares.iter().any(|share| share.slot == i));
        for slot in concerned.collect::<Vec<_>>() {
            self.slots[slot].forget();
            self.fail(slot, &error, events);
        }
    }

    /// Loads the weights anew, after the device was opened again
    /// ([`Backend::reopen`]). Slots are empty afterwards, those that wait stay.
    ///
    /// # Errors
    /// As [`Engine::load`]; then the engine stays as it was.
    pub async fn rebuild(&mut self, backend: &Backend) -> Result<()> {
        let chunk = chunk_of(backend, self.slots.len());
        let each = 1 + self.ahead.as_ref().map_or(0, |ahead| ahead.tokens);
        let sizes = sizes(self.context, self.capacity, chunk, self.slots.len(), each);
        if let Some(ahead) = &mut self.ahead {
            ahead.rebuild(backend).await?;
        }
        let options = &self.options.model;
        let untold = &mut |_, _| {};
        let reading = Reading::open(&self.file, backend, options, self.context, untold).await?;
        self.session = match self.reader {
            Some(_) => {
                whole_session(&self.file, backend, &self.options, self.context, untold).await?
            }
            None => self.file.session(backend, options, sizes, untold).await?,
        };
        self.reading = reading;
        (self.backend, self.chunk, self.lost) = (backend.clone(), chunk, false);
        for slot in 0..self.slots.len() {
            self.slots[slot].forget();
            let mut events = Vec::new();
            self.fail(slot, &Arc::new(lost()), &mut events);
            self.early.append(&mut events);
        }
        Ok(())
    }
}

fn no_place(taken: usize, places: usize) -> Error {
    Error::Limit {
        what: "another sequence".into(),
        limit_name: "places in the engine".into(),
        needed: taken as u64 + 1,
        limit: places as u64,
    }
}

fn lost() -> Error {
    Error::DeviceLost { doing: "generating".into(), reason: "it was lost earlier".into() }
}
