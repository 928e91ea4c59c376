//! Products, softmax and products that are attention.

use super::rewrite::{Chain, Rewrite};
use super::terms::product;
use crate::error::Result;
use crate::graph::{Dim, Graph, ValueId};
use crate::ops::attention::Attention;
use crate::ops::elementwise::{Binary, Test, Where};
use crate::ops::matmul::MatMul;
use crate::ops::movement::{Reshape, Transpose};
use crate::ops::softmax::Softmax;
use crate::tensor::{DType, Tensor};

/// `Softmax(scale * Q Kᵀ + mask) V` to `Attention`, with the transpositions of K,
/// of the heads of Q and of the result.
///
/// Operands are `[B, H, tokens, D]` or `[B, tokens, D]` of constant extents. A
/// row that a mask of minus infinity hides altogether is zeros then, not NaN.
pub(super) fn run(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for transposed in [true, false] {
        for at in 0..rewrite.len() {
            fuse(&mut rewrite, at, transposed);
        }
    }
    Ok(rewrite.finish())
}

/// What the pattern is made of.
struct Found {
    q: ValueId,
    /// `[.., D, C]`, or `[.., C, D]` if `k_rows`.
    k: ValueId,
    k_rows: bool,
    v: ValueId,
    mask: Option<ValueId>,
    scale: f64,
    nodes: Vec<usize>,
}

const SWAP_HEADS: [usize; 4] = [0, 2, 1, 3];

/// At the product with V, or at a transposition of its heads.
fn fuse(rewrite: &mut Rewrite<'_>, at: usize, transposed: bool) -> Option<()> {
    let result = rewrite.result(at)?;
    let mut nodes = Vec::new();
    let product = if transposed {
        let (node, op) = rewrite.op::<Transpose>(at)?;
        if op.permutation != SWAP_HEADS {
            return None;
        }
        let product = rewrite.sole(node.inputs[0]?)?;
        nodes.push(product);
        product
    } else {
        at
    };
    let mut found = find(rewrite, product)?;
    nodes.append(&mut found.nodes);
    let rank = rewrite.ty(found.q).rank();
    let extents = |id: ValueId| -> Option<Vec<u64>> {
        let ty = rewrite.ty(id);
        (ty.dtype == DType::F32 && ty.rank() == rank).then_some(())?;
        ty.shape.iter().map(Dim::as_const).collect()
    };
    let (q, k, v) = (extents(found.q)?, extents(found.k)?, extents(found.v)?);
    let batch = &q[..rank - 2];
    if !(3..=4).contains(&rank) || k[..rank - 2] != *batch || v[..rank - 2] != *batch {
        return None;
    }
    let (queries, capacity) = (q[rank - 2], v[rank - 2]);
    let past = i32::try_from(capacity as i64 - queries as i64).ok()?;
    let sequences = usize::try_from(q[0]).ok()?;
    let past = Tensor::from_i32(&[sequences], &vec![past; sequences]).ok()?;
    let past = rewrite.constant("past", past);
    let mut chain = Chain::new();
    let inputs = operands(rewrite, &mut chain, &found, &q);
    let op =
        Attention { scale: Some(found.scale as f32), causal: false, window: None, softcap: None };
    let [q_id, k_id, v_id, mask] = inputs;
    let y = rewrite.append(&mut chain, op, &[q_id, k_id, v_id, Some(past), mask]);
    if rank == 3 {
        let shape = rewrite.ty(result).shape.clone();
        rewrite.append(&mut chain, Reshape { shape }, &[Some(y)]);
    } else if !transposed {
        swap_heads(rewrite, &mut chain, y);
    }
    rewrite.fuse_chain(at, &nodes, chain, vec![result]).then_some(())
}

fn swap_heads(rewrite: &mut Rewrite<'_>, chain: &mut Chain, value: ValueId) -> ValueId {
    rewrite.append(chain, Transpose { permutation: SWAP_HEADS.to_vec() }, &[Some(value)])
}

/// Q, K, V and the mask as the fused operator takes them.
fn operands(
    rewrite: &mut Rewrite<'_>,
    chain: &mut Chain,
    found: &Found,
    q: &[u64],
) -> [Option<ValueId>; 4] {
    let with_head = |rewrite: &mut Rewrite<'_>, chain: &mut Chain, id: ValueId, axis: usize| {
        let mut shape = rewrite.ty(id).shape.clone();
        shape.insert(axis, Dim::Const(1));
        rewrite.append(chain, Reshape { shape }, &[Some(id)])
    };
    let k = key_rows(rewrite, chain, found);
    if q.len() == 3 {
        let queries = with_head(rewrite, chain, found.q, 2);
        let (k, v) = (with_head(rewrite, chain, k, 1), with_head(rewrite, chain, found.v, 1));
        let mask = found.mask.map(|mask| match rewrite.ty(mask).rank() {
            3 => with_head(rewrite, chain, mask, 1),
            _ => mask,
        });
        return [Some(queries), Some(k), Some(v), mask];
    }
    // Where the heads were brought to the front, they stay where they were.
    let behind = rewrite.producer(found.q).and_then(|at| {
        let (node, op) = rewrite.op::<Transpose>(at)?;
        (op.permutation == SWAP_HEADS).then_some(node.inputs[0]?)
    });
    let queries = behind.unwrap_or_else(|| swap_heads(rewrite, chain, found.q));
    [Some(queries), Some(k), Some(found.v), found.mask]
}

