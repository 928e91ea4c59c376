//! An engine on a thread of its own: the blocking edge.

use super::{Engine, EngineCounters, Event, Request, SequenceId, Work};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::lm::file::{ModelFile, beyond_context};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long to wait before a lost device is opened again, the first time and at
/// most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Where the events of a sequence go. It says whether more are wanted: with
/// `false` the sequence is cancelled. Called on the engine's thread, so it must
/// not wait.
pub type Sink = Box<dyn FnMut(Event) -> bool + Send>;

/// Whether an engine can take sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It computes.
    Ready,
    /// The device was lost and is being opened again.
    Recovering,
    /// It was stopped.
    Stopped,
}

/// Who hears of a sequence; told that the engine was stopped if nothing else ends it,
/// however the engine's thread ends.
struct Hearer {
    sink: Sink,
    done: bool,
}

impl Hearer {
    /// Says something, and gives whether more is wanted.
    fn tell(&mut self, event: Event) -> bool {
        let last = event.is_last();
        // A sink that panics is not called again.
        self.done = true;
        let more = (self.sink)(event);
        self.done = last;
        more
    }
}

impl Drop for Hearer {
    fn drop(&mut self) {
        if !self.done {
            self.tell(Event::Failed(Arc::new(stopped())));
        }
    }
}

enum Command {
    Submit(u64, Box<Request>, Hearer),
    Cancel(u64),
    Stop,
}

/// What the handles and the thread see.
#[derive(Debug)]
struct Shared {
    file: Arc<ModelFile>,
    context: usize,
    slots: usize,
    places: usize,
    next_key: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    health: Health,
    backend: Backend,
    counters: EngineCounters,
    /// Sequences that were submitted and have not ended.
    taken: usize,
    /// How often the device was lost.
    losses: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What is in there is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine on a thread of its own. Clones are handles of the same engine; with
/// the last one, or [`EngineHandle::stop`], the thread ends.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// A sequence that was submitted. It is cancelled when this is dropped.
#[derive(Debug)]
pub struct Ticket {
    key: u64,
    commands: Sender<Command>,
}

impl Ticket {
    /// Ends the sequence before its end: its slot is free with the next step.
    pub fn cancel(&self) {
        // Without a thread there is nothing to cancel.
        let _ = self.commands.send(Command::Cancel(self.key));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The events of a sequence, each waited for.
#[derive(Debug)]
pub struct Told {
    ticket: Ticket,
    events: Receiver<Event>,
}

impl Told {
    /// What cancels the sequence.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }
}

impl Iterator for Told {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.events.recv().ok()
    }
}

impl EngineHandle {
    /// Moves an engine to a thread.
    ///
    /// # Errors
    /// [`Error::Io`] if there can be no more threads.
    pub fn start(engine: Engine) -> Result<Self> {
        let (commands, received) = mpsc::channel();
        let options = engine.options();
        let state = State {
            health: Health::Ready,
            backend: engine.backend().clone(),
            counters: engine.counters(),
            taken: 0,
            losses: 0,
        };
        let shared = Arc::new(Shared {
            file: engine.file().clone(),
            context: engine.context(),
            slots: options.slots,
            places: options.slots + options.queue,
            next_key: AtomicU64::new(0),
            state: Mutex::new(state),
        });
        let worker = Worker { engine, shared: shared.clone(), sinks: HashMap::new() };
        let thread = std::thread::Builder::new().name("wginfer engine".into());
        let thread = thread
            .spawn(move || worker.work(&received))
            .map_err(|source| Error::Io { path: "a thread of the engine".into(), source })?;
        Ok(EngineHandle { commands, shared, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// What the model's file says.
    pub fn file(&self) -> &ModelFile {
        &self.shared.file
    }

    /// The longest sequence, in tokens.
    pub fn context(&self) -> usize {
        self.shared.context
    }

    /// How many sequences run at the same time.
    pub fn slots(&self) -> usize {
        self.shared.slots
    }

    /// Whether sequences are taken.
    pub fn health(&self) -> Health {
        self.shared.state().health
    }

    /// What computes now; after a loss, the device that was opened again.
    pub fn backend(&self) -> Backend {
        self.shared.state().backend.clone()
    }

    /// What the engine had done after its last step.
    pub fn counters(&self) -> EngineCounters {
        self.shared.state().counters
    }

    /// How often the device was lost.
    pub fn losses(&self) -> u64 {
        self.shared.state().losses
    }

    /// Sequences that were submitted and have not ended.
    pub fn unfinished(&self) -> usize {
        self.shared.state().taken
    }

    /// Hands a sequence to the engine; what comes of it goes to `sink`, whose
    /// last call has an event that [is the last](Event::is_last).
    ///
    /// # Errors
    /// As [`Engine::submit`]; [`Error::DeviceLost`] while a lost device is being
    /// opened again, [`Error::Cancelled`] after the engine was stopped.
    pub fn submit(&self, request: Request, sink: Sink) -> Result<Ticket> {
        self.check(&request)?;
        self.take_place()?;
        let key = self.shared.next_key.fetch_add(1, Ordering::Relaxed);
        let hearer = Hearer { sink, done: false };
        let sent = self.commands.send(Command::Submit(key, Box::new(request), hearer));
        if let Err(SendError(command)) = sent {
            if let Command::Submit(_, _, mut hearer) = command {
                // The caller is told.
                hearer.done = true;
            }
            return Err(stopped());
        }
        Ok(Ticket { key, commands: self.commands.clone() })
    }

    /// As [`EngineHandle::submit`], with the events as an iterator.
    ///
    /// # Errors
    /// As [`EngineHandle::submit`].
    pub fn submit_blocking(&self, request: Request) -> Result<Told> {
        let (sender, events) = mpsc::channel();
        let ticket = self.submit(request, Box::new(move |event| sender.send(event).is_ok()))?;
        Ok(Told { ticket, events })
    }

    /// What can be refused without asking the engine, which may be busy.
    fn check(&self, request: &Request) -> Result<()> {
        let count = request.tokens.len();
        if count == 0 {
            return Err(Error::input("prompt", "at least one token", "none"));
        }
        self.shared.file.check_work(&request.work)?;
        self.shared.file.check_tokens(&request.tokens)?;
        self.shared.file.check_prompt(&request.tokens)?;
        if count > self.shared.context {
            return Err(beyond_context("the prompt", count, self.shared.context));
        }
        match &request.work {
            Work::Generate(options) | Work::Echo(options) => options.check_all(),
            Work::Embed | Work::Rank => Ok(()),
        }
    }

    fn take_place(&self) -> Result<()> {
        let mut state = self.shared.state();
        match state.health {
            Health::Ready => (),
            Health::Recovering => return Err(super::lost()),
            Health::Stopped => return Err(stopped()),
        }
        let places = self.shared.places;
        if state.taken >= places {
            return Err(super::no_place(state.taken, places));
        }
        state.taken += 1;
        Ok(())
    }

    /// Cancels all sequences and ends the thread, waiting for it.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread was printed where it happened.
        let _ = thread.map(JoinHandle::join);
    }
}

fn stopped() -> Error {
    Error::Cancelled { doing: "generating: the engine was stopped".into() }
}

struct Worker {
    engine: Engine,
    shared: Arc<Shared>,
    /// Who hears of a sequence, and the key that its submitter knows.
    sinks: HashMap<SequenceId, (u64, Hearer)>,
}

/// Whether the thread goes on.
type GoOn = bool;

/// Notes the end of the engine's thread, also by a panic.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state();
        // Nothing is taken from here on.
        (state.health, state.taken) = (Health::Stopped, 0);
    }
}

impl Worker {
    fn work(mut self, commands: &Receiver<Command>) {
        // Goes before those who still wait are told.
        let _end = End(self.shared.clone());
        let mut retry = RETRY.0;
        while self.obey(commands, retry) {
            if self.engine.is_lost() {
                retry = match self.recover() {
                    Ok(()) => RETRY.0,
                    Err(error) => {
                        log::warn!("the device could not be opened again: {error}");
                        (retry * 2).min(RETRY.1)
                    }
                };
                continue;
            }
            let backend = self.engine.backend().clone();
            let events = backend.block_on(self.engine.step());
            // Whoever hears of a step finds it counted.
            self.publish();
            match events {
                Ok(events) => self.pass_on(events),
                Err(error) => log::warn!("a step failed: {error}"),
            }
        }
    }

