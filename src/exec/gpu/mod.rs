//! Executes plans on a device. A plan is compiled once, to pipelines, bind
//! groups and a table of parameters; a run evaluates the parameters, writes
//! them and the inputs, encodes the dispatches and submits. In the steady
//! state nothing is planned, compiled or allocated.

mod arena;
mod compile;
mod judge;
mod kept;
mod narrow;
mod params;
mod profile;
mod resize;
mod run;
mod weights;

use crate::error::{Error, Result};
use crate::exec::{EngineOptions, Progress, WorkingMemory};
use crate::gpu::errors::lock;
use crate::gpu::{Buffer, Gpu, Purpose, StepWriter, Uploader};
use crate::graph::{Bindings, Graph, StateId, StateInfo};
use crate::ops::Arithmetic;
use crate::plan::Plan;
use crate::tensor::DType;
use arena::Arena;
pub use arena::SharedMemory;
use compile::Compiled;
pub(crate) use compile::scratch_sizes;
pub(crate) use judge::{CallFacts, Chooser, Judge, Unfit};
pub(crate) use kept::{DeviceTensor, Given, Kept};
pub(crate) use run::workgroups;
use run::{Ahead, Pace};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
pub use weights::SharedWeights;
use weights::Weights;

/// Bytes of staging for the inputs and parameters of a step, to start with.
const STEP_BYTES: u64 = 8 << 10;
/// The bytes that a staging buffer may have whatever the model is, where no other session
/// has it: a step of a language model is to be one submission.
const OWN_STEP_BYTES: u64 = 128 << 10;
/// The share of weights, states and working memory that a staging buffer may have
/// beside them, if that is more.
const STAGING_SHARE: u64 = 64;

/// Weights, states and compiled plans on a device.
#[derive(Debug)]
pub(crate) struct GpuEngine {
    gpu: Arc<Gpu>,
    graph: Arc<Graph>,
    chooser: Chooser,
    poison: Option<Buffer>,
    poisoned: bool,
    weights: Weights,
    states: Vec<Buffer>,
    /// A change of the states' sizes is under way, or was cut short.
    resizing: bool,
    /// Working memory, shared by all plans, since they run one after another.
    arena: Arena,
    /// One word that kernels set when something is wrong; made when a plan
    /// first has such a kernel.
    status: Option<Buffer>,
    /// The codebooks of weight types, once a plan reads them.
    codebooks: BTreeMap<DType, Buffer>,
    plans: Vec<Compiled>,
    /// The dispatches of the next run, if it is as the last two were.
    ahead: Option<Ahead>,
    /// The plan and values of the last run.
    latest: Option<(usize, Bindings)>,
    writer: StepWriter,
    pace: Pace,
    dispatches: u64,
    submissions: u64,
    /// Bytes of inputs that went to the device, and of results that came from it.
    crossed: (u64, u64),
    live_peak: u64,
    variants: BTreeSet<String>,
}

impl GpuEngine {
    pub(crate) async fn new(
        gpu: Arc<Gpu>,
        graph: Arc<Graph>,
        fixed: &Bindings,
        options: EngineOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let chooser = Chooser::new(&gpu, &graph, &options);
        check_room(&gpu, &graph, options.weights.as_ref(), fixed)?;
        let weights = Weights::upload(&gpu, &graph, options.weights.as_ref(), progress).await?;
        let states = allocate_states(&gpu, &graph, fixed)?;
        let arena = Arena::new(&gpu, options.memory.as_ref());
        let writer = match arena.staging() {
            Some(ring) => StepWriter::sharing(&gpu, ring),
            None => StepWriter::new(&gpu, STEP_BYTES),
        };
        let pace = Pace::new(gpu.caps().is_software(), options.submission_ms);
        Ok(GpuEngine {
            gpu,
            graph,
            chooser,
            poison: None,
            poisoned: options.poison,
            weights,
            states,
            resizing: false,
            arena,
            status: None,
            codebooks: BTreeMap::new(),
            plans: Vec::new(),
            ahead: None,
            latest: None,
            writer,
            pace,
            dispatches: 0,
            submissions: 0,
            crossed: (0, 0),
            live_peak: 0,
            variants: BTreeSet::new(),
        })
    }

    /// Whether inputs may be with the working memory, since each run writes them.
    pub(crate) fn packs_inputs(&self) -> bool {
        self.arena.shared
    }

    /// Dispatches and submissions so far.
    pub(crate) fn work_done(&self) -> (u64, u64) {
        (self.dispatches, self.submissions)
    }

    /// Bytes of inputs that went to the device, and of results that came from it.
    pub(crate) fn crossed(&self) -> (u64, u64) {
        self.crossed
    }

