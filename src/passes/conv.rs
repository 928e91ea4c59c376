//! What follows a convolution, into it.

use super::rewrite::Rewrite;
use crate::error::Result;
use crate::graph::{Dim, Graph, Node, ValueId};
use crate::ops::Operator;
use crate::ops::conv::{Conv, ConvTranspose};
use crate::ops::elementwise::{Binary, Unary};
use crate::tensor::{DType, Tensor};
use std::any::Any;

/// A convolution of either kind.
#[derive(Debug, Clone)]
enum Convolution {
    Forward(Conv),
    Transposed(ConvTranspose),
}

impl Convolution {
    /// The convolution at a position, if it has no activation yet.
    fn plain<'r>(rewrite: &'r Rewrite<'_>, at: usize) -> Option<(&'r Node, Self)> {
        let node = rewrite.node(at)?;
        let op: &dyn Any = &*node.op;
        let found = match (op.downcast_ref::<Conv>(), op.downcast_ref::<ConvTranspose>()) {
            (Some(conv), _) => Convolution::Forward(conv.clone()),
            (_, Some(conv)) => Convolution::Transposed(conv.clone()),
            _ => return None,
        };
        let activation = match &found {
            Convolution::Forward(conv) => conv.activation,
            Convolution::Transposed(conv) => conv.activation,
        };
        activation.is_none().then_some((node, found))
    }

    fn activated(mut self, f: Unary) -> Self {
        match &mut self {
            Convolution::Forward(conv) => conv.activation = Some(f),
            Convolution::Transposed(conv) => conv.activation = Some(f),
        }
        self
    }

    /// Puts the convolution with other inputs in the place of the node at `at`.
    fn replace(
        self,
        rewrite: &mut Rewrite<'_>,
        at: usize,
        old: usize,
        inputs: Vec<Option<ValueId>>,
        result: ValueId,
    ) -> bool {
        fn fuse(
            rewrite: &mut Rewrite<'_>,
            op: impl Operator,
            (at, old): (usize, usize),
            inputs: Vec<Option<ValueId>>,
            result: ValueId,
        ) -> bool {
            rewrite.fuse(at, &[old], op, inputs, vec![result])
        }
        match self {
            Convolution::Forward(conv) => fuse(rewrite, conv, (at, old), inputs, result),
            Convolution::Transposed(conv) => fuse(rewrite, conv, (at, old), inputs, result),
        }
    }
}

/// A constant for each channel (a normalisation of constants, say) into the
/// weights and the bias of the convolution before it.
pub(super) fn affine(graph: &mut Graph) -> Result<usize> {
    let mut fused = 0;
    // A normalisation is several of these, one after the other.
    loop {
        let mut rewrite = Rewrite::new(graph);
        for at in 0..rewrite.len() {
            fuse_affine(&mut rewrite, at);
        }
        match rewrite.finish() {
            0 => return Ok(fused),
            more => fused += more,
        }
    }
}

fn fuse_affine(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (node, &op) = rewrite.op::<Binary>(at)?;
    let (a, b, result) = (node.inputs[0]?, node.inputs[1]?, *node.outputs.first()?);
    let either = matches!(op, Binary::Add | Binary::Mul);
    let orders = [(a, b), (b, a)].into_iter().take(if either { 2 } else { 1 });
    let (old, by) = orders.into_iter().find_map(|(value, by)| {
        let old = rewrite.sole(value)?;
        Convolution::plain(rewrite, old)?;
        let channels = per_channel(rewrite, value, by)?;
        Some((old, channels))
    })?;
    let (node, conv) = Convolution::plain(rewrite, old)?;
    let inputs = node.inputs.clone();
    let (w, bias) = (inputs[1]?, inputs.get(2).copied().flatten());
    if inputs.get(3).copied().flatten().is_some() {
        return None;
    }
    // The bias is known, or there is none.
    let bias = match bias {
        Some(id) => floats(rewrite, id)?,
        None => vec![0.0; by.len()],
    };
    let pairs = bias.iter().zip(&by);
    let scaled = matches!(op, Binary::Mul | Binary::Div);
    let bias: Vec<f32> = match op {
        Binary::Add => pairs.map(|(bias, by)| bias + by).collect(),
        Binary::Sub => pairs.map(|(bias, by)| bias - by).collect(),
        Binary::Mul => pairs.map(|(bias, by)| bias * by).collect(),
        Binary::Div => pairs.map(|(bias, by)| bias / by).collect(),
        _ => return None,
    };
    let weights = match scaled {
        true => Some(scaled_weights(rewrite, &conv, w, &by, op == Binary::Div)?),
        false => None,
    };
    let w = match weights {
        Some(weights) => rewrite.constant("weights", weights),
        None => w,
    };
    let bias = rewrite.constant("bias", Tensor::from_f32(&[bias.len()], &bias).ok()?);
    let inputs = vec![inputs[0], Some(w), Some(bias)];
    conv.replace(rewrite, at, old, inputs, result).then_some(())
}

