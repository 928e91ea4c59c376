//! Executes plans on a device. A plan is compiled once, to pipelines, bind
//! groups and a table of parameters; a run evaluates the parameters, writes
//! them and the inputs, encodes the dispatches and submits. In the steady
//! state nothing is planned, compiled or allocated.

mod compile;
mod profile;
mod run;
mod weights;

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Purpose, StepWriter, Uploader};
use crate::graph::{Bindings, Graph, StateId};
use crate::kernels::Policy;
use crate::plan::Plan;
use crate::session::{Progress, SessionMemory, SessionOptions, moves};
use compile::Compiled;
use run::Pace;
use std::collections::BTreeSet;
use std::sync::Arc;
use weights::Weights;

/// Bytes of staging for the inputs and parameters of a step, to start with.
const STEP_BYTES: u64 = 128 << 10;

/// Weights, states and compiled plans on a device.
#[derive(Debug)]
pub(crate) struct GpuEngine {
    gpu: Arc<Gpu>,
    graph: Arc<Graph>,
    policy: Policy,
    poison: Option<Buffer>,
    poisoned: bool,
    weights: Weights,
    states: Vec<Buffer>,
    /// Working memory, shared by all plans, since they run one after another.
    arena: Vec<Buffer>,
    scratch: Vec<Buffer>,
    plans: Vec<Compiled>,
    writer: StepWriter,
    pace: Pace,
    dispatches: u64,
    submissions: u64,
    live_peak: u64,
    variants: BTreeSet<String>,
}

impl GpuEngine {
    pub(crate) async fn new(
        gpu: Arc<Gpu>,
        graph: Arc<Graph>,
        fixed: &Bindings,
        options: &SessionOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let weights = Weights::upload(&gpu, &graph, progress).await?;
        let states = allocate_states(&gpu, &graph, fixed)?;
        let writer = StepWriter::new(&gpu, STEP_BYTES);
        let pace = Pace::new(gpu.caps().is_software(), options.submission_ms);
        Ok(GpuEngine {
            gpu,
            graph,
            policy: options.policy.clone(),
            poison: None,
            poisoned: options.poison,
            weights,
            states,
            arena: Vec::new(),
            scratch: Vec::new(),
            plans: Vec::new(),
            writer,
            pace,
            dispatches: 0,
            submissions: 0,
            live_peak: 0,
            variants: BTreeSet::new(),
        })
    }

    /// Dispatches and submissions so far.
    pub(crate) fn work_done(&self) -> (u64, u64) {
        (self.dispatches, self.submissions)
    }

    pub(crate) fn variants(&self) -> BTreeSet<String> {
        self.variants.clone()
    }

    pub(crate) fn memory(&self) -> SessionMemory {
        SessionMemory {
            states: self.states.iter().map(Buffer::size).sum(),
            slots: self.arena.iter().map(Buffer::size).sum(),
            live_peak: self.live_peak,
        }
    }

    pub(crate) fn compile(&mut self, plan: Plan) -> Result<usize> {
        self.live_peak = self.live_peak.max(plan.live_peak);
        let compiled = self.compile_plan(plan)?;
        self.variants.extend(compiled.steps.iter().map(|step| step.variant.clone()));
        self.plans.push(compiled);
        Ok(self.plans.len() - 1)
    }

    pub(crate) async fn state(&self, id: StateId) -> Result<Vec<u8>> {
        let buffer = &self.states[id.index()];
        self.gpu.read(buffer, 0, buffer.len()).await
    }

    pub(crate) fn set_state(&mut self, id: StateId, bytes: &[u8]) -> Result<()> {
        let buffer = self.states[id.index()].clone();
        let mut uploader =
            Uploader::new(&self.gpu, crate::gpu::UPLOAD_CHUNK.min(bytes.len() as u64));
        self.gpu.block_on(uploader.upload(&buffer, 0, bytes))
    }

    pub(crate) fn clear_states(&mut self) -> Result<()> {
        let mut encoder = self.gpu.encoder("clear states");
        for state in &self.states {
            encoder.clear_buffer(state.raw(), 0, None);
        }
        self.gpu.submit("clearing states", encoder).map(|_| ())
    }

    /// Gives states new sizes, keeping their content. Compiled plans are
    /// dropped, since they are bound to the old buffers.
    pub(crate) fn resize_states(&mut self, old: &Bindings, new: &Bindings) -> Result<()> {
        self.plans.clear();
        let mut encoder = self.gpu.encoder("resize states");
        for (i, info) in self.graph.states().iter().enumerate() {
            if info.ty.bytes(old)? == info.ty.bytes(new)? {
                continue;
            }
            let bigger = allocate_state(&self.gpu, &info.name, info.ty.bytes(new)? as u64)?;
            for m in moves(info, old, new)? {
                if m.from % 4 != 0 || m.to % 4 != 0 || m.bytes % 4 != 0 {
                    let what = "resizing a state whose rows are not whole 4-byte words";
                    return Err(Error::unsupported(format!("state '{}'", info.name), what));
                }
                let from = self.states[i].raw();
                encoder.copy_buffer_to_buffer(from, m.from, bigger.raw(), m.to, m.bytes);
            }
            self.states[i] = bigger;
        }
        self.gpu.submit("resizing states", encoder).map(|_| ())
    }
}

fn allocate_states(gpu: &Arc<Gpu>, graph: &Graph, fixed: &Bindings) -> Result<Vec<Buffer>> {
    let states = graph.states().iter();
    states.map(|info| allocate_state(gpu, &info.name, info.ty.bytes(fixed)? as u64)).collect()
}

fn allocate_state(gpu: &Arc<Gpu>, name: &str, bytes: u64) -> Result<Buffer> {
    gpu.alloc(Purpose::State, bytes, Purpose::State.usage(), name)
}
