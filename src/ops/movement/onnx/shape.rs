//! Rows that give the same elements another shape or order.

use super::{axis, count, dims, front_axes};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Where};
use crate::ops::gather::Take;
use crate::ops::movement::{Concat, Expand, Reshape, Slice, SliceRange, Transpose};
use crate::tensor::{DType, Tensor};

pub(super) fn identity(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    cx.output(0, x);
    Ok(())
}

pub(crate) fn reshaped(cx: &mut NodeCx<'_>, x: ValueId, extents: &[usize]) -> Result<ValueId> {
    if cx.extents_of(x)? == extents {
        return Ok(x);
    }
    cx.op1(Reshape { shape: dims(extents) }, &[x])
}

fn reshape_to(cx: &mut NodeCx<'_>, extents: &[usize]) -> Result<()> {
    let x = cx.input(0)?;
    let y = reshaped(cx, x, extents)?;
    cx.output(0, y);
    Ok(())
}

pub(super) fn reshape_attribute(cx: &mut NodeCx<'_>) -> Result<()> {
    let shape = cx.ints("shape")?.ok_or_else(|| cx.broken("attribute 'shape' is missing"))?;
    let extents = resolved(cx, &shape, false)?;
    reshape_to(cx, &extents)
}

pub(super) fn reshape(cx: &mut NodeCx<'_>) -> Result<()> {
    let shape = cx.known_ints(1)?;
    let extents = resolved(cx, &shape, cx.int("allowzero", 0)? != 0)?;
    reshape_to(cx, &extents)
}

/// 0 keeps the input's extent, unless it may stand for itself; -1 is what is left.
fn resolved(cx: &NodeCx<'_>, shape: &[i64], zero: bool) -> Result<Vec<usize>> {
    let own = cx.extents(0)?;
    let wrong = |what: &str| cx.broken(format!("{what}: shape {shape:?} of {own:?}"));
    let mut extents = Vec::with_capacity(shape.len());
    let mut rest = None;
    for (i, &n) in shape.iter().enumerate() {
        extents.push(match n {
            -1 if rest.replace(i).is_some() => return Err(wrong("two dimensions are -1")),
            -1 => 1,
            0 if !zero => {
                *own.get(i).ok_or_else(|| wrong("0 for a dimension that is not there"))?
            }
            n => usize::try_from(n).map_err(|_| wrong("a negative dimension"))?,
        });
    }
    let product = |extents: &[usize]| extents.iter().try_fold(1usize, |n, &m| n.checked_mul(m));
    let all = product(&own).ok_or_else(|| wrong("too many elements"))?;
    let others = product(&extents).ok_or_else(|| wrong("too many elements"))?;
    if let Some(i) = rest {
        if others == 0 || all % others != 0 {
            return Err(wrong("-1 cannot be found"));
        }
        extents[i] = all / others;
    } else if all != others {
        return Err(wrong("another number of elements"));
    }
    Ok(extents)
}

/// All dimensions before the axis, and all others.
pub(super) fn flatten(cx: &mut NodeCx<'_>) -> Result<()> {
    let (extents, axis) = (cx.extents(0)?, cx.int("axis", 1)?);
    let front = if axis < 0 { axis.saturating_add_unsigned(extents.len() as u64) } else { axis };
    let at = usize::try_from(front).ok().filter(|&at| at <= extents.len());
    let at = at.ok_or_else(|| cx.broken(format!("axis {axis} of rank {}", extents.len())))?;
    reshape_to(cx, &[extents[..at].iter().product(), extents[at..].iter().product()])
}

pub(super) fn squeeze_attribute(cx: &mut NodeCx<'_>) -> Result<()> {
    let axes = cx.ints("axes")?;
    squeeze_axes(cx, axes)
}

pub(super) fn squeeze(cx: &mut NodeCx<'_>) -> Result<()> {
    let axes = if cx.optional(1).is_some() { Some(cx.known_ints(1)?) } else { None };
    squeeze_axes(cx, axes)
}

/// Without axes, every dimension of 1 goes.
fn squeeze_axes(cx: &mut NodeCx<'_>, axes: Option<Vec<i64>>) -> Result<()> {
    let extents = cx.extents(0)?;
    let gone: Vec<usize> = match axes {
        Some(axes) => front_axes(cx, &axes, extents.len())?,
        None => (0..extents.len()).filter(|&axis| extents[axis] == 1).collect(),
    };
    if let Some(&axis) = gone.iter().find(|&&axis| extents[axis] != 1) {
        return Err(cx.broken(format!("axis {axis} of {extents:?} is not 1")));
    }
    let left = extents.iter().enumerate().filter(|(axis, _)| !gone.contains(axis));
    let left: Vec<usize> = left.map(|(_, &n)| n).collect();
    reshape_to(cx, &left)
}

pub(super) fn unsqueeze_attribute(cx: &mut NodeCx<'_>) -> Result<()> {
    let axes = cx.ints("axes")?.ok_or_else(|| cx.broken("attribute 'axes' is missing"))?;
    unsqueeze_axes(cx, &axes)
}

