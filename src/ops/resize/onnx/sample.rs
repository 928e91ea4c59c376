//! `GridSample`, `AffineGrid` and `RoiAlign`.

use crate::error::Result;
use crate::onnx::NodeCx;
use crate::ops::matmul::MatMul;
use crate::ops::movement::{count, reshaped};
use crate::ops::resize::{GridSample, Outside, RoiAlign, Sampling};
use crate::tensor::{DType, Tensor};

pub(super) fn grid_sample_16(cx: &mut NodeCx<'_>) -> Result<()> {
    let mode = match cx.string("mode", "bilinear")? {
        "nearest" => Sampling::Nearest,
        "bilinear" => Sampling::Linear,
        "bicubic" => Sampling::Cubic,
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    sampled(cx, mode)
}

pub(super) fn grid_sample(cx: &mut NodeCx<'_>) -> Result<()> {
    let mode = match cx.string("mode", "linear")? {
        "nearest" => Sampling::Nearest,
        "linear" => Sampling::Linear,
        "cubic" => Sampling::Cubic,
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    sampled(cx, mode)
}

fn sampled(cx: &mut NodeCx<'_>, mode: Sampling) -> Result<()> {
    let outside = match cx.string("padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return Err(cx.unsupported(format!("padding_mode '{other}'"))),
    };
    let align_corners = cx.int("align_corners", 0)? != 0;
    let (dtype, rank) = (cx.dtype(0)?, cx.extents(0)?.len());
    if ![DType::F32, DType::F16, DType::BF16].contains(&dtype) || ![4, 5].contains(&rank) {
        return Err(cx.unsupported(format!("an input of {dtype} and rank {rank}")));
    }
    let (x, grid) = (cx.input_f32(0)?, cx.input_f32(1)?);
    let y = cx.op1(GridSample { mode, outside, align_corners }, &[x, grid])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// The places of all elements of a plane, transformed: a product of matrices.
pub(super) fn affine_grid(cx: &mut NodeCx<'_>) -> Result<()> {
    let size = cx.known_ints(1)?;
    let size: Vec<usize> =
        size.into_iter().map(|n| count(cx, "a size", n)).collect::<Result<_>>()?;
    let align = cx.int("align_corners", 0)? != 0;
    let (batch, spatial) = match size.as_slice() {
        [batch, _, spatial @ ..] if [2, 3].contains(&spatial.len()) => (*batch, spatial),
        other => return Err(cx.broken(format!("size must have 4 or 5 numbers, got {other:?}"))),
    };
    let rank = spatial.len();
    if cx.extents(0)? != [batch, rank, rank + 1] {
        return Err(cx.broken(format!("theta {:?} for size {size:?}", cx.extents(0)?)));
    }
    let points = spatial.iter().try_fold(1usize, |n, &m| n.checked_mul(m));
    let points = points.filter(|&points| points <= 1 << 26);
    let points = points.ok_or_else(|| cx.unsupported(format!("a grid of size {size:?}")))?;
    let mut places = Vec::with_capacity(points * (rank + 1));
    for point in 0..points {
        let mut left = point;
        // The fastest dimension comes first.
        for &n in spatial.iter().rev() {
            places.push(place(left % n, n, align) as f32);
            left /= n;
        }
        places.push(1.0);
    }
    let dtype = single(cx)?;
    let places = cx.constant(Tensor::from_f32(&[1, points, rank + 1], &places)?)?;
    let theta = cx.input_f32(0)?;
    let product = MatMul { trans_a: false, trans_b: true, activation: None };
    let grid = cx.op1(product, &[places, theta])?;
    let extents = [&[batch], spatial, &[rank]].concat();
    let grid = reshaped(cx, grid, &extents)?;
    let grid = cx.cast(grid, dtype)?;
    cx.output(0, grid);
    Ok(())
}

/// The dtype of what is computed in F32.
fn single(cx: &NodeCx<'_>) -> Result<DType> {
    match cx.dtype(0)? {
        dtype @ (DType::F32 | DType::F16 | DType::BF16) => Ok(dtype),
        other => Err(cx.unsupported(other)),
    }
}

/// Where element i of n is, from -1 to 1.
fn place(i: usize, n: usize, align: bool) -> f64 {
    let (i, n) = (i as f64, n as f64);
    match align {
        true if n > 1.0 => 2.0 * i / (n - 1.0) - 1.0,
        // A single element is in the middle, as PyTorch has it.
        true => 0.0,
        false => (2.0 * i + 1.0) / n - 1.0,
    }
}

pub(super) fn roi_align_10(cx: &mut NodeCx<'_>) -> Result<()> {
    pooled(cx, false)
}

pub(super) fn roi_align(cx: &mut NodeCx<'_>) -> Result<()> {
    match cx.string("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => pooled(cx, true),
        "output_half_pixel" => pooled(cx, false),
        other => Err(cx.unsupported(format!("coordinate_transformation_mode '{other}'"))),
    }
}

fn pooled(cx: &mut NodeCx<'_>, half_pixel: bool) -> Result<()> {
    let largest = match cx.string("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    let ratio = cx.int("sampling_ratio", 0)?;
    let op = RoiAlign {
        half_pixel,
        largest,
        output_height: count(cx, "output_height", cx.int("output_height", 1)?)?,
        output_width: count(cx, "output_width", cx.int("output_width", 1)?)?,
        sampling_ratio: u32::try_from(ratio)
            .map_err(|_| cx.broken(format!("sampling_ratio {ratio}")))?,
        spatial_scale: cx.float("spatial_scale", 1.0)?,
    };
    let dtype = single(cx)?;
    let (x, rois, batches) = (cx.input_f32(0)?, cx.input_f32(1)?, cx.input(2)?);
    let batches = cx.cast(batches, DType::I32)?;
    let y = cx.op1(op, &[x, rois, batches])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}
