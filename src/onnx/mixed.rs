//! A graph on a GPU and the CPU: what the GPU cannot do runs on the CPU, and
//! everybody is told.

use super::session::OnnxOptions;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::gpu::{Given, Kept};
use crate::exec::{Profile, WorkingMemory};
use crate::gpu::DeviceCaps;
use crate::graph::{Bindings, Graph, Node, Source, ValueId};
use crate::kernels::GpuCx;
use crate::passes::dead;
use crate::plan::PlanBuilder;
use crate::session::Session;
use crate::tensor::{DType, Tensor};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// A node that runs on the CPU though the backend is a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The node, named as in the model.
    pub node: String,
    /// The operator of this crate that it was imported as.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// Bytes that go between the backends for it, each run; 0 for what the host
    /// computes between stages, which [`Placement`](super::Placement) has in its sums.
    pub bytes: u64,
}

impl std::fmt::Display for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fallback { node, operator, reason, bytes } = self;
        write!(f, "node '{node}' ({operator}): {reason}")?;
        match bytes {
            0 => Ok(()),
            bytes => write!(f, "; {bytes} bytes cross each run"),
        }
    }
}

/// A graph on its backends.
#[derive(Debug)]
pub(super) struct Work {
    parts: Vec<Part>,
    outputs: Vec<From>,
    /// Bytes that the CPU had to fetch from the device.
    fetched: u64,
    pub(super) fallbacks: Vec<Fallback>,
}

/// Nodes that run on one backend without the host in between.
#[derive(Debug)]
struct Part {
    session: Session,
    inputs: Vec<(String, From)>,
    /// Whether it is the device's.
    on_gpu: bool,
    /// The results that a part on the other backend reads.
    crossing: HashSet<usize>,
}

/// Where a value comes from.
#[derive(Debug, Clone)]
enum From {
    /// The graph's input of this number.
    Input(usize),
    /// A result of a part.
    Part(usize, usize),
    Known(Tensor),
}

impl Work {
    /// Puts a graph on its backends.
    ///
    /// # Errors
    /// As [`Session::new`], and if a node cannot run on the GPU where
    /// `gpu_only` says it must.
    pub(super) async fn new(
        mut graph: Graph,
        backend: &Backend,
        options: &OnnxOptions,
    ) -> Result<Self> {
        dead::run(&mut graph)?;
        let reasons = match backend {
            Backend::Cpu => Vec::new(),
            Backend::Gpu(gpu) => reasons(&graph, gpu.caps(), options)?,
        };
        if reasons.iter().all(Option::is_none) {
            return Self::whole(graph, backend, options).await;
        }
        let fallbacks = fallbacks(&graph, &reasons)?;
        if options.gpu_only {
            let nodes =
                fallbacks.iter().map(|f| format!("'{}' ({}): {}", f.node, f.operator, f.reason));
            let nodes = nodes.collect::<Vec<_>>().join("; ");
            return Err(Error::unsupported("gpu_only", format_args!("nodes {nodes}")));
        }
        for fallback in &fallbacks {
            let Fallback { node, operator, reason, bytes } = fallback;
            log::warn!("node '{node}' ({operator}) runs on the CPU, {bytes} bytes cross: {reason}");
        }
        let on_cpu: Vec<bool> = reasons.iter().map(Option::is_some).collect();
        Self::cut(&graph, &on_cpu, backend, options, fallbacks).await
    }

    async fn whole(graph: Graph, backend: &Backend, options: &OnnxOptions) -> Result<Self> {
        let name =
            |(index, id): (usize, &ValueId)| (graph.value(*id).name.clone(), From::Input(index));
        let inputs = graph.inputs.iter().enumerate().map(name).collect();
        let outputs = (0..graph.outputs.len()).map(|index| From::Part(0, index)).collect();
        let session = Session::new(graph, backend, options.session.clone()).await?;
        let (on_gpu, crossing) = (matches!(backend, Backend::Gpu(_)), HashSet::new());
        let parts = vec![Part { session, inputs, on_gpu, crossing }];
        Ok(Work { parts, outputs, fetched: 0, fallbacks: Vec::new() })
    }

