//! An ONNX model on a backend.

use super::draw::Generator;
use super::feeds::Feed;
use super::import::{import, start};
use super::inputs;
use super::memo::Memo;
use super::mixed::{Fallback, Work};
use super::model::Model;
use super::stage::{Answer, Next, Ran, Table};
use super::state::State;
use super::value::OnnxValue;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::exec::gpu::Given;
use crate::exec::{Profile, WorkingMemory};
use crate::passes::fold;
use crate::session::SessionOptions;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// How an ONNX model is run.
#[derive(Debug, Clone)]
pub struct OnnxOptions {
    /// How the sessions of its graphs are made.
    pub session: SessionOptions,
    /// Whether it is an error if part of the model cannot run on the GPU.
    pub gpu_only: bool,
    /// Names of nodes that run on the CPU whatever the backend.
    pub force_cpu: BTreeSet<String>,
    /// How many stages are kept for inputs and values like those that made
    /// them; the ones not used for the longest time go first. Those of one run may be
    /// eight times as many.
    pub kept_stages: usize,
    /// The most stages of one run: iterations of a loop are stages where only
    /// a run can tell whether there is another one.
    pub most_steps: u64,
    /// Where the random numbers of the model's nodes start: with a seed all runs
    /// draw the same, on every backend. Without one every run draws others, but for
    /// nodes with a seed of their own.
    pub seed: Option<u64>,
}

impl Default for OnnxOptions {
    fn default() -> Self {
        OnnxOptions {
            session: SessionOptions::default(),
            gpu_only: false,
            force_cpu: BTreeSet::new(),
            kept_stages: 128,
            most_steps: 1 << 20,
            seed: None,
        }
    }
}

/// What a session has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnnxCounters {
    /// Runs.
    pub runs: u64,
    /// Stages imported.
    pub stages: u64,
    /// Graphs planned.
    pub plans: u64,
    /// Stages gone through in all runs.
    pub steps: u64,
    /// GPU dispatches.
    pub dispatches: u64,
    /// Bytes that went to a device: inputs of the model, and what the host or the
    /// CPU made between stages.
    pub bytes_to_device: u64,
    /// Bytes that came from a device: results of the model, and what the host or
    /// the CPU had to look at between stages. Other values stay on the device.
    pub bytes_to_host: u64,
}

/// How a model's nodes and values are spread over the backends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// The nodes of all stages so far that run on the CPU though the backend is a
    /// GPU, by name.
    pub fallbacks: Vec<Fallback>,
    /// The nodes of all stages so far that compute in F32 what they are given in F64,
    /// by name, on whatever backend: products, convolutions, normalisations and the
    /// like. What works element by element keeps F64, on the CPU.
    pub narrowed: Vec<String>,
    /// Stages that the last run went through.
    pub stages: u64,
    /// Bytes that went to the device in the last run; see [`OnnxCounters`].
    pub bytes_to_device: u64,
    /// Bytes that came from the device in the last run.
    pub bytes_to_host: u64,
}

/// An ONNX model on a backend.
///
/// A run goes from stage to stage: each is a graph of constant shapes, made for
/// what the host has seen so far, which is the extents of the inputs and the
/// values that shapes or control flow depend on. What has been seen before is
/// neither imported nor planned again.
#[derive(Debug)]
pub struct OnnxSession {
    model: Arc<Model>,
    backend: Backend,
    options: OnnxOptions,
    memo: Memo,
    stages: HashMap<u64, Stage>,
    /// The stage that follows another one for what the host saw.
    following: HashMap<(u64, Answer), u64>,
    by_signature: HashMap<Vec<u8>, u64>,
    made: u64,
    random: Generator,
    counters: OnnxCounters,
    /// The counters when the last run began.
    before: OnnxCounters,
    fallbacks: BTreeMap<String, Fallback>,
    /// What the stages needed that are no longer there.
    dropped: WorkingMemory,
    /// Filled while a run is measured.
    profiles: Option<Vec<Profile>>,
}

