//! The driver: node after node through the rows, until the network is done or
//! the host must look at a value.

use super::control;
use super::feeds::{Feed, Feeds};
use super::host::{self, HostCall, HostWork};
use super::memo::Memo;
use super::model::rows_of;
use super::node::{Needed, NodeCx};
use super::refused::Refused;
use super::stage::Next;
use super::state::{Frame, Kind, Role, State, Value};
use super::{Attributes, cut};
use crate::error::{Error, Result};
use crate::formats::onnx::{Constant, OnnxNode};
use crate::graph::{Bindings, Graph, GraphBuilder, ValueId};
use crate::ops::Operator;
use crate::tensor::{DType, Identity, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// The most nodes and iterations expanded in one graph.
const MOST_NODES: u64 = 1 << 18;

/// What the import of a stage gives.
#[derive(Debug)]
pub(super) struct Imported {
    /// The graph; `None` if there is nothing to compute.
    pub(super) graph: Option<Graph>,
    /// The graph's inputs, in its order.
    pub(super) inputs: Vec<Feed>,
    pub(super) next: Next,
}

/// How the import goes on.
#[derive(Debug)]
pub(super) enum Flow {
    On,
    /// The host must look at something first.
    Look(Wanted),
    Done,
}

/// What the host must look at.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Nothing: the stage is long enough.
    Nothing,
    Value(Value),
    /// Whether the innermost loop's count is below this.
    Count(i64),
    /// What the iterations of the innermost loop have gathered.
    Gathered,
    /// What the host computes.
    Host(HostWork),
}

/// A graph in the making.
#[derive(Debug)]
pub(super) struct Importer<'a> {
    pub(super) builder: GraphBuilder,
    pub(super) state: State,
    pub(super) memo: &'a mut Memo,
    /// Entries of the table.
    pub(super) entries: usize,
    pub(super) feeds: Feeds,
    carried: HashMap<usize, ValueId>,
    entries_here: HashMap<ValueId, usize>,
    constants: HashMap<Identity, ValueId>,
    nodes: u64,
    pub(super) refused: Refused,
}

/// Imports from `state` on. `entries` is the length of the table.
pub(super) fn import(state: &State, entries: usize, memo: &mut Memo) -> Result<Imported> {
    let mut importer = Importer::new(state, entries, memo, Refused::default());
    loop {
        let flow = match importer.step() {
            Err(error) if importer.can_pass(&error) => importer.pass(Some(error))?,
            other => other?,
        };
        if !matches!(flow, Flow::On) && !importer.refused.errors.is_empty() {
            return Err(Error::joined(std::mem::take(&mut importer.refused.errors)));
        }
        match flow {
            Flow::On => {}
            Flow::Done => return cut::done(importer),
            Flow::Look(wanted) => return cut::look(importer, state, wanted),
        }
    }
}

/// As [`import`], and past whatever goes wrong, which `refused` has then. `None` behind
/// the last stage.
pub(super) fn import_past(
    state: &State,
    entries: usize,
    memo: &mut Memo,
    refused: &mut Refused,
) -> Result<Option<Imported>> {
    let mut importer = Importer::new(state, entries, memo, std::mem::take(refused));
    loop {
        let (graph, at) = match importer.state.frames.as_slice() {
            [main] => (Some(main.graph.clone()), main.at),
            _ => (None, 0),
        };
        let flow = match importer.step() {
            Err(error) => importer.leave_and_pass(error),
            other => other,
        };
        if matches!(flow, Ok(Flow::On)) {
            if let Some(node) = graph.as_ref().and_then(|graph| graph.nodes.get(at)) {
                importer.note_made_up(node);
            }
            continue;
        }
        *refused = std::mem::take(&mut importer.refused);
        return match flow? {
            Flow::Look(wanted) => cut::look(importer, state, wanted).map(Some),
            Flow::On | Flow::Done => Ok(None),
        };
    }
}

impl<'a> Importer<'a> {
    fn new(state: &State, entries: usize, memo: &'a mut Memo, refused: Refused) -> Self {
        Importer {
            builder: GraphBuilder::new(),
            state: state.clone(),
            memo,
            entries,
            feeds: Feeds::default(),
            carried: HashMap::new(),
            entries_here: HashMap::new(),
            constants: HashMap::new(),
            nodes: 0,
            refused,
        }
    }
}

