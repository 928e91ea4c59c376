//! Where an import stands: what is needed to go on with it.

use crate::formats::onnx::{OnnxGraph, OnnxNode};
use crate::graph::ValueId;
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Known tensors up to this many bytes are told apart by content, larger ones
/// by where they are.
const SMALL: usize = 256;

/// Element type and extents.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) dtype: DType,
    pub(super) extents: Vec<usize>,
}

impl Kind {
    pub(super) fn of(tensor: &Tensor) -> Self {
        Kind { dtype: tensor.dtype(), extents: tensor.extents().to_vec() }
    }
}

/// What a name of the model stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Known now.
    Known(Tensor),
    /// An entry of the table that a run carries from stage to stage.
    Carried(usize, Kind),
    /// A value of the graph in the making.
    Here(ValueId),
    /// While a stage is ended: an entry of the next table.
    Next(usize, Kind),
    /// Values one after another.
    Sequence(Vec<Value>),
    /// An optional value that is absent. One that is there is the value itself.
    Nothing,
    /// A sequence of maps, one for each row of a matrix: all have these keys, and the
    /// row's elements for them.
    Maps(Tensor, Box<Value>),
}

impl Value {
    /// Whether it is a tensor.
    pub(super) fn is_tensor(&self) -> bool {
        !matches!(self, Value::Sequence(_) | Value::Nothing | Value::Maps(..))
    }

    /// The tensors in it.
    pub(super) fn tensors(&mut self, visit: &mut dyn FnMut(&mut Value)) {
        match self {
            Value::Sequence(items) => items.iter_mut().for_each(|item| item.tensors(visit)),
            Value::Nothing => {}
            Value::Maps(_, rows) => rows.tensors(visit),
            tensor => visit(tensor),
        }
    }
}

/// A graph of the model being imported: the network itself, or a body.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) graph: Arc<OnnxGraph>,
    /// The node that comes next.
    pub(super) at: usize,
    pub(super) names: BTreeMap<String, Value>,
    /// Put before the names of nodes.
    pub(super) prefix: String,
    pub(super) role: Role,
}

/// What a frame is of the one below it.
#[derive(Debug, Clone)]
pub(super) enum Role {
    /// The network.
    Main,
    /// The branch that an `If` takes.
    Branch,
    /// The body of a `Loop`.
    Loop(Box<LoopState>),
    /// The body of a `Scan`.
    Scan(Box<ScanState>),
    /// The body of a `SequenceMap`.
    Map(Box<MapState>),
    /// A body of a `FlexAttention`.
    Flex(Box<FlexState>),
}

/// Where a `Loop` stands.
#[derive(Debug, Clone)]
pub(super) struct LoopState {
    /// Whether it is between iterations.
    pub(super) deciding: bool,
    /// Whether the next iteration takes place, once that is known.
    pub(super) decided: Option<bool>,
    /// The number of the iteration.
    pub(super) count: Value,
    /// Iterations done since `count` was carried.
    pub(super) plus: i64,
    pub(super) trip: Option<Value>,
    pub(super) cond: Option<Value>,
    pub(super) carried: Vec<Value>,
    /// What of `carried` was known as the iteration began.
    pub(super) start: Vec<Option<Tensor>>,
    /// Whether each iteration is a stage of its own.
    pub(super) staged: bool,
    pub(super) scans: Vec<Gathered>,
}

/// What the iterations of a loop give for one scan output.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered {
    /// What earlier stages gave: an entry of the table.
    pub(super) list: Option<usize>,
    /// What this stage gave.
    pub(super) items: Vec<Value>,
    /// All of it in one.
    pub(super) stacked: Option<Value>,
}

/// Where a `Scan` stands.
#[derive(Debug, Clone)]
pub(super) struct ScanState {
    pub(super) at: usize,
    pub(super) trip: usize,
    pub(super) states: Vec<Value>,
    pub(super) inputs: Vec<Scanned>,
    pub(super) outputs: Vec<Vec<Value>>,
    pub(super) batch: Option<Batch>,
}

/// The sequences of a batch, which a `Scan` of opset 8 goes through one by one.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// The one that is gone through.
    pub(super) at: usize,
    /// How many elements each has.
    pub(super) lengths: Vec<usize>,
    /// How many elements there is room for.
    pub(super) longest: usize,
    /// What states begin with, for all of the batch.
    pub(super) states: Vec<Value>,
    /// What is scanned, for all of the batch.
    pub(super) inputs: Vec<Scanned>,
    /// What each sequence gave: states, then outputs.
    pub(super) done: Vec<Vec<Value>>,
}

