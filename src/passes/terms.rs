//! Products and sums with constants in them, taken apart.

use super::rewrite::Rewrite;
use crate::graph::ValueId;
use crate::ops::elementwise::Binary;

/// A product `scale * factors` or a sum `scale + terms`.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// All constants together.
    pub(super) scale: f64,
    /// What is not a constant.
    pub(super) others: Vec<ValueId>,
    /// The nodes that were taken apart.
    pub(super) nodes: Vec<usize>,
}

impl Terms {
    /// The single term beside the constant, if that is `scale`.
    pub(super) fn only(&self, scale: f64) -> Option<ValueId> {
        match self.others[..] {
            [one] if near(self.scale, scale) => Some(one),
            _ => None,
        }
    }

    /// The other of two terms beside `this`, if the constant is `scale`.
    pub(super) fn beside(&self, this: ValueId, scale: f64) -> Option<ValueId> {
        match self.others[..] {
            [a, b] if near(self.scale, scale) && a == this => Some(b),
            [a, b] if near(self.scale, scale) && b == this => Some(a),
            _ => None,
        }
    }
}

/// Whether a constant is the number, as far as F32 can tell.
pub(super) fn near(got: f64, want: f64) -> bool {
    (got - want).abs() <= 1e-6 * want.abs()
}

/// A value as a product: through products and quotients by constants that have
/// no other reader.
pub(super) fn product(rewrite: &Rewrite<'_>, value: ValueId) -> Terms {
    let mut terms = Terms { scale: 1.0, others: Vec::new(), nodes: Vec::new() };
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if let Some(number) = rewrite.number(value) {
            terms.scale *= number;
            continue;
        }
        match binary(rewrite, value) {
            Some((at, Binary::Mul, a, b)) => {
                terms.nodes.push(at);
                open.extend([b, a]);
            }
            Some((at, Binary::Div, a, b)) if rewrite.number(b).is_some() => {
                terms.nodes.push(at);
                terms.scale /= rewrite.number(b).unwrap_or(1.0);
                open.push(a);
            }
            _ => terms.others.push(value),
        }
    }
    terms
}

/// A value as a sum: through sums, and differences with a constant, that have no
/// other reader.
pub(super) fn sum(rewrite: &Rewrite<'_>, value: ValueId) -> Terms {
    let mut terms = Terms { scale: 0.0, others: Vec::new(), nodes: Vec::new() };
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if let Some(number) = rewrite.number(value) {
            terms.scale += number;
            continue;
        }
        match binary(rewrite, value) {
            Some((at, Binary::Add, a, b)) => {
                terms.nodes.push(at);
                open.extend([b, a]);
            }
            Some((at, Binary::Sub, a, b)) if rewrite.number(b).is_some() => {
                terms.nodes.push(at);
                terms.scale -= rewrite.number(b).unwrap_or(0.0);
                open.push(a);
            }
            _ => terms.others.push(value),
        }
    }
    terms
}

/// The operation that computes a value for one reader, and its operands.
pub(super) fn binary(
    rewrite: &Rewrite<'_>,
    value: ValueId,
) -> Option<(usize, Binary, ValueId, ValueId)> {
    let at = rewrite.sole(value)?;
    let (node, op) = rewrite.op::<Binary>(at)?;
    Some((at, *op, *node.inputs.first()?.as_ref()?, *node.inputs.get(1)?.as_ref()?))
}
