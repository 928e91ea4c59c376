//! Computes nodes whose inputs are all constants, with the reference: the
//! result is the correctly rounded one.

use crate::error::Result;
use crate::graph::{Bindings, Graph, Source};
use crate::ops::{Operator, RefTensor};
use crate::tensor::Tensor;

/// Larger results stay nodes, so that folding (of an expanded table, say) does
/// not blow up the model, and larger inputs are not decoded. In elements.
const LARGEST: usize = 1 << 20;

/// Computes an operator on known inputs, or remembers what it gave.
pub(crate) type Compute<'a> =
    &'a mut dyn FnMut(&dyn Operator, &[Option<&Tensor>], &[Vec<usize>]) -> Result<Vec<Tensor>>;

pub(super) fn run(graph: &mut Graph) -> Result<usize> {
    fold(graph, &mut evaluate)
}

/// Folds with a way to compute of the caller's.
pub(crate) fn fold(graph: &mut Graph, compute: Compute<'_>) -> Result<usize> {
    let mut folded = 0;
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        let Some(extents) = foldable(graph, &node) else {
            graph.nodes.push(node);
            continue;
        };
        let inputs: Vec<_> =
            node.inputs.iter().map(|id| id.and_then(|id| graph.constant(id))).collect();
        let results = compute(&*node.op, &inputs, &extents).map_err(|e| e.at_node(&node.name))?;
        for (id, result) in node.outputs.iter().zip(results) {
            graph.values[id.index()].source = Source::Constant(result);
        }
        folded += 1;
    }
    Ok(folded)
}

/// The results of an operator on known inputs, which must not be too large.
///
/// # Errors
/// As [`Operator::reference`].
pub(crate) fn evaluate(
    op: &dyn Operator,
    inputs: &[Option<&Tensor>],
    extents: &[Vec<usize>],
) -> Result<Vec<Tensor>> {
    let values = inputs.iter().map(|tensor| tensor.map(RefTensor::from_tensor).transpose());
    let values = values.collect::<Result<Vec<_>>>()?;
    let values: Vec<_> = values.iter().map(Option::as_ref).collect();
    let values = op.reference_sized(&values, extents)?;
    values.iter().map(RefTensor::to_tensor).collect()
}

/// Whether a tensor is small enough to be folded.
pub(crate) fn is_small(extents: &[usize]) -> bool {
    let count = extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    count.is_some_and(|count| count <= LARGEST)
}

/// The most elements of all inputs and results of an operator that is heavy.
const HEAVY: usize = 1 << 13;

/// Whether an operator takes few steps, for what there is of inputs and results.
pub(crate) fn is_quick<'e>(
    op: &dyn Operator,
    extents: impl IntoIterator<Item = &'e [usize]>,
) -> bool {
    let count = |extents: &[usize]| extents.iter().product::<usize>();
    !op.heavy() || extents.into_iter().map(count).sum::<usize>() <= HEAVY
}

/// The extents of the results, if the node can be computed now.
fn foldable(graph: &Graph, node: &crate::graph::Node) -> Option<Vec<Vec<usize>>> {
    let constant = |id: &Option<crate::graph::ValueId>| {
        id.is_none_or(|id| graph.constant(id).is_some_and(|t| is_small(t.extents())))
    };
    let known = |id: &crate::graph::ValueId| {
        let extents = graph.ty(*id).extents(&Bindings::default()).ok()?;
        (is_small(&extents) && !graph.ty(*id).dtype.is_quantised()).then_some(extents)
    };
    let may =
        node.op.updates().is_empty() && !node.inputs.is_empty() && node.inputs.iter().all(constant);
    if !may {
        return None;
    }
    let results: Vec<_> = node.outputs.iter().map(known).collect::<Option<_>>()?;
    let inputs = node.inputs.iter().flatten().filter_map(|&id| graph.constant(id));
    let all = inputs.map(Tensor::extents).chain(results.iter().map(Vec::as_slice));
    is_quick(&*node.op, all).then_some(results)
}