pub(super) fn unsqueeze(cx: &mut NodeCx<'_>) -> Result<()> {
    let axes = cx.known_ints(1)?;
    unsqueeze_axes(cx, &axes)
}

fn unsqueeze_axes(cx: &mut NodeCx<'_>, axes: &[i64]) -> Result<()> {
    let extents = cx.extents(0)?;
    let new = front_axes(cx, axes, extents.len() + axes.len())?;
    let mut old = extents.iter().copied();
    let rank = extents.len() + axes.len();
    let of = |axis| if new.contains(&axis) { 1 } else { old.next().unwrap_or(1) };
    let result: Vec<usize> = (0..rank).map(of).collect();
    reshape_to(cx, &result)
}

pub(crate) fn transposed(
    cx: &mut NodeCx<'_>,
    x: ValueId,
    permutation: &[usize],
) -> Result<ValueId> {
    if permutation.iter().copied().eq(0..permutation.len()) {
        return Ok(x);
    }
    cx.op1(Transpose { permutation: permutation.to_vec() }, &[x])
}

pub(super) fn transpose(cx: &mut NodeCx<'_>) -> Result<()> {
    let rank = cx.extents(0)?.len();
    let permutation = match cx.ints("perm")? {
        Some(permutation) => front_axes(cx, &permutation, rank)?,
        None => (0..rank).rev().collect(),
    };
    if permutation.len() != rank {
        return Err(cx.broken(format!("perm {permutation:?} of rank {rank}")));
    }
    let x = cx.input(0)?;
    let y = transposed(cx, x, &permutation)?;
    cx.output(0, y);
    Ok(())
}

pub(super) fn slice_attributes(cx: &mut NodeCx<'_>) -> Result<()> {
    let missing = |name: &str| cx.broken(format!("attribute '{name}' is missing"));
    let starts = cx.ints("starts")?.ok_or_else(|| missing("starts"))?;
    let ends = cx.ints("ends")?.ok_or_else(|| missing("ends"))?;
    let axes = cx.ints("axes")?;
    slice_ranges(cx, &starts, &ends, axes, None)
}

pub(super) fn slice(cx: &mut NodeCx<'_>) -> Result<()> {
    let (starts, ends) = (cx.known_ints(1)?, cx.known_ints(2)?);
    let axes = if cx.optional(3).is_some() { Some(cx.known_ints(3)?) } else { None };
    let steps = if cx.optional(4).is_some() { Some(cx.known_ints(4)?) } else { None };
    slice_ranges(cx, &starts, &ends, axes, steps)
}

fn slice_ranges(
    cx: &mut NodeCx<'_>,
    starts: &[i64],
    ends: &[i64],
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Result<()> {
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(cx.broken("starts, ends, axes and steps of different lengths"));
    }
    let ranges = (0..starts.len()).map(|i| SliceRange {
        axis: axes[i],
        start: starts[i],
        end: ends[i],
        step: steps[i],
    });
    let (x, op) = (cx.input(0)?, Slice { ranges: ranges.collect() });
    let y = cx.op1(op, &[x])?;
    cx.output(0, y);
    Ok(())
}

pub(super) fn concat(cx: &mut NodeCx<'_>) -> Result<()> {
    // The axis had a default before opset 4.
    let axis = match cx.attributes().int("axis")? {
        Some(axis) => axis,
        None if cx.opset() < 4 => 1,
        None => return Err(cx.broken("attribute 'axis' is missing")),
    };
    let parts: Vec<_> = (0..cx.input_count()).map(|i| cx.input(i)).collect::<Result<_>>()?;
    let y = match parts.as_slice() {
        [only] => *only,
        _ => cx.op1(Concat { axis }, &parts)?,
    };
    cx.output(0, y);
    Ok(())
}

pub(super) fn expand(cx: &mut NodeCx<'_>) -> Result<()> {
    let (x, shape) = (cx.input(0)?, cx.known_ints(1)?);
    let shape: Vec<_> =
        shape.into_iter().map(|n| count(cx, "a dimension", n)).collect::<Result<_>>()?;
    let y = cx.op1(Expand { shape: dims(&shape) }, &[x])?;
    cx.output(0, y);
    Ok(())
}

pub(super) fn split_attribute(cx: &mut NodeCx<'_>) -> Result<()> {
    let lengths = cx.ints("split")?;
    split_lengths(cx, lengths)
}

pub(super) fn split(cx: &mut NodeCx<'_>) -> Result<()> {
    let lengths = if cx.optional(1).is_some() { Some(cx.known_ints(1)?) } else { None };
    split_lengths(cx, lengths)
}

