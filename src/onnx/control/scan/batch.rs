//! `Scan` of opset 8: the first dimension of all it takes is a batch of sequences,
//! each of its own length, the second the one that is scanned.

use super::{Scanned, directions, scan, slice, step};
use crate::error::{Error, Result};
use crate::formats::onnx::OnnxNode;
use crate::onnx::control::{body, broken, finish, joined, push};
use crate::onnx::import::{Flow, Importer, Wanted};
use crate::onnx::state::{Batch, Role, ScanState, Value};
use crate::ops::movement::Concat;
use crate::ops::{RefData, RefTensor};
use crate::tensor::Tensor;

pub(super) fn enter(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let graph = body(node, "body")?;
    let wrong = |what: &str| broken(node, what);
    let scanned = node.attributes.int("num_scan_inputs").map_err(|e| broken(node, e))?;
    let scanned = scanned.and_then(|count| usize::try_from(count).ok()).filter(|&n| n > 0);
    let scanned = scanned.ok_or_else(|| wrong("num_scan_inputs"))?;
    let states = node.inputs.len().checked_sub(scanned + 1);
    let states = states.ok_or_else(|| wrong("fewer inputs than num_scan_inputs"))?;
    let outputs = graph.outputs.len().checked_sub(states);
    let outputs = outputs.filter(|_| graph.inputs.len() == states + scanned);
    let outputs =
        outputs.ok_or_else(|| wrong("inputs and outputs of its body do not fit its own"))?;
    let mut values = Vec::with_capacity(states + scanned);
    for index in 1..node.inputs.len() {
        let value = importer.optional(node, index)?;
        values.push(value.ok_or_else(|| wrong("an input is missing"))?);
    }
    let reverse = directions(node, "directions", scanned)?;
    let mut sizes = None;
    for value in &values[states..] {
        let extents = importer.kind(value)?.extents;
        let &[count, longest, ..] = extents.as_slice() else {
            return Err(wrong("an input without a batch of sequences"));
        };
        if *sizes.get_or_insert((count, longest)) != (count, longest) {
            return Err(wrong("inputs have different batches or lengths"));
        }
    }
    let (count, longest) = sizes.unwrap_or((0, 0));
    if count == 0 {
        return Err(wrong("a batch without sequences"));
    }
    let lengths = match importer.optional(node, 0)? {
        None => vec![longest; count],
        Some(value) => match importer.host(&value) {
            None => return Ok(Flow::Look(Wanted::Value(value))),
            Some(known) => lengths(node, &known, count, longest)?,
        },
    };
    let inputs = values.drain(states..).zip(reverse);
    let inputs = inputs.map(|(value, reverse)| Scanned { value, axis: 0, reverse }).collect();
    let batch = Batch { at: 0, lengths, longest, states: values, inputs, done: Vec::new() };
    let state = ScanState {
        at: 0,
        trip: 0,
        states: Vec::new(),
        inputs: Vec::new(),
        outputs: vec![Vec::new(); outputs],
        batch: Some(batch),
    };
    push(importer, node, graph, Role::Scan(Box::new(state)))?;
    begin(importer, node)
}

fn lengths(node: &OnnxNode, given: &Tensor, count: usize, longest: usize) -> Result<Vec<usize>> {
    let wrong = || broken(node, format_args!("sequence_lens of {count} sequences up to {longest}"));
    let RefData::Int(values) = RefTensor::from_tensor(given)?.data else { return Err(wrong()) };
    let length = |&value: &i64| usize::try_from(value).ok().filter(|&n| (1..=longest).contains(&n));
    let lengths: Option<Vec<usize>> = values.iter().map(length).collect();
    lengths.filter(|lengths| lengths.len() == count).ok_or_else(wrong)
}

/// Begins the sequence of the batch whose turn it is.
fn begin(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let missing = || Error::internal("a scan without a batch");
    let batch = scan(importer)?.batch.clone().ok_or_else(missing)?;
    let mut states = Vec::with_capacity(batch.states.len());
    for value in batch.states {
        let whole = Scanned { value, axis: 0, reverse: false };
        states.push(slice(importer, node, &whole, batch.at)?);
    }
    let mut inputs = Vec::with_capacity(batch.inputs.len());
    let length = batch.lengths[batch.at];
    for whole in batch.inputs {
        let value = slice(importer, node, &whole, batch.at)?;
        inputs.push(Scanned { value, ..whole });
    }
    let state = scan(importer)?;
    (state.at, state.trip, state.states, state.inputs) = (0, length, states, inputs);
    state.outputs.iter_mut().for_each(Vec::clear);
    step(importer, node)
}

/// Ends a sequence, and the scan with the last one.
pub(super) fn next(importer: &mut Importer<'_>, node: &OnnxNode, state: ScanState) -> Result<Flow> {
    let Some(mut batch) = state.batch else {
        return Err(Error::internal("a scan without a batch"));
    };
    let mut results = state.states;
    for items in &state.outputs {
        let value = joined(importer, node, items, 0)?;
        results.push(filled(importer, node, value, batch.longest)?);
    }
    batch.done.push(results);
    batch.at += 1;
    if batch.at < batch.lengths.len() {
        scan(importer)?.batch = Some(batch);
        return begin(importer, node);
    }
    let count = batch.done.first().map_or(0, Vec::len);
    let mut values = Vec::with_capacity(count);
    for index in 0..count {
        let items: Vec<Value> = batch.done.iter().map(|results| results[index].clone()).collect();
        values.push(joined(importer, node, &items, 0)?);
    }
    finish(importer, node, values)
}

/// What a sequence gave, with zeros up to the longest.
fn filled(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    value: Value,
    longest: usize,
) -> Result<Value> {
    let kind = importer.kind(&value)?;
    let mut extents = kind.extents;
    let length = extents.first().copied().unwrap_or(longest);
    if length >= longest {
        return Ok(value);
    }
    extents[0] = longest - length;
    let zeros = vec![0u8; kind.dtype.bytes(&extents)?];
    let zeros = Value::Known(Tensor::new(kind.dtype, &extents, zeros)?);
    importer.apply(&node.name, Concat { axis: 0 }, &[value, zeros])
}
