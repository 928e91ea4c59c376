//! What fusion passes share: asking what computes a value, and replacing nodes.

use crate::graph::{Dim, Graph, Node, Source, TensorType, Value, ValueId};
use crate::ops::Operator;
use crate::tensor::Tensor;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A graph being rewritten: nodes are taken out and put in by position.
pub(super) struct Rewrite<'g> {
    pub(super) graph: &'g mut Graph,
    producers: HashMap<ValueId, usize>,
    uses: Vec<usize>,
    removed: HashSet<usize>,
    replaced: HashMap<usize, Node>,
}

impl<'g> Rewrite<'g> {
    pub(super) fn new(graph: &'g mut Graph) -> Self {
        let (producers, uses) = (graph.producers(), graph.use_counts());
        let (removed, replaced) = (HashSet::new(), HashMap::new());
        Rewrite { graph, producers, uses, removed, replaced }
    }

    /// How many nodes there are; positions are below it.
    pub(super) fn len(&self) -> usize {
        self.graph.nodes.len()
    }

    /// The node at a position, if no rewrite has touched it.
    pub(super) fn node(&self, at: usize) -> Option<&Node> {
        let touched = self.removed.contains(&at) || self.replaced.contains_key(&at);
        if touched { None } else { self.graph.nodes.get(at) }
    }

    /// The node at a position as an operator of type `T`.
    pub(super) fn op<T: Operator>(&self, at: usize) -> Option<(&Node, &T)> {
        let node = self.node(at)?;
        let op: &dyn Any = &*node.op;
        Some((node, op.downcast_ref::<T>()?))
    }

    /// Where a value is computed, if only one reader reads it.
    pub(super) fn sole(&self, id: ValueId) -> Option<usize> {
        (self.uses[id.index()] == 1).then(|| self.producers.get(&id).copied()).flatten()
    }

    /// Where a value is computed.
    pub(super) fn producer(&self, id: ValueId) -> Option<usize> {
        self.producers.get(&id).copied()
    }

    /// Whether every input of a node at `from` is known at `to` already.
    pub(super) fn known_at(&self, inputs: &[Option<ValueId>], to: usize) -> bool {
        inputs.iter().flatten().all(|id| self.producers.get(id).is_none_or(|&at| at < to))
    }

    pub(super) fn ty(&self, id: ValueId) -> &TensorType {
        self.graph.ty(id)
    }

    /// A value known now, for one reader.
    pub(super) fn constant(&mut self, tensor: Tensor) -> ValueId {
        let id = ValueId(self.graph.values.len() as u32);
        let shape: Vec<Dim> = tensor.extents().iter().map(|&n| n.into()).collect();
        let ty = TensorType::new(tensor.dtype(), shape);
        let name = format!("folded_{}", id.0);
        self.graph.values.push(Value { name, ty, source: Source::Constant(tensor) });
        self.uses.push(1);
        id
    }

    /// Puts a fused node in place of the one at `at` and takes `others` out. The
    /// outputs it names keep their meaning and their types; if the operator's
    /// shape rule does not agree, nothing is changed.
    pub(super) fn fuse(
        &mut self,
        at: usize,
        others: &[usize],
        op: impl Operator,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<ValueId>,
    ) -> bool {
        let types: Vec<_> = inputs.iter().map(|id| id.map(|id| self.graph.ty(id))).collect();
        let expected: Vec<_> = outputs.iter().map(|&id| self.graph.ty(id).clone()).collect();
        if op.infer(&types).ok().as_ref() != Some(&expected) {
            return false;
        }
        let name = self.graph.nodes[at].name.clone();
        self.replaced.insert(at, Node { name, op: Arc::new(op), inputs, outputs });
        self.removed.extend(others.iter().copied());
        true
    }

    /// Ends the rewriting; says how many nodes were fused.
    pub(super) fn finish(mut self) -> usize {
        let nodes = std::mem::take(&mut self.graph.nodes);
        for (at, node) in nodes.into_iter().enumerate() {
            if let Some(fused) = self.replaced.remove(&at) {
                self.graph.nodes.push(fused);
            } else if !self.removed.contains(&at) {
                self.graph.nodes.push(node);
            }
        }
        self.removed.len()
    }
}
