//! The gate with the up projection: both products and their combination in one.

use super::rewrite::Rewrite;
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::elementwise::{Binary, GatedActivation, Unary};
use crate::ops::matmul::{GatedMatMul, MatMul};

/// `Mul(Unary(x Wgᵀ), x Wuᵀ)` to `GatedMatMul(x, Wg, Wu)`.
pub(super) fn products(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        fuse_products(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

fn fuse_products(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (a, b, result) = factors(rewrite, at)?;
    for (gate, up) in [(a, b), (b, a)] {
        if let Some((others, op, inputs)) = gated(rewrite, gate, up) {
            rewrite.fuse(at, &others, op, inputs, vec![result]);
            return Some(());
        }
    }
    None
}

type Fused = (Vec<usize>, GatedMatMul, Vec<Option<ValueId>>);

fn gated(rewrite: &Rewrite<'_>, gate: ValueId, up: ValueId) -> Option<Fused> {
    let act = rewrite.sole(gate)?;
    let (node, function) = rewrite.op::<Unary>(act)?;
    let gate = rewrite.sole(node.inputs[0]?)?;
    let up = rewrite.sole(up)?;
    let (x, gate_weight) = plain(rewrite, gate)?;
    let (other, up_weight) = plain(rewrite, up)?;
    if x != other || rewrite.ty(gate_weight) != rewrite.ty(up_weight) {
        return None;
    }
    let op = GatedMatMul { activation: *function };
    Some((vec![act, gate, up], op, vec![Some(x), Some(gate_weight), Some(up_weight)]))
}

/// The operands of a product with a constant `[N, K]`, without bias or activation.
fn plain(rewrite: &Rewrite<'_>, at: usize) -> Option<(ValueId, ValueId)> {
    let (node, op) = rewrite.op::<MatMul>(at)?;
    let weight = node.inputs[1]?;
    let fits = *op == MatMul { trans_b: true, ..MatMul::default() } && node.inputs.len() == 2;
    let known = rewrite.graph.constant(weight).is_some() && rewrite.ty(weight).rank() == 2;
    (fits && known).then_some((node.inputs[0]?, weight))
}

/// `Mul(Unary(a), b)` to one elementwise operator, where the products were not
/// there to be fused as well.
pub(super) fn elements(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        fuse_elements(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

fn fuse_elements(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (a, b, result) = factors(rewrite, at)?;
    let (act, up) = [(a, b), (b, a)].into_iter().find_map(|(gate, up)| {
        let act = rewrite.sole(gate)?;
        rewrite.op::<Unary>(act)?;
        Some((act, up))
    })?;
    let (node, function) = rewrite.op::<Unary>(act)?;
    let (op, inputs) = (GatedActivation { act: *function }, vec![node.inputs[0], Some(up)]);
    rewrite.fuse(at, &[act], op, inputs, vec![result]);
    Some(())
}

fn factors(rewrite: &Rewrite<'_>, at: usize) -> Option<(ValueId, ValueId, ValueId)> {
    let (node, op) = rewrite.op::<Binary>(at)?;
    (*op == Binary::Mul).then_some((node.inputs[0]?, node.inputs[1]?, *node.outputs.first()?))
}
