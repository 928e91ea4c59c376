//! Normalisations that exporters spell out as means, differences and roots.

use super::rewrite::Rewrite;
use crate::error::Result;
use crate::graph::{Dim, Graph, ValueId};
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::norm::Normalization;
use crate::ops::reduce::{Reduce, Reduction};

/// `d / sqrt(mean(d²) + ε) * scale + bias` with `d = x - mean(x)`, along the last
/// axis, to `LayerNormalization`; the bias may be missing.
pub(super) fn layer(graph: &mut Graph) -> Result<usize> {
    each(graph, |rewrite, at| {
        let (scaled, bias, mut nodes) = match vector_at(rewrite, at, Binary::Add) {
            Some((scaled, bias)) => (rewrite.producer(scaled)?, Some(bias), vec![at]),
            None => (at, None, Vec::new()),
        };
        let (normed, scale) = vector_at(rewrite, scaled, Binary::Mul)?;
        nodes.push(scaled);
        let found = normalised(rewrite, normed)?;
        nodes.extend(found.nodes);
        let x = centred(rewrite, found.x, &mut nodes)?;
        let op = Normalization::layer(found.epsilon as f32);
        let inputs = [Some(x), Some(scale), bias];
        let inputs = inputs[..if bias.is_some() { 3 } else { 2 }].to_vec();
        Some((op, inputs, nodes))
    })
}

/// `x / sqrt(mean(x²) + ε) * scale` along the last axis to `RMSNormalization`.
pub(super) fn rms(graph: &mut Graph) -> Result<usize> {
    each(graph, |rewrite, at| {
        let (normed, scale) = vector_at(rewrite, at, Binary::Mul)?;
        let found = normalised(rewrite, normed)?;
        let mut nodes = found.nodes;
        nodes.push(at);
        let op = Normalization::rms(found.epsilon as f32);
        Some((op, vec![Some(found.x), Some(scale)], nodes))
    })
}

type Fused = (Normalization, Vec<Option<ValueId>>, Vec<usize>);