/// Without lengths the parts are equal; since opset 18 the last one may be
/// shorter.
fn split_lengths(cx: &mut NodeCx<'_>, lengths: Option<Vec<i64>>) -> Result<()> {
    let (x, extents) = (cx.input(0)?, cx.extents(0)?);
    let axis = axis(cx, 0, extents.len())?;
    let n = extents[axis];
    let parts = count(cx, "num_outputs", cx.int("num_outputs", cx.output_count() as i64)?)?;
    let lengths: Vec<usize> = match lengths {
        Some(lengths) => {
            lengths.into_iter().map(|n| count(cx, "a length", n)).collect::<Result<_>>()?
        }
        None if parts == 0 || (cx.opset() < 18 && n % parts != 0) => {
            return Err(cx.broken(format!("{n} elements do not make {parts} equal parts")));
        }
        None => {
            let each = n.div_ceil(parts);
            (0..parts).map(|i| each.min(n.saturating_sub(i * each))).collect()
        }
    };
    let sum = lengths.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    if sum != Some(n) || lengths.len() < cx.output_count() {
        let what =
            format!("{n} elements in parts of {lengths:?} for {} outputs", cx.output_count());
        return Err(cx.broken(what));
    }
    let mut start = 0;
    for (i, length) in lengths.into_iter().enumerate() {
        let end = start + length;
        if cx.wants(i) {
            let (axis, start, end) = (axis as i64, start as i64, end as i64);
            let range = SliceRange { axis, start, end, step: 1 };
            let y = cx.op1(Slice { ranges: vec![range] }, &[x])?;
            cx.output(i, y);
        }
        start = end;
    }
    Ok(())
}

/// Blocks of channels become blocks of places: `[N, C, H, W]` to
/// `[N, C / b², H b, W b]`.
pub(super) fn depth_to_space(cx: &mut NodeCx<'_>) -> Result<()> {
    let (n, c, h, w, b) = blocks(cx)?;
    let mode = cx.string("mode", "DCR")?.to_string();
    if c % (b * b) != 0 {
        return Err(cx.broken(format!("{c} channels are no multiple of blocksize {b} squared")));
    }
    let left = c / (b * b);
    let (shape, permutation) = match mode.as_str() {
        "DCR" => ([n, b, b, left, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, left, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    let x = cx.input(0)?;
    let y = reshaped(cx, x, &shape)?;
    let y = transposed(cx, y, &permutation)?;
    let y = reshaped(cx, y, &[n, left, h * b, w * b])?;
    cx.output(0, y);
    Ok(())
}

/// The inverse, with blocks before channels.
pub(super) fn space_to_depth(cx: &mut NodeCx<'_>) -> Result<()> {
    let (n, c, h, w, b) = blocks(cx)?;
    let mode = cx.string("mode", "DCR")?.to_string();
    if h % b != 0 || w % b != 0 {
        return Err(cx.broken(format!("{h} and {w} are no multiples of blocksize {b}")));
    }
    let permutation = match mode.as_str() {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    let x = cx.input(0)?;
    let y = reshaped(cx, x, &[n, c, h / b, b, w / b, b])?;
    let y = transposed(cx, y, &permutation)?;
    let y = reshaped(cx, y, &[n, c * b * b, h / b, w / b])?;
    cx.output(0, y);
    Ok(())
}

fn blocks(cx: &NodeCx<'_>) -> Result<(usize, usize, usize, usize, usize)> {
    let &[n, c, h, w] = cx.extents(0)?.as_slice() else {
        return Err(cx.broken("the input must have 4 dimensions"));
    };
    let size = cx.attributes().int("blocksize")?.and_then(|b| u32::try_from(b).ok());
    match size.filter(|&b| b > 0 && b < 1 << 16) {
        Some(b) => Ok((n, c, h, w, b as usize)),
        None => Err(cx.broken("attribute 'blocksize' must be given and positive")),
    }
}

/// Element t of a sequence of length l is element l - 1 - t of the input, and
/// element t from l on.
pub(super) fn reverse_sequence(cx: &mut NodeCx<'_>) -> Result<()> {
    let extents = cx.extents(0)?;
    let axes = [cx.int("batch_axis", 1)?, cx.int("time_axis", 0)?];
    let front = front_axes(cx, &axes, extents.len().min(2))?;
    let mut x = cx.input(0)?;
    let mut permutation: Vec<usize> = (0..extents.len()).collect();
    if front == [1, 0] {
        permutation.swap(0, 1);
        x = transposed(cx, x, &permutation)?;
    }
    let (batch, steps) = (extents[front[0]], extents[front[1]]);
    let lengths = cx.input(1)?;
    let lengths = cx.cast(lengths, DType::I32)?;
    let lengths = reshaped(cx, lengths, &[batch, 1])?;
    let last = cx.constant(Tensor::from_i32(&[1, 1], &[1])?)?;
    let last = cx.op1(Binary::Sub, &[lengths, last])?;
    let numbers = i32::try_from(steps).map_err(|_| cx.unsupported(format!("{steps} steps")))?;
    let time = Tensor::from_i32(&[1, steps], &(0..numbers).collect::<Vec<_>>())?;
    let time = cx.constant(time)?;
    let within = cx.op1(Binary::Less, &[time, lengths])?;
    let back = cx.op1(Binary::Sub, &[last, time])?;
    let from = cx.op1(Where, &[within, back, time])?;
    let y = cx.op1(Take { axis: 1, batch_dims: 1 }, &[x, from])?;
    let y = if front == [1, 0] { transposed(cx, y, &permutation)? } else { y };
    cx.output(0, y);
    Ok(())
}
