//! All shapes of a case family on one target, with a failure cut down to the
//! smallest shape that shows it.

use super::case::{Case, CaseFamily};
use super::generate::mix;
use super::run::{Outcome, Target, run_setup, set_up};
use super::setup::{Extents, Setup};
use super::shrink::shrink;
use super::yardstick::Yardstick;
use crate::error::{ErrorKind, Result};
use std::collections::BTreeSet;
use std::fmt;

/// How many shapes shrinking may try.
const SHRINK_BUDGET: usize = 150;

/// A case that failed, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The backend or adapter.
    pub target: String,
    /// The family's label.
    pub label: String,
    /// The smallest shape found to fail.
    pub shape: Vec<usize>,
    /// The shape that failed first.
    pub first_shape: Vec<usize>,
    /// Whether extents were constants or symbols.
    pub extents: Extents,
    /// Reproduces the values; see [`shape_seed`].
    pub seed: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {}, shape {:?} (first seen at {:?}), {:?} extents, seed {}: {}",
            self.label,
            self.target,
            self.shape,
            self.first_shape,
            self.extents,
            self.seed,
            self.what
        )
    }
}

/// What a family's passing shapes did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passed {
    /// Runs, of which a shape has up to two.
    pub runs: usize,
    /// Runs in which some extents were symbols.
    pub symbolic: usize,
    /// Shapes left out: the family does not build them, or the forced variant
    /// does not take them.
    pub skipped: usize,
    /// `family/variant` names executed.
    pub variants: BTreeSet<String>,
    /// The largest part of a bound that was used up.
    pub worst_ratio: f64,
}

/// The seed of a shape's values, from the seed of all.
pub fn shape_seed(seed: u64, shape: &[usize]) -> u64 {
    shape.iter().fold(seed, |seed, &extent| mix(seed, extent as u64))
}

/// Runs every shape, with fixed and with symbolic extents.
///
/// With `only`, the name of a variant (`family/variant`), shapes whose plan
/// does not use that variant are left out.
///
/// # Errors
/// The first failure, shrunk. (Boxed, because it is large and rare.)
pub fn run_family(
    family: &CaseFamily,
    shapes: &[Vec<usize>],
    seed: u64,
    target: &Target,
    only: Option<&str>,
) -> std::result::Result<Passed, Box<Failure>> {
    let mut passed = Passed::default();
    let trial = Trial { family, seed, target, only };
    for shape in shapes {
        let (outcomes, failure) = trial.verdict(shape, &[Extents::Fixed, Extents::Symbolic]);
        if let Some((extents, _)) = failure {
            return Err(Box::new(trial.shrunk(shape, extents)));
        }
        passed.skipped += usize::from(outcomes.is_empty());
        outcomes.iter().for_each(|outcome| passed.add(outcome));
    }
    Ok(passed)
}

impl Passed {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.symbolic += usize::from(outcome.symbols > 0);
        self.variants.extend(outcome.executed.variants.iter().cloned());
        let worst = outcome.reports.iter().map(|report| report.worst_ratio);
        self.worst_ratio = worst.fold(self.worst_ratio, f64::max);
    }
}

struct Trial<'a> {
    family: &'a CaseFamily,
    seed: u64,
    target: &'a Target,
    only: Option<&'a str>,
}

impl Trial<'_> {
    /// What the runs of a shape gave, up to the first that failed.
    fn verdict(
        &self,
        shape: &[usize],
        ways: &[Extents],
    ) -> (Vec<Outcome>, Option<(Extents, String)>) {
        let mut outcomes = Vec::new();
        let Some(case) = (self.family.build)(shape) else { return (outcomes, None) };
        let seed = shape_seed(self.seed, shape);
        if !self.concerns(&case, seed) {
            return (outcomes, None);
        }
        let yardstick = match Yardstick::new(&case, seed) {
            Ok(yardstick) => yardstick,
            Err(error) => return (outcomes, Some((ways[0], error.to_string()))),
        };
        for &extents in ways {
            match self.run(&case, &yardstick, extents) {
                Ok(None) => {}
                Ok(Some(outcome)) if outcome.passed() => outcomes.push(outcome),
                Ok(Some(outcome)) => {
                    let failing = outcome.reports.iter().filter(|report| !report.passed());
                    let what: Vec<String> = failing.map(ToString::to_string).collect();
                    return (outcomes, Some((extents, what.join("; "))));
                }
                Err(error) => return (outcomes, Some((extents, error.to_string()))),
            }
        }
        (outcomes, None)
    }

    /// Whether the variant asked for takes part; found out before the yardstick
    /// is computed, which takes long. What fails here fails in the run as well.
    fn concerns(&self, case: &Case, seed: u64) -> bool {
        let Some(only) = self.only else { return true };
        let setup = Yardstick::operands(case, seed)
            .and_then(|operands| Setup::new(case, &operands, Extents::Fixed, |_| false));
        match setup.and_then(|setup| self.target.plan(&setup)) {
            Ok(expected) => expected.variants.contains(only),
            Err(error) => error.kind() != ErrorKind::Unsupported,
        }
    }

    /// One run, unless there is nothing new in it.
    fn run(&self, case: &Case, yardstick: &Yardstick, extents: Extents) -> Result<Option<Outcome>> {
        let setup = set_up(case, yardstick, extents, self.target)?;
        if extents == Extents::Symbolic && setup.symbols() == 0 {
            return Ok(None);
        }
        if let Some(only) = self.only {
            match self.target.plan(&setup) {
                Ok(expected) if !expected.variants.contains(only) => return Ok(None),
                // A forced variant does not take all operands.
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
                _ => {}
            }
        }
        run_setup(&setup, yardstick, self.target).map(Some)
    }

    fn shrunk(&self, first: &[usize], extents: Extents) -> Failure {
        let shape =
            shrink(first, SHRINK_BUDGET, |shape| self.verdict(shape, &[extents]).1.is_some());
        let what = match self.verdict(&shape, &[extents]).1 {
            Some((_, what)) => what,
            None => "fails now and then: it passed when it was run again".into(),
        };
        Failure {
            target: self.target.backend.name(),
            label: self.family.label.clone(),
            first_shape: first.to_vec(),
            seed: self.seed,
            shape,
            extents,
            what,
        }
    }
}
