//! ONNX Runtime's lookup in a quantised table.

use super::Take;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator};
use crate::ops::elementwise::Binary;
use crate::ops::movement::{Concat, Slice, SliceRange, front_axes};
use crate::ops::quantize::{DequantizeLinear, Granularity};
use crate::tensor::{DType, Tensor};

pub(crate) const CONTRIB: &[OnnxOperator] = &[OnnxOperator {
    domain: "com.microsoft",
    name: "GatherBlockQuantized",
    since: 1,
    import: gather,
}];

/// Inputs: codes, indices, scales and zero points of blocks along one axis. What is
/// looked up along another axis are codes, scales and zero points, so that the
/// table stays as it is. Bytes hold one code, or several with the first in the
/// lowest bits.
fn gather(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, scales) = (cx.dtype(0)?, cx.dtype(2)?);
    let (data, indices) = (cx.extents(0)?, cx.extents(1)?);
    let axis = front_axes(cx, &[cx.int("gather_axis", 0)?], data.len())?.remove(0);
    let blocks = front_axes(cx, &[cx.int("quantize_axis", 1)?], data.len())?.remove(0);
    if axis == blocks {
        return Err(cx.unsupported(format!("blocks along the axis {axis} that is gathered")));
    }
    let size = usize::try_from(cx.int("block_size", 128)?).ok().filter(|&size| size > 0);
    let size = size.ok_or_else(|| cx.unsupported("a block_size below 1"))?;
    let (bits, middle) = match (dtype, cx.int("bits", 4)?) {
        (DType::U8, bits @ (2 | 4 | 8)) => (bits, 1i64 << (bits - 1)),
        (DType::I4 | DType::U4, _) => (8, 0),
        (dtype, bits) => return Err(cx.unsupported(format!("codes of {bits} bits in {dtype}"))),
    };
    let packed = bits < 8 && blocks + 1 == data.len();
    if bits < 8 && !packed {
        return Err(cx.unsupported("packed codes in blocks that are not along the last axis"));
    }
    let picked = |cx: &mut NodeCx<'_>, index: usize| -> Result<ValueId> {
        let inputs = [cx.input(index)?, cx.input(1)?];
        cx.op1(Take { axis: axis as i64, batch_dims: 0 }, &inputs)
    };
    let mut codes = picked(cx, 0)?;
    if packed {
        codes = unpacked(cx, codes, bits)?;
    }
    let factor = picked(cx, 2)?;
    let factor = cx.cast(factor, DType::F32)?;
    let zero = if cx.optional(3).is_some() {
        let mut zero = picked(cx, 3)?;
        if packed {
            zero = unpacked(cx, zero, bits)?;
            zero = cut(cx, zero, factor)?;
        }
        Some(cx.cast(zero, DType::I32)?)
    } else if middle == 0 {
        None
    } else {
        let middle = cx.constant(Tensor::from_i32(&[], &[middle as i32])?)?;
        let extents = cx.extents_of(factor)?;
        Some(cx.expanded(middle, &extents)?)
    };
    let along = if blocks > axis { (blocks + indices.len()).saturating_sub(1) } else { blocks };
    let granularity = Granularity::Block { axis: along, size };
    let op = DequantizeLinear { to: DType::F32, granularity };
    let y = cx.op(op, &[Some(codes), Some(factor), zero])?;
    let Some(&y) = y.first() else { return Err(cx.broken("no values")) };
    cx.output_as(0, y, scales)
}

/// The codes in bytes, one in each.
fn unpacked(cx: &mut NodeCx<'_>, bytes: ValueId, bits: i64) -> Result<ValueId> {
    let mut extents = cx.extents_of(bytes)?;
    let bytes = cx.cast(bytes, DType::U32)?;
    extents.push(1);
    let bytes = cx.reshaped(bytes, &extents)?;
    let number = |cx: &mut NodeCx<'_>, value: i32| -> Result<ValueId> {
        let value = cx.constant(Tensor::from_i32(&[], &[value])?)?;
        cx.cast(value, DType::U32)
    };
    let mask = number(cx, (1 << bits) - 1)?;
    let mut parts = Vec::new();
    for shift in (0..8).step_by(bits as usize) {
        let shift = number(cx, shift)?;
        let part = cx.map2(Binary::ShiftRight, bytes, shift)?;
        parts.push(cx.map2(Binary::BitwiseAnd, part, mask)?);
    }
    let all = cx.op1(Concat { axis: -1 }, &parts)?;
    let all = cx.cast(all, DType::U8)?;
    extents.pop();
    if let Some(last) = extents.last_mut() {
        *last *= parts.len();
    }
    cx.reshaped(all, &extents)
}

/// As many elements of the last dimension as another value has.
fn cut(cx: &mut NodeCx<'_>, x: ValueId, like: ValueId) -> Result<ValueId> {
    let wanted = cx.extents_of(like)?.last().copied().unwrap_or(0);
    if cx.extents_of(x)?.last() == Some(&wanted) {
        return Ok(x);
    }
    let range = SliceRange { axis: -1, start: 0, end: wanted as i64, step: 1 };
    cx.op1(Slice { ranges: vec![range] }, &[x])
}
