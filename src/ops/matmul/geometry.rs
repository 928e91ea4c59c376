//! The shape rule of matrix products: which matrices meet, and where they lie.

use crate::graph::{Dim, Shape, TensorType};

/// A matrix product in dimensions: `C[batch.., m, n] = A[batch.., m, k] B[batch.., k, n]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Geometry {
    /// The batch, outermost first; neighbours that broadcast alike are one.
    pub(crate) batch: Vec<BatchDim>,
    /// Rows of A and C.
    pub(crate) m: Dim,
    /// Columns of B and C.
    pub(crate) n: Dim,
    /// Columns of A, rows of B.
    pub(crate) k: Dim,
    /// Whether A is stored as `[k, m]`.
    pub(crate) trans_a: bool,
    /// Whether B is stored as `[n, k]`.
    pub(crate) rows_b: bool,
    /// The shape of the result.
    pub(crate) shape: Shape,
}

/// A dimension of the batch and who has it; the other operand is broadcast.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchDim {
    pub(crate) extent: Dim,
    pub(crate) a: bool,
    pub(crate) b: bool,
}

/// The two dimensions of an operand's matrices, and the ones before them.
struct Operand<'a> {
    batch: &'a [Dim],
    rows: Dim,
    columns: Dim,
    transposed: bool,
    vector: bool,
}

/// Which side of the product an operand stands on.
#[derive(PartialEq, Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Geometry {
    /// Matches the operands' types by the rules of ONNX's MatMul: the last two
    /// dimensions are matrices (swapped if `trans_*`), the others broadcast; a
    /// vector is one row of A or one column of B, and its dimension vanishes.
    ///
    /// # Errors
    /// What does not fit, with both types.
    pub(crate) fn new(
        a: &TensorType,
        b: &TensorType,
        trans_a: bool,
        trans_b: bool,
    ) -> Result<Self, String> {
        let left = operand("a", a, trans_a, Side::Left)?;
        let right = operand("b", b, trans_b, Side::Right)?;
        if left.columns != right.rows {
            return Err(format!(
                "inner dimensions differ: a {a}{} has K = {}, b {b}{} has K = {}",
                if trans_a { " transposed" } else { "" },
                left.columns,
                if trans_b { " transposed" } else { "" },
                right.rows
            ));
        }
        let (dims, mut shape) =
            broadcast(left.batch, right.batch).map_err(|what| format!("{what}: a {a}, b {b}"))?;
        if !left.vector {
            shape.push(left.rows.clone());
        }
        if !right.vector {
            shape.push(right.columns.clone());
        }
        let mut geometry = Geometry {
            batch: dims,
            m: left.rows,
            n: right.columns,
            k: left.columns,
            trans_a: left.transposed,
            rows_b: right.transposed,
            shape,
        };
        geometry.simplify();
        Ok(geometry)
    }

    /// Rewrites the product as the simplest one of the same memory.
    fn simplify(&mut self) {
        let one = Dim::Const(1);
        // One row or column lies the same way either way round.
        if self.m == one {
            self.trans_a = false;
        }
        if self.n == one {
            self.rows_b = true;
        }
        self.batch.retain(|dim| dim.extent != one);
        // Where all matrices of A meet the same B, their rows are one long matrix.
        if !self.trans_a && self.batch.iter().all(|dim| !dim.b) {
            self.m = Dim::product(self.batch.iter().map(|dim| &dim.extent)) * &self.m;
            self.batch.clear();
        }
        let mut merged: Vec<BatchDim> = Vec::new();
        for dim in self.batch.drain(..) {
            match merged.last_mut() {
                Some(last) if (last.a, last.b) == (dim.a, dim.b) => {
                    last.extent = &last.extent * &dim.extent;
                }
                _ => merged.push(dim),
            }
        }
        self.batch = merged;
    }

    /// How many matrices the batch of C has.
    pub(crate) fn matrices(&self) -> Dim {
        Dim::product(self.batch.iter().map(|dim| &dim.extent))
    }

    /// For each dimension of the batch, how many matrices of A and of B lie
    /// between neighbours along it: 0 where the operand is broadcast.
    pub(crate) fn steps(&self) -> Vec<(Dim, Dim)> {
        let (mut a, mut b) = (Dim::Const(1), Dim::Const(1));
        let mut steps = Vec::with_capacity(self.batch.len());
        for dim in self.batch.iter().rev() {
            let none = Dim::Const(0);
            steps.push((
                if dim.a { a.clone() } else { none.clone() },
                if dim.b { b.clone() } else { none },
            ));
            if dim.a {
                a = a * &dim.extent;
            }
            if dim.b {
                b = b * &dim.extent;
            }
        }
        steps.reverse();
        steps
    }
}

fn operand<'a>(
    name: &str,
    ty: &'a TensorType,
    trans: bool,
    side: Side,
) -> Result<Operand<'a>, String> {
    match ty.shape.as_slice() {
        [] => Err(format!("{name} is a scalar {ty}; at least one dimension is needed")),
        [_] if trans => Err(format!("{name} {ty} has one dimension and cannot be transposed")),
        [k] => Ok(Operand {
            batch: &[],
            rows: if side == Side::Left { Dim::Const(1) } else { k.clone() },
            columns: if side == Side::Left { k.clone() } else { Dim::Const(1) },
            transposed: side == Side::Right,
            vector: true,
        }),
        [batch @ .., rows, columns] => {
            let (rows, columns) = if trans { (columns, rows) } else { (rows, columns) };
            Ok(Operand {
                batch,
                rows: rows.clone(),
                columns: columns.clone(),
                transposed: trans,
                vector: false,
            })
        }
    }
}

