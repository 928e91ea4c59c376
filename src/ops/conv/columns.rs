//! ONNX operators that are convolutions of something rearranged.

use super::geometry::{MAX_AXES, window_outputs};
use super::padding::{Spatial, counts};
use super::{Conv, ConvTranspose};
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::onnx::NodeCx;
use crate::ops::elementwise::Binary;
use crate::ops::movement::{Reshape, Slice, SliceRange, Transpose};
use crate::ops::resize::{GridSample, Outside, Sampling};
use crate::tensor::Tensor;

/// The most elements of the weights that put columns back.
const MOST_WEIGHTS: usize = 1 << 24;

fn reshaped(cx: &mut NodeCx<'_>, value: ValueId, extents: &[usize]) -> Result<ValueId> {
    let shape: Vec<Dim> = extents.iter().map(|&n| n.into()).collect();
    cx.op1(Reshape { shape }, &[value])
}

/// An input of extents, known on the host.
fn known_extents(cx: &mut NodeCx<'_>, index: usize) -> Result<Vec<usize>> {
    let values = cx.known_ints(index)?;
    let number = |&value: &i64| usize::try_from(value).ok().filter(|&n| n > 0);
    let extents: Option<Vec<usize>> = values.iter().map(number).collect();
    extents.ok_or_else(|| cx.broken(format!("input {index} is {values:?}")))
}

/// `Col2Im`: every column is added to the image at the taps of its window, which
/// is a transposed convolution whose weights are 1 for the tap of a channel.
pub(super) fn col2im(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, x) = (cx.dtype(0)?, cx.extents(0)?);
    let (image, block) = (known_extents(cx, 1)?, known_extents(cx, 2)?);
    let axes = image.len();
    if x.len() != 3 || block.len() != axes || axes == 0 {
        return Err(cx.broken(format!("has columns {x:?}, image {image:?} and block {block:?}")));
    }
    if axes > MAX_AXES {
        return Err(cx.unsupported(format!("{axes} spatial axes; up to 3 are supported")));
    }
    let Spatial { strides, dilations, pads, .. } = Spatial::read(cx, axes)?;
    let count = |i: usize| {
        let padding = pads[i] + pads[i + axes];
        window_outputs(image[i], block[i], (strides[i], dilations[i]), padding)
    };
    let columns: Option<Vec<usize>> = (0..axes).map(count).collect();
    let taps = block.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    let (Some(columns), Some(taps)) = (columns, taps) else {
        return Err(cx.broken(format!("a block of {block:?} does not fit into {image:?}")));
    };
    if columns.iter().product::<usize>() != x[2] || !x[1].is_multiple_of(taps) {
        let what = format!("columns {x:?} do not fit blocks {block:?} of an image {image:?}");
        return Err(cx.broken(what));
    }
    if x[1].checked_mul(taps).is_none_or(|n| n > MOST_WEIGHTS) {
        return Err(cx.unsupported(format!("blocks of {taps} elements in {x:?}")));
    }
    let mut weights = vec![0.0; x[1] * taps];
    for channel in 0..x[1] {
        weights[channel * taps + channel % taps] = 1.0;
    }
    let extents: Vec<usize> = [x[1], 1].into_iter().chain(block.iter().copied()).collect();
    let weights = cx.constant(Tensor::from_f32(&extents, &weights)?)?;
    // The windows may end before the image does.
    let more = |i: usize| {
        let reach = (columns[i] - 1) * strides[i] + (block[i] - 1) * dilations[i] + 1;
        image[i] + pads[i] + pads[i + axes] - reach
    };
    let output_padding = (0..axes).map(more).collect();
    let group = x[1] / taps;
    let op = ConvTranspose { strides, dilations, pads, output_padding, group, activation: None };
    let value = cx.input_f32(0)?;
    let extents: Vec<usize> = x[..2].iter().chain(&columns).copied().collect();
    let value = reshaped(cx, value, &extents)?;
    let y = cx.op1(op, &[value, weights])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// `DeformConv` of planes: x sampled where the offsets move the taps to is the
