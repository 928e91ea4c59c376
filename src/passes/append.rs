//! What comes between projections and attention: rotation and caches in one node, and
//! the projections in one product.

use super::rewrite::{Chain, Rewrite};
use crate::error::Result;
use crate::graph::{Dim, Graph, ValueId};
use crate::ops::attention::Attention;
use crate::ops::gather::Gather;
use crate::ops::matmul::MatMul;
use crate::ops::movement::Reshape;
use crate::ops::norm::{Kind, Normalization};
use crate::ops::rotary::{RotaryEmbedding, RotaryScatter};
use crate::ops::state::TensorScatter;
use crate::tensor::Tensor;
use std::ops::Range;

/// `RotaryEmbedding` of the queries and keys of an attention, with the norms before them,
/// the rows that are taken of them, and the `TensorScatter` of keys and values, to
/// `RotaryScatter`.
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
    let (scatter, key_inputs) = appended(rewrite, put_keys)?;
    let (value_scatter, value_inputs) = appended(rewrite, put_values)?;
    if scatter != value_scatter || key_inputs[2] != value_inputs[2] || put_keys == put_values {
        return None;
    }
    let (mut query, mut key) = (turned(rewrite, queries)?, turned(rewrite, key_inputs[1])?);
    let mut value = spread(rewrite, value_inputs[1]);
    let alike = query.rotary == key.rotary
        && query.tables == key.tables
        && query.way.rows.is_some() == key.way.rows.is_some()
        && key.way.rows == value.rows;
    if !alike {
        return None;
    }
    value.before_heads(rewrite);
    let found = Found {
        rotary: query.rotary,
        heads: rewrite.ty(queries).shape[2].as_const()? as usize,
        skip: scatter.skip,
        tables: query.tables.clone(),
        caches: vec![key_inputs[2], key_inputs[0], value_inputs[0]],
        puts: [put_keys, put_values],
        outputs: vec![queries, keys, values],
    };
    if let (Some(query), Some(key)) = (normed(rewrite, &query.way), normed(rewrite, &key.way))
        && query.epsilon == key.epsilon
        && found.fuse(rewrite, [&query.way, &key.way, &value], Some([&query, &key])).is_some()
    {
        return Some(());
    }
    query.way.before_heads(rewrite);
    key.way.before_heads(rewrite);
    found.fuse(rewrite, [&query.way, &key.way, &value], None)
}

/// What is between a projection and an attention, from the end.
#[derive(Clone)]
struct Way {
    /// The nodes on it, whose values nobody else reads.
    nodes: Vec<usize>,
    /// Which rows of the tokens are taken; `None` for all as they are.
    rows: Option<ValueId>,
    /// Where it begins, as far as it has been gone.
    x: ValueId,
}

impl Way {
    /// Goes behind a reshape of `[B, Q, ...]` to heads.
    fn before_heads(&mut self, rewrite: &Rewrite<'_>) {
        if let Some((reshape, x)) = tokens_as_they_were(rewrite, self.x) {
            self.nodes.extend(rewrite.sole(self.x).filter(|&at| at == reshape));
            self.x = x;
        }
    }
}

/// Heads `[B, Q, ...]` that are rows of tokens `[1, T, ...]`.
fn spread(rewrite: &Rewrite<'_>, heads: ValueId) -> Way {
    let rows = || {
        let apart = rewrite.sole(heads)?;
        let taken = rewrite.op::<Reshape>(apart)?.0.inputs[0]?;
        let gather = rewrite.sole(taken)?;
        let (node, op) = rewrite.op::<Gather>(gather)?;
        let (data, rows) = (node.inputs[0]?, node.inputs[1]?);
        let joined = rewrite.sole(data)?;
        let x = rewrite.op::<Reshape>(joined)?.0.inputs[0]?;
        let (from, to, index) = (rewrite.ty(x), rewrite.ty(data), rewrite.ty(rows));
        let first = *op == Gather { axis: 0, batch_dims: 0 } && index.rank() == 2;
        let by_token = from.rank() >= 3
            && to.rank() == 2
            && from.shape[0] == Dim::Const(1)
            && from.shape[1] == to.shape[0]
            && rewrite.ty(heads).shape[..2] == index.shape[..];
        (first && by_token).then(|| Way { nodes: vec![apart, gather, joined], rows: Some(rows), x })
    };
    rows().unwrap_or(Way { nodes: Vec::new(), rows: None, x: heads })
}

