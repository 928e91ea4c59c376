//! Rows that make tensors from few numbers, and triangles.

use super::pad::scalar;
use super::shape::reshaped;
use super::{count, dims};
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Where};
use crate::ops::movement::{Expand, Slice, SliceRange, Trilu};
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};

/// What a host-made tensor may have at most.
const MOST_ELEMENTS: usize = 1 << 26;

/// The dtype of a number that ONNX gives it (`TensorProto.DataType`).
pub(crate) fn dtype_of(cx: &NodeCx<'_>, code: i64) -> Result<DType> {
    Ok(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        other => return Err(cx.unsupported(format!("dtype {other}"))),
    })
}

/// A tensor of whole numbers in any plain dtype.
fn of_ints(dtype: DType, extents: &[usize], data: Vec<i64>) -> Result<Tensor> {
    let data = if dtype.is_float() {
        RefData::Real(data.into_iter().map(|v| v as f64).collect())
    } else {
        RefData::Int(data)
    };
    RefTensor { dtype, extents: extents.to_vec(), data }.to_tensor()
}

fn checked(cx: &NodeCx<'_>, extents: &[usize]) -> Result<usize> {
    let count = extents.iter().try_fold(1usize, |n, &m| n.checked_mul(m));
    count
        .filter(|&count| count <= MOST_ELEMENTS)
        .ok_or_else(|| cx.unsupported(format!("a tensor {extents:?} made while importing")))
}

/// One value over and over: stored once unless it is small.
pub(super) fn constant_of_shape(cx: &mut NodeCx<'_>) -> Result<()> {
    let shape = cx.known_ints(0)?;
    let extents: Vec<_> =
        shape.into_iter().map(|n| count(cx, "a dimension", n)).collect::<Result<_>>()?;
    let value = match cx.attributes().tensor("value")? {
        Some(value) => value.clone(),
        None => Tensor::from_f32(&[1], &[0.0])?,
    };
    let value = cx.constant(value)?;
    let value = scalar(cx, value)?;
    let y = cx.op1(Expand { shape: dims(&extents) }, &[value])?;
    cx.output(0, y);
    Ok(())
}

pub(super) fn eye_like(cx: &mut NodeCx<'_>) -> Result<()> {
    let extents = cx.extents(0)?;
    let &[m, n] = extents.as_slice() else {
        return Err(cx.broken(format!("the input must be a matrix, got {extents:?}")));
    };
    let dtype = match cx.attributes().int("dtype")? {
        Some(code) => dtype_of(cx, code)?,
        None => cx.dtype(0)?,
    };
    let k = cx.int("k", 0)?;
    checked(cx, &extents)?;
    let mut data = vec![0; m * n];
    for i in 0..m {
        let column = (i as i64).checked_add(k).and_then(|j| usize::try_from(j).ok());
        if let Some(j) = column.filter(|&j| j < n) {
            data[i * n + j] = 1;
        }
    }
    let y = cx.constant(of_ints(dtype, &extents, data)?)?;
    cx.output(0, y);
    Ok(())
}

/// `start`, `start + delta`, ... up to, not including, `limit`.
pub(super) fn range(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let short = matches!(dtype, DType::F16 | DType::BF16);
    if short && cx.int("stash_type", 1)? != 1 {
        return Err(cx.unsupported("attribute 'stash_type' other than 1"));
    }
    let mut ends = Vec::with_capacity(3);
    for i in 0..3 {
        let value = RefTensor::from_tensor(&cx.known(i)?)?;
        if value.len() != 1 || value.dtype != dtype {
            return Err(cx.broken("start, limit and delta must be one element each, of one dtype"));
        }
        ends.push(value.data);
    }
    let data = match ends.as_slice() {
        [RefData::Int(start), RefData::Int(limit), RefData::Int(delta)] => {
            RefData::Int(whole_range(cx, start[0], limit[0], delta[0])?)
        }
        [RefData::Real(start), RefData::Real(limit), RefData::Real(delta)] => {
            RefData::Real(real_range(cx, start[0], limit[0], delta[0])?)
        }
        _ => return Err(Error::internal("a Range of mixed numbers")),
    };
    let count = match &data {
        RefData::Int(data) => data.len(),
        RefData::Real(data) => data.len(),
    };
    let y = RefTensor { dtype, extents: vec![count], data }.to_tensor()?;
    let y = cx.constant(y)?;
    cx.output(0, y);
    Ok(())
}

