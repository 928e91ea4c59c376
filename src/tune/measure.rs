//! Which of the variants that are right is the fastest.

use super::case::Draw;
use super::judge::shaders;
use super::ledger::{Known, Ledger, Measured};
use super::probe::{Shaders, Verdict, engine, probe};
use super::report::Row;
use super::spot::Spot;
use crate::error::{Error, Result};
use crate::exec::gpu::{Given, GpuEngine};
use crate::gpu::{Gpu, library_fingerprint};
use crate::kernels::Policy;
use crate::kernels::registry::{FAMILIES, KernelFamily};
use crate::session::SharedWeights;
use std::collections::BTreeMap;
use std::sync::Arc;
use web_time::Instant;

/// How often each variant is timed. One after another in turn, so that what slows
/// the machine down for a while slows all of them down.
const ROUNDS: usize = 7;
/// What one timing without a device's clock should last at least, in milliseconds.
const LEAST_MS: f64 = 20.0;
/// And the most runs it has.
const MOST_RUNS: usize = 256;
/// A round is not begun after so many milliseconds for one class.
const BUDGET_MS: f64 = 4000.0;

/// A variant that could compute a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// `family/variant`.
    pub(super) name: String,
    /// Whether it is what is chosen without measuring.
    pub(super) default: bool,
}

/// The variants that can compute a class of calls: those of the families that it is
/// computed with now, as far as the device has what they need.
///
/// # Errors
/// If the call cannot be computed at all.
pub(super) fn candidates(
    gpu: &Arc<Gpu>,
    spot: &Spot,
    more: &[KernelFamily],
) -> Result<Vec<Candidate>> {
    let ledger = Ledger::of(gpu);
    let alone = spot.at().alone_large(Draw::BLANK, false)?;
    let now = shaders(gpu, &alone, &spot.policy)?;
    let mut found = Vec::new();
    for family in FAMILIES.iter().chain(more) {
        let default = now.values().find(|name| family_of(name) == family.name);
        let Some(default) = default.filter(|_| !spot.policy.force.contains_key(family.name)) else {
            continue;
        };
        for variant in family.variants {
            let name = format!("{}/{}", family.name, variant.name);
            let left_out = spot.policy.forbid.contains(&name) || ledger.barred(&name).is_some();
            if left_out || spot.policy.disallows(&variant.needs).is_some() {
                continue;
            }
            // One that does not take these operands is no candidate.
            let became = shaders(gpu, &alone, &forced(&spot.policy, &name));
            if became.is_ok_and(|became| became.values().any(|other| *other == name)) {
                found.push(Candidate { default: name == *default, name });
            }
        }
    }
    Ok(found)
}

