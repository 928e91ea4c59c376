//! The family's ONNX operators.

use super::{MatMul, einsum, nbits};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::RefTensor;
use crate::ops::elementwise::{Binary, fused_activation};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Det", 11, determinant),
    row("Einsum", 12, einsum::import),
    row("Gemm", 7, |cx| {
        let (dtype, y) = (real(cx, 0)?, gemm(cx)?);
        cx.output_as(0, y, dtype)
    }),
    row("MatMul", 1, |cx| {
        let dtype = real(cx, 0)?;
        real(cx, 1)?;
        let y = product(cx, MatMul::default(), None)?;
        cx.output_as(0, y, dtype)
    }),
    OnnxOperator {
        domain: "com.microsoft",
        name: "FusedGemm",
        since: 1,
        import: |cx| {
            let (dtype, y) = (real(cx, 0)?, gemm(cx)?);
            let y = fused_activation(cx, y)?;
            cx.output_as(0, y, dtype)
        },
    },
    OnnxOperator { domain: "com.microsoft", name: "FusedMatMul", since: 1, import: fused },
    OnnxOperator { domain: "com.microsoft", name: "MatMulNBits", since: 1, import: nbits::import },
];

/// The dtype of an input that must be a floating-point one.
fn real(cx: &NodeCx<'_>, index: usize) -> Result<DType> {
    let dtype = cx.dtype(index)?;
    match dtype.is_float() {
        true => Ok(dtype),
        false => Err(cx.unsupported(format!("input {index} of {dtype}, only real numbers"))),
    }
}

/// The product of the first two inputs. A known right side stays in 16 bits.
fn product(cx: &mut NodeCx<'_>, op: MatMul, bias: Option<ValueId>) -> Result<ValueId> {
    let a = cx.input_f32(0)?;
    let b = right(cx, 1)?;
    let mut inputs = vec![Some(a), Some(b)];
    inputs.extend(bias.map(Some));
    let outputs = cx.op(op, &inputs)?;
    outputs.first().copied().ok_or_else(|| cx.broken("a product without a result"))
}

fn right(cx: &mut NodeCx<'_>, index: usize) -> Result<ValueId> {
    let b = cx.input(index)?;
    match cx.builder().known(b).is_some() {
        true => Ok(b),
        false => cx.cast(b, DType::F32),
    }
}

/// `alpha A B + beta C`
fn gemm(cx: &mut NodeCx<'_>) -> Result<ValueId> {
    real(cx, 1)?;
    let (alpha, beta) = (cx.float("alpha", 1.0)?, cx.float("beta", 1.0)?);
    let trans_a = cx.int("transA", 0)? != 0;
    let trans_b = cx.int("transB", 0)? != 0;
    if cx.ty(0)?.rank() != 2 || cx.ty(1)?.rank() != 2 {
        let what = format!("A {} and B {} must be matrices", cx.ty(0)?, cx.ty(1)?);
        return Err(cx.broken(what));
    }
    let op = MatMul { trans_a, trans_b, activation: None };
    let n = cx.extents(1)?[usize::from(!trans_b)];
    let m = cx.extents(0)?[usize::from(trans_a)];
    let mut c = match cx.optional(2) {
        Some(_) if beta != 0.0 => {
            let c = cx.input_f32(2)?;
            Some(cx.map2_f32(Binary::Mul, c, beta)?)
        }
        _ => None,
    };
    // A row for all rows of the result is the kernel's business.
    let mut bias = None;
    if let Some(row) = c
        && alpha == 1.0
        && [vec![n], vec![1, n]].contains(&cx.extents_of(row)?)
    {
        bias = Some(cx.reshaped(row, &[n])?);
        c = None;
    }
    let y = product(cx, op, bias)?;
    let mut y = cx.map2_f32(Binary::Mul, y, alpha)?;
    if let Some(c) = c {
        y = cx.map2(Binary::Add, y, c)?;
        if cx.extents_of(y)? != [m, n] {
            return Err(cx.broken(format!("C {} does not broadcast to [{m}, {n}]", cx.ty(2)?)));
        }
    }
    Ok(y)
}

/// MatMul with transposition and a factor.
fn fused(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = real(cx, 0)?;
    real(cx, 1)?;
    for name in ["transBatchA", "transBatchB"] {
        if cx.int(name, 0)? != 0 {
            return Err(cx.unsupported(format!("attribute '{name}' = 1")));
        }
    }
    // A vector has nothing to transpose.
    let trans = |cx: &NodeCx<'_>, name, index| -> Result<bool> {
        Ok(cx.int(name, 0)? != 0 && cx.ty(index)?.rank() > 1)
    };
    let (trans_a, trans_b) = (trans(cx, "transA", 0)?, trans(cx, "transB", 1)?);
    let alpha = cx.float("alpha", 1.0)?;
    let y = product(cx, MatMul { trans_a, trans_b, activation: None }, None)?;
    let y = cx.map2_f32(Binary::Mul, y, alpha)?;
    cx.output_as(0, y, dtype)
}

/// Determinants are computed on the host.
fn determinant(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, extents) = (real(cx, 0)?, cx.extents(0)?);
    let &[ref batch @ .., rows, n] = extents.as_slice() else {
        return Err(cx.broken(format!("'X' must be [..., M, M], got {extents:?}")));
    };
    if rows != n {
        return Err(cx.broken(format!("'X' must be [..., M, M], got {extents:?}")));
    }
    let values = cx.known_reals(0)?;
    let count: usize = batch.iter().product();
    let matrix = |i: usize| eliminated(values[i * n * n..(i + 1) * n * n].to_vec(), n);
    let data = (0..count).map(matrix).collect();
    let y = cx.constant(RefTensor::real(dtype, batch, data).to_tensor()?)?;
    cx.output(0, y);
    Ok(())
}

/// The determinant by elimination with the largest pivots.
fn eliminated(mut a: Vec<f64>, n: usize) -> f64 {
    let mut all = 1.0;
    for column in 0..n {
        let size = |row: &usize| a[row * n + column].abs();
        let pivot = (column..n).max_by(|p, q| size(p).total_cmp(&size(q))).unwrap_or(column);
        if a[pivot * n + column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            (0..n).for_each(|j| a.swap(pivot * n + j, column * n + j));
            all = -all;
        }
        all *= a[column * n + column];
        for row in column + 1..n {
            let factor = a[row * n + column] / a[column * n + column];
            (column..n).for_each(|j| a[row * n + j] -= factor * a[column * n + j]);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::eliminated;

    #[test]
    fn determinants_are_those_of_small_matrices() {
        assert_eq!(eliminated(vec![], 0), 1.0);
        assert_eq!(eliminated(vec![3.0], 1), 3.0);
        assert!((eliminated(vec![0.0, 2.0, 3.0, 4.0], 2) + 6.0).abs() < 1e-12);
        let three = vec![2.0, -1.0, 0.0, 1.0, 3.0, 2.0, 4.0, 1.0, 1.0];
        assert!((eliminated(three, 3) + 5.0).abs() < 1e-12);
        assert_eq!(eliminated(vec![1.0, 2.0, 2.0, 4.0], 2), 0.0);
    }
}
