//! The judge of a device: what may be used there, by what is known and tried.

use super::case::{Alone, At};
use super::ledger::{Known, Ledger};
use super::probe::{Shaders, Verdict, probe};
use super::spot::{Spot, class};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::gpu::{CallFacts, Judge, Unfit};
use crate::gpu::{Gpu, ShaderRequest};
use crate::kernels::{Dispatch, Policy};
use crate::plan::Plan;
use crate::store::fingerprint;
use crate::validate::dispatches;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use web_time::Instant;

/// The judge of a device.
#[derive(Debug)]
pub(crate) struct AdapterJudge {
    gpu: Arc<Gpu>,
    ledger: Arc<Ledger>,
}

/// The judge for sessions on a device.
pub(crate) fn judge(gpu: &Arc<Gpu>) -> Arc<dyn Judge> {
    Arc::new(AdapterJudge { gpu: gpu.clone(), ledger: Ledger::of(gpu) })
}

/// The shaders that a node by itself becomes.
pub(super) fn shaders(gpu: &Gpu, alone: &Alone, policy: &Policy) -> Result<Shaders> {
    let plan = Plan::new(&alone.graph, &alone.bounds)?;
    let mut shaders = Shaders::new();
    for (_, dispatches) in dispatches(&plan, gpu.caps(), policy)? {
        for dispatch in dispatches {
            let shader = match gpu.program(&dispatch.shader) {
                Ok(program) => program.fingerprint.clone(),
                Err(_) => unlinked(&dispatch.shader),
            };
            shaders.insert(shader, dispatch.variant);
        }
    }
    Ok(shaders)
}

/// The fingerprint of a request for a shader that cannot be linked.
fn unlinked(request: &ShaderRequest) -> String {
    fingerprint(&[format!("{request:?}").as_bytes()])
}

/// A shader that is needed: its fingerprint, or that of its request if it cannot even
/// be linked, and why.
struct Needed<'a> {
    shader: String,
    variant: &'a str,
    request: &'a ShaderRequest,
    broken: Option<String>,
}