/// A stage on the backend.
#[derive(Debug)]
struct Stage {
    work: Option<Work>,
    /// What the graph reads, in its order.
    inputs: Vec<Feed>,
    next: Next,
    /// The results that nobody on the host looks at.
    unseen: Vec<bool>,
    /// The entries of the table that are read when it has run.
    carried: HashSet<usize>,
    /// Where it begins; keeps what the signature refers to alive.
    start: State,
    used: u64,
}

impl OnnxSession {
    /// A session for a model. Nothing is planned before the first run.
    ///
    /// # Errors
    /// [`Error::Unsupported`] that names every operator of the model that this crate does
    /// not have, inputs of types it does not have, and nodes whose types or attributes
    /// have no row, as far as that can be told before a run.
    pub fn new(model: Arc<Model>, backend: &Backend, options: OnnxOptions) -> Result<Self> {
        model.is_importable()?;
        let memo = Memo::new(model.constants().into_iter());
        let mut options = options;
        let random = Generator::new(options.seed);
        options.session.weights.get_or_insert_default();
        options.session.memory.get_or_insert_default();
        Ok(OnnxSession {
            model,
            backend: backend.clone(),
            options,
            memo,
            stages: HashMap::new(),
            following: HashMap::new(),
            by_signature: HashMap::new(),
            made: 0,
            random,
            counters: OnnxCounters::default(),
            before: OnnxCounters::default(),
            fallbacks: BTreeMap::new(),
            dropped: WorkingMemory::default(),
            profiles: None,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What has been done so far.
    pub fn counters(&self) -> OnnxCounters {
        self.counters
    }

    /// What runs on the CPU though the backend is a GPU (a log has each node as a
    /// warning), and what went between the host and the device in the last run.
    pub fn report(&self) -> Placement {
        let (now, before) = (&self.counters, &self.before);
        Placement {
            fallbacks: self.fallbacks.values().cloned().collect(),
            narrowed: self.memo.narrowed.iter().cloned().collect(),
            stages: now.steps - before.steps,
            bytes_to_device: now.bytes_to_device - before.bytes_to_device,
            bytes_to_host: now.bytes_to_host - before.bytes_to_host,
        }
    }

    /// Working memory that the stages share, in bytes, and the most that is needed at one
    /// time while any of them runs. Weights are not in it.
    pub fn memory(&self) -> WorkingMemory {
        let works = self.stages.values().filter_map(|stage| stage.work.as_ref());
        works.map(Work::memory).fold(self.dropped, WorkingMemory::larger)
    }

    /// Runs the model once: its outputs, in its order. Where the model has sequences
    /// their elements are called `name[0]`, `name[1]` and so on, in the inputs and in
    /// the outputs, and optional values that are absent are left out;
    /// [`OnnxSession::run_values`] has them as they are.
    ///
    /// # Errors
    /// As [`OnnxSession::run_values`].
    pub async fn run(&mut self, given: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let given = inputs::gather(&self.model, given)?;
        let mut outputs = Vec::new();
        for (name, value) in self.run_values(given).await? {
            value.flatten(name, &mut outputs);
        }
        Ok(outputs)
    }

    /// Runs the model once: its outputs, in its order.
    ///
    /// # Errors
    /// [`Error::Input`] if inputs do not fit the model, [`Error::Graph`] and
    /// [`Error::Unsupported`] for nodes that cannot be imported for them, and
    /// what the backend fails with.
    pub async fn run_values(
        &mut self,
        given: Vec<(String, OnnxValue)>,
    ) -> Result<Vec<(String, OnnxValue)>> {
        let model = self.model.clone();
        let mut table = Table::default();
        let ordered = inputs::check(&model, given)?.into_iter();
        let values = ordered.map(|(name, value)| (name.to_string(), table.hold(value)));
        let values = values.collect();
        self.before = self.counters;
        self.counters.runs += 1;
        self.random.begin();
        let mut stage = self.stage(start(model.graph(), values), table.0.len()).await?;
        for _ in 0..self.options.most_steps {
            let ran = self.compute(stage, &table).await?;
            let found = self.stages.get(&stage).ok_or_else(|| Error::internal("a lost stage"))?;
            let (sources, ask, after) = match &found.next {
                Next::Done(results) => {
                    self.counters.bytes_to_host += table.fetch_results(results).await?;
                    let result = |(name, result): &(String, _)| {
                        Ok((name.clone(), table.result(result, &ran)?))
                    };
                    return results.iter().map(result).collect();
                }
                Next::Go { table, ask, after } => (table, ask, after),
            };
            self.counters.bytes_to_host += table.fetch_lists(sources).await?;
            table = table.next(sources, &ran)?;
            self.counters.bytes_to_host += table.fetch_asked(ask).await?;
            let answer = table.answer(ask)?;
            let key = (stage, answer);
            stage = match self.following.get(&key) {
                Some(&next) => next,
                None => {
                    let state = after.clone().informed(ask, &key.1, &table)?;
                    let next = self.stage(state, table.0.len()).await?;
                    self.follow(key, next);
                    next
                }
            };
        }
        let looping = self.stages.get(&stage).and_then(|stage| stage.start.looping());
        let node = looping.map(|node| format!("node '{}' ({}), in ", node.name, node.op_type));
        Err(Error::Limit {
            what: format!("{}a run of {}", node.unwrap_or_default(), self.model.name()),
            limit_name: "most_steps".into(),
            needed: self.options.most_steps + 1,
            limit: self.options.most_steps,
        })
    }

    /// As [`OnnxSession::run`], with what each part took: one profile for each
    /// graph that ran, in order.
    ///
    /// # Errors
    /// As [`OnnxSession::run`].
    pub async fn profile(
        &mut self,
        inputs: &[(&str, &Tensor)],
    ) -> Result<(Vec<(String, Tensor)>, Vec<Profile>)> {
        self.profiles = Some(Vec::new());
        let results = self.run(inputs).await;
        let profiles = self.profiles.take().unwrap_or_default();
        Ok((results?, profiles))
    }

    /// As [`OnnxSession::run_values`], waiting for the results.
    ///
    /// # Errors
    /// As [`OnnxSession::run_values`].
    pub fn run_values_blocking(
        &mut self,
        given: Vec<(String, OnnxValue)>,
    ) -> Result<Vec<(String, OnnxValue)>> {
        let backend = self.backend.clone();
        backend.block_on(self.run_values(given))
    }

    /// As [`OnnxSession::run`], waiting for the results.
    ///
    /// # Errors
    /// As [`OnnxSession::run`].
    pub fn run_blocking(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let backend = self.backend.clone();
        backend.block_on(self.run(inputs))
    }

    /// Runs the graph of a stage.
    async fn compute(&mut self, stage: u64, table: &Table) -> Result<Ran> {
        self.counters.steps += 1;
        let used = self.counters.steps;
        let found = self.stages.get_mut(&stage).ok_or_else(|| Error::internal("a lost stage"))?;
        found.used = used;
        let random = &mut self.random;
        let drawn = found.inputs.iter().map(|feed| match feed {
            Feed::Entry(_) => Ok(None),
            Feed::Drawn(draw) => random.draw(draw).map(Some),
        });
        let drawn = drawn.collect::<Result<Vec<_>>>()?;
        let Some(work) = &mut found.work else { return Ok(Ran { outputs: Vec::new(), drawn }) };
        let inputs = found.inputs.iter().zip(&drawn).map(|(feed, drawn)| match (feed, drawn) {
            (_, Some(tensor)) => Ok(Given::Host(tensor)),
            (Feed::Entry(entry), None) => table.given_to(*entry, &found.carried),
            (Feed::Drawn(_), None) => Err(Error::internal("an input that was not drawn")),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let (plans, before) = (work.plans(), work.on_device());
        let outputs = work.run(&inputs, &found.unseen, &mut self.profiles).await?;
        let counters = &mut self.counters;
        counters.plans += work.plans() - plans;
        let sums =
            [&mut counters.dispatches, &mut counters.bytes_to_device, &mut counters.bytes_to_host];
        for ((sum, now), before) in sums.into_iter().zip(work.on_device()).zip(before) {
            *sum += now - before;
        }
        Ok(Ran { outputs, drawn })
    }

    /// The stage that begins with a state, imported if there is none yet.
    async fn stage(&mut self, state: State, entries: usize) -> Result<u64> {
        let signature = state.signature();
        if let Some(&stage) = self.by_signature.get(&signature) {
            return Ok(stage);
        }
        let imported = import(&state, entries, &mut self.memo)?;
        let results = imported.graph.as_ref().map_or(0, |graph| graph.outputs().len());
        let work = match imported.graph {
            None => None,
            Some(mut graph) => {
                let options = &self.options;
                if !options.session.disabled_passes.contains("fold") {
                    let memo = &mut self.memo;
                    fold::fold(&mut graph, &mut |op, inputs, extents| {
                        memo.evaluate(op, inputs, extents)
                    })?;
                }
                let work = Work::new(graph, &self.backend, options).await?;
                for fallback in &work.fallbacks {
                    self.fallbacks.insert(fallback.node.clone(), fallback.clone());
                }
                Some(work)
            }
        };
        self.note_host(&imported.next);
        self.make_room();
        self.made += 1;
        self.counters.stages += 1;
        let (inputs, next) = (imported.inputs, imported.next);
        let (unseen, carried) = (next.unseen(results), next.carried());
        let used = self.counters.steps;
        let stage = Stage { work, inputs, next, unseen, carried, start: state, used };
        self.stages.insert(self.made, stage);
        self.by_signature.insert(signature, self.made);
        Ok(self.made)
    }

    /// Reports the nodes that the host computes though the backend is a GPU.
    fn note_host(&mut self, next: &Next) {
        if !matches!(self.backend, Backend::Gpu(_)) {
            return;
        }
        for call in next.host_calls() {
            let fallback = Fallback {
                node: call.name.clone(),
                operator: call.node.op_type.clone(),
                reason: call.reason.into(),
                bytes: 0,
            };
            self.fallbacks.insert(call.name.clone(), fallback);
        }
    }

    fn follow(&mut self, key: (u64, Answer), next: u64) {
        const MOST: usize = 1 << 16;
        if self.following.len() >= MOST {
            self.following.clear();
        }
        self.following.insert(key, next);
    }

    /// Drops the stage that has not been used for the longest time, if there
    /// are as many as are kept. A run of more stages keeps its own, up to some times as
    /// many: else the next one like it would find none of them.
    fn make_room(&mut self) {
        const TIMES: usize = 8;
        let kept = self.options.kept_stages.max(1);
        while self.stages.len() >= kept {
            let oldest = self.stages.iter().min_by_key(|(_, stage)| stage.used);
            let Some((&oldest, stage)) = oldest else { return };
            let is_own = stage.used > self.before.steps;
            if is_own && self.stages.len() < kept.saturating_mul(TIMES) {
                return;
            }
            if let Some(work) = self.stages.remove(&oldest).and_then(|stage| stage.work) {
                let live_peak = work.memory().live_peak.max(self.dropped.live_peak);
                self.dropped = WorkingMemory { live_peak, ..WorkingMemory::default() };
            }
            self.by_signature.retain(|_, stage| *stage != oldest);
            self.following.retain(|(from, _), to| *from != oldest && *to != oldest);
        }
    }
}
