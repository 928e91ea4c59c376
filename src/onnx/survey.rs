//! What becomes of a model's nodes, as far as it can be told without running it.

use super::import::{Imported, import, start};
use super::memo::Memo;
use super::mixed;
use super::model::Model;
use super::session::OnnxOptions;
use super::stage::Next;
use super::state::{Kind, Value};
use super::value::element;
use crate::error::{Error, Result};
use crate::formats::onnx::{Form, OnnxNode};
use crate::gpu::DeviceCaps;
use crate::passes::{dead, fold};
use crate::tensor::DType;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Nothing is left of it when the model runs: a constant, arithmetic with
    /// shapes, a branch not taken, or a result that nobody reads.
    Gone,
    /// A GPU computes it.
    Gpu,
    /// The CPU computes it though the backend is a GPU: why.
    Cpu(String),
    /// Only a run can tell.
    Unknown,
    /// This crate does not have the operator.
    Refused,
}

/// What becomes of the nodes of a model.
#[derive(Debug)]
pub struct Survey<'m> {
    /// Every node, those of bodies included, and what becomes of it.
    pub nodes: Vec<(&'m OnnxNode, Fate)>,
    /// Why the model could not be imported for these inputs.
    pub problem: Option<Error>,
}

impl Model {
    /// Finds what becomes of the nodes on a device of these capabilities, for
    /// inputs of these names, types and extents: up to the first value that the
    /// host must look at, which only a run can tell. Nothing is run but what
    /// depends on constants alone.
    ///
    /// Inputs that have a default may be left out. The elements of a sequence `x` are
    /// called `x[0]`, `x[1]` and so on, in their order.
    pub fn survey(&self, inputs: &[(&str, DType, &[usize])], caps: &DeviceCaps) -> Survey<'_> {
        let missing: HashSet<_> = self.missing().into_iter().flat_map(|m| m.nodes).collect();
        let (seen, problem) = match self.is_importable().and_then(|()| self.seen(inputs, caps)) {
            Ok(seen) => (seen, None),
            Err(error) => (Seen::default(), Some(error)),
        };
        let mut nodes = Vec::new();
        for (at, outer) in self.graph().nodes.iter().enumerate() {
            let mut inner = vec![outer];
            inner.extend(outer.graphs.values().flat_map(|graph| graph.all_nodes()));
            for node in inner {
                let fate = match seen.fates.get(&node.name) {
                    _ if missing.contains(&node.name) => Fate::Refused,
                    Some(fate) => fate.clone(),
                    None if at < seen.reached => Fate::Gone,
                    None => Fate::Unknown,
                };
                nodes.push((node, fate));
            }
        }
        Survey { nodes, problem }
    }

    /// Imports the first stage and judges its nodes.
    fn seen(&self, inputs: &[(&str, DType, &[usize])], caps: &DeviceCaps) -> Result<Seen> {
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        for info in self.inputs().iter().filter(|info| info.form != Form::Tensor) {
            let none = match info.form {
                Form::Sequence => Value::Sequence(Vec::new()),
                _ => Value::Nothing,
            };
            values.insert(info.name.clone(), none);
        }
        for (index, &(name, dtype, extents)) in inputs.iter().enumerate() {
            let value = Value::Carried(index, Kind { dtype, extents: extents.to_vec() });
            match element(name).filter(|(sequence, _)| values.contains_key(*sequence)) {
                Some((sequence, _)) => match values.get_mut(sequence) {
                    Some(Value::Sequence(items)) => items.push(value),
                    _ => {
                        values.insert(sequence.into(), Value::Sequence(vec![value]));
                    }
                },
                None => {
                    values.insert(name.into(), value);
                }
            }
        }
        let values = values.into_iter().collect();
        let mut memo = Memo::new(self.constants().into_iter());
        let imported = import(&start(self.graph(), values), inputs.len(), &mut memo)?;
        let mut seen = Seen { reached: reached(&imported), ..Seen::default() };
        for call in imported.next.host_calls() {
            seen.note(&call.name, Fate::Cpu(call.reason.into()));
        }
        let Some(mut graph) = imported.graph else { return Ok(seen) };
        fold::fold(&mut graph, &mut |op, inputs, extents| memo.evaluate(op, inputs, extents))?;
        dead::run(&mut graph)?;
        let reasons = mixed::reasons(&graph, caps, &OnnxOptions::default())?;
        for (node, reason) in graph.nodes.iter().zip(reasons) {
            seen.note(&node.name, reason.map_or(Fate::Gpu, Fate::Cpu));
        }
        Ok(seen)
    }
}

/// What the first stage shows.
#[derive(Debug, Default)]
struct Seen {
    /// By the names of nodes.
    fates: HashMap<String, Fate>,
    /// The nodes of the main graph that were reached.
    reached: usize,
}

impl Seen {
    /// Notes a node of the graph, which has the names of the nodes around it
    /// before its own. Of several with one name the worst counts.
    fn note(&mut self, name: &str, fate: Fate) {
        let inner = name.match_indices('/').map(|(at, _)| &name[at + 1..]);
        for name in std::iter::once(name).chain(inner) {
            let known = self.fates.entry(name.into()).or_insert_with(|| fate.clone());
            *known = fate.clone().max(known.clone());
        }
    }
}

fn reached(imported: &Imported) -> usize {
    match &imported.next {
        Next::Done(_) => usize::MAX,
        Next::Go { after, .. } => after.frames.first().map_or(0, |frame| frame.at),
    }
}
