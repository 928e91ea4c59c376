//! Building graphs by hand.

use super::dim::Symbol;
use super::model::{Graph, Node, Source, StateId, StateInfo, SymbolInfo, Value, ValueId};
use super::types::{Shape, TensorType};
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::tensor::{DType, MAX_RANK, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Builds a [`Graph`] node by node. Shapes are inferred, and mistakes
/// reported, at each call.
///
/// Every operator family adds its own methods (`matmul`, `softmax`, ...) next
/// to its definition in `ops`; [`GraphBuilder::op`] takes any operator,
/// built-in or the application's own.
///
/// ```
/// use wginfer::graph::GraphBuilder;
/// use wginfer::{DType, Tensor};
///
/// let mut g = GraphBuilder::new();
/// let rows = g.symbol("rows");
/// let x = g.input("x", DType::F32, [rows.into(), 4.into()])?;
/// let w = g.constant("w", Tensor::from_f32(&[4, 2], &[0.5; 8])?)?;
/// let y = g.matmul(x, w)?;
/// g.output("y", y)?;
/// let graph = g.finish()?;
/// assert_eq!(graph.outputs().len(), 1);
/// # Ok::<(), wginfer::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
    names: HashSet<String>,
    versions: HashMap<ValueId, StateId>,
    prefix: String,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// The symbol of the given name, made at its first use.
    pub fn symbol(&mut self, name: &str) -> Symbol {
        self.graph.symbol(name).unwrap_or_else(|| {
            self.graph.symbols.push(SymbolInfo { name: name.into() });
            Symbol(self.graph.symbols.len() as u32 - 1)
        })
    }

    /// Sets the text put before the names of nodes added from now on.
    pub fn scope(&mut self, prefix: impl Into<String>) {
        self.prefix = prefix.into();
    }

    /// A value the caller hands in at each run.
    ///
    /// # Errors
    /// If the name is taken or the rank exceeds [`MAX_RANK`].
    pub fn input(&mut self, name: &str, dtype: DType, shape: impl Into<Shape>) -> Result<ValueId> {
        let id = self.named(name, TensorType::new(dtype, shape), Source::Input)?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// A value known now, such as a weight. Shared, not copied.
    ///
    /// # Errors
    /// If the rank exceeds [`MAX_RANK`].
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        let shape: Shape = tensor.extents().iter().map(|&n| n.into()).collect();
        let ty = TensorType::new(tensor.dtype(), shape);
        self.value(name.to_string(), ty, Source::Constant(tensor))
    }

    /// A value the session keeps from run to run, zero at first. `growing`
    /// names the dimension that is the state's capacity, if it has one.
    ///
    /// # Errors
    /// If the name is taken or the rank exceeds [`MAX_RANK`].
    pub fn state(
        &mut self,
        name: &str,
        dtype: DType,
        shape: impl Into<Shape>,
        growing: Option<usize>,
    ) -> Result<ValueId> {
        let ty = TensorType::new(dtype, shape);
        if let Some(axis) = growing
            && axis >= ty.rank()
        {
            return Err(Error::input(format!("growing axis of state '{name}'"), &ty, axis));
        }
        let id = StateId(self.graph.states.len() as u32);
        let value = self.named(name, ty.clone(), Source::State(id))?;
        self.graph.states.push(StateInfo {
            name: name.into(),
            ty,
            growing,
            initial: value,
            last: value,
        });
        self.versions.insert(value, id);
        Ok(value)
    }

    /// Applies an operator; the node is named after it.
    ///
    /// # Errors
    /// Whatever the operator's shape rule finds wrong, naming the node; or a
    /// state's version that is read or updated after a newer one exists.
    pub fn op(&mut self, op: impl Operator, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        let name = format!("{}{}_{}", self.prefix, op.name(), self.graph.nodes.len());
        self.node(&name, Arc::new(op), inputs)
    }

    /// Applies an operator that has one output to inputs that are all present.
    ///
    /// # Errors
    /// As [`GraphBuilder::op`].
    pub fn op1(&mut self, op: impl Operator, inputs: &[ValueId]) -> Result<ValueId> {
        let inputs: Vec<_> = inputs.iter().map(|&id| Some(id)).collect();
        let outputs = self.op(op, &inputs)?;
        outputs.first().copied().ok_or_else(|| Error::internal("an operator without output"))
    }

    /// Applies an operator under a name of the caller's choice.
    ///
    /// # Errors
    /// As [`GraphBuilder::op`].
    pub fn node(
        &mut self,
        name: &str,
        op: Arc<dyn Operator>,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<ValueId>> {
        for &id in inputs.iter().flatten() {
            if id.index() >= self.graph.values.len() {
                return Err(Error::input("value", "a value of this graph", format!("{id:?}")));
            }
            self.check_state_version(name, op.name(), id)?;
        }
        let types: Vec<_> = inputs.iter().map(|id| id.map(|id| self.graph.ty(id))).collect();
        let results = op.infer(&types).map_err(|e| e.at_node(name))?;
        let mut outputs = Vec::with_capacity(results.len());
        for (i, ty) in results.into_iter().enumerate() {
            let label = if i == 0 { name.to_string() } else { format!("{name}.{i}") };
            outputs.push(self.value(label, ty, Source::Node)?);
        }
        for &(input, output) in op.updates() {
            let old = inputs.get(input).copied().flatten();
            self.update_state(old, outputs.get(output).copied());
        }
        self.graph.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        });
        Ok(outputs)
    }

    /// Makes a value a result of the graph.
    ///
    /// # Errors
    /// If another result has the name.
    pub fn output(&mut self, name: &str, value: ValueId) -> Result<()> {
        if self.graph.outputs.iter().any(|(other, _)| other == name) {
            return Err(Error::input("output name", "a name not used yet", name));
        }
        self.graph.outputs.push((name.into(), value));
        Ok(())
    }

    /// The type of a value so far.
    pub fn ty(&self, id: ValueId) -> &TensorType {
        self.graph.ty(id)
    }

    /// The content of a value that is known now.
    pub fn known(&self, id: ValueId) -> Option<&Tensor> {
        self.graph.constant(id)
    }

    /// Ends building.
    ///
    /// # Errors
    /// If the graph has neither results nor states.
    pub fn finish(self) -> Result<Graph> {
        if self.graph.outputs.is_empty() && self.graph.states.is_empty() {
            return Err(Error::input("graph", "at least one output", "none"));
        }
        Ok(self.graph)
    }

    fn named(&mut self, name: &str, ty: TensorType, source: Source) -> Result<ValueId> {
        if !self.names.insert(name.to_string()) {
            return Err(Error::input("name", "a name not used yet", name));
        }
        self.value(name.to_string(), ty, source)
    }

    fn value(&mut self, name: String, ty: TensorType, source: Source) -> Result<ValueId> {
        if ty.rank() > MAX_RANK {
            return Err(Error::input(
                format!("rank of '{name}'"),
                format!("at most {MAX_RANK}"),
                ty,
            ));
        }
        self.graph.values.push(Value { name, ty, source });
        Ok(ValueId(self.graph.values.len() as u32 - 1))
    }

    /// A state is one piece of memory: only its newest version can be read.
    fn check_state_version(&self, node: &str, op: &str, id: ValueId) -> Result<()> {
        let Some(state) = self.versions.get(&id).map(|s| &self.graph.states[s.index()]) else {
            return Ok(());
        };
        if state.last == id {
            return Ok(());
        }
        let what = format!("reads an old version of '{}', which is updated in place", state.name);
        Err(Error::rule(op, what).at_node(node))
    }

    /// Makes an output the newest version of the state behind an input. An
    /// ordinary value behind it is left alone: lowering copies it first.
    fn update_state(&mut self, old: Option<ValueId>, new: Option<ValueId>) {
        let (Some(old), Some(new)) = (old, new) else { return };
        if let Some(&state) = self.versions.get(&old) {
            self.graph.states[state.index()].last = new;
            self.versions.insert(new, state);
        }
    }
}
