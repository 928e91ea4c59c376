//! Transpositions moved towards the results, so that they meet and cancel. Models
//! exported from frameworks whose channels come last have one before and one
//! after each convolution.

use super::{dead, fold};
use crate::error::Result;
use crate::graph::{Dim, Graph, Node, Source, TensorType, Value, ValueId};
use crate::ops::Operator;
use crate::ops::elementwise::Chain;
use crate::ops::matmul::MatMul;
use crate::ops::movement::{Concat, Pad, Reshape, Transpose};
use crate::ops::reduce::Reduce;
use crate::ops::softmax::{LogSoftmax, Softmax};
use crate::tensor::Tensor;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Moves all transpositions as far as they go. The graph stays as it is if there
/// are not fewer of them afterwards.
pub(super) fn run(graph: &mut Graph) -> Result<usize> {
    let before = count(graph);
    if before == 0 {
        return Ok(0);
    }
    let mut moved = Mover::new(graph.clone()).run();
    dead::run(&mut moved)?;
    let after = count(&moved);
    if after >= before {
        return Ok(0);
    }
    *graph = moved;
    Ok(before - after)
}

fn count(graph: &Graph) -> usize {
    graph.nodes.iter().filter(|node| as_op::<Transpose>(&*node.op).is_some()).count()
}

fn as_op<T: Operator>(op: &dyn Operator) -> Option<&T> {
    let op: &dyn Any = op;
    op.downcast_ref()
}

/// A value that is another one transposed: dimension `i` is dimension
/// `permutation[i]` of that.
#[derive(Debug, Clone)]
struct View {
    of: ValueId,
    permutation: Vec<usize>,
}

struct Mover {
    graph: Graph,
    nodes: Vec<Node>,
    views: HashMap<ValueId, View>,
    /// Values in whose place another one is read.
    same: HashMap<ValueId, ValueId>,
    /// Contents of states, which may be others by the time they are read later.
    states: HashSet<ValueId>,
}

/// An operator on what its operands are transpositions of, and that its result
/// is to be transposed by.
type Moved = (Arc<dyn Operator>, Vec<Option<ValueId>>, Vec<usize>);

impl Mover {
    fn new(graph: Graph) -> Self {
        let states = graph.states.iter().map(|state| state.initial).collect();
        let (views, same) = (HashMap::new(), HashMap::new());
        Mover { graph, nodes: Vec::new(), views, same, states }
    }

    fn run(mut self) -> Graph {
        for mut node in std::mem::take(&mut self.graph.nodes) {
            for id in node.inputs.iter_mut().flatten() {
                *id = self.same.get(id).copied().unwrap_or(*id);
            }
            self.node(node);
        }
        for (_, id) in &mut self.graph.outputs {
            *id = self.same.get(id).copied().unwrap_or(*id);
        }
        self.graph.nodes = self.nodes;
        self.graph
    }

    fn node(&mut self, node: Node) {
        let reads_state = node.inputs.iter().flatten().any(|id| self.states.contains(id));
        if !node.op.updates().is_empty() || reads_state {
            let changed =
                node.op.updates().iter().filter_map(|&(_, output)| node.outputs.get(output));
            self.states.extend(changed);
            return self.nodes.push(node);
        }
        if let (Some(op), &[Some(input)]) = (as_op::<Transpose>(&*node.op), &node.inputs[..]) {
            let permutation = op.permutation.clone();
            return self.transpose(node, input, &permutation);
        }
        if let Some(node) = self.product(&node) {
            return self.nodes.push(node);
        }
        let result = match node.outputs[..] {
            [result] => result,
            _ => return self.nodes.push(node),
        };
        match self.moved(&node) {
            Some((op, inputs, permutation)) => {
                if !self.sunk(&node, op, inputs, permutation, result) {
                    self.nodes.push(node);
                }
            }
            None => self.nodes.push(node),
        }
    }

    /// A transposition of what may be one itself.
    fn transpose(&mut self, node: Node, input: ValueId, permutation: &[usize]) {
        let Some(&result) = node.outputs.first() else { return self.nodes.push(node) };
        let (of, permutation) = match self.views.get(&input) {
            Some(view) => {
                let both = permutation.iter().map(|&axis| view.permutation[axis]).collect();
                (view.of, both)
            }
            None => (input, permutation.to_vec()),
        };
        self.emit(node.name, of, permutation, result);
    }

