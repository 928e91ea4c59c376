//! What a run is given, against what the model declares.

use super::model::Model;
use super::state::Kind;
use super::value::{OnnxValue, element};
use crate::error::{Error, Result};
use crate::formats::onnx::{Constant, Dimension, Form, ValueInfo};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap};

/// Tensors by name as the values of a model: the elements of a sequence `x` are
/// given as `x[0]`, `x[1]` and so on.
///
/// # Errors
/// [`Error::Input`] for elements given twice or left out.
pub(super) fn gather(model: &Model, given: &[(&str, &Tensor)]) -> Result<Vec<(String, OnnxValue)>> {
    let mut values = Vec::with_capacity(given.len());
    let mut sequences: BTreeMap<&str, BTreeMap<usize, &Tensor>> = BTreeMap::new();
    for &(name, tensor) in given {
        let exact = model.inputs().iter().any(|info| info.name == name);
        match element(name).filter(|_| !exact) {
            Some((name, index)) if is_sequence(model, name) => {
                if sequences.entry(name).or_default().insert(index, tensor).is_some() {
                    let name = format!("input '{name}[{index}]'");
                    return Err(Error::input(name, "one value", "two"));
                }
            }
            _ => values.push((name.to_string(), OnnxValue::Tensor(tensor.clone()))),
        }
    }
    for (name, items) in sequences {
        if let Some(gap) = items.keys().enumerate().position(|(at, &index)| at != index) {
            let name = format!("input '{name}[{gap}]'");
            return Err(Error::input(name, "a tensor, as there are later ones", "nothing"));
        }
        let items = items.into_values().cloned().map(OnnxValue::Tensor).collect();
        values.push((name.to_string(), OnnxValue::Sequence(items)));
    }
    Ok(values)
}

fn is_sequence(model: &Model, name: &str) -> bool {
    let sequence = |info: &ValueInfo| matches!(info.form, Form::Sequence | Form::OptionalSequence);
    model.inputs().iter().any(|info| info.name == name && sequence(info))
}

/// The given inputs in the model's order. Those that the model has a default for
/// may be left out, and so may optional ones.
///
/// # Errors
/// [`Error::Input`] for names that are no inputs or given twice, inputs that
/// are missing, dtypes, ranks and extents that are not the declared ones, and
/// symbolic dimensions with two values.
pub(super) fn check(
    model: &Model,
    mut given: Vec<(String, OnnxValue)>,
) -> Result<Vec<(&str, OnnxValue)>> {
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
        match given.iter().position(|(name, _)| *name == info.name) {
            Some(at) => {
                let (_, value) = given.swap_remove(at);
                shaped(info, &value, &mut symbols)?;
                ordered.push((info.name.as_str(), value));
            }
            None => match model.default_of(&info.name) {
                Some(Constant::Tensor(_)) => {}
                _ if matches!(info.form, Form::Optional | Form::OptionalSequence) => {
                    ordered.push((info.name.as_str(), OnnxValue::Nothing));
                }
                _ => {
                    let name = format!("input '{}'", info.name);
                    return Err(Error::input(name, info, "nothing"));
                }
            },
        }
    }
    Ok(ordered)
}

/// Checks a value against what is declared. The elements of a sequence may differ
/// in what is not a number in the declaration.
fn shaped<'m>(info: &'m ValueInfo, value: &OnnxValue, symbols: &mut Symbols<'m>) -> Result<()> {
    let sequence = matches!(info.form, Form::Sequence | Form::OptionalSequence);
    match value {
        OnnxValue::Tensor(tensor) if !sequence => fits(info, tensor, symbols),
        OnnxValue::Sequence(items) if sequence => items.iter().try_for_each(|item| match item {
            OnnxValue::Tensor(tensor) => fits(info, tensor, &mut HashMap::new()),
            _ => Err(Error::input(format_args!("input '{}'", info.name), info, "no tensor in it")),
        }),
        OnnxValue::Nothing if matches!(info.form, Form::Optional | Form::OptionalSequence) => {
            Ok(())
        }
        other => {
            let got = match other {
                OnnxValue::Tensor(_) => "a tensor",
                OnnxValue::Sequence(_) => "a sequence",
                OnnxValue::Nothing => "nothing",
                OnnxValue::Map { .. } => "a map",
            };
            Err(Error::input(format_args!("input '{}'", info.name), info, got))
        }
    }
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
