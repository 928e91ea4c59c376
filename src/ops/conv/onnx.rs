//! The family's ONNX operators.

use super::padding::{AutoPad, Spatial, counts, halves};
use super::{Conv, ConvTranspose};
use super::{causal, columns};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::Operator;
use crate::ops::elementwise::{Binary, fused_activation};
use crate::ops::pool;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("CausalConvWithState", 27, causal::causal),
    row("Col2Im", 18, columns::col2im),
    row("Conv", 1, convolution),
    row("ConvTranspose", 1, transposed),
    row("DeformConv", 19, columns::deformed),
    OnnxOperator { domain: "com.microsoft", name: "NhwcConv", since: 1, import: channels_last },
    OnnxOperator { domain: "com.microsoft", name: "FusedConv", since: 1, import: fused },
];

/// The extents of the spatial axes of x, and of the window.
fn extents(cx: &NodeCx<'_>) -> Result<(Vec<usize>, Vec<usize>)> {
    spatial_of(cx, cx.extents(0)?, cx.extents(1)?)
}

/// The same of extents with the channels second.
fn spatial_of(cx: &NodeCx<'_>, x: Vec<usize>, w: Vec<usize>) -> Result<(Vec<usize>, Vec<usize>)> {
    if x.len() < 3 || w.len() != x.len() {
        return Err(cx.broken(format!("has x {x:?} and weights {w:?}")));
    }
    let (x, w) = (x[2..].to_vec(), w[2..].to_vec());
    if x.len() > super::geometry::MAX_AXES {
        return Err(cx.unsupported(format!("{} spatial axes; up to 3 are supported", x.len())));
    }
    let kernel = cx.ints("kernel_shape")?;
    let same = |kernel: &Vec<i64>| {
        kernel.iter().map(|&k| usize::try_from(k).ok()).eq(w.iter().map(|&k| Some(k)))
    };
    match kernel {
        Some(kernel) if !same(&kernel) => {
            Err(cx.broken(format!("kernel_shape is {kernel:?}, the weights have {w:?}")))
        }
        _ => Ok((x, w)),
    }
}

fn group(cx: &NodeCx<'_>) -> Result<usize> {
    let group = cx.int("group", 1)?;
    usize::try_from(group).map_err(|_| cx.broken(format!("group is {group}")))
}

fn convolution(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, op) = (cx.dtype(0)?, conv(cx)?);
    let y = applied(cx, op)?;
    cx.output_as(0, y, dtype)
}

/// ONNX Runtime's convolution with a term that is added, and a function.
fn fused(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, op) = (cx.dtype(0)?, conv(cx)?);
    let mut y = applied(cx, op)?;
    if cx.optional(3).is_some() {
        let term = cx.input_f32(3)?;
        y = cx.map2(Binary::Add, y, term)?;
    }
    let y = fused_activation(cx, y)?;
    cx.output_as(0, y, dtype)
}

/// ONNX Runtime's convolution of x and weights with their channels last.
fn channels_last(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let (x, w) = (cx.input_f32(0)?, cx.input_f32(1)?);
    let (x, w) = (pool::channels_second(cx, x)?, pool::channels_second(cx, w)?);
    let (spatial, kernel) = spatial_of(cx, cx.extents_of(x)?, cx.extents_of(w)?)?;
    let op = conv_over(cx, spatial, kernel)?;
    let mut inputs = vec![Some(x), Some(w)];
    if cx.optional(2).is_some() {
        inputs.push(Some(cx.input_f32(2)?));
    }
    let y = cx.op(op, &inputs)?[0];
    let y = pool::channels_last(cx, y)?;
    cx.output_as(0, y, dtype)
}

fn conv(cx: &mut NodeCx<'_>) -> Result<Conv> {
    let (x, kernel) = extents(cx)?;
    conv_over(cx, x, kernel)
}

fn conv_over(cx: &mut NodeCx<'_>, x: Vec<usize>, kernel: Vec<usize>) -> Result<Conv> {
    let spatial = Spatial::read(cx, x.len())?;
    let pads = spatial.resolved(&x, &kernel);
    let group = group(cx)?;
    let Spatial { strides, dilations, .. } = spatial;
    Ok(Conv { strides, dilations, pads, group, activation: None })
}

fn transposed(cx: &mut NodeCx<'_>) -> Result<()> {
    let (x, kernel) = extents(cx)?;
    let axes = x.len();
    let spatial = Spatial::read(cx, axes)?;
    let group = group(cx)?;
    let more = counts(cx, "output_padding", axes, 0)?;
    // What there is before padding cuts off its ends.
    let whole: Vec<usize> = (0..axes)
        .map(|i| {
            let reach = (kernel[i].saturating_sub(1)).saturating_mul(spatial.dilations[i]);
            let steps = (x[i].saturating_sub(1)).saturating_mul(spatial.strides[i]);
            steps.saturating_add(reach).saturating_add(1).saturating_add(more[i])
        })
        .collect();
    let same = matches!(spatial.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
    let asked = match cx.ints("output_shape")? {
        Some(shape) if !shape.is_empty() => Some(output_shape(cx, axes, &shape)?),
        _ if same => Some(
            x.iter().zip(&spatial.strides).map(|(n, stride)| n.saturating_mul(*stride)).collect(),
        ),
        _ => None,
    };
    let mut op = ConvTranspose {
        pads: spatial.pads.clone(),
        strides: spatial.strides,
        dilations: spatial.dilations,
        output_padding: more,
        group,
        activation: None,
    };
    if let Some(asked) = asked {
        let totals = whole.iter().zip(&asked).map(|(whole, asked)| whole.saturating_sub(*asked));
        op.pads = halves(totals, spatial.auto_pad == AutoPad::SameUpper);
        // Outputs beyond every window are asked for: there is nothing to cut off.
        for i in 0..axes {
            op.output_padding[i] += asked[i].saturating_sub(whole[i]);
        }
    }
    finish(cx, op)
}

/// `output_shape`, which some exporters write with batch and channels.
fn output_shape(cx: &NodeCx<'_>, axes: usize, shape: &[i64]) -> Result<Vec<usize>> {
    let spatial = match shape.len() {
        n if n == axes => shape,
        n if n == axes + 2 => &shape[2..],
        _ => return Err(cx.broken(format!("output_shape is {shape:?}"))),
    };
    let numbers: Option<Vec<usize>> =
        spatial.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n > 0)).collect();
    numbers.ok_or_else(|| cx.broken(format!("output_shape is {shape:?}")))
}

fn finish(cx: &mut NodeCx<'_>, op: impl Operator) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let y = applied(cx, op)?;
    cx.output_as(0, y, dtype)
}

/// The operator on x, weights and bias in F32.
fn applied(cx: &mut NodeCx<'_>, op: impl Operator) -> Result<ValueId> {
    let mut inputs: Vec<Option<ValueId>> = vec![Some(cx.input_f32(0)?), Some(cx.input_f32(1)?)];
    if cx.optional(2).is_some() {
        inputs.push(Some(cx.input_f32(2)?));
    }
    Ok(cx.op(op, &inputs)?[0])
}
