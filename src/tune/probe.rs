//! Whether shaders give right answers on a device.

use super::case::{Alone, Answer, At, Cut, Draw, Place};
use super::judge::shaders;
use crate::error::{Error, Result};
use crate::exec::EngineOptions;
use crate::exec::gpu::{Given, GpuEngine, Kept};
use crate::gpu::Gpu;
use crate::kernels::Policy;
use crate::ops::{Arithmetic, BoundCx, RefTensor};
use crate::plan::Plan;
use crate::tensor::Tensor;
use crate::validate::compare;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From this many bytes of working memory on, it is not filled with poison first.
const MOST_POISONED: u64 = 4 << 20;

/// What came of a trial.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Every element of every result is within its bound; the fingerprints of the
    /// shaders that took part.
    Right(BTreeSet<String>),
    /// Some are not: which.
    Wrong(String),
    /// It could not be tried: why.
    Untried(String),
}

/// Shaders by fingerprint, and the `family/variant` they are of.
pub(super) type Shaders = BTreeMap<String, String>;

/// Runs the node that shaders are for by itself and compares with the reference.
///
/// # Errors
/// What the device does while it is tried: it is lost, a shader is refused.
pub(super) async fn probe(
    gpu: &Arc<Gpu>,
    at: At<'_>,
    policy: &Policy,
    wanted: &Shaders,
) -> Result<Verdict> {
    let mut last = "the node cannot be run by itself".to_string();
    for cut in Cut::ALL {
        let policy = if cut == Cut::Nothing { policy.clone() } else { forced(policy, wanted) };
        let (mut draws, mut refused) = (&Draw::ALL[..], None);
        loop {
            match small(gpu, at, cut, draws, &policy, wanted) {
                Ok((alone, answer, rest)) => {
                    match run(gpu, at, &alone, &answer, policy.clone()).await? {
                        Ran::Judged(verdict) => return Ok(verdict),
                        Ran::Refused(why) => refused = Some(why),
                    }
                    draws = rest;
                }
                Err(why) => {
                    last = why.to_string();
                    break;
                }
            }
        }
        if let Some(why) = refused {
            return Ok(no_values(at, why));
        }
    }
    Ok(Verdict::Untried(last))
}

/// What came of one run.
enum Ran {
    Judged(Verdict),
    /// The kernel would not take the values: why.
    Refused(String),
}

/// What it means that a kernel took none of the values that the reference takes. In a
/// chain numbers may leave the 32 bits of a device and come back to them, of which the
/// reference, which has 64, knows nothing.
fn no_values(at: At<'_>, why: String) -> Verdict {
    match at.node.op.name() {
        "Chain" => Verdict::Untried(why),
        _ => Verdict::Wrong(why),
    }
}

/// The shapes of what is cut down would choose other variants.
fn forced(policy: &Policy, wanted: &Shaders) -> Policy {
    let mut policy = policy.clone();
    for name in wanted.values() {
        if let Some((family, variant)) = name.split_once('/') {
            policy.force.insert(family.into(), variant.into());
        }
    }
    policy
}

/// The node by itself and the answer, if it becomes the same shaders, and the ways to
/// draw values that are left.
fn small<'d>(
    gpu: &Arc<Gpu>,
    at: At<'_>,
    cut: Cut,
    draws: &'d [Draw],
    policy: &Policy,
    wanted: &Shaders,
) -> Result<(Alone, Answer, &'d [Draw])> {
    let op = at.node.op.clone();
    let mut checked = false;
    let mut found = None;
    let mut last = Error::internal("no way to draw values");
    for (number, &draw) in draws.iter().enumerate() {
        let alone = at.alone(cut, draw, false)?;
        if !checked {
            let became = shaders(gpu, &alone, policy)?;
            if let Some(other) = wanted.keys().find(|shader| !became.contains_key(*shader)) {
                let name = wanted.get(other).cloned().unwrap_or_default();
                return Err(Error::unsupported(name, "not the same shader at this size"));
            }
            checked = true;
        }
        match alone.reference(op.as_ref()) {
            Ok(answer) if answer.is_finite() => {
                return Ok((alone, answer, &draws[number + 1..]));
            }
            Ok(answer) => found = found.or(Some((alone, answer, &draws[draws.len()..]))),
            Err(error) => last = error,
        }
    }
    found.ok_or(last)
}