    async fn cut(
        graph: &Graph,
        on_cpu: &[bool],
        backend: &Backend,
        options: &OnnxOptions,
        fallbacks: Vec<Fallback>,
    ) -> Result<Self> {
        let mut from: HashMap<ValueId, From> = HashMap::new();
        for (index, &id) in graph.inputs.iter().enumerate() {
            from.insert(id, From::Input(index));
        }
        for (_, id) in &graph.outputs {
            if let Some(tensor) = graph.constant(*id) {
                from.insert(*id, From::Known(tensor.clone()));
            }
        }
        let mut parts: Vec<Part> = Vec::new();
        let runs = runs(graph, on_cpu);
        for (number, run) in runs.iter().enumerate() {
            let (part, results) = part(graph, run);
            let inputs = part.inputs.iter().map(|id| {
                let source = from.get(id).cloned();
                let source = source.ok_or_else(|| Error::internal("a value no part computes"))?;
                Ok((part.value(*id).name.clone(), source))
            });
            let inputs = inputs.collect::<Result<Vec<(String, From)>>>()?;
            for (index, id) in results.into_iter().enumerate() {
                from.insert(id, From::Part(number, index));
            }
            let cpu = run.first().is_some_and(|&at| on_cpu[at]);
            let backend = if cpu { &Backend::Cpu } else { backend };
            for (_, source) in &inputs {
                if let From::Part(other, index) = source
                    && let Some(other) = parts.get_mut(*other)
                    && other.on_gpu == cpu
                {
                    other.crossing.insert(*index);
                }
            }
            let session = Session::new(part, backend, options.session.clone()).await?;
            parts.push(Part { session, inputs, on_gpu: !cpu, crossing: HashSet::new() });
        }
        let outputs = graph.outputs.iter().map(|(name, id)| {
            from.get(id)
                .cloned()
                .ok_or_else(|| Error::internal(format!("'{name}' is not computed")))
        });
        let outputs = outputs.collect::<Result<_>>()?;
        Ok(Work { parts, outputs, fetched: 0, fallbacks })
    }

    /// Runs the graph: its results for its inputs, both in its order. Those that
    /// `keep` names stay on the device if they are there. With `profiles`, measures
    /// it, adds what each part took, and keeps nothing on the device.
    pub(super) async fn run(
        &mut self,
        inputs: &[Given<'_>],
        keep: &[bool],
        profiles: &mut Option<Vec<Profile>>,
    ) -> Result<Vec<Kept>> {
        let mut results: Vec<Vec<Kept>> = Vec::with_capacity(self.parts.len());
        // Several parts may read the same input.
        let whole = self.parts.len() == 1;
        for number in 0..self.parts.len() {
            let kept = self.kept(number, keep);
            let part = &mut self.parts[number];
            let mut given = Vec::with_capacity(part.inputs.len());
            for (_, from) in &part.inputs {
                let picked = pick(from, inputs, &results)?;
                given.push(if whole { picked } else { picked.lasting() });
            }
            results.push(match profiles {
                None if part.on_gpu => part.session.run_kept(&given, &kept).await?,
                None => {
                    let here = on_host(&given, &mut self.fetched).await?;
                    let here: Vec<_> = here.iter().map(|tensor| Given::Host(tensor)).collect();
                    part.session.run_kept(&here, &[]).await?
                }
                Some(profiles) => {
                    let here = on_host(&given, &mut self.fetched).await?;
                    let names = part.inputs.iter().map(|(name, _)| name.as_str());
                    let named: Vec<(&str, &Tensor)> =
                        names.zip(here.iter().map(|tensor| &**tensor)).collect();
                    let (found, profile) = part.session.profile(&named).await?;
                    profiles.push(profile);
                    found.into_iter().map(|(_, tensor)| Kept::Host(tensor)).collect()
                }
            });
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for from in &self.outputs {
            outputs.push(match pick(from, inputs, &results)? {
                Given::Host(tensor) => Kept::Host(tensor.clone()),
                Given::Device(tensor) | Given::Last(tensor) => Kept::Device(tensor.clone()),
            });
        }
        Ok(outputs)
    }

    /// The results of a part that stay on the device: what neither the other
    /// backend reads nor the host.
    fn kept(&self, part: usize, keep: &[bool]) -> Vec<bool> {
        let Part { session, on_gpu, crossing, .. } = &self.parts[part];
        let count = session.graph().outputs().len();
        let mut kept: Vec<bool> = (0..count).map(|i| *on_gpu && !crossing.contains(&i)).collect();
        for (number, from) in self.outputs.iter().enumerate() {
            if let From::Part(other, index) = from
                && *other == part
                && !keep.get(number).copied().unwrap_or(false)
                && let Some(kept) = kept.get_mut(*index)
            {
                *kept = false;
            }
        }
        kept
    }

    /// Dispatches on the GPU so far, and the bytes that went to it and came from it.
    pub(super) fn on_device(&self) -> [u64; 3] {
        let mut sums = [0, 0, self.fetched];
        for part in self.parts.iter().filter(|part| part.on_gpu) {
            let own = part.session.counters();
            let own = [own.dispatches, own.bytes_to_device, own.bytes_to_host];
            sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        sums
    }

    /// Working memory of all parts, on their backends.
    pub(super) fn memory(&self) -> WorkingMemory {
        let all = self.parts.iter().map(|part| part.session.memory());
        all.reduce(WorkingMemory::larger).unwrap_or_default()
    }

    /// How many plans have been made.
    pub(super) fn plans(&self) -> u64 {
        self.parts.iter().map(|part| part.session.counters().plans).sum()
    }
}

fn pick<'a>(from: &'a From, inputs: &[Given<'a>], results: &'a [Vec<Kept>]) -> Result<Given<'a>> {
    let found = match from {
        From::Input(index) => inputs.get(*index).copied(),
        From::Part(part, index) => {
            results.get(*part).and_then(|results| results.get(*index)).map(Kept::given)
        }
        From::Known(tensor) => Some(Given::Host(tensor)),
    };
    found.ok_or_else(|| Error::internal(format!("{from:?} is not there")))
}

/// The tensors on the host, read from the device where they are there: `fetched`
/// grows by the bytes of those.
async fn on_host<'a>(given: &[Given<'a>], fetched: &mut u64) -> Result<Vec<Cow<'a, Tensor>>> {
    let mut here = Vec::with_capacity(given.len());
    for given in given {
        here.push(match given {
            Given::Host(tensor) => Cow::Borrowed(*tensor),
            Given::Device(tensor) | Given::Last(tensor) => {
                *fetched += tensor.bytes();
                Cow::Owned(tensor.read().await?)
            }
        });
    }
    Ok(here)
}

