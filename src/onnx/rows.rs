//! Rows of operators that compute nothing: constants and questions about shapes.

use super::{Attribute, Attributes, NodeCx, OnnxOperator, row};
use crate::error::Result;
use crate::tensor::{DType, Tensor};

pub(crate) const ONNX: &[OnnxOperator] =
    &[row("Constant", 1, constant), row("Shape", 1, shape), row("Size", 1, size)];

fn constant(cx: &mut NodeCx<'_>) -> Result<()> {
    let names: Vec<_> = cx.attributes().names().collect();
    let &[name] = names.as_slice() else {
        return Err(cx.broken("must have exactly one attribute"));
    };
    let tensor = match (name, cx.attributes().get(name)) {
        ("value" | "sparse_value", Some(Attribute::Tensor(tensor))) => tensor.clone(),
        ("value_float", Some(Attribute::Float(value))) => Tensor::from_f32(&[], &[*value])?,
        ("value_floats", Some(Attribute::Floats(values))) => {
            Tensor::from_f32(&[values.len()], values)?
        }
        ("value_int", Some(Attribute::Int(value))) => whole(&[], &[*value])?,
        ("value_ints", Some(Attribute::Ints(values))) => whole(&[values.len()], values)?,
        (name, Some(other)) => {
            return Err(cx.unsupported(format!("attribute '{name}' of type {}", other.kind())));
        }
        (_, None) => return Err(cx.broken("without a value")),
    };
    let value = cx.constant(tensor)?;
    cx.output(0, value);
    Ok(())
}

/// The value of a constant of strings; `None` for one of numbers.
pub(super) fn strings(attributes: &Attributes) -> Result<Option<Tensor>> {
    match attributes.get("value") {
        Some(Attribute::Tensor(tensor)) if tensor.dtype() == DType::String => {
            return Ok(Some(tensor.clone()));
        }
        _ => {}
    }
    if let Some(word) = attributes.string("value_string")? {
        return Tensor::from_strings(&[], &[word]).map(Some);
    }
    let words = attributes.strings("value_strings")?;
    words.map(|words| Tensor::from_strings(&[words.len()], &words)).transpose()
}

fn whole(extents: &[usize], values: &[i64]) -> Result<Tensor> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    Tensor::new(DType::I64, extents, bytes)
}

/// The extents from `start` to `end` (opset 15), which are clamped to the rank.
fn shape(cx: &mut NodeCx<'_>) -> Result<()> {
    let extents = cx.extents(0)?;
    let rank = extents.len() as i64;
    let clamped = |at: i64| {
        let front = if at < 0 { at.saturating_add(rank) } else { at };
        front.clamp(0, rank) as usize
    };
    let (start, end) = (clamped(cx.int("start", 0)?), clamped(cx.int("end", rank)?));
    let picked = extents.get(start..end).unwrap_or_default();
    let picked: Vec<_> = picked.iter().map(|&extent| extent as i64).collect();
    let value = cx.constant(whole(&[picked.len()], &picked)?)?;
    cx.output(0, value);
    Ok(())
}

fn size(cx: &mut NodeCx<'_>) -> Result<()> {
    let count = cx.extents(0)?.iter().map(|&extent| extent as i64).product();
    let value = cx.constant(whole(&[], &[count])?)?;
    cx.output(0, value);
    Ok(())
}
