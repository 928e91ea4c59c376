//! `Resize` and `Upsample`.

use super::tables::{Axis, Coordinates, Filter, Nearest};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary, Where};
use crate::ops::gather::Take;
use crate::ops::movement::{Expand, dims, front_axes, reshaped};
use crate::ops::resize::Resample;
use crate::tensor::{DType, Tensor};

/// How values between elements are made.
enum Mode {
    Nearest(Nearest),
    Filter(Filter),
}

pub(super) fn upsample_7(cx: &mut NodeCx<'_>) -> Result<()> {
    let scales = cx.attributes().floats("scales")?.map(<[f32]>::to_vec);
    let scales = scales.ok_or_else(|| cx.broken("attribute 'scales' is missing"))?;
    scaled_10(cx, &scales)
}

pub(super) fn resize_10(cx: &mut NodeCx<'_>) -> Result<()> {
    let scales: Vec<f32> = cx.known_reals(1)?.into_iter().map(|scale| scale as f32).collect();
    scaled_10(cx, &scales)
}

/// Before opset 11: the places are those of the elements, the one before is the
/// nearest.
fn scaled_10(cx: &mut NodeCx<'_>, scales: &[f32]) -> Result<()> {
    let mode = match cx.string("mode", "nearest")? {
        "nearest" => Mode::Nearest(Nearest::Floor),
        "linear" | "bilinear" => {
            Mode::Filter(Filter { cubic: None, antialias: false, exclude_outside: false })
        }
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    let all: Vec<usize> = (0..cx.extents(0)?.len()).collect();
    let axes = by_scale(cx, &all, scales, |_| Coordinates::Asymmetric)?;
    resized(cx, &mode, axes, 0.0)
}

pub(super) fn resize(cx: &mut NodeCx<'_>) -> Result<()> {
    let rank = cx.extents(0)?.len();
    let numbers = match cx.ints("axes")? {
        Some(axes) => front_axes(cx, &axes, rank)?,
        None => (0..rank).collect(),
    };
    let (mode, coordinates) = (mode(cx)?, coordinates(cx, numbers.len())?);
    let sizes = given(cx, 3)?;
    let scales = given(cx, 2)?;
    let axes = match (scales, sizes) {
        (Some(scales), None) => {
            if cx.string("keep_aspect_ratio_policy", "stretch")? != "stretch" {
                return Err(cx.unsupported("keep_aspect_ratio_policy with scales"));
            }
            let scales: Vec<f32> = scales.into_iter().map(|scale| scale as f32).collect();
            by_scale(cx, &numbers, &scales, |i| coordinates[i])?
        }
        (None, Some(sizes)) => by_size(cx, &numbers, &sizes, |i| coordinates[i])?,
        _ => return Err(cx.broken("takes either scales or sizes")),
    };
    let value = cx.float("extrapolation_value", 0.0)?;
    resized(cx, &mode, axes, value)
}

/// An optional list; an empty one counts as absent.
fn given(cx: &mut NodeCx<'_>, input: usize) -> Result<Option<Vec<f64>>> {
    match cx.optional(input) {
        Some(value) if cx.extents_of(value)?.iter().product::<usize>() > 0 => {
            cx.known_reals(input).map(Some)
        }
        _ => Ok(None),
    }
}

fn mode(cx: &NodeCx<'_>) -> Result<Mode> {
    let antialias = cx.int("antialias", 0)? != 0;
    let exclude_outside = cx.int("exclude_outside", 0)? != 0;
    let cubic = match cx.string("mode", "nearest")? {
        "nearest" if antialias || exclude_outside => {
            return Err(cx.unsupported("antialias or exclude_outside with mode 'nearest'"));
        }
        "nearest" => {
            return Ok(Mode::Nearest(match cx.string("nearest_mode", "round_prefer_floor")? {
                "round_prefer_floor" => Nearest::RoundPreferFloor,
                "round_prefer_ceil" => Nearest::RoundPreferCeil,
                "floor" => Nearest::Floor,
                "ceil" => Nearest::Ceil,
                other => return Err(cx.unsupported(format!("nearest_mode '{other}'"))),
            }));
        }
        "linear" => None,
        "cubic" => Some(f64::from(cx.float("cubic_coeff_a", -0.75)?)),
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    Ok(Mode::Filter(Filter { cubic, antialias, exclude_outside }))
}

/// How places are found along each of the axes.
fn coordinates(cx: &mut NodeCx<'_>, axes: usize) -> Result<Vec<Coordinates>> {
    let found = match cx.string("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        // Opset 13 has it no more.
        "tf_half_pixel_for_nn" if cx.opset() < 13 => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => {
            let roi = cx.known_reals(1)?;
            if roi.len() != 2 * axes {
                return Err(cx.broken(format!("roi of {} numbers for {axes} axes", roi.len())));
            }
            return Ok((0..axes).map(|i| Coordinates::Crop(roi[i], roi[axes + i])).collect());
        }
        other => {
            return Err(cx.unsupported(format!("coordinate_transformation_mode '{other}'")));
        }
    };
    Ok(vec![found; axes])
}

type Axes = Vec<(usize, Axis)>;

/// Whose `align_corners` goes by the whole number of elements that a scale gives, where
/// ONNX's own implementation goes by the fraction: what PyTorch computes and exports
/// with scales, and what ONNX Runtime makes of that.
const WHOLE_LENGTHS: [&str; 3] = ["pytorch", "onnxruntime", "onnx.quantize"];

fn by_scale(
    cx: &NodeCx<'_>,
    axes: &[usize],
    scales: &[f32],
    coordinates: impl Fn(usize) -> Coordinates,
) -> Result<Axes> {
    let extents = cx.extents(0)?;
    if scales.len() != axes.len() || scales.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return Err(cx.broken(format!("scales {scales:?} of {} axes", axes.len())));
    }
    let whole = WHOLE_LENGTHS.iter().any(|name| cx.producer().starts_with(name));
    let of = |(i, &axis): (usize, &usize)| {
        // As the shape inference of ONNX has it, in f32.
        let to = (scales[i] * extents[axis] as f32).floor();
        if to >= 1e9 {
            return Err(cx.unsupported(format!("{to} elements along axis {axis}")));
        }
        let (from, coordinates) = (extents[axis], coordinates(i));
        let aligned = whole && matches!(coordinates, Coordinates::AlignCorners) && from > 0;
        let scale = if aligned { f64::from(to) / from as f64 } else { f64::from(scales[i]) };
        Ok((axis, Axis { from, to: to as usize, scale, coordinates }))
    };
    axes.iter().enumerate().map(of).collect()
}

fn by_size(
    cx: &NodeCx<'_>,
    axes: &[usize],
    sizes: &[f64],
    coordinates: impl Fn(usize) -> Coordinates,
) -> Result<Axes> {
    let extents = cx.extents(0)?;
    let within = |size: &f64| (0.0..1e9).contains(size);
    if sizes.len() != axes.len() || !sizes.iter().all(within) {
        return Err(cx.broken(format!("sizes {sizes:?} of {} axes", axes.len())));
    }
    let scale = |i: usize| sizes[i] / extents[axes[i]] as f64;
    let scales = (0..axes.len()).map(scale);
    let common = match cx.string("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => None,
        "not_larger" => Some(scales.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(scales.fold(0.0, f64::max)),
        other => return Err(cx.unsupported(format!("keep_aspect_ratio_policy '{other}'"))),
    };
    let of = |(i, &axis): (usize, &usize)| {
        let from = extents[axis];
        let (to, scale) = match common {
            None => (sizes[i], scale(i)),
            Some(common) => ((common * from as f64 + 0.5).floor(), common),
        };
        (axis, Axis { from, to: to as usize, scale, coordinates: coordinates(i) })
    };
    Ok(axes.iter().enumerate().map(of).collect())
}

/// One axis after the other, those first that leave the fewest elements.
fn resized(cx: &mut NodeCx<'_>, mode: &Mode, mut axes: Axes, value: f32) -> Result<()> {
    axes.retain(|(_, axis)| !axis.is_same());
    if let Some((number, axis)) = axes.iter().find(|(_, axis)| axis.from == 0 && axis.to > 0) {
        return Err(cx.broken(format!("axis {number} has no elements, {} are asked", axis.to)));
    }
    axes.sort_by(|(_, a), (_, b)| (a.to * b.from).cmp(&(b.to * a.from)));
    let dtype = cx.dtype(0)?;
    let mut y = match mode {
        Mode::Nearest(rule) => {
            let x = cx.input(0)?;
            nearest(cx, x, *rule, &axes)?
        }
        Mode::Filter(filter) => filtered(cx, *filter, &axes)?,
    };
    for (number, axis) in &axes {
        if let Some(outside) = axis.outside() {
            y = replaced(cx, y, *number, &outside, value)?;
        }
    }
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// Elements are moved, whatever they are. Where each is repeated as often, a
/// copy repeats along all axes at once.
fn nearest(cx: &mut NodeCx<'_>, x: ValueId, rule: Nearest, axes: &Axes) -> Result<ValueId> {
    let tables: Vec<_> = axes.iter().map(|(number, axis)| (*number, axis.nearest(rule))).collect();
    let extents = cx.extents_of(x)?;
    let repeats = |(number, table): &(usize, Vec<usize>)| {
        let times = table.len() / extents[*number].max(1);
        table.iter().enumerate().all(|(i, &from)| times > 0 && from == i / times)
    };
    let (mut split, mut wide, mut result) = (Vec::new(), Vec::new(), extents.clone());
    for (axis, &n) in extents.iter().enumerate() {
        split.push(n);
        wide.push(n);
        if let Some((_, table)) = tables.iter().find(|(number, _)| *number == axis) {
            split.push(1);
            wide.push(table.len() / n.max(1));
            result[axis] = table.len();
        }
    }
    if tables.iter().all(repeats) && split.len() <= crate::tensor::MAX_RANK {
        let y = reshaped(cx, x, &split)?;
        let y = cx.op1(Expand { shape: dims(&wide) }, &[y])?;
        return reshaped(cx, y, &result);
    }
    let mut y = x;
    for (number, table) in tables {
        let indices = cx.constant(whole(&[table.len()], &table)?)?;
        y = cx.op1(Take { axis: number as i64, batch_dims: 0 }, &[y, indices])?;
    }
    Ok(y)
}

/// A sum of weighted numbers that is whole but for rounding counts as whole.
const ALMOST: f32 = 1.0 + 1.0 / (1 << 20) as f32;

/// Of whole numbers the fraction is cut off, as ONNX's own definition does; with
/// antialiasing they are rounded, as ONNX Runtime does.
fn filtered(cx: &mut NodeCx<'_>, filter: Filter, axes: &Axes) -> Result<ValueId> {
    let dtype = cx.dtype(0)?;
    let takes = [DType::F32, DType::F16, DType::BF16, DType::U8, DType::I8, DType::I32];
    if !takes.contains(&dtype) && !axes.is_empty() {
        return Err(cx.unsupported(format!("{dtype} with mode 'linear' or 'cubic'")));
    }
    if axes.is_empty() {
        return cx.input(0);
    }
    let mut y = cx.input_f32(0)?;
    for (number, axis) in axes {
        let table = axis.weighted(filter);
        let extents = [axis.to, table.taps];
        let weights: Vec<f32> = table.weights.iter().map(|&weight| weight as f32).collect();
        let indices = cx.constant(whole(&extents, &table.elements)?)?;
        let weights = cx.constant(Tensor::from_f32(&extents, &weights)?)?;
        y = cx.op1(Resample { axis: *number as i64 }, &[y, indices, weights])?;
    }
    match dtype.is_float() {
        true => Ok(y),
        false if filter.antialias => cx.map1(Unary::Round, y),
        false => cx.map2_f32(Binary::Mul, y, ALMOST),
    }
}

/// A value where places along an axis are outside.
fn replaced(
    cx: &mut NodeCx<'_>,
    y: ValueId,
    axis: usize,
    outside: &[bool],
    value: f32,
) -> Result<ValueId> {
    let dtype = cx.builder().ty(y).dtype;
    let mut line = vec![1; cx.extents_of(y)?.len()];
    line[axis] = outside.len();
    let outside: Vec<u8> = outside.iter().map(|&outside| outside.into()).collect();
    let outside = cx.constant(Tensor::new(DType::Bool, &line, outside)?)?;
    let value = cx.constant(Tensor::from_f32(&[], &[value])?)?;
    let value = cx.cast(value, dtype)?;
    cx.op1(Where, &[outside, value, y])
}

fn whole(extents: &[usize], places: &[usize]) -> Result<Tensor> {
    // Extents are below 1e9.
    let places: Vec<i32> = places.iter().map(|&place| place as i32).collect();
    Tensor::from_i32(extents, &places)
}
