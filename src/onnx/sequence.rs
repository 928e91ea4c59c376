//! Sequences and optional values. How many elements there are is known while
//! importing, so a sequence is a list of values: nothing is copied, and the
//! elements stay where they were computed. An optional value that is there is
//! the value itself.

use super::control::{body, broken, joined, push};
use super::import::{Flow, Importer, Wanted};
use super::state::{MapState, Role, Value};
use crate::error::{Error, Result};
use crate::formats::onnx::OnnxNode;
use crate::graph::Dim;
use crate::ops::movement::{Concat, Reshape, Slice, SliceRange};
use crate::ops::rules::front_axis;
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};

/// Operator and first version.
const SEQUENCES: &[(&str, u32)] = &[
    ("ConcatFromSequence", 11),
    ("Optional", 15),
    ("OptionalGetElement", 15),
    ("OptionalHasElement", 15),
    ("SequenceAt", 11),
    ("SequenceConstruct", 11),
    ("SequenceEmpty", 11),
    ("SequenceErase", 11),
    ("SequenceInsert", 11),
    ("SequenceLength", 11),
    ("SequenceMap", 17),
    ("SplitToSequence", 11),
];

/// Whether a node is of one of these operators.
pub(super) fn is_ours(node: &OnnxNode) -> bool {
    let ours = |&(name, since): &(&str, u32)| name == node.op_type && node.opset >= since;
    match node.domain.as_str() {
        "" => SEQUENCES.iter().any(ours),
        domain => (domain, node.op_type.as_str()) == ("ai.onnx.ml", "ZipMap"),
    }
}

/// A node of one of these operators comes next.
pub(super) fn enter(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let value = match node.op_type.as_str() {
        "SequenceMap" => return enter_map(importer, node),
        "ZipMap" => zip_map(importer, node)?,
        "SequenceEmpty" => Value::Sequence(Vec::new()),
        "SequenceConstruct" => construct(importer, node)?,
        "SequenceLength" => {
            let count = sequence(importer, node)?.len() as i64;
            Value::Known(Tensor::from_i64(&[], &[count])?)
        }
        "SequenceAt" | "SequenceErase" | "SequenceInsert" => return placed(importer, node),
        "SplitToSequence" => return split(importer, node),
        "ConcatFromSequence" => concat(importer, node)?,
        "Optional" => importer.optional(node, 0)?.unwrap_or(Value::Nothing),
        "OptionalHasElement" => {
            let there = !matches!(importer.optional(node, 0)?, None | Some(Value::Nothing));
            Value::Known(Tensor::new(DType::Bool, &[], vec![u8::from(there)])?)
        }
        _ => match importer.optional(node, 0)? {
            None | Some(Value::Nothing) => {
                return Err(broken(node, "the optional value has no element"));
            }
            Some(value) => value,
        },
    };
    done(importer, node, value)
}

fn done(importer: &mut Importer<'_>, node: &OnnxNode, value: Value) -> Result<Flow> {
    importer.bind(node, vec![Some(value)])?;
    Ok(Flow::On)
}

/// The sequence that is the first input.
fn sequence(importer: &Importer<'_>, node: &OnnxNode) -> Result<Vec<Value>> {
    match importer.optional(node, 0)? {
        Some(Value::Sequence(items)) => Ok(items),
        Some(Value::Nothing) | None => Err(broken(node, "the sequence is absent")),
        Some(_) => Err(broken(node, "a tensor where a sequence is expected")),
    }
}

/// An input that must be a tensor.
fn tensor(importer: &Importer<'_>, node: &OnnxNode, index: usize) -> Result<Value> {
    match importer.optional(node, index)? {
        Some(value) if value.is_tensor() => Ok(value),
        Some(_) => Err(broken(node, format_args!("input {index} is no tensor"))),
        None => Err(broken(node, format_args!("input {index} is missing"))),
    }
}

fn construct(importer: &Importer<'_>, node: &OnnxNode) -> Result<Value> {
    let items = (0..node.inputs.len()).map(|index| tensor(importer, node, index));
    let items = items.collect::<Result<Vec<_>>>()?;
    for item in &items {
        same_type(importer, node, &items, item)?;
    }
    Ok(Value::Sequence(items))
}

/// Elements may have different extents, but have one type.
fn same_type(
    importer: &Importer<'_>,
    node: &OnnxNode,
    items: &[Value],
    item: &Value,
) -> Result<()> {
    let Some(first) = items.first() else { return Ok(()) };
    let (first, own) = (importer.kind(first)?.dtype, importer.kind(item)?.dtype);
    if first == own {
        return Ok(());
    }
    Err(broken(node, format_args!("a sequence of {first} with an element of {own}")))
}