    /// `result` as `of` transposed, in the cheapest way there is.
    fn emit(&mut self, name: String, of: ValueId, permutation: Vec<usize>, result: ValueId) {
        if permutation.iter().copied().eq(0..permutation.len()) {
            self.same.insert(result, of);
            return;
        }
        let shape = self.graph.ty(of).shape.clone();
        let kept = permutation.iter().filter(|&&axis| shape[axis] != Dim::Const(1));
        let op: Arc<dyn Operator> = if kept.is_sorted() {
            Arc::new(Reshape { shape: self.graph.ty(result).shape.to_vec() })
        } else {
            Arc::new(Transpose { permutation: permutation.clone() })
        };
        self.views.insert(result, View { of, permutation });
        self.nodes.push(Node { name, op, inputs: vec![Some(of)], outputs: vec![result] });
    }

    /// A matrix product reads its matrices transposed without being told twice.
    fn product(&self, node: &Node) -> Option<Node> {
        let op = as_op::<MatMul>(&*node.op)?;
        let swapped = |id: &Option<ValueId>| {
            let view = self.views.get(&(*id)?)?;
            let rank = view.permutation.len();
            let (last, front) = (rank.checked_sub(1)?, rank.checked_sub(2)?);
            let swaps = view.permutation[front] == last
                && view.permutation[last] == front
                && view.permutation[..front].iter().copied().eq(0..front);
            swaps.then_some(view.of)
        };
        let (a, b) = (swapped(&node.inputs[0]), swapped(&node.inputs[1]));
        if a.is_none() && b.is_none() {
            return None;
        }
        let (trans_a, trans_b) = (op.trans_a ^ a.is_some(), op.trans_b ^ b.is_some());
        let mut new = Node { op: Arc::new(MatMul { trans_a, trans_b, ..*op }), ..node.clone() };
        new.inputs[0] = a.or(new.inputs[0]);
        new.inputs[1] = b.or(new.inputs[1]);
        self.fits(&*new.op, &new.inputs, *new.outputs.first()?).then_some(new)
    }

    fn fits(&self, op: &dyn Operator, inputs: &[Option<ValueId>], result: ValueId) -> bool {
        self.infer(op, inputs).is_some_and(|ty| ty == *self.graph.ty(result))
    }

    fn infer(&self, op: &dyn Operator, inputs: &[Option<ValueId>]) -> Option<TensorType> {
        let types: Vec<_> = inputs.iter().map(|id| id.map(|id| self.graph.ty(id))).collect();
        op.infer(&types).ok()?.into_iter().next()
    }

    /// Computes with what the operands are transpositions of, and transposes the
    /// result; whether that gives the same type.
    fn sunk(
        &mut self,
        node: &Node,
        op: Arc<dyn Operator>,
        inputs: Vec<Option<ValueId>>,
        permutation: Vec<usize>,
        result: ValueId,
    ) -> bool {
        let Some(ty) = self.infer(&*op, &inputs) else { return false };
        let shape: Option<Vec<Dim>> =
            permutation.iter().map(|&axis| ty.shape.get(axis).cloned()).collect();
        let expected = self.graph.ty(result);
        if shape.as_deref() != Some(&expected.shape[..]) || ty.dtype != expected.dtype {
            return false;
        }
        let before = self.value(&format!("{} before", node.name), ty, Source::Node);
        self.nodes.push(Node { name: node.name.clone(), op, inputs, outputs: vec![before] });
        self.emit(format!("{}/transposed", node.name), before, permutation, result);
        true
    }

    fn value(&mut self, name: &str, ty: TensorType, source: Source) -> ValueId {
        self.graph.values.push(Value { name: name.into(), ty, source });
        ValueId(self.graph.values.len() as u32 - 1)
    }

