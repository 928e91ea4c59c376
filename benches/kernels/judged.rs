//! Sessions of a benchmark's work, after its results were found to be right.

use crate::cases::Bench;
use std::collections::BTreeSet;
use wginfer::graph::{Graph, GraphBuilder};
use wginfer::kernels::Policy;
use wginfer::ops::Arithmetic;
use wginfer::validate::{Extents, Setup, Target, Yardstick, run_setup, set_up};
use wginfer::{Backend, Error, Result, Session, SessionOptions, passes};

/// A session of the work, as often as it is cycled, without the check of its results.
///
/// # Errors
/// If it cannot be planned or there is no memory for it.
pub fn open(backend: &Backend, bench: &Bench, policy: &Policy) -> Result<Session> {
    open_graph(backend, graph(bench)?, policy)
}

/// The same of the work's own [`graph`], whose making is not part of what is timed.
///
/// # Errors
/// As [`open`].
pub fn open_graph(backend: &Backend, graph: Graph, policy: &Policy) -> Result<Session> {
    let options = SessionOptions {
        // All operands are constants: nothing would be left to compute.
        disabled_passes: passes::PASSES.iter().map(|pass| pass.name.to_string()).collect(),
        policy: policy.clone(),
        ..SessionOptions::default()
    };
    Session::new_blocking(graph, backend, options)
}

/// What policy asks for, with what the benchmark itself asks for.
pub fn policy(bench: &Bench, asked: &Policy) -> Policy {
    let mut policy = asked.clone();
    policy.allow_f16 |= bench.policy.allow_f16;
    policy.allow_int8 |= bench.policy.allow_int8;
    policy.force.extend(bench.policy.force.clone());
    policy
}

/// Compares results with the reference: of the work itself, or of a smaller one with the
/// same variants where the reference would take minutes.
///
/// # Errors
/// If they are wrong, or cannot be had.
pub fn check(backend: &Backend, bench: &Bench, policy: &Policy) -> Result<()> {
    let mut target = Target::new(backend.clone());
    target.policy = policy.clone();
    if policy.allow_int8 {
        target.arithmetic = Arithmetic::Int8In;
    } else if policy.allow_f16 {
        target.arithmetic = Arithmetic::F16In;
    }
    let used = variants(bench, &target)?;
    let families = || used.iter().filter_map(|name| name.split_once('/'));
    for (family, name) in families() {
        // Those that applications bring themselves are no choice of ours.
        let only = families().filter(|(other, _)| *other == family).count() == 1;
        if bench.check.is_some() && only && family != "bench" {
            target.policy.force.insert(family.into(), name.into());
        }
    }
    let yardstick = bench.yardstick();
    let case = bench.check.as_ref().unwrap_or(&bench.case);
    let setup = set_up(case, yardstick, Extents::Fixed, &target)?;
    let outcome = run_setup(&setup, yardstick, &target)?;
    if matches!(backend, Backend::Gpu(_)) && outcome.executed.variants != used {
        let checked = outcome.executed.variants;
        return Err(failure(bench, format!("uses {used:?}, but {checked:?} were checked")));
    }
    match outcome.reports.iter().find(|report| !report.passed()) {
        Some(report) => Err(failure(bench, format!("is wrong: {report}"))),
        None => Ok(()),
    }
}

/// The variants that the work itself is done with.
fn variants(bench: &Bench, target: &Target) -> Result<BTreeSet<String>> {
    let operands = Yardstick::operands(&bench.case, 0)?;
    let setup = Setup::new(&bench.case, &operands, Extents::Fixed, |_| true)?;
    Ok(target.plan(&setup)?.variants)
}

fn failure(bench: &Bench, what: String) -> Error {
    Error::Graph { node: bench.name.clone(), op: bench.case.op.name().into(), what }
}

/// The work as often as it is cycled, each time with operands of its own.
///
/// # Errors
/// If the operator does not take its operands.
pub fn graph(bench: &Bench) -> Result<Graph> {
    let mut graph = GraphBuilder::new();
    for copy in 0..bench.copies {
        let operands = Yardstick::operands(&bench.case, copy as u64)?;
        let mut inputs = Vec::new();
        for (i, operand) in operands.into_iter().enumerate() {
            let name = format!("operand{i}.{copy}");
            inputs.push(operand.map(|tensor| graph.constant(&name, tensor)).transpose()?);
        }
        let outputs = graph.node(&format!("work.{copy}"), bench.case.op.clone(), &inputs)?;
        for (i, output) in outputs.into_iter().enumerate() {
            graph.output(&format!("result{i}.{copy}"), output)?;
        }
    }
    graph.finish()
}