/// An input of a `Scan` that is cut into slices.
#[derive(Debug, Clone)]
pub(super) struct Scanned {
    pub(super) value: Value,
    pub(super) axis: usize,
    pub(super) reverse: bool,
}

/// Where a `FlexAttention` stands.
#[derive(Debug, Clone)]
pub(super) struct FlexState {
    /// The values, one head for each head of queries, F32.
    pub(super) v: Value,
    /// The type of the result.
    pub(super) dtype: DType,
    /// Whether the body changes probabilities, or scores.
    pub(super) probabilities: bool,
}

/// Where a `SequenceMap` stands.
#[derive(Debug, Clone)]
pub(super) struct MapState {
    pub(super) at: usize,
    pub(super) count: usize,
    pub(super) inputs: Vec<Value>,
    pub(super) outputs: Vec<Vec<Value>>,
}

/// Where an import stands.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) frames: Vec<Frame>,
    /// What the row of the current node asked for, by its count of questions.
    pub(super) answers: Vec<Option<Value>>,
}

impl State {
    /// Every tensor but the counts of loops, in an order that depends on nothing else.
    pub(super) fn values(&mut self, visit: &mut dyn FnMut(&mut Value)) {
        let visit = &mut |value: &mut Value| value.tensors(visit);
        for frame in &mut self.frames {
            frame.names.values_mut().for_each(&mut *visit);
            match &mut frame.role {
                Role::Main | Role::Branch => {}
                Role::Loop(state) => state.values(visit),
                Role::Scan(state) => {
                    state.states.iter_mut().for_each(&mut *visit);
                    state.inputs.iter_mut().for_each(|input| visit(&mut input.value));
                    state.outputs.iter_mut().flatten().for_each(&mut *visit);
                    if let Some(batch) = &mut state.batch {
                        batch.states.iter_mut().for_each(&mut *visit);
                        batch.inputs.iter_mut().for_each(|input| visit(&mut input.value));
                        batch.done.iter_mut().flatten().for_each(&mut *visit);
                    }
                }
                Role::Flex(state) => visit(&mut state.v),
                Role::Map(state) => {
                    state.inputs.iter_mut().for_each(&mut *visit);
                    state.outputs.iter_mut().flatten().for_each(&mut *visit);
                }
            }
        }
        self.answers.iter_mut().flatten().for_each(visit);
    }

    /// The node of the outermost loop that it stands in.
    pub(super) fn looping(&self) -> Option<&OnnxNode> {
        let is_loop = |frame: &Frame| matches!(frame.role, Role::Loop(_));
        let below = self.frames.iter().position(is_loop)?.checked_sub(1)?;
        let frame = self.frames.get(below)?;
        frame.graph.nodes.get(frame.at)
    }

    /// What the model calls an entry of the table.
    pub(super) fn called(&self, entry: usize) -> Option<&str> {
        let is = |value: &Value| matches!(value, Value::Carried(index, _) if *index == entry);
        let names = self.frames.iter().rev().flat_map(|frame| &frame.names);
        names.into_iter().find(|(_, value)| is(value)).map(|(name, _)| name.as_str())
    }

    /// The loops, outermost first.
    pub(super) fn loops(&mut self) -> impl Iterator<Item = &mut LoopState> {
        self.frames.iter_mut().filter_map(|frame| match &mut frame.role {
            Role::Loop(state) => Some(state.as_mut()),
            _ => None,
        })
    }

    /// Forgets values that nothing reads any more.
    pub(super) fn trim(&mut self) {
        for frame in &mut self.frames {
            let (at, uses) = (frame.at, &frame.graph.last_use);
            frame.names.retain(|name, _| uses.get(name).is_some_and(|&last| last >= at));
        }
    }

    /// An entry of the table is known now.
    pub(super) fn learn(&mut self, index: usize, tensor: &Tensor) {
        let mut visit = |value: &mut Value| {
            if matches!(value, Value::Carried(other, _) if *other == index) {
                *value = Value::Known(tensor.clone());
            }
        };
        self.values(&mut visit);
        self.loops().filter(|state| state.plus == 0).for_each(|state| visit(&mut state.count));
    }

    /// An entry of the table has this type.
    pub(super) fn shape(&mut self, index: usize, kind: &Kind) {
        self.values(&mut |value| {
            if let Value::Carried(other, old) = value
                && *other == index
            {
                *old = kind.clone();
            }
        });
    }