    /// The operator on untransposed operands, where there is such a one.
    fn moved(&mut self, node: &Node) -> Option<Moved> {
        let permutation = node.inputs.iter().flatten().find_map(|id| self.views.get(id));
        let permutation = permutation?.permutation.clone();
        if let Some(moved) = self.along_axes(node, &permutation) {
            return Some(moved);
        }
        let dtype = self.graph.ty((*node.inputs.last()?)?).dtype;
        let rank = self.graph.ty(*node.outputs.first()?).rank();
        if !Chain::takes(&*node.op, dtype) || rank != permutation.len() {
            return None;
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            inputs.push(Some(self.untransposed((*id)?, &permutation)?));
        }
        Some((node.op.clone(), inputs, permutation))
    }

    /// The value that is this one when it is transposed: what it is a view of, a
    /// constant turned, a single element as it is.
    fn untransposed(&mut self, id: ValueId, permutation: &[usize]) -> Option<ValueId> {
        if let Some(view) = self.views.get(&id) {
            return (view.permutation == permutation).then_some(view.of);
        }
        let ty = self.graph.ty(id).clone();
        if ty.shape.iter().all(|dim| *dim == Dim::Const(1)) {
            return Some(id);
        }
        let tensor = self.graph.constant(id).filter(|tensor| fold::is_small(tensor.extents()))?;
        let mut extents = vec![1; permutation.len().checked_sub(ty.rank())?];
        extents.extend(tensor.extents());
        let wide = Tensor::new(ty.dtype, &extents, tensor.bytes().clone()).ok()?;
        let mut inverse = vec![0; permutation.len()];
        permutation.iter().enumerate().for_each(|(i, &axis)| inverse[axis] = i);
        let shape = inverse.iter().map(|&axis| extents[axis]).collect::<Vec<_>>();
        let op = Transpose { permutation: inverse };
        let turned = fold::evaluate(&op, &[Some(&wide)], std::slice::from_ref(&shape)).ok()?;
        let dims: Vec<Dim> = shape.into_iter().map(Dim::from).collect();
        let name = format!("{} turned", self.graph.value(id).name);
        let turned = Source::Constant(turned.into_iter().next()?);
        Some(self.value(&name, TensorType::new(ty.dtype, dims), turned))
    }

    /// Operators that name axes: their first operands are views of one kind.
    fn along_axes(&self, node: &Node, permutation: &[usize]) -> Option<Moved> {
        let op = &*node.op;
        let rank = permutation.len();
        let axis = |axis: i64| {
            let front = if axis < 0 { axis + rank as i64 } else { axis };
            let old = usize::try_from(front).ok().and_then(|front| permutation.get(front));
            old.map(|&old| old as i64)
        };
        let mut after = permutation.to_vec();
        let new: Arc<dyn Operator> = if let Some(op) = as_op::<Concat>(op) {
            Arc::new(Concat { axis: axis(op.axis)? })
        } else if let Some(op) = as_op::<Softmax>(op) {
            Arc::new(Softmax { axis: axis(op.axis)? })
        } else if let Some(op) = as_op::<LogSoftmax>(op) {
            Arc::new(LogSoftmax { axis: axis(op.axis)? })
        } else if let Some(op) = as_op::<Reduce>(op) {
            let axes: Vec<i64> = op.axes.iter().map(|&own| axis(own)).collect::<Option<_>>()?;
            if !op.keepdims {
                after = without(permutation, &axes);
            }
            Arc::new(Reduce { axes, ..op.clone() })
        } else if let Some(op) = as_op::<Pad>(op) {
            let mut pads = op.pads.clone();
            permutation.iter().zip(&op.pads).for_each(|(&old, pad)| pads[old] = *pad);
            Arc::new(Pad { pads, ..op.clone() })
        } else {
            return None;
        };
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (i, id) in node.inputs.iter().enumerate() {
            let view = id.and_then(|id| self.views.get(&id));
            inputs.push(match view {
                Some(view) if view.permutation == permutation => Some(view.of),
                // The value to put there, of one element.
                None if i > 0 && as_op::<Pad>(op).is_some() => *id,
                _ => return None,
            });
        }
        Some((new, inputs, after))
    }
}

/// The permutation of the dimensions that are left without some.
fn without(permutation: &[usize], axes: &[i64]) -> Vec<usize> {
    let gone = |axis: &usize| axes.contains(&(*axis as i64));
    let left = |axis: usize| (0..axis).filter(|axis| !gone(axis)).count();
    permutation.iter().filter(|axis| !gone(axis)).map(|&axis| left(axis)).collect()
}
