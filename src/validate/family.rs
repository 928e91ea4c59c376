//! All shapes of a case family on one target, with a failure cut down to the
//! smallest shape that shows it.

use super::case::{Case, CaseFamily};
use super::generate::mix;
use super::proven::name_of;
use super::run::{Outcome, Target, run_planned, set_up_with};
use super::setup::{Extents, Setup};
use super::shrink::shrink;
use super::yardstick::Yardstick;
use crate::backend::Backend;
use crate::error::{ErrorKind, Result};
use crate::tensor::Tensor;
use std::cell::OnceCell;
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
    /// Runs among them that [`Target::proven`] had already: they were not done again.
    pub same: usize,
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
    fn add(&mut self, done: &Done) {
        let outcome = &done.outcome;
        self.runs += 1;
        self.same += usize::from(done.same);
        self.symbolic += usize::from(outcome.symbols > 0);
        self.variants.extend(outcome.executed.variants.iter().cloned());
        let worst = outcome.reports.iter().map(|report| report.worst_ratio);
        self.worst_ratio = worst.fold(self.worst_ratio, f64::max);
    }
}

/// A case with its values, and the yardstick once a run needs it.
struct Drawn<'a> {
    case: &'a Case,
    operands: Vec<Option<Tensor>>,
    yardstick: OnceCell<Yardstick>,
}

impl Drawn<'_> {
    fn yardstick(&self) -> Result<&Yardstick> {
        if let Some(yardstick) = self.yardstick.get() {
            return Ok(yardstick);
        }
        let yardstick = Yardstick::of(self.case, self.operands.clone())?;
        Ok(self.yardstick.get_or_init(|| yardstick))
    }
}

/// What a run gave.
struct Done {
    outcome: Outcome,
    /// An earlier one gave it: this one was not done again.
    same: bool,
}

struct Trial<'a> {
    family: &'a CaseFamily,
    seed: u64,
    target: &'a Target,
    only: Option<&'a str>,
}

impl Trial<'_> {
    /// What the runs of a shape gave, up to the first that failed.
    fn verdict(&self, shape: &[usize], ways: &[Extents]) -> (Vec<Done>, Option<(Extents, String)>) {
        let mut outcomes = Vec::new();
        let Some(case) = (self.family.build)(shape) else { return (outcomes, None) };
        let seed = shape_seed(self.seed, shape);
        if !self.concerns(&case, seed) {
            return (outcomes, None);
        }
        let operands = match Yardstick::operands(&case, seed) {
            Ok(operands) => operands,
            Err(error) => return (outcomes, Some((ways[0], error.to_string()))),
        };
        let drawn = Drawn { case: &case, operands, yardstick: OnceCell::new() };
        for &extents in ways {
            match self.run(&drawn, extents) {
                Ok(None) => {}
                Ok(Some(done)) if done.outcome.passed() => outcomes.push(done),
                Ok(Some(done)) => {
                    let failing = done.outcome.reports.iter().filter(|report| !report.passed());
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

    /// One run, unless it is none: without symbols, or without the variant asked for.
    fn run(&self, drawn: &Drawn<'_>, extents: Extents) -> Result<Option<Done>> {
        let setup = set_up_with(drawn.case, &drawn.operands, extents, self.target)?;
        if extents == Extents::Symbolic && setup.symbols() == 0 {
            return Ok(None);
        }
        let planned = match (self.target.planned(&setup), self.only) {
            (Ok(planned), Some(only)) if !planned.expected.variants.contains(only) => {
                return Ok(None);
            }
            // A forced variant does not take all operands.
            (Err(error), Some(_)) if error.kind() == ErrorKind::Unsupported => return Ok(None),
            (planned, _) => planned?,
        };
        let (Some(proven), Backend::Gpu(gpu)) = (&self.target.proven, &self.target.backend) else {
            let yardstick = drawn.yardstick()?;
            let outcome = run_planned(&setup, planned.expected, yardstick, self.target)?;
            return Ok(Some(Done { outcome, same: false }));
        };
        let name = name_of(drawn.case, &drawn.operands, &setup, &planned, self.target, gpu);
        if let Some(outcome) = proven.find(&name) {
            // This device must take the shaders as well.
            for (dispatch, _) in &planned.dispatches {
                gpu.accepts(&dispatch.shader)?;
            }
            return Ok(Some(Done { outcome, same: true }));
        }
        let outcome = run_planned(&setup, planned.expected, drawn.yardstick()?, self.target)?;
        if outcome.passed() {
            proven.add(name, outcome.clone());
        }
        Ok(Some(Done { outcome, same: false }))
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
