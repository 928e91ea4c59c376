//! `If`, `Loop` and `Scan`: their bodies are imported in place, as often as
//! they run. What only a run can tell ends a stage. All that needs the driver
//! instead of a row comes through here.

use super::import::{Flow, Importer, Wanted};
use super::sequence;
use super::state::{Frame, Gathered, Kind, LoopState, Role, Value};
use crate::error::{Error, Result};
use crate::formats::onnx::{OnnxGraph, OnnxNode, ValueInfo};
use crate::graph::Dim;
use crate::ops::movement::{Concat, Reshape};
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

mod flex;
pub(super) mod scan;

/// Operator and first version.
const CONTROL: &[(&str, u32)] = &[("If", 1), ("Loop", 1), ("Scan", 8)];

/// A loop with more nodes than this in all its iterations runs one iteration
/// after another instead of being one large graph.
const MOST_EXPANDED: u64 = 4096;

pub(super) fn is_control(node: &OnnxNode) -> bool {
    let ours = |&(name, since): &(&str, u32)| name == node.op_type && node.opset >= since;
    let flex = (node.domain.as_str(), &*node.op_type) == ("ai.onnx.preview", "FlexAttention");
    (node.domain.is_empty() && CONTROL.iter().any(ours)) || flex || sequence::is_ours(node)
}

pub(super) fn broken(node: &OnnxNode, what: impl std::fmt::Display) -> Error {
    Error::rule(&node.op_type, what).at_node(&node.name)
}

pub(super) fn body(node: &OnnxNode, name: &str) -> Result<Arc<OnnxGraph>> {
    let body = node.graphs.get(name).cloned();
    body.ok_or_else(|| broken(node, format_args!("attribute '{name}' is missing")))
}

/// A node with bodies comes next.
pub(super) fn enter(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    match node.op_type.as_str() {
        "If" => enter_if(importer, node),
        "Loop" => enter_loop(importer, node),
        "Scan" => scan::enter(importer, node),
        "FlexAttention" => flex::enter(importer, node),
        _ => sequence::enter(importer, node),
    }
}

pub(super) fn push(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    graph: Arc<OnnxGraph>,
    role: Role,
) -> Result<()> {
    let prefix = format!("{}{}/", importer.frame()?.prefix, node.name);
    let names = BTreeMap::new();
    importer.state.frames.push(Frame { graph, at: 0, names, prefix, role });
    Ok(())
}

fn enter_if(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let condition = importer.optional(node, 0)?;
    let condition = condition.ok_or_else(|| broken(node, "the condition is missing"))?;
    let Some(tensor) = importer.host(&condition) else {
        return Ok(Flow::Look(Wanted::Value(condition)));
    };
    let taken =
        if truth(&tensor).map_err(|e| broken(node, e))? { "then_branch" } else { "else_branch" };
    let graph = body(node, taken)?;
    if !graph.inputs.is_empty() {
        return Err(broken(node, format_args!("'{taken}' must have no inputs")));
    }
    push(importer, node, graph, Role::Branch)?;
    Ok(Flow::On)
}

/// A single truth value.
fn truth(tensor: &Tensor) -> std::result::Result<bool, String> {
    match (tensor.dtype(), &tensor.bytes()[..]) {
        (DType::Bool, &[value]) => Ok(value != 0),
        _ => Err(format!("expected one BOOL, got {}{:?}", tensor.dtype(), tensor.extents())),
    }
}

/// A single whole number.
fn whole(tensor: &Tensor) -> std::result::Result<i64, String> {
    match (tensor.dtype(), <[u8; 8]>::try_from(&tensor.bytes()[..])) {
        (DType::I64, Ok(bytes)) => Ok(i64::from_le_bytes(bytes)),
        _ => Err(format!("expected one I64, got {}{:?}", tensor.dtype(), tensor.extents())),
    }
}

/// A scalar, or the one element of a vector where the body declares that.
fn single(dtype: DType, bytes: &[u8], info: Option<&ValueInfo>) -> Result<Value> {
    let rank = info.and_then(|info| info.dims.as_ref()).map_or(0, Vec::len).min(1);
    Tensor::new(dtype, &[1][..rank], bytes.to_vec()).map(Value::Known)
}

fn enter_loop(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let graph = body(node, "body")?;
    let carried = node.inputs.len().saturating_sub(2);
    if graph.inputs.len() != carried + 2 {
        let what = format!("{carried} values carried, its body takes {}", graph.inputs.len());
        return Err(broken(node, what));
    }
    let scans = graph.outputs.len().checked_sub(carried + 1);
    let scans = scans.filter(|scans| node.outputs.len() <= carried + scans).ok_or_else(|| {
        let what = format!(
            "{carried} values carried and {} outputs, its body gives {}",
            node.outputs.len(),
            graph.outputs.len()
        );
        broken(node, what)
    })?;
    let mut values = Vec::with_capacity(carried);
    for index in 0..carried {
        let value = importer.optional(node, index + 2)?;
        values.push(value.ok_or_else(|| broken(node, "a carried value is missing"))?);
    }
    let state = LoopState {
        deciding: true,
        decided: None,
        count: single(DType::I64, &0i64.to_le_bytes(), graph.inputs.first())?,
        plus: 0,
        trip: importer.optional(node, 0)?,
        cond: importer.optional(node, 1)?,
        start: Vec::new(),
        carried: values,
        staged: false,
        scans: vec![Gathered::default(); scans],
    };
    push(importer, node, graph, Role::Loop(Box::new(state)))?;
    Ok(Flow::On)
}