fn whole_range(cx: &NodeCx<'_>, start: i64, limit: i64, delta: i64) -> Result<Vec<i64>> {
    if delta == 0 {
        return Err(cx.broken("delta is 0"));
    }
    let (span, step) = (i128::from(limit) - i128::from(start), i128::from(delta));
    // Rounded up, as both have one sign where there is anything.
    let count =
        if (span > 0) == (step > 0) { (span.abs() + step.abs() - 1) / step.abs() } else { 0 };
    let count = checked(cx, &[usize::try_from(count).unwrap_or(usize::MAX)])?;
    Ok((0..count as i128).map(|i| (i128::from(start) + i * step) as i64).collect())
}

fn real_range(cx: &NodeCx<'_>, start: f64, limit: f64, delta: f64) -> Result<Vec<f64>> {
    let count = ((limit - start) / delta).ceil().max(0.0);
    if !count.is_finite() {
        return Err(cx.broken(format!("{start} to {limit} by {delta} has no end")));
    }
    let count = checked(cx, &[count as usize])?;
    Ok((0..count).map(|i| start + i as f64 * delta).collect())
}

pub(super) fn trilu(cx: &mut NodeCx<'_>) -> Result<()> {
    let upper = cx.int("upper", 1)? != 0;
    let k = match cx.optional(1) {
        None => 0,
        Some(_) => match cx.known_ints(1)?.as_slice() {
            &[k] => k,
            other => return Err(cx.broken(format!("k must be one number, got {other:?}"))),
        },
    };
    let x = cx.input(0)?;
    let y = cx.op1(Trilu { upper, k }, &[x])?;
    cx.output(0, y);
    Ok(())
}

/// The second of two values where a position along a new axis is the index, or
/// the index counted from the end; the first elsewhere.
pub(super) fn one_hot(cx: &mut NodeCx<'_>) -> Result<()> {
    let extents = cx.extents(0)?;
    let depth = match cx.known_reals(1)?.as_slice() {
        &[depth] => count(cx, "depth", depth as i64)?,
        other => return Err(cx.broken(format!("depth must be one number, got {other:?}"))),
    };
    let axis = super::axis(cx, -1, extents.len() + 1)?;
    let (mut column, mut line) = (extents.clone(), vec![1; extents.len() + 1]);
    column.insert(axis, 1);
    line[axis] = depth;
    let mut indices = cx.input(0)?;
    if matches!(cx.dtype(0)?, DType::F16 | DType::BF16) {
        indices = cx.input_f32(0)?;
    }
    let indices = reshaped(cx, indices, &column)?;
    let is_at = |cx: &mut NodeCx<'_>, start: i64| -> Result<ValueId> {
        let numbers = (start..start + depth as i64).collect();
        let numbers = of_ints(cx.builder().ty(indices).dtype, &line, numbers)?;
        let numbers = cx.constant(numbers)?;
        cx.op1(Binary::Equal, &[indices, numbers])
    };
    let mut hot = is_at(cx, 0)?;
    if !cx.dtype(0)?.is_unsigned_integer() {
        let from_end = is_at(cx, -(depth as i64))?;
        hot = cx.op1(Binary::Or, &[hot, from_end])?;
    }
    let values = cx.input(2)?;
    let mut value = |at: i64| {
        let range = SliceRange { axis: 0, start: at, end: at + 1, step: 1 };
        let one = cx.op1(Slice { ranges: vec![range] }, &[values])?;
        scalar(cx, one)
    };
    let (off, on) = (value(0)?, value(1)?);
    let y = cx.op1(Where, &[hot, on, off])?;
    cx.output(0, y);
    Ok(())
}
