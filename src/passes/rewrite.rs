//! What fusion passes share: asking what computes a value, and replacing nodes.

use crate::graph::{Graph, Node, Source, TensorType, Value, ValueId};
use crate::ops::{Operator, RefTensor};
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
    replaced: HashMap<usize, Vec<Node>>,
}

/// A node in the making: operator, output, inputs.
type Link = (Arc<dyn Operator>, ValueId, Vec<Option<ValueId>>);

/// Nodes in the making, one after another.
pub(super) struct Chain {
    nodes: Vec<Link>,
    sound: bool,
}

impl Chain {
    pub(super) fn new() -> Self {
        Chain { nodes: Vec::new(), sound: true }
    }
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

    /// The first output of the node at a position.
    pub(super) fn result(&self, at: usize) -> Option<ValueId> {
        self.node(at)?.outputs.first().copied()
    }

    /// Whether every input of a node at `from` is known at `to` already.
    pub(super) fn known_at(&self, inputs: &[Option<ValueId>], to: usize) -> bool {
        inputs.iter().flatten().all(|id| self.producers.get(id).is_none_or(|&at| at < to))
    }

    pub(super) fn ty(&self, id: ValueId) -> &TensorType {
        self.graph.ty(id)
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
        self.replaced.insert(at, vec![Node { name, op: Arc::new(op), inputs, outputs }]);
        self.removed.extend(others.iter().copied());
        true
    }

    /// Gives the fused node at `at` another name than that of the node it replaces.
    pub(super) fn rename(&mut self, at: usize, name: String) {
        if let Some([node]) = self.replaced.get_mut(&at).map(Vec::as_mut_slice) {
            node.name = name;
        }
    }

    /// Whether nobody but the nodes in `set` reads what they compute, save for
    /// the last result, which is that of the node at `root`.
    pub(super) fn private(&self, set: &[usize], root: usize) -> bool {
        let mut inside: HashMap<ValueId, usize> = HashMap::new();
        let set: HashSet<usize> = set.iter().copied().collect();
        for node in set.iter().filter_map(|&at| self.node(at)) {
            for id in node.inputs.iter().flatten() {
                *inside.entry(*id).or_default() += 1;
            }
        }
        let own = |at: &&usize| **at != root;
        let outputs = set.iter().filter(own).filter_map(|&at| self.node(at));
        let mut outputs = outputs.flat_map(|node| &node.outputs);
        outputs.all(|id| self.uses[id.index()] == inside.get(id).copied().unwrap_or(0))
    }

    /// The number in a constant of one element.
    pub(super) fn number(&self, id: ValueId) -> Option<f64> {
        let tensor = self.graph.constant(id).filter(|tensor| tensor.len() == 1)?;
        RefTensor::from_tensor(tensor).ok()?.reals().ok()?.first().copied()
    }

    /// A new constant.
    pub(super) fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let shape: Vec<_> = tensor.extents().iter().map(|&n| n.into()).collect();
        let ty = TensorType::new(tensor.dtype(), shape);
        self.value(name, ty, Source::Constant(tensor))
    }

    fn value(&mut self, name: &str, ty: TensorType, source: Source) -> ValueId {
        self.graph.values.push(Value { name: name.into(), ty, source });
        self.uses.push(0);
        ValueId(self.graph.values.len() as u32 - 1)
    }

    /// Several nodes in place of the one at `at`, the last of which has its
    /// outputs; `others` are taken out. If a shape rule does not agree, nothing
    /// is changed.
    pub(super) fn fuse_chain(
        &mut self,
        at: usize,
        others: &[usize],
        chain: Chain,
        outputs: Vec<ValueId>,
    ) -> bool {
        let expected: Vec<_> = outputs.iter().map(|&id| self.graph.ty(id).clone()).collect();
        let ends = chain.nodes.last().map(|node| &node.1);
        if !chain.sound || ends.is_none_or(|id| self.graph.ty(*id) != &expected[0]) {
            return false;
        }
        let name = self.graph.nodes[at].name.clone();
        let count = chain.nodes.len();
        let mut nodes = Vec::with_capacity(count);
        for (i, (op, output, inputs)) in chain.nodes.into_iter().enumerate() {
            let last = i + 1 == count;
            let outputs = if last { outputs.clone() } else { vec![output] };
            let name = if last { name.clone() } else { format!("{name}/{i}") };
            nodes.push(Node { name, op, inputs, outputs });
        }
        self.replaced.insert(at, nodes);
        self.removed.extend(others.iter().copied());
        true
    }

    /// Appends an operator of one output to a chain.
    pub(super) fn append(
        &mut self,
        chain: &mut Chain,
        op: impl Operator,
        inputs: &[Option<ValueId>],
    ) -> ValueId {
        let types: Vec<_> = inputs.iter().map(|id| id.map(|id| self.graph.ty(id))).collect();
        let ty = op.infer(&types).ok().and_then(|types| types.into_iter().next());
        // What does not fit stands in for the first input and spoils the chain.
        chain.sound &= ty.is_some();
        let ty = ty.or_else(|| types.first().cloned().flatten().cloned());
        let ty = ty.unwrap_or_else(|| TensorType::new(crate::tensor::DType::F32, []));
        let output = self.value("fused", ty, Source::Node);
        chain.nodes.push((Arc::new(op), output, inputs.to_vec()));
        output
    }

    /// Ends the rewriting; says how many nodes were fused.
    pub(super) fn finish(mut self) -> usize {
        let nodes = std::mem::take(&mut self.graph.nodes);
        for (at, node) in nodes.into_iter().enumerate() {
            if let Some(fused) = self.replaced.remove(&at) {
                self.graph.nodes.extend(fused);
            } else if !self.removed.contains(&at) {
                self.graph.nodes.push(node);
            }
        }
        self.removed.len()
    }
}
