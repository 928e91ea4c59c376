//! Computes nodes whose inputs are all constants, with the reference: the
//! result is the correctly rounded one.

use crate::error::Result;
use crate::graph::{Bindings, Graph, Source};
use crate::ops::RefTensor;

/// Larger results stay nodes, so that folding (of an expanded table, say) does
/// not blow up the model. In elements.
const LARGEST: usize = 1 << 20;

pub(super) fn run(graph: &mut Graph) -> Result<usize> {
    let mut folded = 0;
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        if !foldable(graph, &node) {
            graph.nodes.push(node);
            continue;
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            let tensor = id.and_then(|id| graph.constant(id));
            inputs.push(tensor.map(RefTensor::from_tensor).transpose()?);
        }
        let inputs: Vec<_> = inputs.iter().map(Option::as_ref).collect();
        let results = node.op.reference(&inputs).map_err(|e| e.at_node(&node.name))?;
        for (id, result) in node.outputs.iter().zip(results) {
            graph.values[id.index()].source = Source::Constant(result.to_tensor()?);
        }
        folded += 1;
    }
    Ok(folded)
}

fn foldable(graph: &Graph, node: &crate::graph::Node) -> bool {
    let constant = |id: &Option<crate::graph::ValueId>| {
        id.is_none_or(|id| graph.constant(id).is_some_and(|t| t.len() <= LARGEST))
    };
    let known = |id: &crate::graph::ValueId| {
        let extents = graph.ty(*id).extents(&Bindings::default());
        extents.is_ok_and(|extents| extents.iter().product::<usize>() <= LARGEST)
            && !graph.ty(*id).dtype.is_quantised()
    };
    node.op.updates().is_none()
        && !node.inputs.is_empty()
        && node.inputs.iter().all(constant)
        && node.outputs.iter().all(known)
}
