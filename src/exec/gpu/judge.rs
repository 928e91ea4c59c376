//! Who says which kernels a plan may use. The executor asks; it does not know how
//! the answers come about.

use crate::error::{Error, Result};
use crate::exec::EngineOptions;
use crate::gpu::{Gpu, ShaderRequest};
use crate::graph::{Bindings, Graph, TensorType};
use crate::kernels::{Dispatch, GpuCx, Kernel, Policy};
use crate::plan::{Call, OperandId, Plan, Room};
use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

/// A call of a plan, for the choice of its kernels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallFacts<'a> {
    /// The graph that the plan is of.
    pub(crate) graph: &'a Arc<Graph>,
    /// The node that the call came from.
    pub(crate) node: &'a str,
    pub(crate) kernel: &'a dyn Kernel,
    pub(crate) inputs: &'a [Option<TensorType>],
    pub(crate) outputs: &'a [TensorType],
    /// The plan's bounds.
    pub(crate) bounds: &'a Bindings,
}

/// The `family/variant` names of a call that must not be used.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type Unfit<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>>> + Send + 'a>>;
/// The `family/variant` names of a call that must not be used.
#[cfg(target_arch = "wasm32")]
pub(crate) type Unfit<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>>> + 'a>>;

/// Says which kernels may be used on a device.
pub(crate) trait Judge: Debug + Send + Sync {
    /// The policy for a call, given the one that was asked for.
    fn policy(&self, call: &CallFacts<'_>, asked: &Policy) -> Policy;

    /// Has the device compile what a plan needs. What cannot be compiled is no error
    /// here, but unfit.
    ///
    /// # Errors
    /// If the device is lost or out of memory.
    fn prepare(&self, dispatches: &[&Dispatch], asked: &Policy) -> Result<()>;

    /// Which of the variants that a call has become must not be used.
    fn unfit<'a>(
        &'a self,
        call: CallFacts<'a>,
        asked: &'a Policy,
        dispatches: &'a [Dispatch],
    ) -> Unfit<'a>;

    /// Why a variant was found unfit.
    fn reason(&self, variant: &str) -> Option<String>;

    /// A plan is compiled.
    fn done(&self);
}

/// A call and what becomes of it.
pub(super) struct Chosen<'a> {
    pub(super) call: &'a Call,
    pub(super) dispatches: Vec<Dispatch>,
    inputs: Vec<Option<TensorType>>,
    outputs: Vec<TensorType>,
    policy: Policy,
    /// See [`GpuCx::room`].
    room: u64,
}

/// Chooses the dispatches of plans of one graph on one device.
#[derive(Debug, Clone)]
pub(crate) struct Chooser {
    gpu: Arc<Gpu>,
    graph: Arc<Graph>,
    policy: Policy,
    /// Says which kernels may be used; without one all may.
    judge: Option<Arc<dyn Judge>>,
}

impl Chooser {
    pub(crate) fn new(gpu: &Arc<Gpu>, graph: &Arc<Graph>, options: &EngineOptions) -> Self {
        Chooser {
            gpu: gpu.clone(),
            graph: graph.clone(),
            policy: options.policy.clone(),
            judge: options.judge.clone(),
        }
    }

    /// Compiles what a plan for these bounds will need. Nothing comes of errors: they
    /// come again when the plan is made.
    pub(crate) fn ahead(&self, bounds: &Bindings) -> Result<()> {
        let plan = Plan::new(&self.graph, bounds)?;
        let room = |at| plan.room(at, Room::ALL[0]);
        let calls = plan.calls().enumerate();
        let calls = calls.map(|(at, call)| self.choose(&plan, room(at), call));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        match &self.judge {
            None => self.compile(&calls),
            Some(judge) => {
                let all: Vec<&Dispatch> = calls.iter().flat_map(|call| &call.dispatches).collect();
                judge.prepare(&all, &self.policy)?;
            }
        }
        self.gpu.keep();
        Ok(())
    }