/// Heads that were turned.
struct Turned {
    way: Way,
    rotary: RotaryEmbedding,
    tables: Vec<Option<ValueId>>,
}

fn turned(rewrite: &Rewrite<'_>, heads: ValueId) -> Option<Turned> {
    let mut way = spread(rewrite, heads);
    let turn = rewrite.sole(way.x)?;
    let (node, rotary) = rewrite.op::<RotaryEmbedding>(turn)?;
    way.nodes.push(turn);
    way.x = node.inputs[0]?;
    Some(Turned { way, rotary: *rotary, tables: node.inputs[1..].to_vec() })
}

/// Heads that were normalised each by itself.
struct Normed {
    way: Way,
    scale: ValueId,
    epsilon: f32,
}

fn normed(rewrite: &Rewrite<'_>, way: &Way) -> Option<Normed> {
    let norm = rewrite.sole(way.x)?;
    let (node, op) = rewrite.op::<Normalization>(norm)?;
    let (x, scale) = (node.inputs[0]?, node.inputs[1]?);
    if op.kind != Kind::Rms || node.inputs.len() > 2 {
        return None;
    }
    let mut way = way.clone();
    way.nodes.push(norm);
    way.x = x;
    way.before_heads(rewrite);
    Some(Normed { way, scale, epsilon: op.epsilon })
}

/// What an attention reads and how it came about.
struct Found {
    rotary: RotaryEmbedding,
    heads: usize,
    skip: bool,
    /// Tables and positions.
    tables: Vec<Option<ValueId>>,
    /// Slots, keys and values.
    caches: Vec<ValueId>,
    puts: [usize; 2],
    outputs: Vec<ValueId>,
}

impl Found {
    fn fuse(
        &self,
        rewrite: &mut Rewrite<'_>,
        ways: [&Way; 3],
        norms: Option<[&Normed; 2]>,
    ) -> Option<()> {
        let mut nodes: Vec<usize> = ways.iter().flat_map(|way| way.nodes.clone()).collect();
        nodes.extend(self.puts);
        let (first, at) = (*nodes.iter().min()?, *nodes.iter().max()?);
        if read_between(rewrite, first..at, &self.outputs, &nodes) {
            return None;
        }
        let scales = match norms {
            Some(norms) => norms.map(|norm| Some(norm.scale)),
            None => [None; 2],
        };
        let [query, key, _] = ways;
        let mut inputs: Vec<_> = ways.iter().map(|way| Some(way.x)).collect();
        inputs.extend(&self.tables);
        inputs.extend(self.caches.iter().copied().map(Some));
        inputs.extend(scales);
        inputs.extend([query.rows, key.rows]);
        let others: Vec<usize> = nodes.into_iter().filter(|&node| node != at).collect();
        let op = RotaryScatter {
            rotary: self.rotary,
            heads: self.heads,
            offsets: [0; 3],
            skip: self.skip,
            epsilon: norms.map_or(1.0, |[norm, _]| norm.epsilon),
        };
        rewrite.fuse(at, &others, op, inputs, self.outputs.clone()).then_some(())
    }
}

/// An operator that appends to a cache, and its inputs.
fn appended(rewrite: &Rewrite<'_>, at: usize) -> Option<(TensorScatter, [ValueId; 3])> {
    let (node, op) = rewrite.op::<TensorScatter>(at)?;
    let slots_third = op.axis == 2 || op.axis == -2;
    let inputs = [node.inputs[0]?, node.inputs[1]?, node.inputs[2]?];
    (op.token_major && slots_third).then_some((TensorScatter { axis: 2, ..*op }, inputs))
}

/// Whether one of some nodes, but for those of the fusion, reads one of the values.
fn read_between(
    rewrite: &Rewrite<'_>,
    nodes: Range<usize>,
    values: &[ValueId],
    but: &[usize],
) -> bool {
    let reads = |at: usize| {
        let inputs = rewrite.graph.nodes.get(at).map(|node| &node.inputs[..]).unwrap_or_default();
        inputs.iter().flatten().any(|id| values.contains(id))
    };
    nodes.into_iter().any(|at| !but.contains(&at) && reads(at))
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
    for (i, before) in (first..).zip(&together[..together.len() - 1]) {
        offsets[i + 1] = offsets[i] + before.weight.extents()[0];
        inputs[i + 1] = None;
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
