//! What a run is given, against what the model declares.

use super::model::Model;
use super::state::Kind;
use crate::error::{Error, Result};
use crate::formats::onnx::{Constant, Dimension, ValueInfo};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// The given inputs in the model's order.
///
/// # Errors
/// [`Error::Input`] for names that are no inputs or given twice, inputs that
/// are missing, dtypes, ranks and extents that are not the declared ones, and
/// symbolic dimensions with two values.
pub(super) fn check<'m, 't>(
    model: &'m Model,
    given: &[(&str, &'t Tensor)],
) -> Result<Vec<(&'m str, &'t Tensor)>> {
    let names = || {
        let names: Vec<_> = model.inputs().iter().map(|info| info.name.as_str()).collect();
        format!("one of {names:?}")
    };
    for (index, (name, _)) in given.iter().enumerate() {
        if model.inputs().iter().all(|info| info.name != *name) {
            return Err(Error::input("input name", names(), name));
        }
        if given[..index].iter().any(|(other, _)| other == name) {
            return Err(Error::input(format_args!("input '{name}'"), "one value", "two"));
        }
    }
    let mut symbols = HashMap::new();
    let mut ordered = Vec::new();
    for info in model.inputs() {
        match given.iter().find(|(name, _)| *name == info.name) {
            Some((_, tensor)) => {
                fits(info, tensor, &mut symbols)?;
                ordered.push((info.name.as_str(), *tensor));
            }
            None => match model.default_of(&info.name) {
                Some(Constant::Tensor(_)) => {}
                _ => {
                    let name = format!("input '{}'", info.name);
                    return Err(Error::input(name, info, "nothing"));
                }
            },
        }
    }
    Ok(ordered)
}

/// A symbol's value, and the input that gave it.
type Symbols<'m> = HashMap<&'m str, (usize, &'m str)>;

fn fits<'m>(info: &'m ValueInfo, tensor: &Tensor, symbols: &mut Symbols<'m>) -> Result<()> {
    let kind = Kind::of(tensor);
    let wrong = |expected: String| {
        let got = format!("{}{:?}", kind.dtype, kind.extents);
        Err(Error::input(format_args!("input '{}'", info.name), expected, got))
    };
    if info.dtype != Some(kind.dtype) {
        return wrong(info.to_string());
    }
    let Some(dims) = &info.dims else { return Ok(()) };
    if dims.len() != kind.extents.len() {
        return wrong(info.to_string());
    }
    for (axis, (dim, &extent)) in dims.iter().zip(&kind.extents).enumerate() {
        match dim {
            Dimension::Unknown => {}
            Dimension::Number(number) if *number == extent => {}
            Dimension::Number(number) => {
                return wrong(format!("{number} in dimension {axis} of {info}"));
            }
            Dimension::Symbol(symbol) => {
                let &mut (value, by) = symbols.entry(symbol).or_insert((extent, &info.name));
                if value != extent {
                    let what = format!("'{symbol}' is {value} by input '{by}'");
                    return wrong(format!("{value} in dimension {axis} of {info} ({what})"));
                }
            }
        }
    }
    Ok(())
}