fn family_of(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

pub(super) fn forced(policy: &Policy, name: &str) -> Policy {
    let mut policy = policy.clone();
    if let Some((family, variant)) = name.split_once('/') {
        policy.force.insert(family.into(), variant.into());
    }
    policy
}

/// The shaders that a class becomes with a variant.
///
/// # Errors
/// If the variant cannot compute it.
pub(super) fn needed(gpu: &Arc<Gpu>, spot: &Spot, name: &str) -> Result<Shaders> {
    let alone = spot.at().alone_large(Draw::BLANK, false)?;
    shaders(gpu, &alone, &forced(&spot.policy, name))
}

/// Whether a variant gives right answers for a class, tried if that is not known:
/// `None`, or what is wrong.
///
/// # Errors
/// What happens to the device.
pub(super) async fn wrong(gpu: &Arc<Gpu>, spot: &Spot, name: &str) -> Result<Option<String>> {
    let (ledger, policy) = (Ledger::of(gpu), forced(&spot.policy, name));
    let mut wanted = needed(gpu, spot, name)?;
    for shader in wanted.keys() {
        if let Known::Rejected(why) = ledger.known(shader) {
            return Ok(Some(why));
        }
    }
    wanted.retain(|shader, _| ledger.known(shader) != Known::Right);
    if wanted.is_empty() {
        return Ok(None);
    }
    let why = match probe(gpu, spot.at(), &policy, &wanted).await {
        Ok(Verdict::Right(_)) => {
            wanted.iter().for_each(|(shader, variant)| ledger.right(shader, variant));
            return Ok(None);
        }
        Ok(Verdict::Untried(why)) => return Ok(Some(format!("could not be tried: {why}"))),
        Ok(Verdict::Wrong(why)) => why,
        Err(error @ (Error::Shader { .. } | Error::Device { .. })) => error.to_string(),
        Err(error) => return Err(error),
    };
    wanted.iter().for_each(|(shader, variant)| ledger.reject(shader, variant, &why));
    Ok(Some(why))
}

/// Times variants of a class in turn: microseconds by name, medians. `told` hears of
/// each before it is compiled and before each of its runs, so that it is known which one
/// does not come back.
///
/// # Errors
/// What happens to the device.
pub(super) async fn times(
    gpu: &Arc<Gpu>,
    spot: &Spot,
    names: &[String],
    told: &mut (dyn FnMut(&str) -> Result<()> + Send),
) -> Result<BTreeMap<String, f64>> {
    let alone = spot.at().alone_large(Draw::TIMED, true)?;
    let inputs: Vec<Given<'_>> = alone.inputs.iter().map(Given::Host).collect();
    let weights = SharedWeights::default();
    let mut timed = Vec::new();
    for name in names {
        told(name)?;
        let policy = forced(&spot.policy, name);
        let (engine, index) = engine(gpu, &alone, policy, Some(weights.clone())).await?;
        let mut one = Timed { name, engine, index, runs: 1, micros: Vec::new() };
        told(name)?;
        one.warm_up(&inputs, &alone.values, gpu.caps().timestamps).await?;
        timed.push(one);
    }
    let begun = Instant::now();
    for round in 0..ROUNDS {
        if round > 0 && begun.elapsed().as_secs_f64() * 1e3 > BUDGET_MS {
            break;
        }
        for one in &mut timed {
            told(one.name)?;
            one.time(&inputs, &alone.values, gpu.caps().timestamps).await?;
        }
    }
    Ok(timed.into_iter().map(|one| (one.name.clone(), median(one.micros))).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// A variant and its times so far.
struct Timed<'a> {
    name: &'a String,
    engine: GpuEngine,
    index: usize,
    runs: usize,
    micros: Vec<f64>,
}

impl Timed<'_> {
    /// The first run is no measure, and tells how many make one.
    async fn warm_up(
        &mut self,
        inputs: &[Given<'_>],
        values: &crate::graph::Bindings,
        clock: bool,
    ) -> Result<()> {
        self.engine.repeat(self.index, inputs, values, 1).await?;
        if clock {
            return Ok(());
        }
        let begun = Instant::now();
        self.engine.repeat(self.index, inputs, values, 1).await?;
        let ms = (begun.elapsed().as_secs_f64() * 1e3).max(1e-3);
        self.runs = ((LEAST_MS / ms).ceil() as usize).clamp(1, MOST_RUNS);
        Ok(())
    }

    async fn time(
        &mut self,
        inputs: &[Given<'_>],
        values: &crate::graph::Bindings,
        clock: bool,
    ) -> Result<()> {
        let micros = if clock {
            let (_, _, timings) = self.engine.profile(self.index, inputs, values).await?;
            timings.iter().map(|timing| timing.micros).sum()
        } else {
            let begun = Instant::now();
            self.engine.repeat(self.index, inputs, values, self.runs).await?;
            begun.elapsed().as_secs_f64() * 1e6 / self.runs as f64
        };
        self.micros.push(micros);
        Ok(())
    }
}

/// How many times as fast as the one chosen without measuring a variant must be to
/// take its place: less is within what measurements differ by.
const GAIN: f64 = 1.05;

/// Notes what was measured: the fastest is used from now on.
pub(super) fn note(ledger: &Ledger, row: &Row) {
    let Some((name, least)) = row.fastest().filter(|(_, micros)| micros.is_finite()) else {
        return;
    };
    let default = row.micros.get(&row.default);
    let gains = default.is_none_or(|default| default / least >= GAIN);
    let fastest = if gains { name } else { &row.default };
    let kernels = library_fingerprint().into();
    let measured = Measured { fastest: fastest.into(), micros: row.micros.clone(), kernels };
    ledger.measure(&row.class, measured);
}