    /// Does what was commanded; waits for a command if there is nothing else to
    /// do, and for a while if the device is lost.
    fn obey(&mut self, commands: &Receiver<Command>, retry: Duration) -> GoOn {
        if self.engine.is_lost() {
            match commands.recv_timeout(retry) {
                Ok(command) => return self.perform(command),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        if self.engine.is_idle() {
            let Ok(command) = commands.recv() else { return false };
            if !self.perform(command) {
                return false;
            }
        }
        while let Ok(command) = commands.try_recv() {
            if !self.perform(command) {
                return false;
            }
        }
        true
    }

    fn perform(&mut self, command: Command) -> GoOn {
        match command {
            Command::Stop => return false,
            Command::Submit(key, request, mut hearer) => match self.engine.submit(*request) {
                Ok(id) => {
                    self.sinks.insert(id, (key, hearer));
                }
                Err(error) => {
                    self.shared.state().taken -= 1;
                    hearer.tell(Event::Failed(Arc::new(error)));
                }
            },
            Command::Cancel(key) => {
                let id = self.sinks.iter().find(|(_, (other, _))| *other == key);
                if let Some(id) = id.map(|(id, _)| *id) {
                    self.engine.cancel(id);
                }
            }
        }
        true
    }

    fn pass_on(&mut self, events: Vec<(SequenceId, Event)>) {
        for (id, event) in events {
            let last = event.is_last();
            if last {
                // Before it is told: who hears of it may submit the next one.
                self.shared.state().taken -= 1;
                if let Some((_, mut hearer)) = self.sinks.remove(&id) {
                    hearer.tell(event);
                }
            } else if let Some((_, hearer)) = self.sinks.get_mut(&id)
                && !hearer.tell(event)
            {
                self.engine.cancel(id);
            }
        }
    }

    fn publish(&mut self) {
        let mut state = self.shared.state();
        state.counters = self.engine.counters();
        if self.engine.is_lost() && state.health == Health::Ready {
            state.health = Health::Recovering;
            state.losses += 1;
        }
    }

    fn recover(&mut self) -> Result<()> {
        let backend = pollster::block_on(self.engine.backend().reopen())?;
        backend.block_on(self.engine.rebuild(&backend))?;
        let mut state = self.shared.state();
        (state.health, state.backend) = (Health::Ready, backend);
        Ok(())
    }
}