/// input of a convolution whose window is one element.
pub(super) fn deformed(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, x, w) = (cx.dtype(0)?, cx.extents(0)?, cx.extents(1)?);
    let (&[n, c, height, width], &[m, inputs, kh, kw]) = (x.as_slice(), w.as_slice()) else {
        return Err(cx.unsupported(format!("x {x:?} with weights {w:?}; planes are supported")));
    };
    let kernel = counts(cx, "kernel_shape", 2, 0)?;
    if cx.ints("kernel_shape")?.is_some() && kernel != [kh, kw] {
        return Err(cx.broken(format!("kernel_shape is {kernel:?}, the weights have {w:?}")));
    }
    let groups = |name: &str| -> Result<usize> {
        let value = cx.int(name, 1)?;
        let number = usize::try_from(value).ok().filter(|&g| g > 0 && c.is_multiple_of(g));
        number.ok_or_else(|| cx.broken(format!("{name} is {value} for {c} channels")))
    };
    let (group, offset_group) = (groups("group")?, groups("offset_group")?);
    let spatial = Spatial::read(cx, 2)?;
    let taps = kh * kw;
    let offset = cx.extents(2)?;
    let &[_, _, oh, ow] = offset.as_slice() else {
        return Err(cx.broken(format!("has offsets {offset:?}")));
    };
    let places = oh * ow;
    if offset != [n, offset_group * taps * 2, oh, ow] || height * width == 0 {
        return Err(cx.broken(format!("has x {x:?}, weights {w:?} and offsets {offset:?}")));
    }
    let grid = grid(cx, &spatial, [n * offset_group, kh, kw, oh, ow], [height, width])?;
    let value = cx.input_f32(0)?;
    let value = reshaped(cx, value, &[n * offset_group, c / offset_group, height, width])?;
    let sample =
        GridSample { mode: Sampling::Linear, outside: Outside::Zeros, align_corners: false };
    let mut value = cx.op1(sample, &[value, grid])?;
    if cx.optional(4).is_some() {
        let mask = cx.input_f32(4)?;
        let mask = reshaped(cx, mask, &[n * offset_group, 1, taps, places])?;
        value = cx.op1(Binary::Mul, &[value, mask])?;
    }
    let value = reshaped(cx, value, &[n, c * taps, places])?;
    let weights = cx.input_f32(1)?;
    let weights = reshaped(cx, weights, &[m, inputs * taps, 1])?;
    let mut operands = vec![Some(value), Some(weights)];
    if cx.optional(3).is_some() {
        operands.push(Some(cx.input_f32(3)?));
    }
    let y = cx.op(Conv { group, ..Conv::default() }, &operands)?;
    let y = reshaped(cx, y[0], &[n, m, oh, ow])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// Where x is sampled, `[planes, taps, places, 2]` as `GridSample` counts: -1 and
/// 1 are the outer edges of the outer elements, columns come before rows.
fn grid(
    cx: &mut NodeCx<'_>,
    spatial: &Spatial,
    [planes, kh, kw, oh, ow]: [usize; 5],
    size: [usize; 2],
) -> Result<ValueId> {
    let position = |axis: usize, o: usize, k: usize| {
        let at = (o * spatial.strides[axis] + k * spatial.dilations[axis]) as f64;
        let at = at - spatial.pads[axis] as f64;
        ((2.0 * at + 1.0) / size[axis] as f64 - 1.0) as f32
    };
    let (taps, places) = (kh * kw, oh * ow);
    let mut base = Vec::with_capacity(taps * places * 2);
    for tap in 0..taps {
        for place in 0..places {
            base.push(position(1, place % ow, tap % kw));
            base.push(position(0, place / ow, tap / kw));
        }
    }
    let base = cx.constant(Tensor::from_f32(&[1, taps, places, 2], &base)?)?;
    let scale = [2.0 / size[1] as f32, 2.0 / size[0] as f32];
    let scale = cx.constant(Tensor::from_f32(&[2], &scale)?)?;
    let offset = cx.input_f32(2)?;
    let offset = reshaped(cx, offset, &[planes, taps, 2, places])?;
    let offset = cx.op1(Transpose { permutation: vec![0, 1, 3, 2] }, &[offset])?;
    // Offsets have rows before columns.
    let turned = SliceRange { axis: 3, start: -1, end: i64::MIN, step: -1 };
    let offset = cx.op1(Slice { ranges: vec![turned] }, &[offset])?;
    let offset = cx.op1(Binary::Mul, &[offset, scale])?;
    cx.op1(Binary::Add, &[offset, base])
}
