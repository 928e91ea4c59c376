//! Dimensions: constants, symbols and expressions of them.

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// A named dimension whose value is known only at run time.
///
/// A symbol has two values. Its *bound* is fixed when a plan is made: memory
/// is sized by it. Its *run-time value*, at most the bound, gives the extents
/// of one step. So one plan serves every length up to its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub(crate) u32);

impl Symbol {
    /// The symbol's position in [`Graph::symbols`](super::Graph::symbols).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A dimension, or any other non-negative quantity computed from dimensions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A number known when the graph is built.
    Const(u64),
    /// A run-time quantity.
    Sym(Symbol),
    /// An operation on two quantities.
    Expr(Arc<DimExpr>),
}

/// An operation on two dimensions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DimExpr {
    /// The operation.
    pub op: DimOp,
    /// The left operand.
    pub left: Dim,
    /// The right operand.
    pub right: Dim,
}

/// The operations on dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DimOp {
    /// Sum.
    Add,
    /// Difference, 0 where it would be negative.
    Sub,
    /// Product.
    Mul,
    /// Quotient rounded down.
    FloorDiv,
    /// Quotient rounded up.
    CeilDiv,
    /// The smaller.
    Min,
    /// The larger.
    Max,
}

impl DimOp {
    fn apply(self, a: u64, b: u64) -> Option<u64> {
        match self {
            DimOp::Add => a.checked_add(b),
            DimOp::Sub => Some(a.saturating_sub(b)),
            DimOp::Mul => a.checked_mul(b),
            DimOp::FloorDiv => a.checked_div(b),
            DimOp::CeilDiv => (b != 0).then(|| a.div_ceil(b)),
            DimOp::Min => Some(a.min(b)),
            DimOp::Max => Some(a.max(b)),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            DimOp::Add => "+",
            DimOp::Sub => "-",
            DimOp::Mul => "*",
            DimOp::FloorDiv => "/",
            DimOp::CeilDiv => "ceil/",
            DimOp::Min => "min",
            DimOp::Max => "max",
        }
    }
}

/// A value for each symbol of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bindings(Vec<Option<u64>>);

impl Bindings {
    /// No symbol has a value yet.
    pub fn new(symbols: usize) -> Self {
        Bindings(vec![None; symbols])
    }

    /// Gives a symbol its value.
    pub fn set(&mut self, symbol: Symbol, value: u64) {
        if symbol.index() >= self.0.len() {
            self.0.resize(symbol.index() + 1, None);
        }
        self.0[symbol.index()] = Some(value);
    }

    /// The symbol's value, if it has one.
    pub fn get(&self, symbol: Symbol) -> Option<u64> {
        self.0.get(symbol.index()).copied().flatten()
    }
}

impl Dim {
    fn combine(op: DimOp, left: Dim, right: Dim) -> Dim {
        use DimOp::*;
        match (op, &left, &right) {
            (_, Dim::Const(a), Dim::Const(b)) => {
                if let Some(value) = op.apply(*a, *b) {
                    return Dim::Const(value);
                }
            }
            (Add | Sub, _, Dim::Const(0)) | (Mul | FloorDiv | CeilDiv, _, Dim::Const(1)) => {
                return left;
            }
            (Add, Dim::Const(0), _) | (Mul, Dim::Const(1), _) => return right,
            (Mul, _, Dim::Const(0)) | (Mul, Dim::Const(0), _) => return Dim::Const(0),
            (Min | Max, a, b) if a == b => return left,
            (FloorDiv, Dim::Expr(e), Dim::Const(b)) if e.op == Mul && e.right == Dim::Const(*b) => {
                return e.left.clone();
            }
            _ => {}
        }
        // Constants go to the right of commutative operations, so that equal
        // expressions compare equal more often.
        let (left, right) = match (op, &left) {
            (Add | Mul | Min | Max, Dim::Const(_)) => (right, left),
            _ => (left, right),
        };
        Dim::Expr(Arc::new(DimExpr { op, left, right }))
    }

    /// The quotient rounded up.
    pub fn ceil_div(&self, by: impl Into<Dim>) -> Dim {
        Self::combine(DimOp::CeilDiv, self.clone(), by.into())
    }

    /// The smaller of two.
    pub fn min(&self, other: impl Into<Dim>) -> Dim {
        Self::combine(DimOp::Min, self.clone(), other.into())
    }

    /// The larger of two.
    pub fn max(&self, other: impl Into<Dim>) -> Dim {
        Self::combine(DimOp::Max, self.clone(), other.into())
    }

