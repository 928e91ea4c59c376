//! Classes of calls: what is measured once is used for all of a class.

use super::case::At;
use crate::exec::gpu::CallFacts;
use crate::graph::{Bindings, Graph, Node, TensorType};
use crate::kernels::Policy;
use crate::store::fingerprint;
use std::fmt::Write as _;
use std::sync::Arc;

/// A call that stands for its class: where it is met.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// What the class is called in the ledger.
    pub(super) class: String,
    /// The same for a person.
    pub(super) label: String,
    pub(super) graph: Arc<Graph>,
    pub(super) node: usize,
    pub(super) bounds: Bindings,
    /// What was asked for where it was met.
    pub(super) policy: Policy,
}

impl Spot {
    /// `None` where the graph has no node of the call's name.
    pub(super) fn new(call: &CallFacts<'_>, asked: &Policy) -> Option<Self> {
        let nodes = call.graph.nodes();
        let named = |node: &Node| node.name == call.node;
        // One node of a model can be several of a graph, all of its name.
        let alike = |node: &Node| {
            let inputs = call.graph.input_types(node);
            let outputs = node.outputs.iter().map(|&id| call.graph.ty(id));
            inputs.into_iter().eq(call.inputs.iter().map(Option::as_ref))
                && outputs.eq(call.outputs)
        };
        let exact = nodes.iter().position(|node| named(node) && alike(node));
        let node = exact.or_else(|| nodes.iter().position(named))?;
        Some(Spot {
            class: class(call, asked),
            label: label(call),
            graph: call.graph.clone(),
            node,
            bounds: call.bounds.clone(),
            policy: asked.clone(),
        })
    }

    pub(super) fn at(&self) -> At<'_> {
        At { graph: &self.graph, node: &self.graph.nodes()[self.node], bounds: &self.bounds }
    }
}

/// Extents of one class: small ones count as they are, others up to the next power
/// of two.
fn coarse(extent: usize) -> usize {
    if extent <= 16 { extent } else { extent.next_power_of_two() }
}

/// The class of a call: its kernel with all its attributes, and its operands with
/// coarse extents.
pub(super) fn class(call: &CallFacts<'_>, asked: &Policy) -> String {
    let attributes = fingerprint(&[format!("{:?}", call.kernel).as_bytes()]);
    let mut class = format!("{} {}", call.kernel.name(), &attributes[..8]);
    let operands = call.inputs.iter().map(Option::as_ref).chain(call.outputs.iter().map(Some));
    for operand in operands {
        class.push(' ');
        match operand {
            None => class.push('-'),
            Some(ty) => class.push_str(&typed(ty, '_', call.bounds, coarse)),
        }
    }
    if asked.allow_f16 {
        class.push_str(" f16");
    }
    if asked.allow_int8 {
        class.push_str(" int8");
    }
    class
}

fn typed(ty: &TensorType, between: char, bounds: &Bindings, change: fn(usize) -> usize) -> String {
    let mut text = ty.dtype.to_string();
    for (i, extent) in ty.extents(bounds).unwrap_or_default().into_iter().enumerate() {
        let _ = write!(text, "{}{}", if i == 0 { between } else { 'x' }, change(extent));
    }
    text
}

/// The kernel and its operands with their extents, without those of one element.
fn label(call: &CallFacts<'_>) -> String {
    let operands = call.inputs.iter().flatten();
    let many = |ty: &&TensorType| {
        ty.extents(call.bounds).is_ok_and(|extents| extents.iter().any(|&extent| extent > 1))
    };
    let large = operands.filter(many);
    let operands: Vec<String> = large.map(|ty| typed(ty, ' ', call.bounds, |n| n)).collect();
    format!("{}: {}", call.kernel.name().replace('_', " "), operands.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_of_a_class_are_near_each_other() {
        assert_eq!([1, 5, 16].map(coarse), [1, 5, 16]);
        assert_eq!([17, 32, 33, 576, 1024].map(coarse), [32, 32, 64, 1024, 1024]);
    }
}
