//! Activations of ONNX Runtime's domain, and Dropout as it was without training.

use super::{Binary, GatedActivation, Unary};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::movement::{Slice, SliceRange};
use crate::tensor::{DType, Tensor};

const fn contrib(name: &'static str, import: fn(&mut NodeCx<'_>) -> Result<()>) -> OnnxOperator {
    OnnxOperator { domain: "com.microsoft", name, since: 1, import }
}

pub(crate) const CONTRIB: &[OnnxOperator] = &[
    contrib("BiasAdd", biased_sum),
    contrib("BiasSplitGelu", split_gelu),
    contrib("BiasGelu", |cx| biased(cx, Unary::Gelu)),
    contrib("FastGelu", |cx| biased(cx, Unary::GeluTanh)),
    contrib("Gelu", |cx| biased(cx, Unary::Gelu)),
    contrib("QuickGelu", quick_gelu),
    row("Dropout", 7, dropout),
];

/// An activation of the input, to which a bias is added if there is one.
fn biased(cx: &mut NodeCx<'_>, function: Unary) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let mut x = cx.input_f32(0)?;
    if cx.optional(1).is_some() {
        let bias = cx.input_f32(1)?;
        x = cx.map2(Binary::Add, x, bias)?;
    }
    let y = cx.map1(function, x)?;
    cx.output_as(0, y, dtype)
}

/// Inputs: x `[N, S, C]`, bias `[C]`, skip as x.
fn biased_sum(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let inputs = [cx.input_f32(0)?, cx.input_f32(1)?, cx.input_f32(2)?];
    let y = cx.map2(Binary::Add, inputs[0], inputs[1])?;
    let y = cx.map2(Binary::Add, y, inputs[2])?;
    cx.output_as(0, y, dtype)
}

/// Of `x + bias` the first half of each row times GELU of the second.
fn split_gelu(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let Some(&wide) = extents.last().filter(|wide| wide.is_multiple_of(2)) else {
        return Err(cx.broken(format!("{extents:?} has no halves")));
    };
    let (x, bias) = (cx.input_f32(0)?, cx.input_f32(1)?);
    let x = cx.map2(Binary::Add, x, bias)?;
    let half = |cx: &mut NodeCx<'_>, start: usize| {
        let (start, end) = (start as i64, (start + wide / 2) as i64);
        cx.op1(Slice { ranges: vec![SliceRange { axis: -1, start, end, step: 1 }] }, &[x])
    };
    let (first, second) = (half(cx, 0)?, half(cx, wide / 2)?);
    let y = cx.op1(GatedActivation { act: Unary::Gelu }, &[second, first])?;
    cx.output_as(0, y, dtype)
}

/// `x sigmoid(alpha x)` is `silu(alpha x) / alpha`.
fn quick_gelu(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, alpha) = (cx.dtype(0)?, cx.float("alpha", 1.702)?);
    if alpha == 0.0 || !alpha.is_finite() {
        return Err(cx.unsupported(format!("attribute 'alpha' = {alpha}")));
    }
    let x = cx.input_f32(0)?;
    let scaled = cx.map2_f32(Binary::Mul, x, alpha)?;
    let factor = cx.scalar_f32(1.0 / alpha)?;
    let y = cx.op1(GatedActivation { act: Unary::Silu }, &[scaled, factor])?;
    cx.output_as(0, y, dtype)
}

/// The function that ONNX Runtime has put into a node: the attribute `activation`,
/// with `activation_params` (convolutions) or `activation_alpha` and so on.
pub(crate) fn fused_activation(cx: &mut NodeCx<'_>, x: ValueId) -> Result<ValueId> {
    let name = cx.string("activation", "")?.to_string();
    let list = cx.attributes().floats("activation_params")?.map(<[f32]>::to_vec);
    let parameter = |index: usize, own: &str, default: f32| -> Result<f32> {
        match list.as_deref().and_then(|list| list.get(index)) {
            Some(&value) => Ok(value),
            None => cx.float(own, default),
        }
    };
    let function = match name.as_str() {
        "" => return Ok(x),
        "Relu" => Unary::Relu,
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Elu" => Unary::Elu { alpha: parameter(0, "activation_alpha", 1.0)? },
        "ThresholdedRelu" => {
            Unary::ThresholdedRelu { alpha: parameter(0, "activation_alpha", 1.0)? }
        }
        "LeakyRelu" => Unary::LeakyRelu { alpha: parameter(0, "activation_alpha", 0.01)? },
        "Clip" => Unary::Clip {
            min: parameter(0, "activation_min", f32::MIN)?,
            max: parameter(1, "activation_max", f32::MAX)?,
        },
        "HardSigmoid" => Unary::HardSigmoid {
            alpha: parameter(0, "activation_alpha", 0.2)?,
            beta: parameter(1, "activation_beta", 0.5)?,
        },
        other => return Err(cx.unsupported(format!("activation '{other}'"))),
    };
    cx.map1(function, x)
}

/// In inference all elements stay.
fn dropout(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    cx.output(0, x);
    if cx.wants(1) {
        let extents = cx.extents(0)?;
        let ones = vec![1u8; extents.iter().product()];
        let mut mask = cx.constant(Tensor::new(DType::Bool, &extents, ones)?)?;
        // Before opset 10 the mask was of the input's type.
        if cx.opset() < 10 {
            mask = cx.cast(mask, cx.dtype(0)?)?;
        }
        cx.output(1, mask);
    }
    Ok(())
}
