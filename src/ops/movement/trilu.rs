//! Triangles of matrices.

use super::{exact, present};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::movement::TriluKernel;
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};

/// ONNX `Trilu`: matrices with 0 below or above a diagonal.
///
/// | Input | Type |
/// |---|---|
/// | x | any plain dtype `[..., M, N]` |
///
/// Element `(i, j)` stays where `j - i >= k` (`upper`) or `j - i <= k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trilu {
    /// Whether what is above the diagonal stays, rather than what is below.
    pub upper: bool,
    /// The diagonal: 0 is the main one, positive ones are above it.
    pub k: i64,
}

const NAME: &str = "Trilu";

impl Trilu {
    /// Whether the element of row i and column j stays.
    pub(crate) fn keeps(&self, i: usize, j: usize) -> bool {
        let across = j as i128 - i as i128;
        if self.upper { across >= self.k.into() } else { across <= self.k.into() }
    }
}

impl Operator for Trilu {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = Rules::new(NAME, &["x"], 1, inputs)?.input(0)?;
        if x.dtype.is_quantised() || x.rank() < 2 {
            return Err(Error::rule(NAME, format!("'x' must hold matrices, got {x}")));
        }
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = present(NAME, inputs, 0)?;
        let &[.., m, n] = x.extents.as_slice() else {
            return Err(Error::rule(NAME, "'x' must hold matrices"));
        };
        let keeps = |at: usize| self.keeps(at / n % m, at % n);
        let mut y = x.clone();
        match &mut y.data {
            RefData::Real(data) => {
                data.iter_mut()
                    .enumerate()
                    .filter(|(at, _)| !keeps(*at))
                    .for_each(|(_, v)| *v = 0.0);
            }
            RefData::Int(data) => {
                data.iter_mut().enumerate().filter(|(at, _)| !keeps(*at)).for_each(|(_, v)| *v = 0);
            }
        }
        Ok(vec![y])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(exact(cx.outputs))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        cx.call(TriluKernel { op: *self }, &[Some(x)], &[y]);
        Ok(())
    }
}

impl GraphBuilder {
    /// The upper or lower triangles of matrices; see [`Trilu`].
    ///
    /// # Errors
    /// If `x` has fewer than two dimensions.
    pub fn trilu(&mut self, x: ValueId, upper: bool, k: i64) -> Result<ValueId> {
        self.op1(Trilu { upper, k }, &[x])
    }
}
