//! One case on one backend.

use super::case::Case;
use super::compare::Report;
use super::proven::Proven;
use super::setup::{Extents, ResultAt, Setup, dispatches};
use super::yardstick::Yardstick;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::gpu::workgroups;
use crate::kernels::{Dispatch, Policy};
use crate::ops::Arithmetic;
use crate::passes;
use crate::plan::Plan;
use crate::session::{Session, SessionOptions};
use crate::tensor::Tensor;
use std::collections::BTreeSet;
use std::sync::Arc;

/// On what and how cases are run.
#[derive(Debug, Clone)]
pub struct Target {
    /// What computes.
    pub backend: Backend,
    /// Which kernel variants.
    pub policy: Policy,
    /// The arithmetic those variants use.
    pub arithmetic: Arithmetic,
    /// What the adapter was found to do right before, under whatever policy and on
    /// whatever device: the same run is then not done again. `None`: every run is done.
    pub proven: Option<Arc<Proven>>,
}

impl Target {
    /// A backend with the kernels it chooses by itself.
    pub fn new(backend: Backend) -> Self {
        let (policy, arithmetic) = (Policy::default(), Arithmetic::F32);
        Target { backend, policy, arithmetic, proven: None }
    }

    /// Plans a setup as the backend would, without running it.
    ///
    /// # Errors
    /// If an operator or kernel refuses.
    pub fn plan(&self, setup: &Setup) -> Result<Expected> {
        Ok(self.planned(setup)?.expected)
    }

    /// As [`Target::plan`], with the dispatches themselves.
    pub(super) fn planned(&self, setup: &Setup) -> Result<Planned> {
        let plan = Plan::new(&setup.graph, &setup.bounds)?;
        let expected = Expected { calls: plan.calls().count(), ..Expected::default() };
        let mut planned = Planned { expected, dispatches: Vec::new() };
        let Backend::Gpu(gpu) = &self.backend else { return Ok(planned) };
        let most = gpu.caps().limits.max_compute_workgroups_per_dimension;
        let calls = dispatches(&plan, gpu.caps(), &self.policy)?;
        for dispatch in calls.into_iter().flat_map(|(_, dispatches)| dispatches) {
            let groups = workgroups(&dispatch.grid, &setup.values, most)?;
            if !groups.contains(&0) {
                planned.expected.dispatches += 1;
                planned.expected.variants.insert(dispatch.variant.clone());
                planned.dispatches.push((dispatch, groups));
            }
        }
        Ok(planned)
    }
}

/// A run before it is done.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) expected: Expected,
    /// On a device: the dispatches with any workgroups, and those.
    pub(super) dispatches: Vec<(Dispatch, [u32; 3])>,
}

/// What a run has to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Kernel calls.
    pub calls: usize,
    /// GPU dispatches with at least one workgroup.
    pub dispatches: u64,
    /// Their `family/variant` names.
    pub variants: BTreeSet<String>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// One for each result of the operator.
    pub reports: Vec<Report>,
    /// What was executed.
    pub executed: Expected,
    /// How many dimensions were symbols.
    pub symbols: usize,
}

impl Outcome {
    /// Whether every element of every result is within its bound.
    pub fn passed(&self) -> bool {
        self.reports.iter().all(Report::passed)
    }
}

/// Builds the graph of a case around its yardstick's values, with symbols
/// wherever the target can plan them if [`Extents::Symbolic`] asks for it.
///
/// # Errors
/// If the operator refuses the inputs.
pub fn set_up(
    case: &Case,
    yardstick: &Yardstick,
    extents: Extents,
    target: &Target,
) -> Result<Setup> {
    set_up_with(case, &yardstick.operands, extents, target)
}

/// As [`set_up`], before there is a yardstick.
pub(super) fn set_up_with(
    case: &Case,
    operands: &[Option<Tensor>],
    extents: Extents,
    target: &Target,
) -> Result<Setup> {
    let plannable = |setup: &Setup| match target.plan(setup) {
        Ok(_) => true,
        // Hidden here, it would come to light nowhere.
        Err(error) => error.kind() == ErrorKind::Internal,
    };
    Setup::new(case, operands, extents, plannable)
}

/// Runs a setup and compares with the yardstick. Memory is poisoned first, so
/// an element that no kernel writes is not a number.
///
/// # Errors
/// If the operator, the plan or the backend fails, or if the backend did not
/// execute what the plan says. A wrong result is not an error but an
/// [`Outcome`] that did not pass.
pub fn run_setup(setup: &Setup, yardstick: &Yardstick, target: &Target) -> Result<Outcome> {
    run_planned(setup, target.plan(setup)?, yardstick, target)
}

/// As [`run_setup`], of what is planned already.
pub(super) fn run_planned(
    setup: &Setup,
    expected: Expected,
    yardstick: &Yardstick,
    target: &Target,
) -> Result<Outcome> {
    let bounds = yardstick.bounds(target.arithmetic)?;
    let results = execute(setup, target, &expected)?;
    let named: Vec<(&str, &Tensor)> =
        setup.results.iter().map(ResultAt::name).zip(&results).collect();
    let reports = yardstick.compare(&named, &bounds)?;
    Ok(Outcome { reports, executed: expected, symbols: setup.symbols() })
}

fn execute(setup: &Setup, target: &Target, expected: &Expected) -> Result<Vec<Tensor>> {
    let names = setup.graph.symbols().iter().enumerate();
    let buckets = names.map(|(i, symbol)| {
        let bound = setup.bounds.get(crate::graph::Symbol(i as u32));
        (symbol.name.clone(), bound.into_iter().collect())
    });
    let rewriting = passes::PASSES.iter().filter(|pass| pass.rewrites());
    let options = SessionOptions {
        // What is judged here need not be judged before.
        policy: Policy { unproven: true, ..target.policy.clone() },
        poison: true,
        buckets: buckets.collect(),
        // One node is judged alone, as it is.
        disabled_passes: rewriting.map(|pass| pass.name.to_string()).collect(),
        ..SessionOptions::default()
    };
    let mut session = Session::new_blocking(setup.graph.clone(), &target.backend, options)?;
    for (name, tensor) in &setup.states {
        session.set_state_blocking(name, tensor)?;
    }
    let inputs: Vec<(&str, &Tensor)> =
        setup.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let outputs = session.run_blocking(&inputs)?;
    check_executed(&session, expected)?;
    let find = |at: &ResultAt| match at {
        ResultAt::State(name) => session.state_blocking(name),
        ResultAt::Output(name) => {
            let found = outputs.iter().find(|(other, _)| other == name);
            let missing = || Error::internal(format!("output '{name}' is missing"));
            found.map(|(_, tensor)| tensor.clone()).ok_or_else(missing)
        }
    };
    setup.results.iter().map(find).collect()
}

/// The work must have been done where it was asked for.
fn check_executed(session: &Session, expected: &Expected) -> Result<()> {
    let counters = session.counters();
    let done = match session.backend() {
        Backend::Cpu => counters.dispatches == expected.calls as u64,
        Backend::Gpu(_) => {
            counters.dispatches == expected.dispatches
                && expected.variants.is_subset(&session.executed_variants())
        }
    };
    if done {
        return Ok(());
    }
    Err(Error::internal(format!(
        "executed {counters:?} {:?}, expected {expected:?}",
        session.executed_variants()
    )))
}