/// The node that the topmost frame belongs to.
fn owner(importer: &Importer<'_>) -> Result<(Arc<OnnxGraph>, usize)> {
    let frames = &importer.state.frames;
    let below = frames.len().checked_sub(2).and_then(|index| frames.get(index));
    let below = below.ok_or_else(|| Error::internal("a body without a node"))?;
    Ok((below.graph.clone(), below.at))
}

fn looped<'i>(importer: &'i mut Importer<'_>) -> Result<&'i mut LoopState> {
    match &mut importer.frame_mut()?.role {
        Role::Loop(state) => Ok(state),
        _ => Err(Error::internal("not a loop")),
    }
}

/// Takes the loop's state out, to be put back.
fn take(importer: &mut Importer<'_>) -> Result<Box<LoopState>> {
    match std::mem::replace(&mut importer.frame_mut()?.role, Role::Branch) {
        Role::Loop(state) => Ok(state),
        _ => Err(Error::internal("not a loop")),
    }
}

/// Between two iterations of a loop: is there another one?
pub(super) fn decide(importer: &mut Importer<'_>) -> Result<Flow> {
    let (graph, at) = owner(importer)?;
    let node = &graph.nodes[at];
    let state = looped(importer)?;
    let (cond, trip, count) = (state.cond.clone(), state.trip.clone(), state.count.clone());
    let go = match state.decided {
        Some(decided) => decided,
        None => {
            let going = match &cond {
                None => true,
                Some(value) => match importer.host(value) {
                    None => return Ok(Flow::Look(Wanted::Value(value.clone()))),
                    Some(tensor) => truth(&tensor).map_err(|e| broken(node, e))?,
                },
            };
            match (going, &trip) {
                (false, _) => false,
                (true, None) => true,
                (true, Some(trip)) => {
                    let Some(trip) = importer.host(trip) else {
                        return Ok(Flow::Look(Wanted::Value(trip.clone())));
                    };
                    let trip = whole(&trip).map_err(|e| broken(node, e))?;
                    match importer.host(&count) {
                        Some(count) => whole(&count).map_err(|e| broken(node, e))? < trip,
                        None => return Ok(Flow::Look(Wanted::Count(trip))),
                    }
                }
            }
        }
    };
    if go { iterate(importer, node) } else { exit(importer, node) }
}

/// Starts an iteration.
fn iterate(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let graph = importer.frame()?.graph.clone();
    importer.spend(1, &node.name)?;
    let mut state = take(importer)?;
    let count = importer.host(&state.count).map(|count| whole(&count).unwrap_or(0));
    let iterations = match state.trip.as_ref().and_then(|trip| importer.host(trip)) {
        Some(trip) => whole(&trip).map_err(|e| broken(node, e))?.max(0) as u64,
        None if state.cond.is_none() => u64::MAX,
        // How many there will be nobody knows; so many there are already.
        None => count.unwrap_or(0).max(0) as u64,
    };
    let nodes = graph.all_nodes().len() as u64 + 1;
    state.staged |= iterations.saturating_mul(nodes) > MOST_EXPANDED;
    let going = single(DType::Bool, &[1], graph.inputs.get(1))?;
    let given = [state.count.clone(), going].into_iter().chain(state.carried.iter().cloned());
    let names = graph.inputs.iter().map(|input| input.name.clone()).zip(given).collect();
    state.start = state.carried.iter().map(|value| importer.host(value)).collect();
    (state.deciding, state.decided) = (false, None);
    let (below, _) = importer.state.frames.split_at(importer.state.frames.len() - 1);
    let outer = below.last().map(|frame| frame.prefix.clone()).unwrap_or_default();
    let frame = importer.frame_mut()?;
    frame.prefix = match count {
        Some(count) => format!("{outer}{}[{count}]/", node.name),
        None => format!("{outer}{}[..]/", node.name),
    };
    (frame.at, frame.names, frame.role) = (0, names, Role::Loop(state));
    Ok(Flow::On)
}