/// An executor over a node by itself.
pub(super) async fn engine(
    gpu: &Arc<Gpu>,
    alone: &Alone,
    policy: Policy,
    weights: Option<crate::session::SharedWeights>,
) -> Result<(GpuEngine, usize)> {
    let plan = Plan::new(&alone.graph, &alone.bounds)?;
    let options = EngineOptions {
        policy,
        judge: None,
        poison: plan.device_live_peak <= MOST_POISONED && weights.is_none(),
        submission_ms: 250.0,
        weights,
        memory: None,
    };
    let (graph, fixed) = (alone.graph.clone(), &alone.values);
    let mut engine = GpuEngine::new(gpu.clone(), graph, fixed, options, &mut |_, _| {}).await?;
    let index = engine.compile(plan).await?;
    for (state, tensor) in &alone.states {
        engine.set_state(*state, tensor.bytes()).await?;
    }
    Ok((engine, index))
}

async fn run(
    gpu: &Arc<Gpu>,
    at: At<'_>,
    alone: &Alone,
    answer: &Answer,
    policy: Policy,
) -> Result<Ran> {
    let (mut engine, index) = engine(gpu, alone, policy, None).await?;
    let inputs: Vec<Given<'_>> = alone.inputs.iter().map(Given::Host).collect();
    let outputs = match engine.run(index, &inputs, &alone.values, false, &[]).await {
        Ok(outputs) => outputs,
        // Values that a kernel refuses and the reference takes.
        Err(error @ (Error::Input { .. } | Error::Unsupported { .. })) => {
            return Ok(Ran::Refused(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let mut results = Vec::with_capacity(alone.results.len());
    for place in &alone.results {
        results.push(match *place {
            Place::Output(number) => match outputs.get(number) {
                Some((_, Kept::Host(tensor))) => tensor.clone(),
                _ => return Err(Error::internal("a result that is not there")),
            },
            Place::State(state) => {
                let (bytes, ty) =
                    (engine.state(state).await?, &alone.graph.states()[state.index()].ty);
                let extents = ty.extents(&alone.values)?;
                let size = ty.dtype.bytes(&extents)?;
                Tensor::new(ty.dtype, &extents, bytes[..size.min(bytes.len())].to_vec())?
            }
        });
    }
    let (ran, arithmetic) = engine.took_part(index, &alone.values)?;
    judge(at, answer, &results, arithmetic).map(|wrong| match wrong {
        Some(what) => Ran::Judged(Verdict::Wrong(what)),
        None => Ran::Judged(Verdict::Right(ran)),
    })
}

/// What is wrong with results, if anything is.
fn judge(
    at: At<'_>,
    answer: &Answer,
    results: &[Tensor],
    arithmetic: Arithmetic,
) -> Result<Option<String>> {
    let inputs: Vec<Option<&RefTensor>> = answer.operands.iter().map(Option::as_ref).collect();
    let cx = BoundCx { inputs: &inputs, outputs: &answer.results, arithmetic };
    let bounds = at.node.op.bound(&cx)?;
    if results.len() != answer.results.len() || bounds.len() != results.len() {
        let (want, got) = (answer.results.len(), results.len());
        return Err(Error::internal(format!("{got} results of {want}, {} bounds", bounds.len())));
    }
    let mut wrong = Vec::new();
    for (number, ((got, want), bound)) in
        results.iter().zip(&answer.results).zip(&bounds).enumerate()
    {
        let report = compare(&format!("result {number}"), got, want, bound)?;
        if !report.passed() {
            wrong.push(report.to_string());
        }
    }
    Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
}