/// Why each node cannot run on a GPU; `None` where it can.
pub(super) fn reasons(
    graph: &Graph,
    caps: &DeviceCaps,
    options: &OnnxOptions,
) -> Result<Vec<Option<String>>> {
    let bounds = Bindings::default();
    let largest = caps.limits.max_buffer_size;
    let mut judge = |kernel: &dyn crate::kernels::Kernel,
                     inputs: &[Option<crate::graph::TensorType>],
                     outputs: &[crate::graph::TensorType]| {
        for ty in inputs.iter().flatten().chain(outputs) {
            let needed = ty.device_bytes(&bounds)? as u64;
            if needed > largest {
                let what = format!("a value of type {ty}");
                let limit_name = "max_buffer_size".into();
                return Err(Error::Limit { what, limit_name, needed, limit: largest });
            }
        }
        let policy = &options.session.policy;
        kernel
            .gpu(&GpuCx { inputs, outputs, bounds: &bounds, caps, policy, room: u64::MAX })
            .map(|_| ())
    };
    let verdicts = PlanBuilder::judge(graph, &mut judge);
    let mut reasons = Vec::with_capacity(verdicts.len());
    for (node, verdict) in graph.nodes.iter().zip(verdicts) {
        reasons.push(match verdict {
            _ if forced(node, options) => Some("force_cpu names it".into()),
            Ok(()) if too_wide(graph, node) => {
                Some("a constant does not fit into the 32 bits that a device has".into())
            }
            Ok(()) => None,
            Err(error) => match error.kind() {
                ErrorKind::Unsupported | ErrorKind::Limit => Some(error.to_string()),
                _ => return Err(error),
            },
        });
    }
    Ok(reasons)
}

/// Whether a node reads a constant of 64-bit integers with one that is cut off on a
/// device.
fn too_wide(graph: &Graph, node: &Node) -> bool {
    let constants = node.inputs.iter().flatten().filter_map(|&id| graph.constant(id));
    let wide = constants.filter(|tensor| matches!(tensor.dtype(), DType::I64 | DType::U64));
    let fits = |tensor: &Tensor| {
        let words = tensor.bytes().chunks_exact(8);
        let mut numbers = words.filter_map(|word| Some(i64::from_le_bytes(word.try_into().ok()?)));
        match tensor.dtype() {
            DType::U64 => numbers.all(|n| u32::try_from(n).is_ok()),
            _ => numbers.all(|n| i32::try_from(n).is_ok()),
        }
    };
    wide.map(fits).any(|fits| !fits)
}