/// The body of the topmost frame has come to its end.
pub(super) fn leave(importer: &mut Importer<'_>) -> Result<Flow> {
    let frame = importer.frame()?;
    if matches!(frame.role, Role::Main) {
        return Ok(Flow::Done);
    }
    let outputs: Vec<_> = frame.graph.outputs.iter().map(|info| info.name.clone()).collect();
    let values = outputs.iter().map(|name| importer.find(name)).collect::<Result<Vec<_>>>()?;
    let (graph, at) = owner(importer)?;
    let node = &graph.nodes[at];
    match importer.frame()?.role {
        Role::Loop(_) => iterated(importer, values),
        Role::Scan(_) => scan::stepped(importer, node, values),
        Role::Map(_) => sequence::mapped(importer, node, values),
        Role::Flex(_) => flex::left(importer, node, values),
        Role::Main | Role::Branch => finish(importer, node, values),
    }
}

/// Ends a node with bodies.
pub(super) fn finish(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    values: Vec<Value>,
) -> Result<Flow> {
    importer.state.frames.pop();
    importer.bind(node, values.into_iter().map(Some).collect())?;
    Ok(Flow::On)
}

/// Ends an iteration.
fn iterated(importer: &mut Importer<'_>, values: Vec<Value>) -> Result<Flow> {
    let mut state = take(importer)?;
    let mut values = values.into_iter();
    let cond = values.next();
    if state.cond.is_some() {
        state.cond = cond;
    }
    let carried = state.carried.len();
    state.carried = values.by_ref().take(carried).collect();
    for (scan, value) in state.scans.iter_mut().zip(values) {
        scan.items.push(value);
    }
    match &state.count {
        Value::Known(tensor) => {
            let next = whole(tensor).ok().and_then(|count| count.checked_add(1));
            let next = next.ok_or_else(|| Error::internal("a count of iterations"))?;
            let next = Tensor::new(DType::I64, tensor.extents(), next.to_le_bytes().to_vec())?;
            state.count = Value::Known(next);
        }
        _ => state.plus += 1,
    }
    state.deciding = true;
    let unknown = state.cond.clone().filter(|value| importer.host(value).is_none());
    state.staged |= unknown.is_some();
    let staged = state.staged;
    let frame = importer.frame_mut()?;
    frame.names.clear();
    (frame.at, frame.role) = (0, Role::Loop(state));
    Ok(match unknown {
        // Known to the host but not to the import.
        Some(value) if importer.entry(&value).is_some() => Flow::Look(Wanted::Nothing),
        Some(value) => Flow::Look(Wanted::Value(value)),
        None if staged => Flow::Look(Wanted::Nothing),
        None => Flow::On,
    })
}

/// Ends a loop.
fn exit(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let state = looped(importer)?;
    state.decided = Some(false);
    if state.scans.iter().any(|scan| scan.list.is_some()) {
        return Ok(Flow::Look(Wanted::Gathered));
    }
    let state = take(importer)?;
    let graph = importer.frame()?.graph.clone();
    let mut values = state.carried;
    for scan in &state.scans {
        let info = graph.outputs.get(1 + values.len());
        values.push(match &scan.stacked {
            Some(stacked) => stacked.clone(),
            None if scan.items.is_empty() => empty(node, info)?,
            None => joined(importer, node, &scan.items, 0)?,
        });
    }
    finish(importer, node, values)
}

/// What a loop without iterations gives: dimensions that nobody knows are 0.
fn empty(node: &OnnxNode, info: Option<&ValueInfo>) -> Result<Value> {
    use crate::formats::onnx::Dimension;
    let Some((dtype, info)) = info.and_then(|info| info.dtype.map(|dtype| (dtype, info))) else {
        return Err(broken(node, "no iteration, and its body does not say what one would give"));
    };
    let extent = |dim: &Dimension| match dim {
        Dimension::Number(number) => *number,
        _ => 0,
    };
    let extents: Vec<usize> =
        [0].into_iter().chain(info.dims.iter().flatten().map(extent)).collect();
    Tensor::new(dtype, &extents, Vec::new()).map(Value::Known)
}

/// Values of one type along a new axis.
pub(super) fn joined(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    items: &[Value],
    axis: usize,
) -> Result<Value> {
    let mut parts = Vec::with_capacity(items.len());
    let mut first: Option<Kind> = None;
    for item in items {
        let kind = importer.kind(item)?;
        let first = first.get_or_insert_with(|| kind.clone());
        if *first != kind || axis > kind.extents.len() {
            let shown = |kind: &Kind| format!("{}{:?}", kind.dtype, kind.extents);
            let what = format!("iterations give {} and {}", shown(first), shown(&kind));
            return Err(broken(node, what));
        }
        let mut shape: Vec<Dim> = kind.extents.iter().map(|&extent| extent.into()).collect();
        shape.insert(axis, Dim::Const(1));
        parts.push(importer.apply(&node.name, Reshape { shape }, std::slice::from_ref(item))?);
    }
    match parts.as_slice() {
        [one] => Ok(one.clone()),
        _ => importer.apply(&node.name, Concat { axis: axis as i64 }, &parts),
    }
}