impl Importer<'_> {
    fn step(&mut self) -> Result<Flow> {
        let frame = self.frame()?;
        if let Role::Loop(state) = &frame.role
            && state.deciding
        {
            return control::decide(self);
        }
        match frame.graph.nodes.get(frame.at) {
            None => control::leave(self),
            Some(_) => {
                let (graph, at) = (frame.graph.clone(), frame.at);
                let node = &graph.nodes[at];
                if self.reads_lost(node) {
                    return self.pass(None);
                }
                self.spend(1, &node.name)?;
                match control::is_control(node) {
                    true => control::enter(self, node),
                    false => self.node(node),
                }
            }
        }
    }

    /// Counts what is expanded.
    pub(super) fn spend(&mut self, nodes: u64, what: &str) -> Result<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        Err(Error::Limit {
            what: format!("node '{what}'"),
            limit_name: "nodes expanded in one graph".into(),
            needed: self.nodes,
            limit: MOST_NODES,
        })
    }

    pub(super) fn frame(&self) -> Result<&Frame> {
        self.state.frames.last().ok_or_else(|| Error::internal("an import without a graph"))
    }

    pub(super) fn frame_mut(&mut self) -> Result<&mut Frame> {
        self.state.frames.last_mut().ok_or_else(|| Error::internal("an import without a graph"))
    }

    /// What a name stands for, here or around.
    pub(super) fn find(&self, name: &str) -> Result<Value> {
        for frame in self.state.frames.iter().rev() {
            if let Some(value) = frame.names.get(name) {
                return Ok(value.clone());
            }
            match frame.graph.initializers.get(name) {
                Some(Constant::Tensor(tensor)) => return Ok(Value::Known(tensor.clone())),
                Some(Constant::Unsupported(what)) => {
                    return Err(Error::unsupported(format_args!("initializer '{name}'"), what));
                }
                None => {}
            }
        }
        Err(Error::internal(format!("'{name}' has no value")))
    }

    /// What an input of a node stands for; `None` where it is absent.
    pub(super) fn optional(&self, node: &OnnxNode, index: usize) -> Result<Option<Value>> {
        match node.inputs.get(index) {
            Some(name) if !name.is_empty() => self.find(name).map(Some),
            _ => Ok(None),
        }
    }

    /// The value as one of the graph.
    pub(super) fn place(&mut self, value: &Value) -> Result<ValueId> {
        match value {
            Value::Here(id) => Ok(*id),
            Value::Known(tensor) if tensor.dtype() == DType::String => Err(no_numbers()),
            Value::Carried(_, kind) if kind.dtype == DType::String => Err(no_numbers()),
            Value::Known(tensor) => {
                let identity = Identity::of(tensor);
                if let Some(&id) = self.constants.get(&identity) {
                    return Ok(id);
                }
                let id = self.builder.constant("constant", tensor.clone())?;
                self.constants.insert(identity, id);
                Ok(id)
            }
            Value::Carried(index, kind) => {
                if let Some(&id) = self.carried.get(index) {
                    return Ok(id);
                }
                let name = self.feeds.name(self.state.called(*index));
                let shape: Vec<_> = kind.extents.iter().map(|&extent| extent.into()).collect();
                let id = self.builder.input(&name, kind.dtype, shape)?;
                self.carried.insert(*index, id);
                self.entries_here.insert(id, *index);
                self.feeds.list.push(Feed::Entry(*index));
                Ok(id)
            }
            Value::Next(..) => Err(Error::internal("a value of the next stage")),
            Value::Sequence(_) | Value::Nothing | Value::Maps(..) => Err(no_tensor()),
        }
    }

    /// The entry of the table behind a value, if it is one.
    pub(super) fn entry(&self, value: &Value) -> Option<usize> {
        match value {
            Value::Carried(index, _) => Some(*index),
            Value::Here(id) => self.entries_here.get(id).copied(),
            _ => None,
        }
    }

    /// The input of the graph that a value is, if it is one of random numbers.
    pub(super) fn drawn(&self, value: &Value) -> Option<usize> {
        match value {
            Value::Here(id) => self.feeds.drawn(*id),
            _ => None,
        }
    }

    /// The value on the host, if it is known.
    pub(super) fn host(&self, value: &Value) -> Option<Tensor> {
        match value {
            Value::Known(tensor) => Some(tensor.clone()),
            Value::Here(id) => self.builder.known(*id).cloned(),
            _ => None,
        }
    }

    pub(super) fn kind(&self, value: &Value) -> Result<Kind> {
        match value {
            Value::Known(tensor) => Ok(Kind::of(tensor)),
            Value::Carried(_, kind) | Value::Next(_, kind) => Ok(kind.clone()),
            Value::Sequence(_) | Value::Nothing | Value::Maps(..) => Err(no_tensor()),
            Value::Here(id) => {
                let ty = self.builder.ty(*id);
                Ok(Kind { dtype: ty.dtype, extents: ty.extents(&Bindings::default())? })
            }
        }
    }

    /// Applies an operator, as a row would.
    pub(super) fn apply(
        &mut self,
        name: &str,
        op: impl Operator,
        inputs: &[Value],
    ) -> Result<Value> {
        let ids = inputs.iter().map(|value| self.place(value)).collect::<Result<Vec<_>>>()?;
        let mut cx = NodeCx {
            builder: &mut self.builder,
            name,
            op_type: "",
            opset: 0,
            producer: "",
            attributes: &Attributes::default(),
            inputs: &[],
            wanted: &[],
            outputs: Vec::new(),
            labels: Vec::new(),
            needed: None,
            answers: &[],
            asked: 0,
            memo: self.memo,
            feeds: &mut self.feeds,
            drawer: name,
        };
        cx.op1(op, &ids).map(Value::Here)
    }

    /// Imports a node through its row, of those for graphs or of those for the host.
    fn node(&mut self, node: &OnnxNode) -> Result<Flow> {
        let values = (0..node.inputs.len()).map(|index| self.optional(node, index));
        let values = values.collect::<Result<Vec<_>>>()?;
        if let Some(value) = as_it_is(node, &values)? {
            self.bind(node, vec![Some(value)])?;
            return Ok(Flow::On);
        }
        let name = format!("{}{}", self.frame()?.prefix, node.name);
        let dtypes = values.iter().map(|value| {
            let kind = value.as_ref().map(|value| self.kind(value)).transpose();
            kind.map(|kind| kind.map(|kind| kind.dtype))
        });
        let dtypes = dtypes.collect::<Result<Vec<_>>>().map_err(|e| named(e, node, &name))?;
        let known = values.iter().flatten().all(|value| self.host(value).is_some());
        if let Some(row) = host::row_for(node, &dtypes, known) {
            let call =
                HostCall { node: node.clone(), name, compute: row.compute, reason: row.reason() };
            let outputs = vec![Some(Value::Nothing); node.outputs.len()];
            let names = node.outputs.clone();
            return self.on_host(
                node,
                outputs,
                HostWork { call: call.into(), inputs: values, names },
            );
        }
        let row = rows_of(&node.domain, &node.op_type, node.opset).ok_or_else(|| {
            let at = format!("node '{}' ({})", node.name, node.op_type);
            Error::unsupported(at, format_args!("the operator at opset {}", node.opset))
        })?;
        let mut inputs = Vec::with_capacity(values.len());
        let extents_only = node.domain.is_empty() && matches!(&*node.op_type, "Shape" | "Size");
        for (value, dtype) in values.into_iter().zip(dtypes) {
            // Of strings the extents are known as they are of numbers.
            let value = match value {
                Some(value) if extents_only && dtype == Some(DType::String) => {
                    let extents = self.kind(&value)?.extents;
                    let zeros = vec![0; extents.iter().product()];
                    Some(Value::Known(Tensor::new(DType::U8, &extents, zeros)?))
                }
                value => value,
            };
            let placed = value.map(|value| self.place(&value)).transpose();
            inputs.push(placed.map_err(|e| named(e, node, &name))?);
        }
        let answers = self.state.answers.iter().map(|answer| match answer {
            Some(Value::Known(tensor)) => Some(tensor.clone()),
            _ => None,
        });
        let answers = answers.collect::<Vec<_>>();
        let mut cx = NodeCx {
            builder: &mut self.builder,
            name: &name,
            op_type: &node.op_type,
            opset: node.opset,
            producer: &node.producer,
            attributes: &node.attributes,
            inputs: &inputs,
            wanted: &node.outputs,
            outputs: Vec::new(),
            labels: Vec::new(),
            needed: None,
            answers: &answers,
            asked: 0,
            memo: self.memo,
            feeds: &mut self.feeds,
            drawer: &node.name,
        };
        let result = (row.import)(&mut cx);
        let (needed, outputs) = (cx.needed, std::mem::take(&mut cx.outputs));
        let labels = std::mem::take(&mut cx.labels);
        match (result, needed) {
            (Ok(()), _) => {}
            (Err(_), Some(Needed::Input(index))) => {
                let value = self.optional(node, index)?;
                let value = value.ok_or_else(|| Error::internal("an absent input is needed"))?;
                // The row may have seen it as a value of this graph.
                return Ok(Flow::Look(Wanted::Value(value)));
            }
            (Err(_), Some(Needed::Made(question, id))) => {
                let value = Value::Here(id);
                if self.state.answers.len() <= question {
                    self.state.answers.resize(question + 1, None);
                }
                self.state.answers[question] = Some(value.clone());
                return Ok(Flow::Look(Wanted::Value(value)));
            }
            (Err(error), None) => return Err(named(error, node, &name)),
        }
        self.state.answers.clear();
        let outputs: Vec<_> = outputs.into_iter().map(|id| id.map(Value::Here)).collect();
        match labels.into_iter().next() {
            None => {
                self.bind(node, outputs)?;
                Ok(Flow::On)
            }
            Some(labels) => self.labelled(node, &name, outputs, labels),
        }
    }

    /// Gives the outputs of the current node their values and goes on.
    pub(super) fn bind(&mut self, node: &OnnxNode, values: Vec<Option<Value>>) -> Result<()> {
        let mut values = values.into_iter();
        let frame = self.frame_mut()?;
        for (index, name) in node.outputs.iter().enumerate() {
            match values.next().flatten() {
                Some(value) if !name.is_empty() => {
                    frame.names.insert(name.clone(), value);
                }
                None if !name.is_empty() => {
                    let at = format!("node '{}' ({})", node.name, node.op_type);
                    return Err(Error::unsupported(at, format_args!("output {index}")));
                }
                _ => {}
            }
        }
        frame.at += 1;
        Ok(())
    }
}

