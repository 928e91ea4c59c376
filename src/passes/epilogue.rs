//! Bias and activation into the matrix product or convolution before them.

use super::conv;
use super::rewrite::Rewrite;
use crate::error::Result;
use crate::graph::{Dim, Graph, ValueId};
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::matmul::MatMul;

/// `Add(MatMul(a, b), bias)` to `MatMul(a, b, bias)`.
pub(super) fn bias(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        fuse_bias(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

fn fuse_bias(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (node, op) = rewrite.op::<Binary>(at)?;
    if *op != Binary::Add {
        return None;
    }
    let (a, b, result) = (node.inputs[0]?, node.inputs[1]?, *node.outputs.first()?);
    let (product, bias) = [(a, b), (b, a)].into_iter().find_map(|(product, bias)| {
        let place = rewrite.sole(product)?;
        rewrite.op::<MatMul>(place)?;
        is_bias(rewrite, product, bias).then_some((place, bias))
    })?;
    let (node, op) = rewrite.op::<MatMul>(product)?;
    if op.activation.is_some() || node.inputs.len() > 2 {
        return None;
    }
    let (op, inputs) = (*op, vec![node.inputs[0], node.inputs[1], Some(bias)]);
    rewrite.fuse(at, &[product], op, inputs, vec![result]);
    Some(())
}

/// A vector as long as the product's rows; a constant, so it is known early.
fn is_bias(rewrite: &Rewrite<'_>, product: ValueId, bias: ValueId) -> bool {
    let (product, ty) = (rewrite.ty(product), rewrite.ty(bias));
    ty.rank() == 1
        && ty.dtype == product.dtype
        && ty.width() == product.width()
        && product.width() != Dim::Const(1)
        && rewrite.graph.constant(bias).is_some()
}

/// `Unary(MatMul(...))` to a product with an activation, and the same for
/// convolutions.
pub(super) fn activation(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        if fuse_activation(&mut rewrite, at).is_none() {
            conv::activation(&mut rewrite, at);
        }
    }
    Ok(rewrite.finish())
}

fn fuse_activation(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (node, function) = rewrite.op::<Unary>(at)?;
    let (function, result) = (*function, *node.outputs.first()?);
    let product = rewrite.sole(node.inputs[0]?)?;
    let (node, op) = rewrite.op::<MatMul>(product)?;
    if op.activation.is_some() {
        return None;
    }
    let (op, inputs) = (MatMul { activation: Some(function), ..*op }, node.inputs.clone());
    rewrite.fuse(at, &[product], op, inputs, vec![result]);
    Some(())
}