/// A position that an input gives: known, or to be looked at first.
enum Place {
    At(i64),
    Unknown(Value),
    Absent,
}

fn place(importer: &Importer<'_>, node: &OnnxNode, index: usize) -> Result<Place> {
    let Some(value) = importer.optional(node, index)? else { return Ok(Place::Absent) };
    let Some(known) = importer.host(&value) else { return Ok(Place::Unknown(value)) };
    match RefTensor::from_tensor(&known)?.data {
        RefData::Int(values) if values.len() == 1 => Ok(Place::At(values[0])),
        _ => {
            let got = format!("{}{:?}", known.dtype(), known.extents());
            Err(broken(node, format_args!("a position must be one whole number, not {got}")))
        }
    }
}

/// What takes a position.
fn placed(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let mut items = sequence(importer, node)?;
    let insert = node.op_type == "SequenceInsert";
    let place = match place(importer, node, if insert { 2 } else { 1 })? {
        Place::Unknown(value) => return Ok(Flow::Look(Wanted::Value(value))),
        Place::At(place) => Some(place),
        Place::Absent if node.op_type == "SequenceAt" => {
            return Err(broken(node, "the position is missing"));
        }
        Place::Absent => None,
    };
    // Without a position an element is added or erased at the end.
    let count = items.len() as i64;
    let place = place.unwrap_or(if insert { count } else { count - 1 });
    let front = if place < 0 { place.saturating_add(count) } else { place };
    let last = if insert { count } else { count - 1 };
    if !(0..=last).contains(&front) {
        return Err(broken(node, format_args!("position {place} of {count} elements")));
    }
    let front = front as usize;
    let value = match node.op_type.as_str() {
        "SequenceAt" => items.swap_remove(front),
        "SequenceErase" => {
            items.remove(front);
            Value::Sequence(items)
        }
        _ => {
            let item = tensor(importer, node, 1)?;
            same_type(importer, node, &items, &item)?;
            items.insert(front, item);
            Value::Sequence(items)
        }
    };
    done(importer, node, value)
}

/// Cuts a tensor along an axis: into pieces of given lengths, of one length, or of
/// one slice each.
fn split(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let x = tensor(importer, node, 0)?;
    let extents = importer.kind(&x)?.extents;
    let axis = node.attributes.int("axis").map_err(|e| broken(node, e))?.unwrap_or(0);
    let axis = front_axis("SplitToSequence", axis, extents.len());
    let axis = axis.map_err(|e| e.at_node(&node.name))?;
    let n = extents[axis];
    let lengths = match importer.optional(node, 1)? {
        None => {
            importer.spend(n as u64, &node.name)?;
            vec![1; n]
        }
        Some(value) => match importer.host(&value) {
            None => return Ok(Flow::Look(Wanted::Value(value))),
            Some(known) => lengths(node, &known, n)?,
        },
    };
    let keep = node.attributes.int("keepdims").map_err(|e| broken(node, e))?.unwrap_or(1) != 0;
    let drop = !keep && node.inputs.get(1).is_none_or(String::is_empty);
    importer.spend(lengths.len() as u64, &node.name)?;
    let mut items = Vec::with_capacity(lengths.len());
    let mut start = 0;
    for length in lengths {
        let end = start + length as i64;
        let op = Slice { ranges: vec![SliceRange { axis: axis as i64, start, end, step: 1 }] };
        let mut item = importer.apply(&node.name, op, std::slice::from_ref(&x))?;
        if drop {
            let mut shape: Vec<Dim> = extents.iter().map(|&extent| extent.into()).collect();
            shape.remove(axis);
            item = importer.apply(&node.name, Reshape { shape }, &[item])?;
        }
        items.push(item);
        start = end;
    }
    done(importer, node, Value::Sequence(items))
}

/// How long the pieces are of a dimension of `n`.
fn lengths(node: &OnnxNode, given: &Tensor, n: usize) -> Result<Vec<usize>> {
    let wrong = || broken(node, format_args!("'split' does not fit a dimension of {n}"));
    let RefData::Int(values) = RefTensor::from_tensor(given)?.data else { return Err(wrong()) };
    let values = values.iter().map(|&value| usize::try_from(value)).collect::<Vec<_>>();
    let values = values.into_iter().collect::<std::result::Result<Vec<_>, _>>();
    let values = values.map_err(|_| wrong())?;
    match values.as_slice() {
        &[0] if given.extents().is_empty() => Err(wrong()),
        &[length] if given.extents().is_empty() => {
            Ok((0..n).step_by(length).map(|start| length.min(n - start)).collect())
        }
        values => {
            let sum = values.iter().try_fold(0usize, |sum, &value| sum.checked_add(value));
            if sum == Some(n) { Ok(values.to_vec()) } else { Err(wrong()) }
        }
    }
}

