//! `Scan`: a loop over slices of its inputs.

mod batch;

use super::{body, broken, finish, joined, push};
use crate::error::{Error, Result};
use crate::formats::onnx::{OnnxGraph, OnnxNode};
use crate::graph::Dim;
use crate::onnx::import::{Flow, Importer};
use crate::onnx::state::{Role, ScanState, Scanned, Value};
use crate::ops::movement::{Reshape, Slice, SliceRange};
use crate::ops::rules::front_axis;
use crate::tensor::Tensor;

pub(super) fn enter(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    if node.opset < 9 {
        return batch::enter(importer, node);
    }
    let graph = body(node, "body")?;
    let scanned = node.attributes.int("num_scan_inputs").map_err(|e| broken(node, e))?;
    let scanned = scanned.and_then(|count| usize::try_from(count).ok());
    let states = scanned.and_then(|count| node.inputs.len().checked_sub(count));
    let (Some(scanned @ 1..), Some(states)) = (scanned, states) else {
        return Err(broken(node, format_args!("num_scan_inputs of {} inputs", node.inputs.len())));
    };
    let outputs = graph.outputs.len().checked_sub(states);
    let Some(outputs) = outputs.filter(|_| graph.inputs.len() == node.inputs.len()) else {
        return Err(broken(node, "inputs and outputs of its body do not fit its own"));
    };
    let mut values = Vec::with_capacity(node.inputs.len());
    for index in 0..node.inputs.len() {
        let value = importer.optional(node, index)?;
        values.push(value.ok_or_else(|| broken(node, "an input is missing"))?);
    }
    let directions = directions(node, "scan_input_directions", scanned)?;
    let mut inputs = Vec::with_capacity(scanned);
    let mut trip = None;
    for (index, value) in values.drain(states..).enumerate() {
        let extents = importer.kind(&value)?.extents;
        let axis = axis(node, "scan_input_axes", scanned, index, extents.len())?;
        if *trip.get_or_insert(extents[axis]) != extents[axis] {
            return Err(broken(node, "inputs have different lengths"));
        }
        inputs.push(Scanned { value, axis, reverse: directions[index] });
    }
    let state = ScanState {
        at: 0,
        trip: trip.unwrap_or(0),
        states: values,
        inputs,
        outputs: vec![Vec::new(); outputs],
        batch: None,
    };
    push(importer, node, graph, Role::Scan(Box::new(state)))?;
    step(importer, node)
}

/// Which of so many inputs or outputs go backwards.
fn directions(node: &OnnxNode, name: &str, count: usize) -> Result<Vec<bool>> {
    let given = node.attributes.ints(name).map_err(|e| broken(node, e))?;
    let Some(given) = given else { return Ok(vec![false; count]) };
    if given.len() != count || given.iter().any(|&direction| !matches!(direction, 0 | 1)) {
        return Err(broken(node, format_args!("{name} {given:?}, expected {count} of 0 or 1")));
    }
    Ok(given.iter().map(|&direction| direction == 1).collect())
}

/// The axis of one of so many inputs or outputs, which has the given rank.
fn axis(node: &OnnxNode, name: &str, count: usize, index: usize, rank: usize) -> Result<usize> {
    let given = node.attributes.ints(name).map_err(|e| broken(node, e))?;
    if given.is_some_and(|given| given.len() != count) {
        return Err(broken(node, format_args!("{name} must have {count} entries")));
    }
    let axis = given.and_then(|given| given.get(index).copied()).unwrap_or(0);
    front_axis("Scan", axis, rank).map_err(|e| e.at_node(&node.name))
}

fn scan<'i>(importer: &'i mut Importer<'_>) -> Result<&'i mut ScanState> {
    match &mut importer.frame_mut()?.role {
        Role::Scan(state) => Ok(state),
        _ => Err(Error::internal("not a scan")),
    }
}

/// Starts an iteration, or ends the scan if there is none left.
fn step(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let state = scan(importer)?.clone();
    let graph = importer.frame()?.graph.clone();
    if state.at == state.trip {
        return match state.batch.is_some() {
            true => batch::next(importer, node, state),
            false => exit(importer, node, &graph, state),
        };
    }
    importer.spend(1, &node.name)?;
    let mut given = state.states.clone();
    for input in &state.inputs {
        let at = if input.reverse { state.trip - 1 - state.at } else { state.at };
        given.push(slice(importer, node, input, at)?);
    }
    let names = graph.inputs.iter().map(|input| input.name.clone()).zip(given).collect();
    let depth = importer.state.frames.len().saturating_sub(2);
    let outer = importer.state.frames.get(depth).map(|frame| frame.prefix.clone());
    let frame = importer.frame_mut()?;
    frame.prefix = format!("{}{}[{}]/", outer.unwrap_or_default(), node.name, state.at);
    (frame.at, frame.names) = (0, names);
    Ok(Flow::On)
}

/// One place of the scanned axis, which goes.
fn slice(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    input: &Scanned,
    at: usize,
) -> Result<Value> {
    let mut extents = importer.kind(&input.value)?.extents;
    let (axis, start) = (input.axis as i64, at as i64);
    let range = SliceRange { axis, start, end: start + 1, step: 1 };
    let op = Slice { ranges: vec![range] };
    let cut = importer.apply(&node.name, op, std::slice::from_ref(&input.value))?;
    extents.remove(input.axis);
    let shape = extents.into_iter().map(Dim::from).collect();
    importer.apply(&node.name, Reshape { shape }, &[cut])
}

/// Ends an iteration.
pub(super) fn stepped(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    values: Vec<Value>,
) -> Result<Flow> {
    let state = scan(importer)?;
    let mut values = values.into_iter();
    let carried = state.states.len();
    state.states = values.by_ref().take(carried).collect();
    for (items, value) in state.outputs.iter_mut().zip(values) {
        items.push(value);
    }
    state.at += 1;
    step(importer, node)
}

fn exit(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    graph: &OnnxGraph,
    state: ScanState,
) -> Result<Flow> {
    let (states, count) = (state.states.len(), state.outputs.len());
    let directions = directions(node, "scan_output_directions", count)?;
    let mut values = state.states;
    for (index, mut items) in state.outputs.into_iter().enumerate() {
        let value = match items.first().cloned() {
            None => {
                let info = graph.outputs.get(states + index);
                let rank = info.and_then(|info| info.dims.as_ref()).map_or(0, Vec::len);
                let axis = axis(node, "scan_output_axes", count, index, rank + 1)?;
                moved(super::empty(node, info)?, axis)?
            }
            Some(first) => {
                if directions[index] {
                    items.reverse();
                }
                let rank = importer.kind(&first)?.extents.len();
                let axis = axis(node, "scan_output_axes", count, index, rank + 1)?;
                joined(importer, node, &items, axis)?
            }
        };
        values.push(value);
    }
    finish(importer, node, values)
}

/// A tensor without elements, its first axis elsewhere.
fn moved(value: Value, axis: usize) -> Result<Value> {
    let Value::Known(tensor) = value else { return Ok(value) };
    let mut extents = tensor.extents()[1..].to_vec();
    extents.insert(axis, 0);
    Tensor::new(tensor.dtype(), &extents, Vec::new()).map(Value::Known)
}
