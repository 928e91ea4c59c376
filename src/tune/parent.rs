//! Tuning with a child process that can be ended.

use super::ledger::Ledger;
use super::measure::note;
use super::report::{Report, Row};
use super::worker::{MARK, Order, Told, Word};
use crate::error::{Error, Result};
use crate::store::Store;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often a process may fail to come up before tuning ends.
const STARTS: usize = 4;

/// How variants are tried that may end the process they are tried in.
#[derive(Debug, Clone)]
pub struct Supervision {
    /// The program to start: one that opens the adapter, calls
    /// [`record`](super::record), runs the model once and then calls
    /// [`serve`](super::serve) with its standard input and output.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How long it may take to be ready.
    pub start: Duration,
    /// How long it may be silent over one variant. Then it is ended, and the variant
    /// counts as one that hangs.
    pub silence: Duration,
}

/// Has a child process try and time the variants that could compute what its model
/// needs. What gives wrong answers, does not compile, hangs, crashes or loses the
/// device is rejected, and only that; which of the others are the fastest is kept.
///
/// # Errors
/// If the program cannot be started, or is never ready.
pub fn supervised(
    supervision: &Supervision,
    store: Option<Arc<dyn Store>>,
    progress: &mut dyn FnMut(&Row),
) -> Result<Report> {
    let (process, ready) = Process::start(supervision)?;
    let names = (ready.adapter.clone(), ready.driver.clone());
    let ledger = Ledger::with_key(ready.key.clone(), store, names, Vec::new());
    let mut parent =
        Parent { supervision, report: Report::new(&ledger.findings()), ledger, process };
    for told in &ready.spots {
        let row = parent.row(told)?;
        parent.ledger.save();
        progress(&row);
        parent.report.rows.push(row);
    }
    Ok(parent.report)
}

/// What a process is when it waits for orders.
struct Ready {
    key: String,
    adapter: String,
    driver: String,
    spots: Vec<Told>,
}

struct Parent<'a> {
    supervision: &'a Supervision,
    report: Report,
    ledger: Ledger,
    process: Process,
}

/// How an order ended.
enum End {
    Done(Word),
    /// The order could not be carried out, but the process is there.
    Refused(String),
    /// The process is not there any more: why.
    Gone(String),
}

impl Parent<'_> {
    fn row(&mut self, told: &Told) -> Result<Row> {
        let mut row = Row::new(&told.class, &told.label);
        row.default = told.default.clone();
        row.refused = told.refused.clone();
        let mut right = Vec::new();
        for variant in &told.candidates {
            match self.wrong(&told.class, variant)? {
                None => right.push(variant.clone()),
                Some(why) => row.reject(variant, &why),
            }
        }
        while !right.is_empty() {
            match self.times(&told.class, &right)? {
                Ok(micros) => {
                    row.micros = micros;
                    note(&self.ledger, &row);
                    break;
                }
                Err((variant, why)) => {
                    right.retain(|name| *name != variant);
                    row.reject(&variant, &why);
                }
            }
        }
        Ok(row)
    }

    /// What is wrong with a variant, if anything is.
    fn wrong(&mut self, class: &str, variant: &str) -> Result<Option<String>> {
        let order = Order::Try { class: class.into(), variant: variant.into() };
        let mut tried = BTreeMap::new();
        let end = self.process.obey(&order, self.supervision.silence, &mut |word| {
            if let Word::Trying { shaders } = word {
                tried = shaders.clone();
            }
        });
        match end {
            End::Done(Word::Tried { wrong }) => Ok(wrong),
            End::Done(word) => Err(Error::internal(format!("an answer out of turn: {word:?}"))),
            End::Refused(what) => Ok(Some(what)),
            End::Gone(why) => {
                for (shader, name) in &tried {
                    self.ledger.reject(shader, name, &why);
                }
                self.restart()?;
                Ok(Some(why))
            }
        }
    }

    /// The times of variants, or one that must not be among them, and why.
    fn times(
        &mut self,
        class: &str,
        variants: &[String],
    ) -> Result<std::result::Result<BTreeMap<String, f64>, (String, String)>> {
        let order = Order::Time { class: class.into(), variants: variants.to_vec() };
        let mut last = variants.first().cloned().unwrap_or_default();
        let mut running = BTreeMap::new();
        let end = self.process.obey(&order, self.supervision.silence, &mut |word| {
            if let Word::Timing { variant, shaders } = word {
                last.clone_from(variant);
                running.clone_from(shaders);
            }
        });
        match end {
            End::Done(Word::Times { micros }) => Ok(Ok(micros)),
            End::Done(word) => Err(Error::internal(format!("an answer out of turn: {word:?}"))),
            End::Refused(what) => Ok(Err((last, what))),
            End::Gone(why) => {
                // It was right on a small case, and is not at its full size.
                for (shader, name) in &running {
                    self.ledger.reject(shader, name, &why);
                }
                self.restart()?;
                Ok(Err((last, why)))
            }
        }
    }

    fn restart(&mut self) -> Result<()> {
        // The next process must not try the same again.
        self.ledger.save();
        self.report.restarts += 1;
        (self.process, _) = Process::start(self.supervision)?;
        Ok(())
    }
}

