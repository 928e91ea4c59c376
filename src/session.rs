//! A graph on a backend: weights, states, plans, runs.

use crate::backend::Backend;
use crate::error::{Error, Result};
pub use crate::exec::Progress;
use crate::exec::cpu::CpuEngine;
use crate::exec::gpu::{Chooser, GpuEngine};
pub use crate::exec::gpu::{SharedMemory, SharedWeights};
use crate::exec::{Profile, TimeSource, WorkingMemory};
use crate::graph::{Bindings, Graph, StateId, StateInfo, Symbol};
use crate::passes;
use crate::plan::{InputHome, Plan};
use crate::tensor::Tensor;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a session has done so far, for tests and profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Plans made.
    pub plans: u64,
    /// Runs.
    pub runs: u64,
    /// GPU dispatches, or calls of CPU kernels.
    pub dispatches: u64,
    /// GPU submissions.
    pub submissions: u64,
    /// Bytes of inputs that went to a device.
    pub bytes_to_device: u64,
    /// Bytes of results that came from a device.
    pub bytes_to_host: u64,
}

/// A graph on a backend.
///
/// A run binds the graph's symbols from the extents of its inputs, finds or
/// makes the plan for their bounds, and executes it. With the same bounds the
/// next run plans, compiles and allocates nothing.
#[derive(Debug)]
pub struct Session {
    graph: Arc<Graph>,
    backend: Backend,
    fixed: Bindings,
    buckets: HashMap<Symbol, Vec<u64>>,
    plans: HashMap<Bindings, usize>,
    /// Whether values in plans share memory.
    share_memory: bool,
    engine: Engine,
    counters: SessionCounters,
}

mod ahead;
mod kept;
mod options;

use ahead::bounds;
use kept::{given, on_host};
pub use options::{RunOptions, SessionOptions};

#[derive(Debug)]
enum Engine {
    Cpu { engine: CpuEngine, plans: Vec<Plan> },
    Gpu(Box<GpuEngine>),
}

impl Session {
    /// Prepares a graph: runs the passes, allocates states, uploads weights.
    ///
    /// # Errors
    /// If a symbol that sizes a state has no value, the model does not fit the
    /// device ([`Error::Limit`], [`Error::OutOfMemory`]), or the device is lost.
    pub async fn new(graph: Graph, backend: &Backend, options: SessionOptions) -> Result<Self> {
        Self::with_progress(graph, backend, options, &mut |_, _| {}).await
    }

