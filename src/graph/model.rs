//! The graph itself: values, nodes, states, symbols.

use super::dim::{Bindings, Dim, Symbol};
use super::types::TensorType;
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// Names a value of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

/// Names a node of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// Names a state of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub(crate) u32);

impl ValueId {
    /// The value's position in the graph's table of values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl StateId {
    /// The state's position in [`Graph::states`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The caller hands it in at each run.
    Input,
    /// Known when the graph is built.
    Constant(Tensor),
    /// The content of a state before the run.
    State(StateId),
    /// An output of a node.
    Node,
}

/// A value: name, type and source.
#[derive(Debug, Clone)]
pub struct Value {
    /// Unique among inputs, outputs and states; informative elsewhere.
    pub name: String,
    /// Element type and shape.
    pub ty: TensorType,
    /// Where it comes from.
    pub source: Source,
}

/// An operator applied to values.
#[derive(Debug, Clone)]
pub struct Node {
    /// Names the node in messages and profiles.
    pub name: String,
    /// What it computes.
    pub op: Arc<dyn Operator>,
    /// Its inputs; `None` where an optional one is absent.
    pub inputs: Vec<Option<ValueId>>,
    /// Its outputs.
    pub outputs: Vec<ValueId>,
}

/// A typed value that the session keeps from run to run and updates in place.
#[derive(Debug, Clone)]
pub struct StateInfo {
    /// The state's name.
    pub name: String,
    /// Its type; the capacity is one of its dimensions.
    pub ty: TensorType,
    /// The dimension that grows when the session's capacity does.
    pub growing: Option<usize>,
    /// Its first version, which the graph's nodes read.
    pub initial: ValueId,
    /// Its last version, which is what the next run finds.
    pub last: ValueId,
}

/// A symbol's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolInfo {
    /// Names the symbol in messages and bucket tables.
    pub name: String,
}

/// A network: nodes in an order in which they can run, and the values between
/// them. Made by [`GraphBuilder`](super::GraphBuilder) or an importer.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<(String, ValueId)>,
    pub(crate) states: Vec<StateInfo>,
    pub(crate) symbols: Vec<SymbolInfo>,
}

impl Graph {
    /// The nodes, in running order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The values handed in at each run.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The results, by name.
    pub fn outputs(&self) -> &[(String, ValueId)] {
        &self.outputs
    }

    /// The values kept from run to run.
    pub fn states(&self) -> &[StateInfo] {
        &self.states
    }

    /// The symbols, by [`Symbol::index`].
    pub fn symbols(&self) -> &[SymbolInfo] {
        &self.symbols
    }

    /// A value of this graph.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The type of a value of this graph.
    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.value(id).ty
    }

    /// The constant behind a value, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        match &self.value(id).source {
            Source::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The symbol of the given name.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols.iter().position(|s| s.name == name).map(|i| Symbol(i as u32))
    }

    /// The operand types of a node, in the form operators take them.
    pub fn input_types(&self, node: &Node) -> Vec<Option<&TensorType>> {
        node.inputs.iter().map(|id| id.map(|id| self.ty(id))).collect()
    }

    /// How many nodes and outputs read each value.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        let reads = self.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        let results = self.outputs.iter().map(|(_, id)| id);
        let kept = self.states.iter().map(|state| &state.last);
        for id in reads.chain(results).chain(kept) {
            counts[id.index()] += 1;
        }
        counts
    }

    /// Which node computes each value.
    pub fn producers(&self) -> HashMap<ValueId, usize> {
        let pairs = |(i, node): (usize, &Node)| {
            node.outputs.iter().map(move |&id| (id, i)).collect::<Vec<_>>()
        };
        self.nodes.iter().enumerate().flat_map(pairs).collect()
    }

    /// Reads symbol values off the extents of the inputs of a run.
    ///
    /// # Errors
    /// If an input is missing, has another dtype or rank, a fixed dimension
    /// differs, or two inputs disagree about a symbol.
    pub fn bind_inputs(&self, inputs: &[(&str, &Tensor)], bindings: &mut Bindings) -> Result<()> {
        for (name, _) in inputs {
            if !self.inputs.iter().any(|&id| self.value(id).name == *name) {
                let known: Vec<_> =
                    self.inputs.iter().map(|&id| self.value(id).name.as_str()).collect();
                return Err(Error::input("input name", format!("one of {known:?}"), name));
            }
        }
        for &id in &self.inputs {
            let value = self.value(id);
            let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == value.name) else {
                return Err(Error::input(format!("input '{}'", value.name), &value.ty, "nothing"));
            };
            bind(value, tensor, bindings)?;
        }
        Ok(())
    }
}

fn bind(value: &Value, tensor: &Tensor, bindings: &mut Bindings) -> Result<()> {
    let wrong = |expected: String| {
        let got = format!("{}{:?}", tensor.dtype(), tensor.extents());
        Error::input(format!("input '{}'", value.name), expected, got)
    };
    if tensor.dtype() != value.ty.dtype || tensor.extents().len() != value.ty.rank() {
        return Err(wrong(value.ty.to_string()));
    }
    for (i, (dim, &extent)) in value.ty.shape.iter().zip(tensor.extents()).enumerate() {
        let known = match dim {
            Dim::Sym(symbol) => match bindings.get(*symbol) {
                None => {
                    bindings.set(*symbol, extent as u64);
                    continue;
                }
                Some(known) => known,
            },
            other => other.eval(bindings)?,
        };
        if known != extent as u64 {
            return Err(wrong(format!("{known} in dimension {i} of {}", value.ty)));
        }
    }
    Ok(())
}
