//! The family's ONNX operator.

use super::LinearAttention;
use crate::error::Result;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[row("LinearAttention", 27, import)];

/// `chunk_size` is a hint that changes no result.
fn import(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let heads = |name: &str| -> Result<u64> {
        let given = cx.attributes().int(name)?;
        let heads = given.and_then(|n| u64::try_from(n).ok()).filter(|&n| n > 0);
        heads.ok_or_else(|| cx.broken(format!("{name} must be above 0, got {given:?}")))
    };
    let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    let (decays, betas) = match cx.string("update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(cx.unsupported(format!("update_rule '{other}'"))),
    };
    for (index, name, needed) in [(4, "decay", decays), (5, "beta", betas)] {
        if cx.optional(index).is_some() != needed {
            let word = if needed { "needs" } else { "takes no" };
            return Err(cx.broken(format!("the update rule {word} {name}")));
        }
    }
    let scale = Some(cx.float("scale", 0.0)?).filter(|&scale| scale != 0.0);
    let mut inputs = Vec::with_capacity(6);
    for index in 0..6 {
        inputs.push(match cx.optional(index) {
            Some(value) => Some(cx.cast(value, DType::F32)?),
            None => None,
        });
    }
    let state = if cx.optional(3).is_some() { cx.dtype(3)? } else { dtype };
    let outputs = cx.op(LinearAttention { q_heads, kv_heads, scale }, &inputs)?;
    for (index, (value, to)) in outputs.into_iter().zip([dtype, state]).enumerate() {
        let value = cx.cast(value, to)?;
        cx.output(index, value);
    }
    Ok(())
}
