//! The process in which variants are tried that may hang, crash or lose the device.

use super::ledger::{Known, Ledger};
use super::measure::{candidates, needed, times, wrong};
use super::spot::Spot;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::registry::KernelFamily;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::Arc;

/// What the parent wants next: one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Find out whether a variant is right for a class.
    Try { class: String, variant: String },
    /// Time variants of a class.
    Time { class: String, variants: Vec<String> },
}

/// What the child says: one line of JSON each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// It waits for orders.
    Ready { key: String, adapter: String, driver: String, spots: Vec<Told> },
    /// These shaders are tried now: fingerprint and `family/variant`.
    Trying { shaders: BTreeMap<String, String> },
    /// What is wrong, if anything is.
    Tried { wrong: Option<String> },
    /// A variant that is timed is compiled or run now; its shaders, fingerprint and
    /// `family/variant`.
    Timing { variant: String, shaders: BTreeMap<String, String> },
    /// Microseconds.
    Times { micros: BTreeMap<String, f64> },
    /// The order could not be carried out. If the device is gone, so is the process.
    Failed { what: String, over: bool },
}

/// A class of calls as the parent hears of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) class: String,
    pub(super) label: String,
    pub(super) default: String,
    pub(super) candidates: Vec<String>,
    /// Why nothing of the class can be tried, if so.
    pub(super) refused: Option<String>,
}

/// Lines are marked, so that what drivers print is told from them.
pub(super) const MARK: &str = "wginfer-tune ";

/// Carries out the orders of [`supervised`](super::supervised), which has started this
/// process, until there are no more. Call it after [`record`](super::record) and one
/// run of the model.
///
/// # Errors
/// If lines can be neither read nor written, or nothing can be said of the model.
pub fn serve(
    gpu: &Arc<Gpu>,
    more: &[KernelFamily],
    input: impl BufRead,
    output: impl Write + Send,
) -> Result<()> {
    let ledger = Ledger::of(gpu);
    let mut worker = Worker { gpu, output };
    let mut told = Vec::new();
    for spot in ledger.spots() {
        let found = match candidates(gpu, &spot, more) {
            Ok(found) => found,
            Err(error) if gpu.is_lost() => return Err(error),
            // The others can be measured nevertheless.
            Err(error) => {
                let refused = Some(error.to_string());
                let (class, label) = (spot.class, spot.label);
                told.push(Told { class, label, refused, ..Told::default() });
                continue;
            }
        };
        // Where there is no choice there is nothing to measure.
        if found.len() < 2 {
            continue;
        }
        let default = found.iter().find(|candidate| candidate.default);
        told.push(Told {
            default: default.map(|candidate| candidate.name.clone()).unwrap_or_default(),
            candidates: found.into_iter().map(|candidate| candidate.name).collect(),
            class: spot.class,
            label: spot.label,
            refused: None,
        });
    }
    let findings = ledger.findings();
    let (adapter, driver) = (findings.adapter, findings.driver);
    worker.say(&Word::Ready { key: ledger.key().into(), adapter, driver, spots: told })?;
    for line in input.lines() {
        let line = line.map_err(|source| Error::Io { path: "standard input".into(), source })?;
        let order = serde_json::from_str(&line)
            .map_err(|error| Error::input("order", "a line of JSON", error))?;
        let done = gpu.block_on(worker.obey(order));
        ledger.save();
        if let Err(error) = done {
            let over = gpu.is_lost();
            worker.say(&Word::Failed { what: error.to_string(), over })?;
            if over {
                return Err(error);
            }
        }
    }
    Ok(())
}

struct Worker<'a, W> {
    gpu: &'a Arc<Gpu>,
    output: W,
}

impl<W: Write + Send> Worker<'_, W> {
    fn say(&mut self, word: &Word) -> Result<()> {
        let text = serde_json::to_string(word)
            .map_err(|error| Error::internal(format!("a word that cannot be said: {error}")))?;
        let said = writeln!(self.output, "{MARK}{text}").and_then(|()| self.output.flush());
        said.map_err(|source| Error::Io { path: "standard output".into(), source })
    }

    fn spot(&self, class: &str) -> Result<Spot> {
        let spots = Ledger::of(self.gpu).spots();
        let found = spots.into_iter().find(|spot| spot.class == class);
        found.ok_or_else(|| Error::input("class", "one of this model", class))
    }

    async fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Try { class, variant } => {
                let spot = self.spot(&class)?;
                let mut shaders = needed(self.gpu, &spot, &variant)?;
                let ledger = Ledger::of(self.gpu);
                shaders.retain(|shader, _| matches!(ledger.known(shader), Known::Unknown { .. }));
                self.say(&Word::Trying { shaders })?;
                let wrong = wrong(self.gpu, &spot, &variant).await?;
                self.say(&Word::Tried { wrong })
            }
            Order::Time { class, variants } => {
                let spot = self.spot(&class)?;
                let gpu = self.gpu;
                let mut shaders = BTreeMap::new();
                for variant in &variants {
                    let mut own = needed(gpu, &spot, variant)?;
                    // What goes with it is not its fault.
                    own.retain(|_, name| name == variant);
                    shaders.insert(variant.clone(), own);
                }
                let mut told = |variant: &str| {
                    let shaders = shaders.get(variant).cloned().unwrap_or_default();
                    self.say(&Word::Timing { variant: variant.to_string(), shaders })
                };
                let micros = times(gpu, &spot, &variants, &mut told).await?;
                self.say(&Word::Times { micros })
            }
        }
    }
}