/// The result of a node that no row need see: a constant of strings, or an input
/// that is no tensor and given on.
fn as_it_is(node: &OnnxNode, inputs: &[Option<Value>]) -> Result<Option<Value>> {
    if !node.domain.is_empty() {
        return Ok(None);
    }
    match (node.op_type.as_str(), inputs) {
        ("Identity", [Some(value)]) if !value.is_tensor() => Ok(Some(value.clone())),
        ("Constant", []) => {
            let words = super::rows::strings(&node.attributes);
            Ok(words.map_err(|e| named(e, node, &node.name))?.map(Value::Known))
        }
        _ => Ok(None),
    }
}

fn no_numbers() -> Error {
    Error::rule("", "a tensor of numbers is expected, not one of strings")
}

pub(super) fn no_tensor() -> Error {
    Error::rule("", "a tensor is expected, not a sequence or an absent optional value")
}

/// Names the node in an error that does not.
pub(super) fn named(error: Error, node: &OnnxNode, name: &str) -> Error {
    match error.at_node(name) {
        Error::Graph { node: at, op, what } if op.is_empty() => {
            Error::Graph { node: at, op: node.op_type.clone(), what }
        }
        Error::Internal(what) => Error::Internal(format!("node '{name}': {what}")),
        Error::Input { name: of, expected, got } => {
            Error::Input { name: format!("node '{name}' ({}): {of}", node.op_type), expected, got }
        }
        Error::Limit { what, limit_name, needed, limit } => {
            let what = format!("node '{name}' ({}): {what}", node.op_type);
            Error::Limit { what, limit_name, needed, limit }
        }
        other => other,
    }
}

/// The state before the first node. Tensors among the inputs are entries of the
/// table.
pub(super) fn start(
    graph: &Arc<crate::formats::onnx::OnnxGraph>,
    inputs: Vec<(String, Value)>,
) -> State {
    let frame = Frame {
        graph: graph.clone(),
        at: 0,
        names: inputs.into_iter().collect(),
        prefix: String::new(),
        role: Role::Main,
    };
    State { frames: vec![frame], answers: Vec::new() }
}
