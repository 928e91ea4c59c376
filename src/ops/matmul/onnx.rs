//! The family's ONNX operators.

use super::{MatMul, bnb4, distance, einsum, host, mixture, nbits};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::elementwise::{Binary, fused_activation};
use crate::ops::reduce::{Reduce, Reduction};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Det", 11, host::determinant),
    row("Einsum", 12, einsum::import),
    row("Gemm", 7, |cx| {
        let (dtype, y) = (real(cx, 0)?, gemm(cx)?);
        cx.output_as(0, y, dtype)
    }),
    row("MatMul", 1, |cx| {
        if [DType::I32, DType::I64, DType::U32, DType::U64].contains(&cx.dtype(0)?) {
            return whole(cx);
        }
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
    OnnxOperator { domain: "com.microsoft", name: "CDist", since: 1, import: distance::import },
    OnnxOperator { domain: "com.microsoft", name: "MoE", since: 1, import: mixture::plain },
    OnnxOperator { domain: "com.microsoft", name: "QMoE", since: 1, import: mixture::quantised },
    OnnxOperator { domain: "com.microsoft", name: "FusedMatMul", since: 1, import: fused },
    OnnxOperator { domain: "com.microsoft", name: "TransposeMatMul", since: 1, import: fused },
    OnnxOperator { domain: "com.microsoft", name: "Inverse", since: 1, import: host::inverse },
    OnnxOperator { domain: "com.microsoft", name: "MatMulNBits", since: 1, import: nbits::import },
    OnnxOperator { domain: "com.microsoft", name: "MatMulBnb4", since: 1, import: bnb4::import },
];

/// The dtype of an input that must be a floating-point one.
pub(super) fn real(cx: &NodeCx<'_>, index: usize) -> Result<DType> {
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
    // A vector has nothing to transpose.
    let trans = |cx: &NodeCx<'_>, name, index| -> Result<bool> {
        Ok(cx.int(name, 0)? != 0 && cx.ty(index)?.rank() > 1)
    };
    let (trans_a, trans_b) = (trans(cx, "transA", 0)?, trans(cx, "transB", 1)?);
    let alpha = cx.float("alpha", 1.0)?;
    let (a, b) = (cx.input_f32(0)?, right(cx, 1)?);
    let (a, b) = (batch_first(cx, a, "transBatchA")?, batch_first(cx, b, "transBatchB")?);
    let op = MatMul { trans_a, trans_b, activation: None };
    let y = cx.op1(op, &[a, b])?;
    let y = cx.map2_f32(Binary::Mul, y, alpha)?;
    cx.output_as(0, y, dtype)
}

/// `[n, batch..., m]` as `[batch..., n, m]` where an attribute asks for it.
fn batch_first(cx: &mut NodeCx<'_>, x: ValueId, name: &str) -> Result<ValueId> {
    let rank = cx.extents_of(x)?.len();
    if cx.int(name, 0)? == 0 || rank < 3 {
        return Ok(x);
    }
    let order: Vec<usize> = (1..rank - 1).chain([0, rank - 1]).collect();
    cx.transposed(x, &order)
}

/// A product of whole numbers. Where it leaves the type it is an error, as with
/// other arithmetic.
fn whole(cx: &mut NodeCx<'_>) -> Result<()> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (mut left, mut right) = (cx.extents_of(a)?, cx.extents_of(b)?);
    if left.is_empty() || right.is_empty() {
        return Err(cx.broken("takes no scalars"));
    }
    let vectors = (left.len() == 1, right.len() == 1);
    if vectors.0 {
        left.insert(0, 1);
    }
    if vectors.1 {
        right.push(1);
    }
    // [..., M, K, 1] and [..., 1, K, N]
    left.push(1);
    right.insert(right.len() - 2, 1);
    let (a, b) = (cx.reshaped(a, &left)?, cx.reshaped(b, &right)?);
    let terms = cx.map2(Binary::Mul, a, b)?;
    let op = Reduce { reduction: Reduction::Sum, axes: vec![-2], keepdims: false };
    let mut y = cx.op1(op, &[terms])?;
    let mut extents = cx.extents_of(y)?;
    if vectors.0 {
        extents.remove(extents.len() - 2);
    }
    if vectors.1 {
        extents.pop();
    }
    y = cx.reshaped(y, &extents)?;
    cx.output(0, y);
    Ok(())
}
