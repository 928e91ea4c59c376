//! Normalisations of ONNX Runtime's domain.

use super::onnx::Facts;
use super::{Normalization, SkipNormalization};
use crate::error::Result;
use crate::onnx::{NodeCx, OnnxOperator};
use crate::ops::elementwise::Binary;
use crate::tensor::DType;

const DOMAIN: &str = "com.microsoft";

pub(crate) const CONTRIB: &[OnnxOperator] = &[
    OnnxOperator {
        domain: DOMAIN,
        name: "SkipLayerNormalization",
        since: 1,
        import: |cx| skip(cx, true),
    },
    OnnxOperator {
        domain: DOMAIN,
        name: "SkipSimplifiedLayerNormalization",
        since: 1,
        import: |cx| skip(cx, false),
    },
];

/// Inputs: input, skip, gamma, beta (with a mean only), bias. Outputs: the
/// result, the mean, the reciprocal of the deviation, and the sum.
fn skip(cx: &mut NodeCx<'_>, centred: bool) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let epsilon = cx.float("epsilon", 1e-12)?;
    let norm = match centred {
        true => Normalization::layer(epsilon),
        false => Normalization::rms(epsilon),
    };
    let mut x = cx.input_f32(0)?;
    let bias = if centred { 4 } else { 3 };
    if cx.optional(bias).is_some() {
        let bias = cx.input_f32(bias)?;
        x = cx.map2(Binary::Add, x, bias)?;
    }
    let other = cx.input_f32(1)?;
    let other = cx.expanded(other, &extents)?;
    let mut inputs = vec![Some(x), Some(other), Some(cx.input_f32(2)?)];
    if centred && cx.optional(3).is_some() {
        inputs.push(Some(cx.input_f32(3)?));
    }
    let outputs = cx.op(SkipNormalization { norm }, &inputs)?;
    let &[y, sum] = outputs.as_slice() else {
        return Err(cx.broken("a normalisation without its sum"));
    };
    cx.output_as(0, y, dtype)?;
    if cx.wants(1) || cx.wants(2) {
        let facts = Facts::of(cx, sum, &[-1], epsilon, centred)?;
        if cx.wants(1) && !centred {
            return Err(cx.unsupported("output 'mean' of a normalisation that takes none"));
        }
        cx.output_as(1, facts.mean, DType::F32)?;
        cx.output_as(2, facts.inverse, DType::F32)?;
    }
    if cx.wants(3) {
        cx.output_as(3, sum, dtype)?;
    }
    Ok(())
}
