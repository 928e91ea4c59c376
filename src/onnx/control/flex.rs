//! `FlexAttention`: attention whose scores and probabilities bodies may change.

use super::{broken, push};
use crate::error::{Error, Result};
use crate::formats::onnx::OnnxNode;
use crate::graph::Dim;
use crate::onnx::import::{Flow, Importer};
use crate::onnx::state::{FlexState, Role, Value};
use crate::ops::elementwise::{Binary, Cast, Unary};
use crate::ops::matmul::MatMul;
use crate::ops::movement::{Expand, Reshape};
use crate::ops::softmax::Softmax;
use crate::tensor::{DType, Tensor};

pub(super) fn enter(importer: &mut Importer<'_>, node: &OnnxNode) -> Result<Flow> {
    let mut given = Vec::with_capacity(3);
    for index in 0..3 {
        let value = importer.optional(node, index)?;
        given.push(value.ok_or_else(|| broken(node, "an input is missing"))?);
    }
    let mut extents = Vec::with_capacity(3);
    for value in &given {
        extents.push(importer.kind(value)?.extents);
    }
    let dtype = importer.kind(&given[0])?.dtype;
    let (&[batch, heads, _, size], &[_, shared, keys, _], &[_, _, _, width]) =
        (extents[0].as_slice(), extents[1].as_slice(), extents[2].as_slice())
    else {
        return Err(broken(node, "inputs must have four dimensions"));
    };
    if shared == 0 || !heads.is_multiple_of(shared) {
        return Err(broken(node, format_args!("{heads} heads on {shared} of keys")));
    }
    let precision = node.attributes.int("softmax_precision").map_err(|e| broken(node, e))?;
    if precision.is_some_and(|code| crate::formats::onnx::dtype(code) == Some(DType::F64)) {
        return Err(Error::unsupported(
            format_args!("node '{}' ({})", node.name, node.op_type),
            "softmax_precision F64",
        ));
    }
    let [q, k, v] = [0, 1, 2].map(|at| given[at].clone());
    let q = cast(importer, node, q, DType::F32)?;
    let k = cast(importer, node, k, DType::F32)?;
    let v = cast(importer, node, v, DType::F32)?;
    let group = heads / shared;
    let k = repeated(importer, node, k, [batch, shared, group, keys, size])?;
    let v = repeated(importer, node, v, [batch, shared, group, keys, width])?;
    let scale = node.attributes.float("scale").map_err(|e| broken(node, e))?;
    let scale = scale.unwrap_or(1.0 / (size.max(1) as f32).sqrt());
    let product = MatMul { trans_b: true, ..MatMul::default() };
    let scores = importer.apply(&node.name, product, &[q, k])?;
    let scale = Value::Known(Tensor::from_f32(&[], &[scale])?);
    let scores = importer.apply(&node.name, Binary::Mul, &[scores, scale])?;
    body(importer, node, FlexState { v, dtype, probabilities: false }, scores)
}

fn cast(importer: &mut Importer<'_>, node: &OnnxNode, value: Value, to: DType) -> Result<Value> {
    if importer.kind(&value)?.dtype == to {
        return Ok(value);
    }
    importer.apply(&node.name, Cast { to }, &[value])
}

/// Each head of keys or values as often as heads share it: extents are batch, heads,
/// how often, keys, size.
fn repeated(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    value: Value,
    extents: [usize; 5],
) -> Result<Value> {
    let [batch, heads, group, keys, size] = extents;
    if group == 1 {
        return Ok(value);
    }
    let shape = |extents: &[usize]| extents.iter().map(|&n| Dim::from(n)).collect::<Vec<_>>();
    let apart = Reshape { shape: shape(&[batch, heads, 1, keys, size]) };
    let apart = importer.apply(&node.name, apart, &[value])?;
    let many = importer.apply(&node.name, Expand { shape: shape(&extents) }, &[apart])?;
    let joined = Reshape { shape: shape(&[batch, heads * group, keys, size]) };
    importer.apply(&node.name, joined, &[many])
}

/// Begins the body that changes the value, or goes on where there is none.
fn body(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    state: FlexState,
    value: Value,
) -> Result<Flow> {
    let name = if state.probabilities { "prob_mod" } else { "score_mod" };
    let Some(graph) = node.graphs.get(name).cloned() else {
        return changed(importer, node, state, value);
    };
    let [input] = graph.inputs.as_slice() else {
        return Err(broken(node, format_args!("'{name}' must have one input")));
    };
    let input = input.name.clone();
    push(importer, node, graph, Role::Flex(Box::new(state)))?;
    importer.frame_mut()?.names.insert(input, value);
    Ok(Flow::On)
}

/// A body has come to its end.
pub(super) fn left(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    values: Vec<Value>,
) -> Result<Flow> {
    let frame = importer.state.frames.pop();
    let Some(Role::Flex(state)) = frame.map(|frame| frame.role) else {
        return Err(Error::internal("no attention"));
    };
    let value = values.into_iter().next();
    let value = value.ok_or_else(|| broken(node, "a body without output"))?;
    changed(importer, node, *state, value)
}

/// Goes on with the scores, or with the probabilities.
fn changed(
    importer: &mut Importer<'_>,
    node: &OnnxNode,
    mut state: FlexState,
    value: Value,
) -> Result<Flow> {
    if !state.probabilities {
        // Masks are often minus infinity, which no kernel promises.
        let finite = Unary::Clip { min: -1e30, max: 1e30 };
        let scores = importer.apply(&node.name, finite, &[value])?;
        let probabilities = importer.apply(&node.name, Softmax { axis: -1 }, &[scores])?;
        state.probabilities = true;
        return body(importer, node, state, probabilities);
    }
    let y = importer.apply(&node.name, MatMul::default(), &[value, state.v])?;
    let y = cast(importer, node, y, state.dtype)?;
    importer.bind(node, vec![Some(y)])?;
    Ok(Flow::On)
}