    /// As [`Session::new`], reporting the upload of weights.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub async fn with_progress(
        mut graph: Graph,
        backend: &Backend,
        options: SessionOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        passes::run(&mut graph, &options.disabled_passes)?;
        let share_memory = !options.disabled_passes.contains(passes::MEMORY);
        let graph = Arc::new(graph);
        let mut fixed = Bindings::new(graph.symbols().len());
        for (name, &value) in &options.symbols {
            let symbol = graph.symbol(name).ok_or_else(|| unknown_symbol(&graph, name))?;
            fixed.set(symbol, value);
        }
        let mut buckets = HashMap::new();
        for (name, bounds) in &options.buckets {
            let symbol = graph.symbol(name).ok_or_else(|| unknown_symbol(&graph, name))?;
            buckets.insert(symbol, bounds.clone());
        }
        let engine = match backend {
            Backend::Cpu => Engine::Cpu {
                engine: CpuEngine::new(graph.clone(), &fixed, options.poison)?
                    .rounding(options.policy.allow_int8),
                plans: Vec::new(),
            },
            Backend::Gpu(gpu) => {
                let own = options.engine(gpu);
                let chooser = Chooser::new(gpu, &graph, &own);
                let compiling = ahead::begin(chooser, &graph, &options.ahead, (&fixed, &buckets));
                let engine = GpuEngine::new(gpu.clone(), graph.clone(), &fixed, own, progress);
                let engine = engine.await?;
                drop(compiling);
                Engine::Gpu(Box::new(engine))
            }
        };
        Ok(Session {
            graph,
            backend: backend.clone(),
            fixed,
            buckets,
            plans: HashMap::new(),
            share_memory,
            engine,
            counters: SessionCounters::default(),
        })
    }

    /// As [`Session::new`], waiting for it.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn new_blocking(graph: Graph, backend: &Backend, options: SessionOptions) -> Result<Self> {
        backend.block_on(Self::new(graph, backend, options))
    }

    /// The graph after the passes.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What computes.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// What has been done so far.
    pub fn counters(&self) -> SessionCounters {
        let mut counters = self.counters.clone();
        match &self.engine {
            Engine::Cpu { engine, .. } => counters.dispatches = engine.calls,
            Engine::Gpu(engine) => {
                (counters.dispatches, counters.submissions) = engine.work_done();
                (counters.bytes_to_device, counters.bytes_to_host) = engine.crossed();
            }
        }
        counters
    }

    /// The `family/variant` names of the GPU kernels of all plans so far.
    pub fn executed_variants(&self) -> BTreeSet<String> {
        match &self.engine {
            Engine::Cpu { .. } => BTreeSet::new(),
            Engine::Gpu(engine) => engine.variants(),
        }
    }

    /// Bytes of states and of working memory (slots), and the most bytes of
    /// computed values alive at one time in any plan so far.
    pub fn memory(&self) -> WorkingMemory {
        match &self.engine {
            Engine::Cpu { engine, plans } => {
                let (states, slots) = engine.memory();
                let live_peak = plans.iter().map(|plan| plan.live_peak).max().unwrap_or(0);
                WorkingMemory { states, slots, live_peak }
            }
            Engine::Gpu(engine) => engine.memory(),
        }
    }

    /// Runs the graph once.
    ///
    /// # Errors
    /// If inputs are missing or do not fit the graph ([`Error::Input`]), or the
    /// device fails ([`Error::OutOfMemory`], [`Error::DeviceLost`]).
    pub async fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        self.run_with(inputs, &RunOptions::default()).await
    }

    /// As [`Session::run`], with options.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_with(
        &mut self,
        inputs: &[(&str, &Tensor)],
        options: &RunOptions,
    ) -> Result<Vec<(String, Tensor)>> {
        let (bindings, index) = self.bind(inputs).await?;
        self.counters.runs += 1;
        let ordered = self.ordered(inputs)?;
        match &mut self.engine {
            Engine::Cpu { engine, plans } => engine.run(&plans[index], &ordered, &bindings),
            Engine::Gpu(engine) => {
                let once = options.one_submission;
                let results = engine.run(index, &given(&ordered), &bindings, once, &[]).await?;
                on_host(results)
            }
        }
    }

    /// As [`Session::run`], waiting for the results.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_blocking(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let backend = self.backend.clone();
        backend.block_on(self.run(inputs))
    }

    /// Runs the graph once and measures each piece of work.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn profile(
        &mut self,
        inputs: &[(&str, &Tensor)],
    ) -> Result<(Vec<(String, Tensor)>, Profile)> {
        let (bindings, index) = self.bind(inputs).await?;
        self.counters.runs += 1;
        let ordered = self.ordered(inputs)?;
        let (results, source, timings) = match &mut self.engine {
            Engine::Cpu { engine, plans } => {
                let (results, timings) = engine.profile(&plans[index], &ordered, &bindings)?;
                (results, TimeSource::Calls, timings)
            }
            Engine::Gpu(engine) => {
                let measured = engine.profile(index, &given(&ordered), &bindings).await?;
                (on_host(measured.0)?, measured.1, measured.2)
            }
        };
        Ok((results, Profile { backend: self.backend.name(), source, timings }))
    }

    /// Runs the graph `times` times over and waits for the work to be done,
    /// without reading results: what a benchmark times. The inputs go to the
    /// device once; states are updated each time.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn repeat(&mut self, inputs: &[(&str, &Tensor)], times: usize) -> Result<()> {
        let (bindings, index) = self.bind(inputs).await?;
        self.counters.runs += times as u64;
        let ordered = self.ordered(inputs)?;
        match &mut self.engine {
            Engine::Cpu { engine, plans } => {
                (0..times).try_for_each(|_| engine.compute(&plans[index], &ordered, &bindings))
            }
            Engine::Gpu(engine) => engine.repeat(index, &given(&ordered), &bindings, times).await,
        }
    }

    /// As [`Session::repeat`], waiting for it.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn repeat_blocking(&mut self, inputs: &[(&str, &Tensor)], times: usize) -> Result<()> {
        let backend = self.backend.clone();
        backend.block_on(self.repeat(inputs, times))
    }

    /// Makes the plan for the given run-time extents ahead of the first run:
    /// pipelines are compiled, memory is taken.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn prepare(&mut self, symbols: &[(&str, u64)]) -> Result<()> {
        let mut bindings = self.fixed.clone();
        for (name, value) in symbols {
            let symbol =
                self.graph.symbol(name).ok_or_else(|| unknown_symbol(&self.graph, name))?;
            bindings.set(symbol, *value);
        }
        self.plan(&bindings, &[]).await.map(|_| ())
    }

    /// Sets every state to zero.
    ///
    /// # Errors
    /// If the device fails.
    pub fn reset(&mut self) -> Result<()> {
        match &mut self.engine {
            Engine::Cpu { engine, .. } => {
                engine.clear_states();
                Ok(())
            }
            Engine::Gpu(engine) => engine.clear_states(),
        }
    }

    /// Gives a symbol that no input carries another value. States whose growing
    /// dimension depends on it keep their content; what does not fit any more
    /// is dropped.
    ///
    /// # Errors
    /// If there is no such symbol, the states do not fit the device
    /// ([`Error::Limit`], [`Error::OutOfMemory`]), or the device is lost. The
    /// symbol and the states stay as they were.
    pub async fn set_symbol(&mut self, name: &str, value: u64) -> Result<()> {
        let symbol = self.graph.symbol(name).ok_or_else(|| unknown_symbol(&self.graph, name))?;
        let mut fixed = self.fixed.clone();
        fixed.set(symbol, value);
        if fixed == self.fixed {
            return Ok(());
        }
        match &mut self.engine {
            Engine::Cpu { engine, .. } => engine.resize_states(&self.fixed, &fixed)?,
            Engine::Gpu(engine) => {
                // They go with the states' buffers, also if nothing comes of it.
                self.plans.clear();
                engine.resize_states(&self.fixed, &fixed).await?;
            }
        }
        self.fixed = fixed;
        Ok(())
    }

    /// The content of a state.
    ///
    /// # Errors
    /// If there is no such state, or the device fails.
    pub async fn state(&self, name: &str) -> Result<Tensor> {
        let (id, info) = self.find_state(name)?;
        let bytes = match &self.engine {
            Engine::Cpu { engine, .. } => engine.state(id).to_vec(),
            Engine::Gpu(engine) => engine.state(id).await?,
        };
        let extents = info.ty.extents(&self.fixed)?;
        let size = info.ty.dtype.bytes(&extents)?;
        Tensor::new(info.ty.dtype, &extents, bytes[..size].to_vec())
    }

    /// The extents that a state has now.
    pub(crate) fn state_extents(&self, info: &StateInfo) -> Result<Vec<usize>> {
        info.ty.extents(&self.fixed)
    }

    /// As [`Session::state`], waiting for it.
    ///
    /// # Errors
    /// As [`Session::state`].
    pub fn state_blocking(&self, name: &str) -> Result<Tensor> {
        self.backend.block_on(self.state(name))
    }

    /// Replaces the content of a state.
    ///
    /// # Errors
    /// If there is no such state, dtype or extents differ, or the device fails.
    pub async fn set_state(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let (id, info) = self.find_state(name)?;
        let extents = info.ty.extents(&self.fixed)?;
        if value.dtype() != info.ty.dtype || value.extents() != extents {
            return Err(Error::input(
                format!("state '{name}'"),
                format!("{}{extents:?}", info.ty.dtype),
                format!("{}{:?}", value.dtype(), value.extents()),
            ));
        }
        match &mut self.engine {
            Engine::Cpu { engine, .. } => {
                engine.set_state(id, value.bytes());
                Ok(())
            }
            Engine::Gpu(engine) => engine.set_state(id, value.bytes()).await,
        }
    }

    /// As [`Session::set_state`], waiting for it.
    ///
    /// # Errors
    /// As [`Session::set_state`].
    pub fn set_state_blocking(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let backend = self.backend.clone();
        backend.block_on(self.set_state(name, value))
    }

    fn find_state(&self, name: &str) -> Result<(StateId, &StateInfo)> {
        let position = self.graph.states().iter().position(|state| state.name == name);
        let index = position.ok_or_else(|| {
            let names: Vec<_> = self.graph.states().iter().map(|s| s.name.as_str()).collect();
            Error::input("state", format!("one of {names:?}"), name)
        })?;
        Ok((StateId(index as u32), &self.graph.states()[index]))
    }

    /// The values of all symbols for these inputs, and the plan for them.
    async fn bind(&mut self, inputs: &[(&str, &Tensor)]) -> Result<(Bindings, usize)> {
        let mut bindings = self.fixed.clone();
        self.graph.bind_inputs(inputs, &mut bindings)?;
        let index = self.plan(&bindings, &[]).await?;
        Ok((bindings, index))
    }

    /// The inputs in the graph's order; `bind_inputs` has found them all.
    fn ordered<'t>(&self, inputs: &[(&str, &'t Tensor)]) -> Result<Vec<&'t Tensor>> {
        let find = |id: &crate::graph::ValueId| {
            let name = &self.graph.value(*id).name;
            let found = inputs.iter().find(|(other, _)| other == name);
            found
                .map(|(_, tensor)| *tensor)
                .ok_or_else(|| Error::internal(format!("input '{name}' vanished")))
        };
        self.graph.inputs().iter().map(find).collect()
    }

    /// The plan for the bounds of these run-time values, made if need be: for inputs that
    /// are in these places on a device whose working memory is shared.
    async fn plan(&mut self, bindings: &Bindings, homes: &[InputHome]) -> Result<usize> {
        let bounds = bounds(bindings, &self.fixed, &self.buckets);
        if let Some(&index) = self.plans.get(&bounds) {
            return Ok(index);
        }
        let homes = match &self.engine {
            Engine::Gpu(engine) if engine.packs_inputs() => homes,
            _ => &[],
        };
        let plan = match self.share_memory {
            true => Plan::with_inputs(&self.graph, &bounds, homes)?,
            false => Plan::unshared(&self.graph, &bounds)?,
        };
        let index = match &mut self.engine {
            Engine::Cpu { plans, .. } => {
                plans.push(plan);
                plans.len() - 1
            }
            Engine::Gpu(engine) => engine.compile(plan).await?,
        };
        self.counters.plans += 1;
        self.plans.insert(bounds, index);
        Ok(index)
    }
}

fn unknown_symbol(graph: &Graph, name: &str) -> Error {
    let names: Vec<_> = graph.symbols().iter().map(|s| s.name.as_str()).collect();
    Error::input("symbol", format!("one of {names:?}"), name)
}
