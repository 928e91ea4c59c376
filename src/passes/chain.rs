//! Elementwise operators whose values only their neighbours read, into one.

use super::rewrite::Rewrite;
use crate::error::Result;
use crate::graph::{Dim, Graph, Source, TensorType, ValueId};
use crate::ops::elementwise::{Arg, Chain, Step, Test};
use crate::ops::{RefData, RefTensor};
use std::any::Any;
use std::collections::BTreeSet;

/// Trees, and what within them is read more than once, to `Chain`, from their
/// last operator upwards.
pub(super) fn run(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in (0..rewrite.len()).rev() {
        fuse(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

fn fuse(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let result = is_step(rewrite, at).then(|| rewrite.result(at)).flatten()?;
    let mut set = BTreeSet::from([at]);
    let mut refused = BTreeSet::new();
    // Readers stand after what they read, so the last candidate goes first: all
    // its readers in the set are there.
    while let Some(next) = candidate(rewrite, &set, &refused, result) {
        set.insert(next);
        if set.len() > Chain::MOST_STEPS || chain(rewrite, &set)?.1.len() > Chain::MOST_INPUTS {
            set.remove(&next);
            refused.insert(next);
        }
    }
    if set.len() < 2 {
        return None;
    }
    let (chain, inputs) = chain(rewrite, &set)?;
    let others: Vec<usize> = set.iter().copied().filter(|&other| other != at).collect();
    let inputs = inputs.into_iter().map(Some).collect();
    // Any of them may be the one that an error is about.
    let name = names(rewrite, &set);
    if rewrite.fuse(at, &others, chain, inputs, vec![result]) {
        rewrite.rename(at, name);
    }
    Some(())
}

/// The names of a chain's nodes, of a long one the first and the last.
fn names(rewrite: &Rewrite<'_>, set: &BTreeSet<usize>) -> String {
    let names: Vec<&str> =
        set.iter().filter_map(|&at| Some(rewrite.node(at)?.name.as_str())).collect();
    match &names[..] {
        [first, _, _, .., last] => format!("{first}, ... {last} ({} operators)", names.len()),
        few => few.join(", "),
    }
}

/// The last node that is read by the set only and can be computed with it.
fn candidate(
    rewrite: &Rewrite<'_>,
    set: &BTreeSet<usize>,
    refused: &BTreeSet<usize>,
    result: ValueId,
) -> Option<usize> {
    let nodes = || set.iter().filter_map(|&at| rewrite.node(at));
    let producers = nodes().flat_map(|node| node.inputs.iter().flatten());
    // What is no number is looked for in memory only: compilers may take all
    // computed ones for finite.
    let asked = |id: ValueId| {
        let asks = |op: &dyn Any| op.is::<Test>();
        nodes().any(|node| asks(&*node.op) && node.inputs.contains(&Some(id)))
    };
    let fits = |at: &usize| {
        let with: Vec<usize> = set.iter().copied().chain([*at]).collect();
        let last = set.iter().next_back().copied().unwrap_or(*at);
        !set.contains(at)
            && !refused.contains(at)
            && is_step(rewrite, *at)
            && rewrite.private(&with, last)
            && rewrite
                .result(*at)
                .is_some_and(|id| !asked(id) && same_elements(rewrite, id, result))
            && !reads_state(rewrite, *at)
    };
    producers.filter_map(|id| rewrite.producer(*id)).filter(fits).max()
}

fn is_step(rewrite: &Rewrite<'_>, at: usize) -> bool {
    let dtype = |node: &crate::graph::Node| Some(rewrite.ty((*node.inputs.last()?)?).dtype);
    rewrite.node(at).is_some_and(|node| {
        node.outputs.len() == 1 && dtype(node).is_some_and(|dtype| Chain::takes(&*node.op, dtype))
    })
}

/// Whether each element of one is needed for just one element of the other: what
/// is broadcast afterwards would be computed again and again.
fn same_elements(rewrite: &Rewrite<'_>, a: ValueId, b: ValueId) -> bool {
    let (a, b) = (&rewrite.ty(a).shape, &rewrite.ty(b).shape);
    let inner = |shape: &[Dim]| {
        let ones = shape.iter().take_while(|dim| **dim == Dim::Const(1)).count();
        shape[ones..].to_vec()
    };
    inner(a) == inner(b)
}

/// Whether the node reads a state, which may be another one where the chain is.
fn reads_state(rewrite: &Rewrite<'_>, at: usize) -> bool {
    let is_state = |id: &ValueId| {
        let updates = |at| rewrite.node(at).is_some_and(|node| !node.op.updates().is_empty());
        matches!(rewrite.graph.value(*id).source, Source::State(_))
            || rewrite.producer(*id).is_some_and(updates)
    };
    rewrite.node(at).is_some_and(|node| node.inputs.iter().flatten().any(is_state))
}

/// The nodes as steps, and the values they read from outside.
fn chain(rewrite: &Rewrite<'_>, set: &BTreeSet<usize>) -> Option<(Chain, Vec<ValueId>)> {
    let mut inputs: Vec<ValueId> = Vec::new();
    let mut steps: Vec<Step> = Vec::new();
    let places: Vec<usize> = set.iter().copied().collect();
    for &at in set {
        let node = rewrite.node(at)?;
        let mut args = Vec::with_capacity(node.inputs.len());
        for (i, id) in node.inputs.iter().enumerate() {
            let id = (*id)?;
            let inside = rewrite.producer(id).and_then(|at| places.iter().position(|p| *p == at));
            let number = || number(rewrite, node, i, id);
            args.push(match inside.map(Arg::Step).or_else(number) {
                Some(arg) => arg,
                None => Arg::Input(position(&mut inputs, id)),
            });
        }
        steps.push(Step { op: node.op.clone(), args });
    }
    Some((Chain { steps }, inputs))
}

fn position(inputs: &mut Vec<ValueId>, id: ValueId) -> usize {
    inputs.iter().position(|other| *other == id).unwrap_or_else(|| {
        inputs.push(id);
        inputs.len() - 1
    })
}

/// A constant of one element as a number, where the node's result has the same
/// shape with a scalar in its place.
fn number(
    rewrite: &Rewrite<'_>,
    node: &crate::graph::Node,
    input: usize,
    id: ValueId,
) -> Option<Arg> {
    let tensor = rewrite.graph.constant(id).filter(|tensor| tensor.len() == 1)?;
    let value = match RefTensor::from_tensor(tensor).ok()?.data {
        RefData::Real(values) => *values.first()?,
        // Beyond 2^53 it is not the same number, and too large for a step anyway.
        RefData::Int(values) => *values.first()? as f64,
    };
    let arg = Arg::number(value, rewrite.ty(id).dtype)?;
    let scalar = TensorType::new(rewrite.ty(id).dtype, []);
    let mut types = Vec::with_capacity(node.inputs.len());
    for (i, id) in node.inputs.iter().enumerate() {
        types.push(Some(if i == input { &scalar } else { rewrite.ty((*id)?) }));
    }
    let with = node.op.infer(&types).ok()?;
    (with.first()? == rewrite.ty(*node.outputs.first()?)).then_some(arg)
}