/// The numbers of a constant F32.
fn floats(rewrite: &Rewrite<'_>, id: ValueId) -> Option<Vec<f32>> {
    let tensor = rewrite.graph.constant(id)?;
    (tensor.dtype() == DType::F32).then(|| tensor.to_f32().ok()).flatten()
}

/// A constant that has one number, or one for each channel of `value`.
fn per_channel(rewrite: &Rewrite<'_>, value: ValueId, by: ValueId) -> Option<Vec<f32>> {
    let (ty, shape) = (rewrite.ty(value), &rewrite.ty(by).shape);
    let channels = usize::try_from(ty.shape.get(1)?.as_const()?).ok()?;
    let one = Dim::Const(1);
    // Counted from the end, channels stand before the spatial dimensions.
    let place = ty.rank().checked_sub(2)?;
    let alone = shape.iter().rev().enumerate().all(|(i, dim)| i == place || *dim == one);
    let numbers = floats(rewrite, by).filter(|_| alone && shape.len() <= ty.rank())?;
    match numbers.len() {
        1 => Some(vec![numbers[0]; channels]),
        n if n == channels => Some(numbers),
        _ => None,
    }
}

/// The weights with those of each output channel multiplied by (divided by) a number.
fn scaled_weights(
    rewrite: &Rewrite<'_>,
    conv: &Convolution,
    w: ValueId,
    by: &[f32],
    divided: bool,
) -> Option<Tensor> {
    let mut weights = floats(rewrite, w)?;
    let extents = rewrite.graph.constant(w)?.extents().to_vec();
    let taps: usize = extents[2..].iter().product();
    if weights.is_empty() || taps == 0 {
        return None;
    }
    for (row, weights) in weights.chunks_mut(taps).enumerate() {
        let channel = match conv {
            Convolution::Forward(_) => row / extents[1],
            // `[C, M / group, kernel..]`, a group's input channels together.
            Convolution::Transposed(conv) => {
                let inputs = extents[0] / conv.group;
                row / extents[1] / inputs * extents[1] + row % extents[1]
            }
        };
        let by = by.get(channel)?;
        weights.iter_mut().for_each(|w| *w = if divided { *w / by } else { *w * by });
    }
    Tensor::from_f32(&extents, &weights).ok()
}

/// `Add(convolution, residual)` of the same type into the convolution.
pub(super) fn residual(graph: &mut Graph) -> Result<usize> {
    let mut rewrite = Rewrite::new(graph);
    for at in 0..rewrite.len() {
        fuse_residual(&mut rewrite, at);
    }
    Ok(rewrite.finish())
}

fn fuse_residual(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (node, op) = rewrite.op::<Binary>(at)?;
    if *op != Binary::Add {
        return None;
    }
    let (a, b, result) = (node.inputs[0]?, node.inputs[1]?, *node.outputs.first()?);
    if rewrite.ty(a) != rewrite.ty(b) {
        return None;
    }
    let (old, other) = [(a, b), (b, a)].into_iter().find_map(|(value, other)| {
        let old = rewrite.sole(value)?;
        let (node, _) = Convolution::plain(rewrite, old)?;
        (node.inputs.len() < 4).then_some((old, other))
    })?;
    let (node, conv) = Convolution::plain(rewrite, old)?;
    let mut inputs = node.inputs.clone();
    inputs.resize(3, None);
    inputs.push(Some(other));
    conv.replace(rewrite, at, old, inputs, result).then_some(())
}

/// `Unary(convolution)` to a convolution with an activation.
pub(super) fn activation(rewrite: &mut Rewrite<'_>, at: usize) -> Option<()> {
    let (node, &function) = rewrite.op::<Unary>(at)?;
    let result = *node.outputs.first()?;
    let old = rewrite.sole(node.inputs[0]?)?;
    let (node, conv) = Convolution::plain(rewrite, old)?;
    let inputs = node.inputs.clone();
    conv.activated(function).replace(rewrite, at, old, inputs, result).then_some(())
}