    /// Equal for states from which the import goes on in the same way. Holds
    /// while the tensors of the state live.
    pub(super) fn signature(&self) -> Vec<u8> {
        let mut key = Key::default();
        for frame in &self.frames {
            key.number(Arc::as_ptr(&frame.graph) as usize).number(frame.at);
            key.number(frame.names.len());
            for (name, value) in &frame.names {
                key.bytes(name.as_bytes()).value(value);
            }
            match &frame.role {
                Role::Main => key.number(0),
                Role::Branch => key.number(1),
                Role::Loop(state) => key.number(2).looped(state),
                Role::Scan(state) => key.number(3).scanned(state),
                Role::Map(state) => key.number(4).mapped(state),
                Role::Flex(state) => {
                    key.number(5).number(usize::from(state.probabilities));
                    key.kind(state.dtype, &[]).value(&state.v);
                    &mut key
                }
            };
        }
        key.list(self.answers.iter(), |key, answer| {
            key.list(answer.iter(), Key::value);
        });
        key.0
    }
}

impl LoopState {
    fn values(&mut self, visit: &mut dyn FnMut(&mut Value)) {
        self.trip.iter_mut().for_each(&mut *visit);
        self.cond.iter_mut().for_each(&mut *visit);
        self.carried.iter_mut().for_each(&mut *visit);
        for scan in &mut self.scans {
            scan.items.iter_mut().for_each(&mut *visit);
            scan.stacked.iter_mut().for_each(&mut *visit);
        }
    }
}

/// A signature in the making.
#[derive(Debug, Default)]
struct Key(Vec<u8>);

impl Key {
    fn number(&mut self, number: usize) -> &mut Self {
        self.0.extend_from_slice(&(number as u64).to_le_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len()).0.extend_from_slice(bytes);
        self
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, each: fn(&mut Self, T)) {
        self.number(items.len());
        items.for_each(|item| each(self, item));
    }

    fn kind(&mut self, dtype: DType, extents: &[usize]) -> &mut Self {
        self.bytes(dtype.name().as_bytes()).number(extents.len());
        extents.iter().fold(self, |key, &extent| key.number(extent))
    }

    fn tensor(&mut self, tensor: &Tensor) -> &mut Self {
        self.kind(tensor.dtype(), tensor.extents());
        match tensor.bytes().len() {
            ..=SMALL => self.number(0).bytes(tensor.bytes()),
            _ => self.number(1).number(tensor.bytes().as_ptr() as usize),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Known(tensor) => {
                self.number(0).tensor(tensor);
            }
            Value::Carried(index, kind) => {
                self.number(2).number(*index).kind(kind.dtype, &kind.extents);
            }
            // Neither is left when a state is complete.
            Value::Here(id) => {
                self.number(3).number(id.index());
            }
            Value::Next(index, _) => {
                self.number(4).number(*index);
            }
            Value::Sequence(items) => {
                self.number(5).list(items.iter(), Key::value);
            }
            Value::Nothing => {
                self.number(6);
            }
            Value::Maps(keys, rows) => {
                self.number(7).tensor(keys).value(rows);
            }
        }
    }

    fn looped(&mut self, state: &LoopState) -> &mut Self {
        self.number(usize::from(state.deciding)).number(usize::from(state.staged));
        self.number(state.decided.map_or(2, usize::from)).number(state.plus as usize);
        self.value(&state.count);
        self.list(state.trip.iter(), Key::value);
        self.list(state.cond.iter(), Key::value);
        self.list(state.carried.iter(), Key::value);
        self.list(state.start.iter(), |key, known| {
            key.list(known.iter(), |key, tensor| {
                key.tensor(tensor);
            });
        });
        self.list(state.scans.iter(), |key, scan| {
            key.number(scan.list.map_or(0, |index| index + 1));
            key.list(scan.items.iter(), Key::value);
            key.list(scan.stacked.iter(), Key::value);
        });
        self
    }

    fn scanned(&mut self, state: &ScanState) -> &mut Self {
        self.number(state.at).number(state.trip);
        self.list(state.states.iter(), Key::value);
        self.list(state.inputs.iter(), Key::scanned_input);
        self.list(state.outputs.iter(), |key, items| key.list(items.iter(), Key::value));
        self.list(state.batch.iter(), |key, batch| {
            key.number(batch.at).number(batch.longest);
            key.list(batch.lengths.iter(), |key, &length| {
                key.number(length);
            });
            key.list(batch.states.iter(), Key::value);
            key.list(batch.inputs.iter(), Key::scanned_input);
            key.list(batch.done.iter(), |key, items| key.list(items.iter(), Key::value));
        });
        self
    }

    fn scanned_input(&mut self, input: &Scanned) {
        self.number(input.axis).number(usize::from(input.reverse)).value(&input.value);
    }

    fn mapped(&mut self, state: &MapState) -> &mut Self {
        self.number(state.at).number(state.count);
        self.list(state.inputs.iter(), Key::value);
        self.list(state.outputs.iter(), |key, items| key.list(items.iter(), Key::value));
        self
    }
}