/// Broadcasts batch dimensions, aligned at their ends.
fn broadcast(a: &[Dim], b: &[Dim]) -> Result<(Vec<BatchDim>, Shape), String> {
    let rank = a.len().max(b.len());
    let one = Dim::Const(1);
    let mut dims = Vec::with_capacity(rank);
    for i in 0..rank {
        let pick =
            |dims: &[Dim]| (i + dims.len()).checked_sub(rank).and_then(|at| dims.get(at)).cloned();
        let (da, db) = (pick(a).unwrap_or(Dim::Const(1)), pick(b).unwrap_or(Dim::Const(1)));
        dims.push(if da == db {
            BatchDim { extent: da, a: true, b: true }
        } else if db == one {
            BatchDim { extent: da, a: true, b: false }
        } else if da == one {
            BatchDim { extent: db, a: false, b: true }
        } else {
            return Err(format!("batch dimensions {da} and {db} do not broadcast"));
        });
    }
    let shape = dims.iter().map(|dim| dim.extent.clone()).collect();
    Ok((dims, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Symbol;
    use crate::tensor::DType;

    fn ty(shape: &[u64]) -> TensorType {
        TensorType::new(DType::F32, shape.iter().map(|&n| Dim::Const(n)).collect::<Vec<_>>())
    }

    fn new(a: &[u64], b: &[u64], trans_a: bool, trans_b: bool) -> Result<Geometry, String> {
        Geometry::new(&ty(a), &ty(b), trans_a, trans_b)
    }

    fn shape(g: &Geometry) -> Vec<u64> {
        g.shape.iter().map(|d| d.as_const().unwrap()).collect()
    }

    #[test]
    fn shapes_follow_onnx() {
        let cases: [(&[u64], &[u64], &[u64]); 9] = [
            (&[2, 3], &[3, 4], &[2, 4]),
            (&[3], &[3, 4], &[4]),
            (&[2, 3], &[3], &[2]),
            (&[3], &[3], &[]),
            (&[5, 2, 3], &[3, 4], &[5, 2, 4]),
            (&[2, 3], &[5, 3, 4], &[5, 2, 4]),
            (&[6, 1, 2, 3], &[5, 3, 4], &[6, 5, 2, 4]),
            (&[3], &[5, 3, 4], &[5, 4]),
            (&[0, 2, 3], &[1, 3, 4], &[0, 2, 4]),
        ];
        for (a, b, c) in cases {
            assert_eq!(shape(&new(a, b, false, false).unwrap()), c, "{a:?} {b:?}");
        }
        let g = new(&[7, 3, 2], &[4, 3], true, true).unwrap();
        assert_eq!(shape(&g), [7, 2, 4]);
        assert!(g.trans_a && g.rows_b && g.batch.len() == 1);
    }

    #[test]
    fn a_shared_right_side_folds_the_batch_into_rows() {
        let g = new(&[5, 2, 3], &[1, 3, 4], false, false).unwrap();
        assert_eq!((g.batch.len(), g.m.as_const()), (0, Some(10)));
        let q = Dim::Sym(Symbol(0));
        let a = TensorType::new(DType::F32, vec![Dim::Const(1), q.clone(), Dim::Const(3)]);
        let g = Geometry::new(&a, &ty(&[4, 3]), false, true).unwrap();
        assert_eq!(g.m, q);
        assert_eq!(g.shape, vec![Dim::Const(1), q, Dim::Const(4)]);
    }

    #[test]
    fn steps_skip_broadcast_dimensions() {
        let g = new(&[2, 1, 7, 5, 2, 3], &[6, 7, 1, 3, 4], false, false).unwrap();
        let extents: Vec<_> = g.batch.iter().map(|d| d.extent.as_const().unwrap()).collect();
        assert_eq!(extents, [2, 6, 7, 5]);
        let steps: Vec<_> =
            g.steps().iter().map(|(a, b)| (a.as_const().unwrap(), b.as_const().unwrap())).collect();
        assert_eq!(steps, [(35, 0), (0, 7), (5, 1), (1, 0)]);
        let g = new(&[4, 3, 2, 3], &[4, 3, 3, 4], false, false).unwrap();
        assert_eq!(g.batch.len(), 1);
        assert_eq!(g.matrices(), Dim::Const(12));
    }

    #[test]
    fn single_rows_and_columns_need_no_transposition() {
        let g = new(&[5, 3, 1], &[5, 3, 1], true, false).unwrap();
        assert!(!g.trans_a && g.rows_b);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |a: &[u64], b: &[u64], ta, tb| new(a, b, ta, tb).unwrap_err();
        assert_eq!(
            wrong(&[2, 3], &[4, 5], false, false),
            "inner dimensions differ: a F32[2, 3] has K = 3, b F32[4, 5] has K = 4"
        );
        assert!(wrong(&[2, 3], &[4, 2], false, true).contains("b F32[4, 2] transposed has K = 2"));
        assert!(wrong(&[], &[3], false, false).contains("a is a scalar"));
        assert!(wrong(&[3], &[3], false, true).contains("cannot be transposed"));
        let text = wrong(&[2, 2, 3], &[4, 3, 5], false, false);
        assert_eq!(
            text,
            "batch dimensions 2 and 4 do not broadcast: a F32[2, 2, 3], b F32[4, 3, 5]"
        );
    }
}
