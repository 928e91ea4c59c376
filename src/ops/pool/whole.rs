//! ONNX operators that are pools with something around them: of whole planes,
//! and the way back from the largest elements.

use super::{AveragePool, LpPool, MaxPool, Window};
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::onnx::NodeCx;
use crate::ops::Operator;
use crate::ops::conv::padding::counts;
use crate::ops::movement::{Pad, PadMode, Reshape};
use crate::ops::scatter::{Reduction, ScatterElements};
use crate::tensor::Tensor;

fn reshaped(cx: &mut NodeCx<'_>, value: ValueId, extents: &[usize]) -> Result<ValueId> {
    let shape: Vec<Dim> = extents.iter().map(|&n| n.into()).collect();
    cx.op1(Reshape { shape }, &[value])
}

/// A pool over planes made one long row each, so that any number of axes is one.
fn whole<O: Operator>(cx: &mut NodeCx<'_>, op: impl FnOnce(Window) -> O) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let [n, c, spatial @ ..] = extents.as_slice() else {
        return Err(cx.broken(format!("takes a batch of channels, got {extents:?}")));
    };
    let size: usize = spatial.iter().product();
    if size == 0 {
        return Err(cx.unsupported(format!("a pool of no elements ({extents:?})")));
    }
    let x = cx.input_f32(0)?;
    let x = reshaped(cx, x, &[*n, *c, size])?;
    let window = Window { kernel_shape: vec![size], ..Window::default() };
    let y = cx.op(op(window), &[Some(x)])?;
    let result: Vec<usize> = [*n, *c].into_iter().chain(spatial.iter().map(|_| 1)).collect();
    let y = reshaped(cx, y[0], &result)?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// `GlobalAveragePool`.
pub(super) fn global_average(cx: &mut NodeCx<'_>) -> Result<()> {
    whole(cx, |window| AveragePool { window, count_include_pad: false })
}

/// `GlobalMaxPool`.
pub(super) fn global_max(cx: &mut NodeCx<'_>) -> Result<()> {
    whole(cx, |window| MaxPool { window, indices: None })
}

/// `GlobalLpPool`.
pub(super) fn global_norm(cx: &mut NodeCx<'_>) -> Result<()> {
    let p = cx.int("p", 2)?;
    let p = u32::try_from(p).map_err(|_| cx.broken(format!("p is {p}")))?;
    whole(cx, |window| LpPool { window, p })
}

/// `MaxUnpool`: every element goes to the place that its index says in the
/// tensor that the pool was made of, as far as the window tells its extents;
/// zeros fill it up to `output_shape`.
pub(super) fn unpool(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, x) = (cx.dtype(0)?, cx.extents(0)?);
    let axes = x.len().saturating_sub(2);
    if axes == 0 || cx.ints("kernel_shape")?.is_none() {
        return Err(cx.broken(format!("needs spatial axes and kernel_shape, got {x:?}")));
    }
    let kernel = counts(cx, "kernel_shape", axes, 1)?;
    let strides = counts(cx, "strides", axes, 1)?;
    let pads = counts(cx, "pads", 2 * axes, 0)?;
    let mut inferred = x[..2].to_vec();
    for i in 0..axes {
        let steps = x[i + 2].saturating_sub(1).checked_mul(strides[i]);
        let extent = steps
            .and_then(|steps| steps.checked_add(kernel[i]))
            .and_then(|all| all.checked_sub(pads[i])?.checked_sub(pads[i + axes]));
        inferred.push(extent.ok_or_else(|| cx.broken(format!("pads are {pads:?} for {x:?}")))?);
    }
    let asked = match cx.optional(2) {
        Some(_) => Some(cx.known_ints(2)?),
        None => None,
    };
    let total = inferred.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    let total = total.ok_or_else(|| cx.broken(format!("a result of {inferred:?} elements")))?;
    let updates = cx.input_f32(0)?;
    let elements = x.iter().product();
    let updates = reshaped(cx, updates, &[elements])?;
    let indices = cx.input(1)?;
    let indices = reshaped(cx, indices, &[elements])?;
    let zeros = cx.constant(Tensor::from_f32(&[total], &vec![0.0; total])?)?;
    let scatter = ScatterElements { axis: 0, reduction: Reduction::None };
    let y = cx.op1(scatter, &[zeros, indices, updates])?;
    let y = reshaped(cx, y, &inferred)?;
    let y = match asked {
        Some(asked) => filled(cx, y, &inferred, &asked)?,
        None => y,
    };
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// The value with zeros behind it along each axis, up to the extents asked for.
fn filled(cx: &mut NodeCx<'_>, y: ValueId, from: &[usize], to: &[i64]) -> Result<ValueId> {
    let amounts: Option<Vec<i64>> = match to.len() == from.len() {
        true => to
            .iter()
            .zip(from)
            .map(|(&to, &from)| to.checked_sub_unsigned(from as u64).filter(|&n| n >= 0))
            .collect(),
        false => None,
    };
    let Some(after) = amounts else {
        return Err(cx.unsupported(format!("output_shape {to:?} for a result of {from:?}")));
    };
    if after.iter().all(|&n| n == 0) {
        return Ok(y);
    }
    let pads = after.into_iter().map(|n| [0, n]).collect();
    cx.op1(Pad { mode: PadMode::Constant, pads }, &[y])
}