fn concat(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Value> {
    let items = sequence(importer, node)?;
    let Some(first) = items.first() else {
        return Err(broken(node, "the sequence has no elements"));
    };
    let rank = importer.kind(first)?.extents.len();
    let int = |name: &str| node.attributes.int(name).map_err(|e| broken(node, e));
    let axis = int("axis")?.ok_or_else(|| broken(node, "attribute 'axis' is missing"))?;
    let new = int("new_axis")?.unwrap_or(0) != 0;
    let axis = front_axis("ConcatFromSequence", axis, rank + usize::from(new));
    let axis = axis.map_err(|e| e.at_node(&node.name))?;
    if new {
        return joined(importer, node, &items, axis);
    }
    match items.as_slice() {
        [one] => Ok(one.clone()),
        _ => importer.apply(&node.name, Concat { axis: axis as i64 }, &items),
    }
}

/// `ZipMap`: each row of scores as a map from labels.
fn zip_map(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Value> {
    let mut scores = tensor(importer, node, 0)?;
    let mut extents = importer.kind(&scores)?.extents;
    if let &[columns] = extents.as_slice() {
        extents = vec![1, columns];
        let shape = extents.iter().map(|&extent| extent.into()).collect();
        scores = importer.apply(&node.name, Reshape { shape }, &[scores])?;
    }
    let words = node.attributes.strings("classlabels_strings").map_err(|e| broken(node, e))?;
    let ints = node.attributes.ints("classlabels_int64s").map_err(|e| broken(node, e))?;
    let keys = match (words, ints) {
        (Some(words), _) if !words.is_empty() => Tensor::from_strings(&[words.len()], &words)?,
        (_, Some(ints)) => Tensor::from_i64(&[ints.len()], ints)?,
        _ => return Err(broken(node, "there are no labels")),
    };
    if extents.len() != 2 || extents[1] != keys.len() {
        let what = format!("{} labels for scores of extents {extents:?}", keys.len());
        return Err(broken(node, what));
    }
    Ok(Value::Maps(keys, Box::new(scores)))
}

/// `SequenceMap`: the body once for each element of the first input, with the
/// elements at the same place of other sequences, and tensors as they are.
fn enter_map(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let graph = body(node, "body")?;
    let count = sequence(importer, node)?.len();
    if graph.inputs.len() != node.inputs.len() || graph.outputs.len() < node.outputs.len() {
        return Err(broken(node, "inputs and outputs of its body do not fit its own"));
    }
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for index in 0..node.inputs.len() {
        let value = importer.optional(node, index)?;
        let value = value.ok_or_else(|| broken(node, "an input is missing"))?;
        if let Value::Sequence(items) = &value
            && items.len() != count
        {
            let what = format!("sequences of {count} and {} elements", items.len());
            return Err(broken(node, what));
        }
        inputs.push(value);
    }
    let outputs = vec![Vec::new(); graph.outputs.len()];
    let state = MapState { at: 0, count, inputs, outputs };
    push(importer, node, graph, Role::Map(Box::new(state)))?;
    step(importer, node)
}

fn map<'i>(importer: &'i mut Importer<'_>) -> Result<&'i mut MapState> {
    match &mut importer.frame_mut()?.role {
        Role::Map(state) => Ok(state),
        _ => Err(Error::internal("not a map")),
    }
}

/// Goes to the next element, or ends the node.
fn step(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let state = map(importer)?;
    let at = state.at;
    if at == state.count {
        let outputs = std::mem::take(&mut state.outputs);
        let outputs = outputs.into_iter().map(Value::Sequence).collect();
        return super::control::finish(importer, node, outputs);
    }
    let given: Vec<Value> = state.inputs.iter().map(|input| of(input, at)).collect();
    importer.spend(1, &node.name)?;
    let depth = importer.state.frames.len().saturating_sub(2);
    let outer = importer.state.frames.get(depth).map(|frame| frame.prefix.clone());
    let frame = importer.frame_mut()?;
    let names = frame.graph.inputs.iter().map(|input| input.name.clone());
    frame.names = names.zip(given).collect();
    frame.prefix = format!("{}{}[{at}]/", outer.unwrap_or_default(), node.name);
    frame.at = 0;
    Ok(Flow::On)
}

/// The element of a sequence at a place, or the value itself.
fn of(value: &Value, at: usize) -> Value {
    match value {
        Value::Sequence(items) => items.get(at).cloned().unwrap_or(Value::Nothing),
        other => other.clone(),
    }
}

/// The body has come to its end.
pub(super) fn mapped(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    values: Vec<Value>,
) -> Result<Flow> {
    let state = map(importer)?;
    for (items, value) in state.outputs.iter_mut().zip(values) {
        items.push(value);
    }
    state.at += 1;
    step(importer, node)
}