/// A child process and the lines it says.
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts one and waits until it is ready. One that ends before has noted what it
    /// was trying, so the next one gets further.
    fn start(supervision: &Supervision) -> Result<(Self, Ready)> {
        let mut last = String::new();
        for _ in 0..STARTS {
            let mut process = Process::spawn(supervision)?;
            match process.listen(supervision.start, &mut |_| {}) {
                End::Done(Word::Ready { key, adapter, driver, spots }) => {
                    return Ok((process, Ready { key, adapter, driver, spots }));
                }
                End::Done(word) => last = format!("it began with {word:?}"),
                End::Refused(what) | End::Gone(what) => last = what,
            }
            // It has said itself what it could not do, and would say it again.
            if matches!(process.child.try_wait(), Ok(Some(status)) if status.code().is_some()) {
                break;
            }
        }
        let doing = format!("starting {}", supervision.program.display());
        Err(Error::Device { doing, message: last })
    }

    fn spawn(supervision: &Supervision) -> Result<Self> {
        let program = &supervision.program;
        let io = |source| Error::Io { path: program.clone(), source };
        let mut child = Command::new(program)
            .args(&supervision.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let orders = child.stdin.take();
        let output =
            child.stdout.take().ok_or_else(|| Error::internal("a child without output"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Process { child, orders, lines })
    }

    fn obey(&mut self, order: &Order, silence: Duration, heard: &mut dyn FnMut(&Word)) -> End {
        let text = match serde_json::to_string(order) {
            Ok(text) => text,
            Err(error) => return End::Refused(error.to_string()),
        };
        let said = self.orders.as_mut().map(|orders| writeln!(orders, "{text}"));
        match said {
            Some(Ok(())) => self.listen(silence, heard),
            _ => End::Gone(self.ended()),
        }
    }

    /// Words until one that ends an order.
    fn listen(&mut self, silence: Duration, heard: &mut dyn FnMut(&Word)) -> End {
        loop {
            let line = match self.lines.recv_timeout(silence) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return End::Gone(self.ended()),
                Err(RecvTimeoutError::Timeout) => {
                    self.end();
                    return End::Gone(format!("hangs: no answer for {} s", silence.as_secs()));
                }
            };
            let Some(text) = line.strip_prefix(MARK) else { continue };
            match serde_json::from_str(text) {
                Ok(Word::Failed { what, over: true }) => {
                    self.end();
                    return End::Gone(what);
                }
                Ok(Word::Failed { what, over: false }) => return End::Refused(what),
                Ok(word @ (Word::Trying { .. } | Word::Timing { .. })) => heard(&word),
                Ok(word) => return End::Done(word),
                Err(error) => return End::Refused(format!("an answer that is none: {error}")),
            }
        }
    }

    /// How it ended by itself.
    fn ended(&mut self) -> String {
        match self.child.wait() {
            Ok(status) => format!("the process that tried it ended with {status}"),
            Err(error) => format!("the process that tried it is gone: {error}"),
        }
    }

    fn end(&mut self) {
        if let Err(error) = self.child.kill() {
            log::debug!("the process is gone already: {error}");
        }
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without orders it ends by itself, unless something keeps it.
        drop(self.orders.take());
        let asked = std::time::Instant::now();
        while asked.elapsed() < Duration::from_secs(2) {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.end();
    }
}
