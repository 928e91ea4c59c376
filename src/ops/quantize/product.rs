//! Matrix products of whole numbers.

use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::kernels::quantize::Product;
use crate::ops::matmul::geometry::Geometry;
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;

/// ONNX `MatMulInteger`: `(a - a_zero_point) (b - b_zero_point)`, summed up in 32
/// bits, which wrap around.
///
/// | Input | Type |
/// |---|---|
/// | a | U8, I8 or I32 `[batch.., M, K]` |
/// | b | U8, I8 or I32 `[batch.., K, N]` |
/// | a_zero_point | optional, a's dtype: a scalar, or one for each of the M rows |
/// | b_zero_point | optional, b's dtype: a scalar, or one for each of the N columns |
///
/// Output: I32 `[batch.., M, N]`; batches and vectors are as in `MatMul`. I32
/// operands are not in ONNX: they are for what has more than 8 bits after its
/// zero point was taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatMulInteger;

const WHOLE: &[DType] = &[DType::U8, DType::I8, DType::I32];

/// The product as matrices; what does not fit, in words.
pub(crate) fn geometry(a: &TensorType, b: &TensorType) -> std::result::Result<Geometry, String> {
    let mut g = Geometry::new(a, b, false, false)?;
    // One column lies the same either way round.
    g.rows_b = false;
    Ok(g)
}

/// Rows of A and columns of B before batches are merged.
fn lines(a: &TensorType, b: &TensorType) -> (Dim, Dim) {
    let one = Dim::Const(1);
    let row = a.rank().checked_sub(2).and_then(|at| a.shape.get(at)).unwrap_or(&one);
    let column = if b.rank() > 1 { b.width() } else { one.clone() };
    (row.clone(), column)
}

impl Operator for MatMulInteger {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        "MatMulInteger"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let names = ["a", "b", "a_zero_point", "b_zero_point"];
        let rules = Rules::new(self.name(), &names, 2, inputs)?;
        rules.dtype(0, WHOLE)?;
        rules.dtype(1, WHOLE)?;
        let (a, b) = (rules.input(0)?, rules.input(1)?);
        let g = geometry(a, b).map_err(|what| Error::rule(self.name(), what))?;
        let (row, column) = lines(a, b);
        for (index, own, count) in [(2, a, row), (3, b, column)] {
            let Some(zero) = rules.optional(index) else { continue };
            let fits = match zero.shape.as_slice() {
                [] => true,
                [n] => *n == count || *n == Dim::Const(1),
                _ => false,
            };
            if zero.dtype != own.dtype || !fits {
                let what = format!("'{}' is {zero}, for {own} with {count}", names[index]);
                return rules.broken(what);
            }
        }
        Ok(vec![TensorType::new(DType::I32, g.shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let [Some(a), Some(b), rest @ ..] = inputs else {
            return Err(Error::rule(self.name(), "takes a and b"));
        };
        let ty = |x: &RefTensor| {
            let shape: Vec<Dim> = x.extents.iter().map(|&n| n.into()).collect();
            TensorType::new(x.dtype, shape)
        };
        let (ta, tb) = (ty(a), ty(b));
        let g = geometry(&ta, &tb).map_err(|what| Error::rule(self.name(), what))?;
        let number = |dim: &Dim| dim.as_const().unwrap_or(0) as usize;
        let (m, n, k) = (number(&g.m), number(&g.n), number(&g.k));
        let zeros = |i: usize| rest.get(i).copied().flatten().map(RefTensor::ints).transpose();
        let (zero_a, zero_b) = (zeros(0)?, zeros(1)?);
        let zero = |zeros: Option<&[i64]>, line: usize| match zeros {
            Some(zeros) if !zeros.is_empty() => zeros[line % zeros.len()],
            _ => 0,
        };
        let (x, w) = (a.ints()?, b.ints()?);
        let steps: Vec<(usize, usize, usize)> = (g.batch.iter().zip(g.steps()))
            .map(|(dim, (a, b))| (number(&dim.extent), number(&a), number(&b)))
            .collect();
        let mut sums = Vec::new();
        for z in 0..number(&g.matrices()) {
            let (mut left, mut za, mut zb) = (z, 0, 0);
            for &(extent, a, b) in steps.iter().rev() {
                za += left % extent * a;
                zb += left % extent * b;
                left /= extent;
            }
            for row in 0..m {
                for column in 0..n {
                    let sum: i64 = (0..k)
                        .map(|i| {
                            let p = x[(za * m + row) * k + i] - zero(zero_a, row);
                            let q = w[(zb * k + i) * n + column] - zero(zero_b, column);
                            p.wrapping_mul(q)
                        })
                        .fold(0, i64::wrapping_add);
                    sums.push(i64::from(sum as i32));
                }
            }
        }
        let extents: Vec<usize> = g.shape.iter().map(number).collect();
        Ok(vec![RefTensor::int(DType::I32, &extents, sums)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(cx.outputs.iter().map(|y| vec![0.0; y.len()]).collect())
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), cx.optional(2), cx.optional(3)];
        let output = cx.output(0)?;
        cx.call(Product, &inputs, &[output]);
        Ok(())
    }
}
