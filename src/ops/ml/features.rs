//! What is done to features: scaled, normalised, chosen, put together.

use super::onnx::{reals, rows};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Test, Unary, Where};
use crate::ops::gather::Take;
use crate::ops::movement::Concat;
use crate::ops::reduce::{Reduce, Reduction};
use crate::tensor::{DType, Tensor};

/// A number for each column, or one for all, as a row.
fn row(cx: &mut NodeCx<'_>, name: &str, values: &[f64], columns: usize) -> Result<ValueId> {
    if values.len() != 1 && values.len() != columns {
        return Err(cx.broken(format!("{} of '{name}', {columns} columns", values.len())));
    }
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    cx.constant(Tensor::from_f32(&[values.len()], &values)?)
}

fn columns(cx: &NodeCx<'_>) -> Result<usize> {
    Ok(cx.extents(0)?.last().copied().unwrap_or(1))
}

/// `(x - offset) * scale`.
pub(super) fn scaler(cx: &mut NodeCx<'_>) -> Result<()> {
    let columns = columns(cx)?;
    let mut x = cx.input_f32(0)?;
    for (name, op) in [("offset", Binary::Sub), ("scale", Binary::Mul)] {
        let values = reals(cx, name)?;
        if !values.is_empty() {
            let values = row(cx, name, &values, columns)?;
            x = cx.map2(op, x, values)?;
        }
    }
    cx.output(0, x);
    Ok(())
}

/// Rows divided by their largest element, by the sum of their sizes, or by their
/// length. A row of zeros stays.
pub(super) fn normalizer(cx: &mut NodeCx<'_>) -> Result<()> {
    let norm = cx.string("norm", "MAX")?.to_string();
    let reduction = match norm.as_str() {
        "MAX" => Reduction::Max,
        "L1" => Reduction::L1,
        "L2" => Reduction::L2,
        other => return Err(cx.broken(format!("norm '{other}'"))),
    };
    let x = cx.input_f32(0)?;
    let size = cx.op1(Reduce { reduction, axes: vec![-1], keepdims: true }, &[x])?;
    let zero = cx.scalar_f32(0.0)?;
    let one = cx.scalar_f32(1.0)?;
    let none = cx.map2(Binary::Equal, size, zero)?;
    let size = cx.op1(Where, &[none, one, size])?;
    let y = cx.map2(Binary::Div, x, size)?;
    cx.output(0, y);
    Ok(())
}

/// 1 above the threshold, else 0.
pub(super) fn binarizer(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let threshold = cx.float("threshold", 0.0)?;
    let x = cx.input_f32(0)?;
    let threshold = cx.scalar_f32(threshold)?;
    let above = cx.map2(Binary::Greater, x, threshold)?;
    cx.output_as(0, above, dtype)
}

/// Elements that are missing, which is a number or what is none, replaced.
pub(super) fn imputer(cx: &mut NodeCx<'_>) -> Result<()> {
    let columns = columns(cx)?;
    let dtype = cx.dtype(0)?;
    let x = cx.input(0)?;
    let (missing, values) = if dtype.is_integer() {
        let values = cx.ints("imputed_value_int64s")?.unwrap_or_default();
        if values.len() != 1 && values.len() != columns {
            return Err(cx.broken(format!("{} values, {columns} columns", values.len())));
        }
        let missing = cx.int("replaced_value_int64", 0)?;
        let missing = cx.constant(Tensor::from_i64(&[], &[missing])?)?;
        let missing = cx.cast(missing, dtype)?;
        let values = cx.constant(Tensor::from_i64(&[values.len()], &values)?)?;
        (cx.map2(Binary::Equal, x, missing)?, cx.cast(values, dtype)?)
    } else {
        let values = reals(cx, "imputed_value_floats")?;
        let values = row(cx, "imputed_value_floats", &values, columns)?;
        let missing = cx.float("replaced_value_float", 0.0)?;
        let missing = if missing.is_nan() {
            cx.op1(Test::IsNaN, &[x])?
        } else {
            let missing = cx.scalar_f32(missing)?;
            let missing = cx.cast(missing, dtype)?;
            cx.map2(Binary::Equal, x, missing)?
        };
        (missing, cx.cast(values, dtype)?)
    };
    let y = cx.op1(Where, &[missing, values, x])?;
    cx.output(0, y);
    Ok(())
}

/// Columns by their numbers. Those of a vector become a row.
pub(super) fn array_feature_extractor(cx: &mut NodeCx<'_>) -> Result<()> {
    let (extents, chosen) = (cx.extents(0)?, cx.extents(1)?);
    let (mut x, places) = (cx.input(0)?, cx.input(1)?);
    let count: usize = chosen.iter().product();
    if extents.is_empty() || count == 0 {
        return Err(cx.broken(format!("an input of extents {extents:?}, {count} columns of it")));
    }
    if extents.len() == 1 {
        x = cx.reshaped(x, &[1, extents[0]])?;
    }
    let axis = cx.extents_of(x)?.len() as i64 - 1;
    let places = cx.reshaped(places, &[count])?;
    let y = cx.op1(Take { axis, batch_dims: 0 }, &[x, places])?;
    cx.output(0, y);
    Ok(())
}

/// The columns of all inputs side by side.
pub(super) fn feature_vectorizer(cx: &mut NodeCx<'_>) -> Result<()> {
    let (rows, _) = rows(cx)?;
    let mut parts = Vec::with_capacity(cx.input_count());
    for index in 0..cx.input_count() {
        let count: usize = cx.extents(index)?.iter().product();
        if !count.is_multiple_of(rows.max(1)) {
            return Err(cx.broken(format!("{count} elements in {rows} rows")));
        }
        let x = cx.input(index)?;
        let x = cx.cast(x, DType::F32)?;
        parts.push(cx.reshaped(x, &[rows, count / rows.max(1)])?);
    }
    let y = match parts.as_slice() {
        [one] => cx.map1(Unary::Identity, *one)?,
        parts => cx.op1(Concat { axis: 1 }, parts)?,
    };
    cx.output(0, y);
    Ok(())
}