impl AdapterJudge {
    fn needed<'a>(&self, dispatch: &'a Dispatch) -> Needed<'a> {
        let (shader, broken) = match self.gpu.program(&dispatch.shader) {
            Ok(program) => (program.fingerprint.clone(), None),
            Err(error) => (unlinked(&dispatch.shader), Some(error.to_string())),
        };
        Needed { shader, variant: &dispatch.variant, request: &dispatch.shader, broken }
    }

    /// Compiles shaders: side by side if nothing speaks against it. `Ok` with what
    /// cannot be compiled among the rejected.
    fn compile(&self, shaders: &[Needed<'_>], alone: bool) -> Result<()> {
        let trials: Vec<_> = shaders
            .iter()
            .filter(|needed| matches!(self.ledger.known(&needed.shader), Known::Unknown { .. }))
            .map(|needed| self.ledger.begin(&needed.shader, needed.variant, alone))
            .collect();
        let requests: Vec<&ShaderRequest> = shaders.iter().map(|needed| needed.request).collect();
        let begun = Instant::now();
        let made = self.gpu.pipelines(&requests);
        drop(trials);
        log::debug!("{} shaders compiled in {:.1?}", requests.len(), begun.elapsed());
        let mut lost = None;
        for (needed, made) in shaders.iter().zip(made) {
            let Err(error) = made else { continue };
            match error.kind() {
                ErrorKind::DeviceLost => {
                    lost.get_or_insert(error);
                }
                ErrorKind::OutOfMemory => return Err(error),
                // Limits and features may be lowered for this device alone: no word
                // about the adapter. The error comes again where the node is known.
                ErrorKind::Limit | ErrorKind::Unsupported => {}
                _ => self.ledger.reject(&needed.shader, needed.variant, &error.to_string()),
            }
        }
        match lost {
            None => Ok(()),
            Some(error) => Err(self.lost(shaders, alone, error)),
        }
    }

    /// The device was lost while shaders that nothing was known of were tried.
    fn lost(&self, shaders: &[Needed<'_>], alone: bool, error: Error) -> Error {
        for needed in shaders {
            if !matches!(self.ledger.known(&needed.shader), Known::Unknown { .. }) {
                continue;
            }
            if alone || shaders.len() == 1 {
                self.ledger.reject(&needed.shader, needed.variant, &error.to_string());
            } else {
                self.ledger.suspect(&needed.shader);
            }
        }
        self.ledger.save();
        error
    }

    /// Tries what a call needs and nothing is known of.
    async fn tried(
        &self,
        call: &CallFacts<'_>,
        asked: &Policy,
        wanted: &Shaders,
    ) -> Result<Vec<String>> {
        let trials: Vec<_> = wanted
            .iter()
            .map(|(shader, variant)| self.ledger.begin(shader, variant, wanted.len() == 1))
            .collect();
        let begun = Instant::now();
        let mut tried = Ok(Verdict::Untried("the graph has no such node".into()));
        for node in call.graph.nodes().iter().filter(|node| node.name == call.node) {
            let at = At { graph: call.graph, node, bounds: call.bounds };
            tried = probe(&self.gpu, at, asked, wanted).await;
            // Another node may have the same name.
            if !matches!(tried, Ok(Verdict::Untried(_))) {
                break;
            }
        }
        drop(trials);
        // The memory of trials is of no use to anybody else.
        self.gpu.trim();
        let (took, names) = (begun.elapsed(), wanted.values().cloned().collect::<Vec<_>>());
        log::debug!("{} at node '{}' tried in {took:.1?}", names.join(", "), call.node);
        let why = match tried {
            Ok(Verdict::Right(shaders)) => {
                for shader in shaders {
                    let variant = wanted.get(&shader).map_or("", String::as_str);
                    if matches!(self.ledger.known(&shader), Known::Unknown { .. }) {
                        self.ledger.right(&shader, variant);
                    }
                }
                return Ok(Vec::new());
            }
            // Nothing speaks against it but that it is too large, say.
            Ok(Verdict::Untried(why)) => return Ok(self.untried(call, wanted, &why)),
            Ok(Verdict::Wrong(why)) => format!("wrong at {}: {why}", call.kernel.name()),
            Err(error) if error.kind() == ErrorKind::DeviceLost => {
                for (shader, variant) in wanted {
                    match wanted.len() {
                        1 => self.ledger.reject(shader, variant, &error.to_string()),
                        _ => self.ledger.suspect(shader),
                    }
                }
                self.ledger.save();
                return Err(error);
            }
            Err(error) if matches!(error.kind(), ErrorKind::Shader | ErrorKind::Device) => {
                error.to_string()
            }
            // There is no memory for a trial, or the node cannot be run by itself.
            Err(error) => return Ok(self.untried(call, wanted, &error.to_string())),
        };
        for (shader, variant) in wanted {
            self.ledger.reject(shader, variant, &why);
        }
        Ok(wanted.values().cloned().collect())
    }

    fn untried(&self, call: &CallFacts<'_>, wanted: &Shaders, why: &str) -> Vec<String> {
        for (shader, variant) in wanted {
            log::warn!("{variant} is used at node '{}' untried: {why}", call.node);
            self.ledger.take_untried(shader);
        }
        Vec::new()
    }

    async fn look(
        &self,
        call: &CallFacts<'_>,
        asked: &Policy,
        dispatches: &[Dispatch],
    ) -> Result<Vec<String>> {
        let (mut unfit, mut wanted) = (Vec::new(), BTreeMap::new());
        for dispatch in dispatches.iter().filter(|dispatch| !is_forced(asked, dispatch)) {
            let needed = self.needed(dispatch);
            if let Some(why) = self.ledger.barred(&dispatch.variant) {
                log::info!("{} is not used: {why}", dispatch.variant);
                unfit.push(dispatch.variant.clone());
                continue;
            }
            match (self.ledger.known(&needed.shader), needed.broken) {
                (Known::Rejected(_), _) => unfit.push(dispatch.variant.clone()),
                (_, Some(why)) => {
                    self.ledger.reject(&needed.shader, needed.variant, &why);
                    unfit.push(dispatch.variant.clone());
                }
                (Known::Right, None) => {}
                (Known::Unknown { .. }, None) => {
                    wanted.insert(needed.shader, dispatch.variant.clone());
                }
            }
        }
        if !unfit.is_empty() || wanted.is_empty() {
            return Ok(unfit);
        }
        self.tried(call, asked, &wanted).await
    }
}

/// Whether policy forces the family of a dispatch.
fn is_forced(asked: &Policy, dispatch: &Dispatch) -> bool {
    let family = dispatch.variant.split('/').next().unwrap_or_default();
    asked.force.contains_key(family)
}

impl Judge for AdapterJudge {
    fn policy(&self, call: &CallFacts<'_>, asked: &Policy) -> Policy {
        let mut policy = asked.clone();
        if !self.ledger.cares_for_classes() {
            return policy;
        }
        let class = class(call, asked);
        self.ledger.spot(&class, &|| Spot::new(call, asked));
        if let Some(fastest) = self.ledger.fastest(&class)
            && let Some((family, variant)) = fastest.split_once('/')
            && !asked.force.contains_key(family)
            && !asked.forbid.contains(&fastest)
        {
            policy.force.insert(family.into(), variant.into());
        }
        policy
    }

    fn prepare(&self, dispatches: &[&Dispatch], asked: &Policy) -> Result<()> {
        let mut seen = HashSet::new();
        let mut wanted: Vec<Needed<'_>> = Vec::new();
        let requests = dispatches.iter().filter(|dispatch| seen.insert(&dispatch.shader));
        let fresh: Vec<&Dispatch> = requests.copied().collect();
        // Linking takes long and is done side by side as well.
        self.gpu.link(&fresh.iter().map(|dispatch| &dispatch.shader).collect::<Vec<_>>());
        for dispatch in fresh {
            let needed = self.needed(dispatch);
            let barred = self.ledger.barred(&dispatch.variant).is_some();
            let rejected = matches!(self.ledger.known(&needed.shader), Known::Rejected(_));
            let left_out = (barred || rejected) && !is_forced(asked, dispatch);
            if needed.broken.is_none() && !left_out {
                wanted.push(needed);
            }
        }
        let suspect = |needed: &Needed<'_>| {
            self.ledger.known(&needed.shader) == Known::Unknown { suspect: true }
        };
        let (suspects, others): (Vec<_>, Vec<_>) = wanted.into_iter().partition(suspect);
        for needed in &suspects {
            self.compile(std::slice::from_ref(needed), true)?;
        }
        self.compile(&others, false)
    }

    fn unfit<'a>(
        &'a self,
        call: CallFacts<'a>,
        asked: &'a Policy,
        dispatches: &'a [Dispatch],
    ) -> Unfit<'a> {
        Box::pin(async move { self.look(&call, asked, dispatches).await })
    }

    fn reason(&self, variant: &str) -> Option<String> {
        self.ledger.reason(variant)
    }

    fn done(&self) {
        self.ledger.save();
    }
}
