//! What comes between projections and attention: rotation and caches in one node, and
//! the projections in one product.

use super::rewrite::{Chain, Rewrite};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::attention::Attention;
use crate::ops::matmul::MatMul;
use crate::ops::movement::Reshape;
use crate::ops::rotary::{RotaryEmbedding, RotaryScatter};
use crate::ops::state::TensorScatter;
use crate::tensor::Tensor;

/// `RotaryEmbedding` of the queries and keys of an attention, with the `TensorScatter` of
/// its keys and values, to `RotaryScatter`.
pub(super) fn scatter(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        fuse_scatter(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

fn fuse_scatter(rewrite: &mut Rewrite<'_>, attention: usize) -> Option<()> {
    let (node, _) = rewrite.op::<Attention>(attention)?;
    let [queries, keys, values] = [node.inputs[0]?, node.inputs[1]?, node.inputs[2]?];
    let (put_keys, put_values) = (rewrite.producer(keys)?, rewrite.producer(values)?);
    let (key_scatter, key_inputs) = appended(rewrite, put_keys)?;
    let (value_scatter, value_inputs) = appended(rewrite, put_values)?;
    let turn_queries = rewrite.sole(queries)?;
    let turn_keys = rewrite.sole(key_inputs[1])?;
    let (node, rotary) = rewrite.op::<RotaryEmbedding>(turn_queries)?;
    let (query, tables, rotary) = (node.inputs[0]?, node.inputs[1..].to_vec(), *rotary);
    let (node, other) = rewrite.op::<RotaryEmbedding>(turn_keys)?;
    let key = node.inputs[0]?;
    let alike = *other == rotary && node.inputs[1..] == tables[..];
    let together = key_scatter == value_scatter && key_inputs[2] == value_inputs[2];
    if !alike || !together || put_keys == put_values {
        return None;
    }
    let heads = rewrite.ty(query).shape[2].as_const()? as usize;
    let mut nodes = vec![turn_queries, turn_keys, put_keys, put_values];
    let at = *nodes.iter().max()?;
    let outputs = vec![queries, keys, values];
    if nodes.iter().any(|&node| read_before(rewrite, node, at, &outputs, &nodes)) {
        return None;
    }
    let mut rows = [query, key, value_inputs[1]];
    for row in &mut rows {
        if let Some((reshape, x)) = tokens_as_they_were(rewrite, *row) {
            nodes.extend(rewrite.sole(*row).filter(|&at| at == reshape));
            *row = x;
        }
    }
    let others: Vec<usize> = nodes.into_iter().filter(|&node| node != at).collect();
    let inputs = rows.into_iter().map(Some).chain(tables);
    let inputs = inputs.chain([key_inputs[2], key_inputs[0], value_inputs[0]].map(Some));
    let op = RotaryScatter { rotary, heads, offsets: [0; 3], skip: key_scatter.skip };
    rewrite.fuse(at, &others, op, inputs.collect(), outputs).then_some(())
}

/// An operator that appends to a cache, and its inputs.
fn appended(rewrite: &Rewrite<'_>, at: usize) -> Option<(TensorScatter, [ValueId; 3])> {
    let (node, op) = rewrite.op::<TensorScatter>(at)?;
    let slots_third = op.axis == 2 || op.axis == -2;
    let inputs = [node.inputs[0]?, node.inputs[1]?, node.inputs[2]?];
    (op.token_major && slots_third).then_some((TensorScatter { axis: 2, ..*op }, inputs))
}

/// Whether a node from `from` up to `to`, but for some, reads one of the values.
fn read_before(
    rewrite: &Rewrite<'_>,
    from: usize,
    to: usize,
    values: &[ValueId],
    but: &[usize],
) -> bool {
    let reads = |at: usize| {
        let inputs = rewrite.graph.nodes.get(at).map(|node| &node.inputs[..]).unwrap_or_default();
        inputs.iter().flatten().any(|id| values.contains(id))
    };
    (from..to).any(|at| !but.contains(&at) && reads(at))
}

/// What a reshape to heads was made of, `[B, Q, ...]` as well; and the reshape.
fn tokens_as_they_were(rewrite: &Rewrite<'_>, heads: ValueId) -> Option<(usize, ValueId)> {
    let at = rewrite.producer(heads)?;
    let (node, _) = rewrite.op::<Reshape>(at)?;
    let x = node.inputs[0]?;
    let (before, after) = (&rewrite.ty(x).shape, &rewrite.ty(heads).shape);
    let same = before.len() >= 3 && before[..2] == after[..2];
    same.then_some((at, x))
}

/// The products that a `RotaryScatter` reads into one, where their weights are constants
/// of one type.
pub(super) fn projections(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        fuse_projections(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

/// A product of a value with a constant.
struct Projection {
    at: usize,
    x: ValueId,
    weight: Tensor,
    bias: Option<Tensor>,
}

fn projection(rewrite: &Rewrite<'_>, id: ValueId) -> Option<Projection> {
    let at = rewrite.sole(id)?;
    let (node, op) = rewrite.op::<MatMul>(at)?;
    let constant = |index: usize| {
        let id = node.inputs.get(index).copied().flatten()?;
        rewrite.graph.constant(id).cloned()
    };
    let (x, weight, bias) = (node.inputs[0]?, constant(1)?, constant(2));
    let plain = *op == MatMul { trans_b: true, ..MatMul::default() };
    let known = node.inputs.get(2).copied().flatten().is_some() == bias.is_some();
    (plain && known && weight.extents().len() == 2).then_some(Projection { at, x, weight, bias })
}

fn fuse_projections(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (node, op) = rewrite.op::<RotaryScatter>(at)?;
    let (op, mut inputs, outputs) = (*op, node.inputs.clone(), node.outputs.clone());
    let rows = [inputs[0]?, inputs[1]?, inputs[2]?];
    // Only what is apart as yet.
    if op.offsets != [0; 3] {
        return None;
    }
    let [queries, keys, values] = rows.map(|id| projection(rewrite, id));
    let one = |a: &Projection, b: &Projection| {
        a.x == b.x
            && a.weight.dtype() == b.weight.dtype()
            && a.weight.extents()[1] == b.weight.extents()[1]
            && a.bias.is_some() == b.bias.is_some()
    };
    let first = match (&queries, &keys, &values) {
        (Some(queries), Some(keys), _) if one(queries, keys) => 0,
        (_, Some(keys), Some(values)) if one(keys, values) => 1,
        _ => return None,
    };
    let all = [queries, keys, values];
    let end = match (&all[1], &all[2]) {
        (Some(keys), Some(values)) if one(keys, values) => 3,
        _ => 2,
    };
    let together: Vec<Projection> = all.into_iter().take(end).skip(first).flatten().collect();
    let mut offsets = [0; 3];
    for (i, part) in together.iter().enumerate().skip(1) {
        let before = &together[i - 1];
        offsets[first + i] = offsets[first + i - 1] + before.weight.extents()[0];
        debug_assert_eq!(part.x, before.x);
        inputs[first + i] = None;
    }
    let weights: Vec<&Tensor> = together.iter().map(|part| &part.weight).collect();
    let weight = Tensor::stacked(&weights).ok()?;
    let biases: Option<Vec<&Tensor>> = together.iter().map(|part| part.bias.as_ref()).collect();
    let bias = biases.and_then(|biases| Tensor::stacked(&biases).ok());
    if bias.is_some() != together[0].bias.is_some() {
        return None;
    }
    let mut operands = vec![Some(together[0].x), Some(rewrite.constant("stacked", weight))];
    operands.extend(bias.map(|bias| Some(rewrite.constant("stacked.bias", bias))));
    let mut chain = Chain::new();
    let product = MatMul { trans_b: true, ..MatMul::default() };
    inputs[first] = Some(rewrite.append(&mut chain, product, &operands));
    rewrite.append(&mut chain, RotaryScatter { offsets, ..op }, &inputs);
    let others: Vec<usize> = together.iter().map(|part| part.at).collect();
    rewrite.fuse_chain(at, &others, chain, outputs).then_some(())
}
