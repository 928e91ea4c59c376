//! `CausalConvWithState`: each channel convolved with what came before, and what
//! the next call needs of it.

use super::Conv;
use crate::error::Result;
use crate::onnx::NodeCx;
use crate::ops::elementwise::Unary;
use crate::ops::movement::{Concat, Slice, SliceRange};
use crate::tensor::{DType, Tensor};

pub(super) fn causal(cx: &mut NodeCx<'_>) -> Result<()> {
    let (x_extents, weights) = (cx.extents(0)?, cx.extents(1)?);
    let (&[batch, channels, length], &[out, 1, kernel]) =
        (x_extents.as_slice(), weights.as_slice())
    else {
        return Err(cx.broken(format!("input {x_extents:?} and weights {weights:?}")));
    };
    if out != channels || kernel == 0 {
        return Err(cx.broken(format!("{channels} channels, weights {weights:?}")));
    }
    let dtype = cx.dtype(0)?;
    let activation = match cx.string("activation", "none")? {
        "none" => None,
        "silu" | "swish" => Some(Unary::Silu),
        other => return Err(cx.broken(format!("activation '{other}'"))),
    };
    let before = [batch, channels, kernel - 1];
    let mut x = cx.input_f32(0)?;
    if kernel > 1 {
        let past = match cx.optional(3) {
            Some(_) if cx.extents(3)? == before => cx.input_f32(3)?,
            Some(_) => {
                let got = cx.extents(3)?;
                return Err(cx.broken(format!("past_state {got:?}, expected {before:?}")));
            }
            None => {
                let zeros = vec![0.0; before.iter().product()];
                cx.constant(Tensor::from_f32(&before, &zeros)?)?
            }
        };
        x = cx.op1(Concat { axis: 2 }, &[past, x])?;
    }
    let mut inputs = vec![Some(x), Some(cx.input_f32(1)?)];
    if cx.optional(2).is_some() {
        inputs.push(Some(cx.input_f32(2)?));
    }
    let conv = Conv { group: channels, ..Conv::default() };
    let y = cx.op(conv, &inputs)?;
    let y = y.first().copied().ok_or_else(|| cx.broken("a convolution without result"))?;
    let y = match activation {
        Some(function) => cx.map1(function, y)?,
        None => y,
    };
    cx.output_as(0, y, dtype)?;
    if !cx.wants(1) {
        return Ok(());
    }
    let present = if kernel > 1 {
        let (start, end) = (length as i64, (length + kernel - 1) as i64);
        cx.op1(Slice { ranges: vec![SliceRange { axis: 2, start, end, step: 1 }] }, &[x])?
    } else {
        cx.constant(Tensor::new(DType::F32, &before, Vec::new())?)?
    };
    cx.output_as(1, present, dtype)
}
