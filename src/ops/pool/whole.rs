//! ONNX operators that are pools with something around them: of whole planes,
//! and the way back from the largest elements.

use super::{AveragePool, LpPool, MaxPool, Window};
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::onnx::NodeCx;
use crate::ops::Operator;
use crate::ops::conv::padding::counts;
use crate::ops::elementwise::Where;
use crate::ops::gather::Take;
use crate::ops::movement::{Pad, PadMode, Reshape};
use crate::ops::reduce::{Reduce, Reduction};
use crate::ops::scatter::{Reduction as Combination, ScatterElements};
use crate::tensor::{DType, Tensor};

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

/// `MaxRoiPool`: the largest elements of the parts of regions, whose places the host
/// has to know. Inputs: x `[N, C, H, W]` and regions `[R, 5]` of a picture's number,
/// left, top, right and bottom, ends included. A part without elements is 0.
pub(super) fn regions(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, extents, rois) = (cx.dtype(0)?, cx.extents(0)?, cx.extents(1)?);
    let (&[batch, channels, height, width], &[count, 5]) = (extents.as_slice(), rois.as_slice())
    else {
        return Err(cx.broken(format!("takes [N, C, H, W] and [R, 5], got {extents:?}, {rois:?}")));
    };
    let pooled = counts(cx, "pooled_shape", 2, 0)?;
    let scale = cx.float("spatial_scale", 1.0)?;
    let numbers = cx.known_reals(1)?;
    let plane = Plane { height, width, rows: pooled[0], columns: pooled[1] };
    let mut parts = Vec::with_capacity(count * plane.rows * plane.columns);
    for roi in numbers.chunks_exact(5) {
        let picture = (roi[0] >= 0.0 && roi[0] < batch as f64).then_some(roi[0] as usize);
        let picture =
            picture.ok_or_else(|| cx.broken(format!("a region of picture {}", roi[0])))?;
        // In F32, as others have it: where a corner is rounded depends on it.
        plane.parts(picture, &[1, 2, 3, 4].map(|i| roi[i] as f32 * scale), &mut parts);
    }
    // Parts have as many places as the largest; the rest are its first one again.
    let most = parts.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut places = Vec::with_capacity(parts.len() * most);
    for part in &parts {
        let first = part.first().copied().unwrap_or(0);
        places.extend((0..most).map(|i| part.get(i).copied().unwrap_or(first)));
    }
    let x = cx.input_f32(0)?;
    let rows = cx.transposed(x, &[0, 2, 3, 1])?;
    let rows = cx.reshaped(rows, &[batch * height * width, channels])?;
    let places = cx.constant(Tensor::from_i32(&[parts.len(), most], &places)?)?;
    let seen = cx.op1(Take { axis: 0, batch_dims: 0 }, &[rows, places])?;
    let op = Reduce { reduction: Reduction::Max, axes: vec![1], keepdims: false };
    let largest = cx.op1(op, &[seen])?;
    let empty: Vec<u8> = parts.iter().map(|part| part.is_empty().into()).collect();
    let empty = cx.constant(Tensor::new(DType::Bool, &[parts.len(), 1], empty)?)?;
    let zero = cx.scalar_f32(0.0)?;
    let y = cx.op1(Where, &[empty, zero, largest])?;
    let y = cx.reshaped(y, &[count, plane.rows, plane.columns, channels])?;
    let y = cx.transposed(y, &[0, 3, 1, 2])?;
    cx.output_as(0, y, dtype)
}

/// A picture, and into how many parts its regions are cut.
struct Plane {
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

impl Plane {
    /// The elements of each part of a region, as rows of all pictures' elements.
    /// Bounds as ONNX Runtime computes them: the corners are rounded, parts overlap
    /// where a region is not a multiple of them.
    fn parts(&self, picture: usize, corners: &[f32; 4], into: &mut Vec<Vec<i32>>) {
        let [left, top, right, bottom] = corners.map(|corner| corner.round() as i64);
        let spans = |first: i64, last: i64, parts: usize, extent: usize| -> Vec<[usize; 2]> {
            let size = (last - first + 1).max(1) as f64 / parts as f64;
            let end = |i: usize| (i as f64 * size).ceil() as i64 + first;
            let start = |i: usize| (i as f64 * size).floor() as i64 + first;
            let within = |at: i64| at.clamp(0, extent as i64) as usize;
            (0..parts).map(|i| [within(start(i)), within(end(i + 1))]).collect()
        };
        let columns = spans(left, right, self.columns, self.width);
        for [top, bottom] in spans(top, bottom, self.rows, self.height) {
            for &[left, right] in &columns {
                let row = |y: usize| (picture * self.height + y) * self.width;
                let places =
                    (top..bottom).flat_map(|y| (left..right).map(move |x| (row(y) + x) as i32));
                into.push(places.collect());
            }
        }
    }
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
    let scatter = ScatterElements { axis: 0, reduction: Combination::None };
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