fn each(graph: &mut Graph, find: impl Fn(&Rewrite<'_>, usize) -> Option<Fused>) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    // From the end, so that a bias is met before the product it is added to.
    for at in (0..rewrite.len()).rev() {
        let Some((op, inputs, mut nodes)) = find(&rewrite, at) else { continue };
        nodes.sort_unstable();
        nodes.dedup();
        if !rewrite.private(&nodes, at) {
            continue;
        }
        nodes.retain(|&node| node != at);
        if let Some(result) = rewrite.result(at) {
            rewrite.fuse(at, &nodes, op, inputs, vec![result]);
        }
    }
    Ok(rewrite.finish())
}

/// The operands of an operation on a tensor and a constant vector along its last
/// axis.
fn vector_at(rewrite: &Rewrite<'_>, at: usize, want: Binary) -> Option<(ValueId, ValueId)> {
    let (node, op) = rewrite.op::<Binary>(at)?;
    let (a, b) = (node.inputs[0]?, node.inputs[1]?);
    if *op != want {
        return None;
    }
    [(a, b), (b, a)].into_iter().find(|&(tensor, vector)| {
        let (tensor, ty) = (rewrite.ty(tensor), rewrite.ty(vector));
        ty.rank() == 1
            && ty.width() == tensor.width()
            && ty.width() != Dim::Const(1)
            && rewrite.graph.constant(vector).is_some()
    })
}

/// `x / sqrt(mean(x²) + ε)`.
struct Normed {
    x: ValueId,
    epsilon: f64,
    nodes: Vec<usize>,
}

fn normalised(rewrite: &Rewrite<'_>, value: ValueId) -> Option<Normed> {
    let at = rewrite.producer(value)?;
    let (node, op) = rewrite.op::<Binary>(at)?;
    let (a, b) = (node.inputs[0]?, node.inputs[1]?);
    let (x, under, mut nodes) = match op {
        Binary::Div => {
            let (under, root) = root(rewrite, b)?;
            (a, under, vec![root])
        }
        Binary::Mul => [(a, b), (b, a)].into_iter().find_map(|(x, factor)| {
            let (under, nodes) = inverse_root(rewrite, factor)?;
            Some((x, under, nodes))
        })?,
        _ => return None,
    };
    nodes.push(at);
    let add = rewrite.producer(under)?;
    let (node, op) = rewrite.op::<Binary>(add)?;
    let (a, b) = (node.inputs[0]?, node.inputs[1]?);
    if *op != Binary::Add {
        return None;
    }
    let (mean, epsilon) = [(a, b), (b, a)]
        .into_iter()
        .find_map(|(mean, epsilon)| Some((mean, rewrite.number(epsilon)?)))?;
    let (square, mean) = last_mean(rewrite, mean)?;
    let power = squared(rewrite, square, x)?;
    nodes.extend([add, mean, power]);
    Some(Normed { x, epsilon, nodes })
}

/// What is under a root, and the root.
fn root(rewrite: &Rewrite<'_>, value: ValueId) -> Option<(ValueId, usize)> {
    let at = rewrite.producer(value)?;
    let (node, op) = rewrite.op::<Unary>(at)?;
    (*op == Unary::Sqrt).then_some((node.inputs[0]?, at))
}

/// What is under the root that a factor is the inverse of.
fn inverse_root(rewrite: &Rewrite<'_>, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let at = rewrite.producer(value)?;
    if let Some((node, Unary::Reciprocal)) = rewrite.op::<Unary>(at) {
        let (under, root) = root(rewrite, node.inputs[0]?)?;
        return Some((under, vec![at, root]));
    }
    let (node, op) = rewrite.op::<Binary>(at)?;
    let (a, b) = (node.inputs[0]?, node.inputs[1]?);
    match op {
        Binary::Div if rewrite.number(a) == Some(1.0) => {
            let (under, root) = root(rewrite, b)?;
            Some((under, vec![at, root]))
        }
        Binary::Pow if rewrite.number(b) == Some(-0.5) => Some((a, vec![at])),
        _ => None,
    }
}

/// What a mean along the last axis is taken of, and where.
fn last_mean(rewrite: &Rewrite<'_>, value: ValueId) -> Option<(ValueId, usize)> {
    let at = rewrite.producer(value)?;
    let (node, op) = rewrite.op::<Reduce>(at)?;
    let x = node.inputs[0]?;
    let last = rewrite.ty(x).rank() as i64 - 1;
    let along = matches!(op.axes[..], [axis] if axis == -1 || axis == last);
    (op.reduction == Reduction::Mean && op.keepdims && along).then_some((x, at))
}

/// Where a value is computed as the square of another one.
fn squared(rewrite: &Rewrite<'_>, value: ValueId, of: ValueId) -> Option<usize> {
    let at = rewrite.producer(value)?;
    let (node, op) = rewrite.op::<Binary>(at)?;
    let (a, b) = (node.inputs[0]?, node.inputs[1]?);
    let square = match op {
        Binary::Pow => a == of && rewrite.number(b) == Some(2.0),
        Binary::Mul => a == of && b == of,
        _ => false,
    };
    square.then_some(at)
}

/// The x of `x - mean(x)` along the last axis.
fn centred(rewrite: &Rewrite<'_>, value: ValueId, nodes: &mut Vec<usize>) -> Option<ValueId> {
    let at = rewrite.producer(value)?;
    let (node, op) = rewrite.op::<Binary>(at)?;
    let (x, mean) = (node.inputs[0]?, node.inputs[1]?);
    let (of, reduce) = last_mean(rewrite, mean)?;
    if *op != Binary::Sub || of != x {
        return None;
    }
    nodes.extend([at, reduce]);
    Some(x)
}