    /// The dispatches of every call of a plan, with variants that may be used and take
    /// no more scratch memory than they must where there is no such room.
    pub(super) async fn chosen<'a>(&self, plan: &'a Plan, room: Room) -> Result<Vec<Chosen<'a>>> {
        let calls = plan.calls().enumerate();
        let calls = calls.map(|(at, call)| self.choose(plan, plan.room(at, room), call));
        let mut calls = calls.collect::<Result<Vec<Chosen<'a>>>>()?;
        let Some(judge) = self.judge.clone() else {
            self.compile(&calls);
            return Ok(calls);
        };
        // Each round forbids a variant or ends.
        loop {
            let all: Vec<&Dispatch> = calls.iter().flat_map(|call| &call.dispatches).collect();
            judge.prepare(&all, &self.policy)?;
            let mut changed = false;
            for chosen in &mut calls {
                let facts = facts(&self.graph, plan, chosen);
                let unfit = judge.unfit(facts, &self.policy, &chosen.dispatches).await?;
                changed |= !unfit.is_empty();
                if !unfit.is_empty() {
                    self.choose_again(plan, chosen, unfit, judge.as_ref())?;
                }
            }
            if !changed {
                judge.done();
                return Ok(calls);
            }
        }
    }

    fn choose<'a>(&self, plan: &Plan, room: u64, call: &'a Call) -> Result<Chosen<'a>> {
        let ty = |id: &OperandId| plan.operands[id.index()].ty.clone();
        let mut chosen = Chosen {
            call,
            dispatches: Vec::new(),
            inputs: call.inputs.iter().map(|id| id.as_ref().map(ty)).collect(),
            outputs: call.outputs.iter().map(ty).collect(),
            policy: self.policy.clone(),
            room,
        };
        if let Some(judge) = &self.judge {
            chosen.policy = judge.policy(&facts(&self.graph, plan, &chosen), &self.policy);
        }
        chosen.dispatches = match self.dispatches(plan, &chosen) {
            // A preference that these operands do not allow.
            Err(_) if chosen.policy != self.policy => {
                chosen.policy = self.policy.clone();
                self.dispatches(plan, &chosen)
            }
            other => other,
        }
        .map_err(|error| error.at_node(&call.node))?;
        Ok(chosen)
    }

    fn choose_again(
        &self,
        plan: &Plan,
        chosen: &mut Chosen<'_>,
        unfit: Vec<String>,
        judge: &dyn Judge,
    ) -> Result<()> {
        chosen.policy.force = self.policy.force.clone();
        chosen.policy.forbid.extend(unfit);
        let (all, asked) = (&chosen.policy.forbid, &self.policy.forbid);
        let forbidden = |name: &String| all.contains(name) && !asked.contains(name);
        let found = self.dispatches(plan, chosen).and_then(|found| {
            // A kernel of an application may have only one way.
            match found.iter().find(|dispatch| forbidden(&dispatch.variant)) {
                Some(same) => Err(Error::unsupported(&same.variant, "there is no other variant")),
                None => Ok(found),
            }
        });
        chosen.dispatches = found.map_err(|error| {
            let reason = |name: &String| judge.reason(name).map(|why| format!("{name}: {why}"));
            let reasons: Vec<String> = chosen.policy.forbid.iter().filter_map(reason).collect();
            let what = match error {
                Error::Unsupported { what, .. } => what,
                other => other.to_string(),
            };
            let what = format!("{what}; discarded on this adapter: {}", reasons.join("; "));
            Error::unsupported(format!("node '{}'", chosen.call.node), what)
        })?;
        Ok(())
    }

    fn dispatches(&self, plan: &Plan, chosen: &Chosen<'_>) -> Result<Vec<Dispatch>> {
        let cx = GpuCx {
            inputs: &chosen.inputs,
            outputs: &chosen.outputs,
            bounds: &plan.bounds,
            caps: self.gpu.caps(),
            policy: &chosen.policy,
            room: chosen.room,
        };
        cx.dispatches(chosen.call.kernel.as_ref())
    }

    /// Compiles pipelines side by side. What fails does so again, with its node's
    /// name, when it is asked for.
    fn compile(&self, calls: &[Chosen<'_>]) {
        let mut known = HashSet::new();
        let all = calls.iter().flat_map(|call| &call.dispatches).map(|dispatch| &dispatch.shader);
        let requests: Vec<&ShaderRequest> = all.filter(|shader| known.insert(*shader)).collect();
        drop(self.gpu.pipelines(&requests));
    }
}

fn facts<'a>(graph: &'a Arc<Graph>, plan: &'a Plan, chosen: &'a Chosen<'_>) -> CallFacts<'a> {
    CallFacts {
        graph,
        node: &chosen.call.node,
        kernel: chosen.call.kernel.as_ref(),
        inputs: &chosen.inputs,
        outputs: &chosen.outputs,
        bounds: &plan.bounds,
    }
}
