//! The family's ONNX operators.

use super::TensorScatter;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::elementwise::Binary;
use crate::ops::movement::{Concat, front_axes, reshaped, transposed};
use crate::ops::scatter::{Reduction, ScatterND};
use crate::tensor::{DType, Tensor};

pub(crate) const ONNX: &[OnnxOperator] = &[row("TensorScatter", 24, tensor_scatter)];

/// Caches of F32 with slots before the last axis are what [`TensorScatter`] is
/// for. Others are positions to scatter to.
fn tensor_scatter(cx: &mut NodeCx<'_>) -> Result<()> {
    let (cache, update) = (cx.extents(0)?, cx.extents(1)?);
    let axis = front_axes(cx, &[cx.int("axis", -2)?], cache.len())?.remove(0);
    let circular = match cx.string("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(cx.unsupported(format!("mode '{other}'"))),
    };
    let alike =
        cache.len() == update.len() && (0..cache.len()).all(|i| i == axis || cache[i] == update[i]);
    if axis == 0 || !alike || update[axis] > cache[axis] {
        return Err(cx.broken(format!("an update {update:?} of {cache:?} along axis {axis}")));
    }
    let first = first_slots(cx, cache[0])?;
    let y = if cx.dtype(0)? == DType::F32 && axis + 2 == cache.len() && !circular {
        in_rows(cx, &cache, &update, first)?
    } else {
        at_positions(cx, [&cache, &update], axis, first, circular)?
    };
    cx.output(0, y);
    Ok(())
}

/// The first slot of each batch: 0 where the node does not say.
fn first_slots(cx: &mut NodeCx<'_>, batch: usize) -> Result<ValueId> {
    let given = match cx.optional(2) {
        Some(given) => given,
        None => cx.constant(Tensor::from_i32(&[batch], &vec![0; batch])?)?,
    };
    if cx.extents_of(given)? != [batch] {
        return Err(cx.broken(format!("write_indices must have {batch} elements")));
    }
    cx.cast(given, DType::I32)
}

/// Dimensions between batch and slots are groups.
fn in_rows(
    cx: &mut NodeCx<'_>,
    cache: &[usize],
    update: &[usize],
    first: ValueId,
) -> Result<ValueId> {
    let four = |extents: &[usize]| {
        let last = extents.len() - 2;
        let groups = extents[1..last].iter().product();
        [extents[0], groups, extents[last], extents[last + 1]]
    };
    let (past, new) = (cx.input(0)?, cx.input(1)?);
    let past = reshaped(cx, past, &four(cache))?;
    let new = reshaped(cx, new, &four(update))?;
    let op = TensorScatter { axis: -2, token_major: false, skip: false };
    let y = cx.op1(op, &[past, new, first])?;
    reshaped(cx, y, cache)
}

fn at_positions(
    cx: &mut NodeCx<'_>,
    [cache, update]: [&[usize]; 2],
    axis: usize,
    first: ValueId,
    circular: bool,
) -> Result<ValueId> {
    let (batch, slots, tokens) = (cache[0], cache[axis], update[axis]);
    let whole = |cx: &mut NodeCx<'_>, extents: &[usize], numbers: &[usize]| -> Result<ValueId> {
        let narrow = numbers.iter().map(|&n| i32::try_from(n));
        let numbers: std::result::Result<Vec<i32>, _> = narrow.collect();
        let numbers = numbers.map_err(|_| cx.unsupported("a cache of 2^31 slots"))?;
        cx.constant(Tensor::from_i32(extents, &numbers)?)
    };
    let token = whole(cx, &[1, tokens, 1], &(0..tokens).collect::<Vec<_>>())?;
    let first = reshaped(cx, first, &[batch, 1, 1])?;
    let mut slot = cx.op1(Binary::Add, &[first, token])?;
    if circular {
        let size = whole(cx, &[1, 1, 1], &[slots])?;
        let rounds = cx.op1(Binary::Div, &[slot, size])?;
        let before = cx.op1(Binary::Mul, &[rounds, size])?;
        slot = cx.op1(Binary::Sub, &[slot, before])?;
    }
    let numbers: Vec<usize> = (0..batch).flat_map(|b| vec![b; tokens]).collect();
    let number = whole(cx, &[batch, tokens, 1], &numbers)?;
    let positions = cx.op1(Concat { axis: -1 }, &[number, slot])?;
    // The slots come right after the batch, and go back.
    let mut order: Vec<usize> = (0..cache.len()).filter(|&i| i != axis).collect();
    order.insert(1, axis);
    let mut back: Vec<usize> = (0..cache.len()).filter(|&i| i != 1).collect();
    back.insert(axis, 1);
    let (past, new) = (cx.input(0)?, cx.input(1)?);
    let past = transposed(cx, past, &order)?;
    let new = transposed(cx, new, &order)?;
    let y = cx.op1(ScatterND { reduction: Reduction::None }, &[past, positions, new])?;
    transposed(cx, y, &back)
}
