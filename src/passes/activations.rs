//! Activations that exporters spell out as sums and products.

use super::rewrite::Rewrite;
use super::terms::{Terms, near, product, sum};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::elementwise::{Binary, Unary};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

/// `0.5 x (1 + erf(x / √2))` and `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub(super) fn gelu(graph: &mut Graph) -> Result<usize> {
    each(graph, |rewrite, terms| {
        pairs(terms, 0.5)
            .into_iter()
            .find_map(|(x, other)| gelu_erf(rewrite, x, other).or(gelu_tanh(rewrite, x, other)))
    })
}

/// `x sigmoid(x)`, and `x tanh(softplus(x))`.
pub(super) fn silu(graph: &mut Graph) -> Result<usize> {
    each(graph, |rewrite, terms| {
        pairs(terms, 1.0).into_iter().find_map(|(x, other)| {
            let (at, inner) = unary(rewrite, other, Unary::Sigmoid).or_else(|| {
                let (at, inner) = unary(rewrite, other, Unary::Tanh)?;
                let (under, inner) = unary(rewrite, inner, Unary::Softplus)?;
                Some(([at, under].concat(), inner))
            })?;
            let function = if at.len() == 1 { Unary::Silu } else { Unary::Mish };
            (inner == x).then_some((function, x, at))
        })
    })
}

/// `x clip(x + 3, 0, 6) / 6`, and `x` times its hard sigmoid.
pub(super) fn hard_swish(graph: &mut Graph) -> Result<usize> {
    each(graph, |rewrite, terms| {
        let clipped = pairs(terms, 1.0 / 6.0).into_iter().find_map(|(x, other)| {
            let (at, inner) = unary(rewrite, other, Unary::Clip { min: 0.0, max: 6.0 })?;
            let shifted = sum(rewrite, inner);
            (shifted.only(3.0)? == x).then(|| (x, [at, shifted.nodes].concat()))
        });
        let hard = || {
            pairs(terms, 1.0).into_iter().find_map(|(x, other)| {
                let at = rewrite.sole(other)?;
                let (node, op) = rewrite.op::<Unary>(at)?;
                let Unary::HardSigmoid { alpha, beta } = *op else { return None };
                let fits = near(alpha.into(), 1.0 / 6.0) && near(beta.into(), 0.5);
                (fits && node.inputs[0] == Some(x)).then(|| (x, vec![at]))
            })
        };
        let (x, nodes) = clipped.or_else(hard)?;
        Some((Unary::HardSwish, x, nodes))
    })
}

/// What was found: the function, its argument, the nodes besides the product.
type Found = (Unary, ValueId, Vec<usize>);

/// Tries every product that is no part of a larger one.
fn each(graph: &mut Graph, find: impl Fn(&Rewrite<'_>, &Terms) -> Option<Found>) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    // From the end, so that a product is met before the parts of it.
    for at in (0..rewrite.len()).rev() {
        let Some((terms, result)) = outermost(&rewrite, at) else { continue };
        if let Some((function, x, mut nodes)) = find(&rewrite, &terms) {
            nodes.extend(&terms.nodes);
            rewrite.fuse(at, &nodes, function, vec![Some(x)], vec![result]);
        }
    }
    Ok(rewrite.finish())
}

/// The product at a node, which may be read by anyone.
fn outermost(rewrite: &Rewrite<'_>, at: usize) -> Option<(Terms, ValueId)> {
    let (node, op) = rewrite.op::<Binary>(at)?;
    let (a, b) = (node.inputs[0]?, node.inputs[1]?);
    let result = *node.outputs.first()?;
    let mut terms = product(rewrite, a);
    match op {
        Binary::Mul => {
            let other = product(rewrite, b);
            terms.scale *= other.scale;
            terms.others.extend(other.others);
            terms.nodes.extend(other.nodes);
        }
        Binary::Div => terms.scale /= rewrite.number(b)?,
        _ => return None,
    }
    Some((terms, result))
}

/// Two factors both ways round, if the constant is `scale`.
fn pairs(terms: &Terms, scale: f64) -> Vec<(ValueId, ValueId)> {
    match terms.others[..] {
        [a, b] if near(terms.scale, scale) => vec![(a, b), (b, a)],
        _ => Vec::new(),
    }
}

/// A function that computes a value for one reader, and its argument.
fn unary(rewrite: &Rewrite<'_>, value: ValueId, function: Unary) -> Option<(Vec<usize>, ValueId)> {
    let at = rewrite.sole(value)?;
    let (node, op) = rewrite.op::<Unary>(at)?;
    (*op == function).then_some((vec![at], node.inputs[0]?))
}

fn gelu_erf(rewrite: &Rewrite<'_>, x: ValueId, other: ValueId) -> Option<Found> {
    let one = sum(rewrite, other);
    let (erf, inner) = unary(rewrite, one.only(1.0)?, Unary::Erf)?;
    let scaled = product(rewrite, inner);
    (scaled.only(FRAC_1_SQRT_2)? == x).then(|| {
        let nodes = [one.nodes.clone(), erf, scaled.nodes.clone()].concat();
        (Unary::Gelu, x, nodes)
    })
}

fn gelu_tanh(rewrite: &Rewrite<'_>, x: ValueId, other: ValueId) -> Option<Found> {
    let one = sum(rewrite, other);
    let (tanh, inner) = unary(rewrite, one.only(1.0)?, Unary::Tanh)?;
    let scaled = product(rewrite, inner);
    let scale = FRAC_2_PI.sqrt();
    // √(2/π) (x + c x³), or √(2/π) x (1 + c x²).
    let (bracket, power) = match scaled.only(scale) {
        Some(bracket) => (sum(rewrite, bracket), 3),
        None => (sum(rewrite, scaled.beside(x, scale)?), 2),
    };
    let term = if power == 3 { bracket.beside(x, 0.0)? } else { bracket.only(1.0)? };
    let cubic = product(rewrite, term);
    if !near(cubic.scale, 0.044_715) {
        return None;
    }
    let raised = raised(rewrite, &cubic.others, x, power)?;
    let all = [one.nodes, tanh, scaled.nodes, bracket.nodes, cubic.nodes, raised];
    Some((Unary::GeluTanh, x, all.concat()))
}

/// Whether factors are a power of x; the nodes that make them so.
fn raised(
    rewrite: &Rewrite<'_>,
    factors: &[ValueId],
    x: ValueId,
    power: usize,
) -> Option<Vec<usize>> {
    let (mut exponent, mut nodes) = (0.0, Vec::new());
    for &factor in factors {
        if factor == x {
            exponent += 1.0;
            continue;
        }
        let at = rewrite.sole(factor)?;
        let (node, op) = rewrite.op::<Binary>(at)?;
        if *op != Binary::Pow || node.inputs[0] != Some(x) {
            return None;
        }
        exponent += rewrite.number(node.inputs[1]?)?;
        nodes.push(at);
    }
    (exponent == power as f64).then_some(nodes)
}