    pub(crate) fn variants(&self) -> BTreeSet<String> {
        self.variants.clone()
    }

    /// The fingerprints of the shaders that a compiled plan runs for these values,
    /// and what they compute in.
    pub(crate) fn took_part(
        &self,
        index: usize,
        values: &Bindings,
    ) -> Result<(BTreeSet<String>, Arithmetic)> {
        let bound = lock(&self.plans[index].place).clone();
        let bound = bound.ok_or_else(|| Error::internal("a plan that is not compiled"))?;
        let most = self.gpu.caps().limits.max_compute_workgroups_per_dimension;
        let steps = run::sized(&bound, values, most)?;
        let programs = steps.iter().map(|sized| &sized.step.pipeline.program);
        let uses = || programs.clone().map(|program| program.reflection.uses);
        let arithmetic = match () {
            () if uses().any(|uses| uses.packed_products) => Arithmetic::Int8In,
            () if uses().any(|uses| uses.f16 || uses.coop) => Arithmetic::F16In,
            () => Arithmetic::F32,
        };
        Ok((programs.map(|program| program.fingerprint.clone()).collect(), arithmetic))
    }

    pub(crate) fn memory(&self) -> WorkingMemory {
        WorkingMemory {
            states: self.states.iter().map(Buffer::size).sum(),
            slots: self.arena.bytes(),
            live_peak: self.live_peak,
        }
    }

    /// The most bytes that a staging buffer for a run has.
    fn staging(&self) -> u64 {
        let states: u64 = self.states.iter().map(Buffer::size).sum();
        let all = self.weights.device_bytes().saturating_add(states) + self.arena.bytes();
        let least = if self.arena.shared { STEP_BYTES } else { OWN_STEP_BYTES };
        least.max(all / STAGING_SHARE)
    }

    pub(crate) async fn compile(&mut self, plan: Plan) -> Result<usize> {
        self.live_peak = self.live_peak.max(plan.device_live_peak);
        let place = arena::Place::default();
        self.arena.register(&place);
        self.plans.push(Compiled::new(plan, place));
        let index = self.plans.len() - 1;
        // In shared memory it depends on the inputs where they are.
        if !self.arena.shared
            && let Err(error) = self.bound(index, &[]).await
        {
            self.plans.pop();
            return Err(error);
        }
        Ok(index)
    }

    pub(crate) async fn state(&self, id: StateId) -> Result<Vec<u8>> {
        self.intact()?;
        let buffer = &self.states[id.index()];
        let bytes = self.gpu.read(buffer, 0, buffer.len()).await?;
        Ok(narrow::to_host(self.graph.states()[id.index()].ty.dtype, bytes))
    }

    pub(crate) async fn set_state(&mut self, id: StateId, bytes: &[u8]) -> Result<()> {
        let (buffer, info) = (self.states[id.index()].clone(), &self.graph.states()[id.index()]);
        let bytes = narrow::to_device(&format!("state '{}'", info.name), info.ty.dtype, bytes)?;
        let mut uploader =
            Uploader::new(&self.gpu, crate::gpu::UPLOAD_CHUNK.min(bytes.len() as u64));
        uploader.upload(&buffer, 0, &bytes).await
    }

    pub(crate) fn clear_states(&mut self) -> Result<()> {
        let mut encoder = self.gpu.encoder("clear states");
        for state in &self.states {
            encoder.clear_buffer(state.raw(), 0, None);
        }
        self.gpu.submit("clearing states", encoder).map(|_| ())
    }
}

/// Fails if weights and states cannot fit, before anything is uploaded.
fn check_room(
    gpu: &Arc<Gpu>,
    graph: &Graph,
    shared: Option<&SharedWeights>,
    fixed: &Bindings,
) -> Result<()> {
    let weights = Weights::bytes(gpu, graph, shared)?;
    let mut states = 0u64;
    for info in graph.states() {
        states = states.saturating_add(info.ty.device_bytes(fixed)? as u64);
    }
    let what = format!("the model ({weights} bytes of weights, {states} of states)");
    gpu.check_room(what, weights.saturating_add(states))
}

fn allocate_states(gpu: &Arc<Gpu>, graph: &Graph, fixed: &Bindings) -> Result<Vec<Buffer>> {
    let states = graph.states().iter();
    let state =
        |info: &StateInfo| allocate_state(gpu, &info.name, info.ty.device_bytes(fixed)? as u64);
    states.map(state).collect()
}

fn allocate_state(gpu: &Arc<Gpu>, name: &str, bytes: u64) -> Result<Buffer> {
    gpu.alloc(Purpose::State, bytes, Purpose::State.usage(), name)
}