/// K as `[.., C, D]`, without its transposition.
fn key_rows(rewrite: &mut Rewrite<'_>, chain: &mut Chain, found: &Found) -> ValueId {
    if found.k_rows {
        return found.k;
    }
    let rank = rewrite.ty(found.k).rank();
    let mut permutation: Vec<usize> = (0..rank).collect();
    permutation.swap(rank - 2, rank - 1);
    if let Some(at) = rewrite.producer(found.k)
        && let Some((node, op)) = rewrite.op::<Transpose>(at)
        && let Some(&Some(source)) = node.inputs.first()
    {
        let both: Vec<usize> = permutation.iter().map(|&axis| op.permutation[axis]).collect();
        if both.iter().copied().eq(0..rank) {
            return source;
        }
        return rewrite.append(chain, Transpose { permutation: both }, &[Some(source)]);
    }
    rewrite.append(chain, Transpose { permutation }, &[Some(found.k)])
}

/// The pattern that ends in the product at a position.
fn find(rewrite: &Rewrite<'_>, at: usize) -> Option<Found> {
    let (weights, v, trans_b) = plain_product(rewrite, at)?;
    let (softmax, mut nodes) = softmax_of(rewrite, weights)?;
    let (node, op) = rewrite.op::<Softmax>(softmax)?;
    let scores = node.inputs[0]?;
    let last = rewrite.ty(scores).rank() as i64 - 1;
    if trans_b || (op.axis != -1 && op.axis != last) {
        return None;
    }
    let full = rewrite.ty(scores).clone();
    nodes.push(softmax);
    let (scaled, mask) = match super::terms::binary(rewrite, scores) {
        Some((add, Binary::Add, a, b)) => {
            // One of the terms is the product, the other the mask.
            let (scaled, mask) = [(a, b), (b, a)].into_iter().find(|&(scaled, _)| {
                let terms = product(rewrite, scaled);
                let inner = match terms.others[..] {
                    [inner] => rewrite.sole(inner),
                    _ => None,
                };
                inner.is_some_and(|at| plain_product(rewrite, at).is_some())
            })?;
            nodes.push(add);
            (scaled, Some(mask))
        }
        _ => (scores, None),
    };
    let terms = product(rewrite, scaled);
    let &[inner] = &terms.others[..] else { return None };
    // A scale of another shape would broadcast.
    if rewrite.ty(inner) != &full || rewrite.ty(scaled) != &full {
        return None;
    }
    let first = rewrite.sole(inner)?;
    let (q, k, k_rows) = plain_product(rewrite, first)?;
    nodes.extend(&terms.nodes);
    nodes.push(first);
    let mut scale = terms.scale;
    let mut unscaled = |value: ValueId| -> ValueId {
        let terms = product(rewrite, value);
        match terms.others[..] {
            [inner] if rewrite.ty(inner) == rewrite.ty(value) => {
                scale *= terms.scale;
                nodes.extend(&terms.nodes);
                inner
            }
            _ => value,
        }
    };
    let (q, k) = (unscaled(q), unscaled(k));
    let finite = scale.is_finite() && (scale as f32).is_finite();
    finite.then_some(Found { q, k, k_rows, v, mask, scale, nodes })
}

/// The softmax that makes weights, and the nodes behind it: PyTorch puts 0 in the
/// place of what is not a number, which is what rows that see nothing are.
fn softmax_of(rewrite: &Rewrite<'_>, weights: ValueId) -> Option<(usize, Vec<usize>)> {
    let at = rewrite.sole(weights)?;
    if rewrite.op::<Softmax>(at).is_some() {
        return Some((at, Vec::new()));
    }
    let (node, _) = rewrite.op::<Where>(at)?;
    let &[Some(which), Some(zero), Some(softened)] = node.inputs.as_slice() else { return None };
    let test = rewrite.sole(which)?;
    let (node, question) = rewrite.op::<Test>(test)?;
    let fits = *question == Test::IsNaN
        && node.inputs.first() == Some(&Some(softened))
        && rewrite.number(zero) == Some(0.0);
    let softmax = rewrite.producer(softened).filter(|_| fits)?;
    let nodes = vec![at, test];
    rewrite.private(&[at, test, softmax], at).then_some((softmax, nodes))
}

/// A product of two computed matrices, without bias or activation: its operands
/// and whether the second is transposed.
fn plain_product(rewrite: &Rewrite<'_>, at: usize) -> Option<(ValueId, ValueId, bool)> {
    let (node, op) = rewrite.op::<MatMul>(at)?;
    let plain = !op.trans_a && op.activation.is_none() && node.inputs.len() == 2;
    plain.then_some((node.inputs[0]?, node.inputs[1]?, op.trans_b))
}