/// Whether the node, or the one of a body that it comes from, is named.
fn forced(node: &Node, options: &OnnxOptions) -> bool {
    let named = |name: &String| {
        let inner = node.name.strip_suffix(name.as_str());
        inner.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    options.force_cpu.iter().any(named)
}

/// The nodes on the CPU, and the bytes that cross for each.
fn fallbacks(graph: &Graph, reasons: &[Option<String>]) -> Result<Vec<Fallback>> {
    let producers = graph.producers();
    let none = Bindings::default();
    let on_gpu = |id: &ValueId| producers.get(id).is_some_and(|&at| reasons[at].is_none());
    let mut read_on_gpu = HashSet::new();
    for (node, _) in graph.nodes.iter().zip(reasons).filter(|(_, reason)| reason.is_none()) {
        read_on_gpu.extend(node.inputs.iter().flatten().copied());
    }
    let mut fallbacks = Vec::new();
    for (node, reason) in graph.nodes.iter().zip(reasons) {
        let Some(reason) = reason else { continue };
        let read: HashSet<_> = node.inputs.iter().flatten().filter(|id| on_gpu(id)).collect();
        let written = node.outputs.iter().filter(|id| read_on_gpu.contains(id));
        let mut bytes = 0;
        for id in read.into_iter().chain(written) {
            bytes += graph.ty(*id).bytes(&none)? as u64;
        }
        fallbacks.push(Fallback {
            node: node.name.clone(),
            operator: node.op.name().into(),
            reason: reason.clone(),
            bytes,
        });
    }
    Ok(fallbacks)
}

/// The nodes in runs of one backend each: every run takes all that can run
/// before the other backend is asked again.
fn runs(graph: &Graph, on_cpu: &[bool]) -> Vec<Vec<usize>> {
    let producers = graph.producers();
    let inputs = |at: usize| graph.nodes[at].inputs.iter().flatten();
    let mut left: Vec<usize> = (0..graph.nodes.len()).collect();
    let mut done = vec![false; graph.nodes.len()];
    let mut cpu = on_cpu.first().copied().unwrap_or(false);
    let mut runs = Vec::new();
    while !left.is_empty() {
        let mut run = Vec::new();
        left.retain(|&at| {
            let ready = inputs(at).all(|id| producers.get(id).is_none_or(|&from| done[from]));
            let take = ready && on_cpu[at] == cpu;
            if take {
                done[at] = true;
                run.push(at);
            }
            !take
        });
        cpu = !cpu;
        if !run.is_empty() {
            runs.push(run);
        }
    }
    runs
}

/// A run of nodes as a graph, and which values its results are.
fn part(graph: &Graph, run: &[usize]) -> (Graph, Vec<ValueId>) {
    let inside: HashSet<ValueId> =
        run.iter().flat_map(|&at| graph.nodes[at].outputs.iter().copied()).collect();
    let mut values = graph.values.clone();
    let mut inputs = Vec::new();
    let mut seen = HashSet::new();
    for id in run.iter().flat_map(|&at| graph.nodes[at].inputs.iter().flatten()) {
        let given = match graph.value(*id).source {
            Source::Node => !inside.contains(id),
            Source::Input => true,
            Source::Constant(_) | Source::State(_) => false,
        };
        if given && seen.insert(*id) {
            values[id.index()].source = Source::Input;
            values[id.index()].name = format!("value{}", id.index());
            inputs.push(*id);
        }
    }
    let taken: HashSet<usize> = run.iter().copied().collect();
    let outside = (0..graph.nodes.len()).filter(|at| !taken.contains(at));
    let mut wanted: HashSet<ValueId> =
        outside.flat_map(|at| graph.nodes[at].inputs.iter().flatten().copied()).collect();
    wanted.extend(graph.outputs.iter().map(|(_, id)| *id));
    let results: Vec<ValueId> = run
        .iter()
        .flat_map(|&at| graph.nodes[at].outputs.iter().copied())
        .filter(|id| wanted.contains(id))
        .collect();
    let outputs = results.iter().map(|id| (format!("value{}", id.index()), *id)).collect();
    let nodes = run.iter().map(|&at| graph.nodes[at].clone()).collect();
    let symbols = graph.symbols.clone();
    (Graph { values, nodes, inputs, outputs, states: Vec::new(), symbols }, results)
}