    /// The product of several dimensions; 1 for none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::Const(1), |product, dim| product * dim.clone())
    }

    /// The number, if this is a constant.
    pub fn as_const(&self) -> Option<u64> {
        match self {
            Dim::Const(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that divides the value whatever values symbols have.
    pub(crate) fn divisor(&self) -> u64 {
        match self {
            Dim::Const(value) => *value,
            Dim::Sym(_) => 1,
            Dim::Expr(e) => {
                let (left, right) = (e.left.divisor(), e.right.divisor());
                match e.op {
                    DimOp::Mul => left.checked_mul(right).unwrap_or(left.max(right)),
                    // A difference that would be negative is 0.
                    DimOp::Add | DimOp::Sub | DimOp::Min | DimOp::Max => gcd(left, right),
                    DimOp::FloorDiv | DimOp::CeilDiv => 1,
                }
            }
        }
    }

    /// Whether the value is a multiple of `n` whatever values symbols have.
    pub(crate) fn is_multiple_of(&self, n: u64) -> bool {
        self.divisor().is_multiple_of(n)
    }

    /// The value under given symbol values.
    ///
    /// # Errors
    /// If a symbol has no value, a divisor is zero, or the value does not fit
    /// in 64 bits.
    pub fn eval(&self, bindings: &Bindings) -> Result<u64> {
        match self {
            Dim::Const(value) => Ok(*value),
            Dim::Sym(symbol) => bindings
                .get(*symbol)
                .ok_or_else(|| Error::internal(format!("symbol {} has no value", symbol.0))),
            Dim::Expr(e) => {
                let (a, b) = (e.left.eval(bindings)?, e.right.eval(bindings)?);
                e.op.apply(a, b).ok_or_else(|| {
                    Error::input(
                        format!("dimension {self}"),
                        "a value below 2^64",
                        format!("{a} {} {b}", e.op.sign()),
                    )
                })
            }
        }
    }
}

/// The greatest common divisor; of 0 and a number, the number.
pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl From<u64> for Dim {
    fn from(value: u64) -> Self {
        Dim::Const(value)
    }
}

impl From<u32> for Dim {
    fn from(value: u32) -> Self {
        Dim::Const(value.into())
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Dim::Const(value as u64)
    }
}

impl From<i32> for Dim {
    /// Negative numbers, which no dimension can be, become 0.
    fn from(value: i32) -> Self {
        Dim::Const(value.max(0) as u64)
    }
}

impl From<Symbol> for Dim {
    fn from(symbol: Symbol) -> Self {
        Dim::Sym(symbol)
    }
}

impl From<&Dim> for Dim {
    fn from(dim: &Dim) -> Self {
        dim.clone()
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident),*) => {$(
        impl<T: Into<Dim>> std::ops::$trait<T> for Dim {
            type Output = Dim;
            fn $method(self, right: T) -> Dim {
                Dim::combine(DimOp::$op, self, right.into())
            }
        }
        impl<T: Into<Dim>> std::ops::$trait<T> for &Dim {
            type Output = Dim;
            fn $method(self, right: T) -> Dim {
                Dim::combine(DimOp::$op, self.clone(), right.into())
            }
        }
    )*};
}
operators!(Add add Add, Sub sub Sub, Mul mul Mul, Div div FloorDiv);

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Const(value) => write!(f, "{value}"),
            Dim::Sym(symbol) => write!(f, "s{}", symbol.0),
            Dim::Expr(e) => write!(f, "({} {} {})", e.left, e.op.sign(), e.right),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_fold_and_identities_vanish() {
        let q = Dim::Sym(Symbol(0));
        assert_eq!(Dim::from(6u64) * 7u64, Dim::Const(42));
        assert_eq!(&q * 1u64, q);
        assert_eq!(&q + 0u64, q);
        assert_eq!((&q * 64u64) / 64u64, q);
        assert_eq!(Dim::from(3u64) + &q, &q + 3u64);
        assert_eq!(Dim::from(7u64).ceil_div(2u64), Dim::Const(4));
        assert_eq!(Dim::from(2u64) - 5u64, Dim::Const(0));
    }

    #[test]
    fn divisors_are_certain() {
        let (q, r) = (Dim::Sym(Symbol(0)), Dim::Sym(Symbol(1)));
        let eights = [
            Dim::from(576u64),
            &q * 64u64,
            (&q * 2u64) * (&r * 4u64),
            &q * 8u64 + 16u64,
            (&q * 24u64 - 8u64).min(&r * 16u64),
            Dim::from(0u64),
        ];
        assert!(eights.iter().all(|dim| dim.is_multiple_of(8)), "{eights:?}");
        let others = [
            q.clone(),
            &q * 4u64,
            &q * 8u64 + 4u64,
            (&q * 8u64).max(&r * 2u64),
            (&q * 16u64) / 2u64,
            Dim::from(12u64),
        ];
        assert!(!others.iter().any(|dim| dim.is_multiple_of(8)), "{others:?}");
    }

    #[test]
    fn expressions_evaluate_and_overflow_is_an_error() {
        let (q, mut bindings) = (Dim::Sym(Symbol(1)), Bindings::new(2));
        assert!(q.eval(&bindings).is_err());
        bindings.set(Symbol(1), 10);
        assert_eq!((&q * 3u64 + 1u64).ceil_div(4u64).eval(&bindings).unwrap(), 8);
        assert_eq!(q.min(4u64).eval(&bindings).unwrap(), 4);
        assert!((&q * u64::MAX).eval(&bindings).is_err());
        assert!((&q / 0u64).eval(&bindings).is_err());
    }
}
