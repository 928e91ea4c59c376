//! Masks: what is added to scores, with minus infinity for hidden keys.

use super::core::{Call, Offset};
use super::{reshape, shape};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Where};
use crate::ops::movement::{Concat, Expand};
use crate::tensor::{DType, Tensor};

/// One number.
pub(super) fn number(cx: &mut NodeCx<'_>, value: f32) -> Result<ValueId> {
    cx.constant(Tensor::from_f32(&[1], &[value])?)
}

/// 0 or `hidden` for a mask of truth values.
pub(super) fn of_truth(cx: &mut NodeCx<'_>, mask: ValueId, hidden: f32) -> Result<ValueId> {
    let (zero, hidden) = (number(cx, 0.0)?, number(cx, hidden)?);
    cx.op1(Where, &[mask, zero, hidden])
}

/// A mask of truth values or real numbers as numbers to add; one that is shorter
/// than the keys hides the keys after it.
pub(super) fn additive(cx: &mut NodeCx<'_>, mask: ValueId, capacity: usize) -> Result<ValueId> {
    let ty = cx.builder().ty(mask).clone();
    let extents = cx.extents_of(mask)?;
    let mask = match ty.dtype {
        DType::Bool => of_truth(cx, mask, f32::NEG_INFINITY)?,
        dtype if dtype.is_float() => cx.cast(mask, DType::F32)?,
        other => return Err(cx.unsupported(format!("a mask of {other}"))),
    };
    let Some((&last, before)) = extents.split_last() else {
        return Err(cx.broken("a mask without dimensions"));
    };
    if last >= capacity {
        return Ok(mask);
    }
    let missing: Vec<usize> = before.iter().copied().chain([capacity - last]).collect();
    let hidden = number(cx, f32::NEG_INFINITY)?;
    let hidden = cx.op1(Expand { shape: shape(&missing) }, &[hidden])?;
    cx.op1(Concat { axis: -1 }, &[mask, hidden])
}

impl Call {
    /// Which keys the queries may see by their positions, as truth values that
    /// broadcast to `[B, H, Q, C]`; nothing if all.
    pub(super) fn structure(&self, cx: &mut NodeCx<'_>) -> Result<Option<ValueId>> {
        match self.offset {
            Offset::Fixed(offset) => self.fixed_structure(cx, offset),
            Offset::Before(lengths) => self.structure_before(cx, lengths).map(Some),
        }
    }

    fn fixed_structure(&self, cx: &mut NodeCx<'_>, offset: i64) -> Result<Option<ValueId>> {
        if !self.causal && self.left.is_none() && self.right.is_none() {
            return Ok(None);
        }
        let sizes = self.sizes(cx)?;
        let mut seen = Vec::with_capacity(sizes.queries * sizes.capacity);
        for i in 0..sizes.queries as i64 {
            for key in 0..sizes.capacity as i64 {
                let ahead = key - (i + offset);
                let left = self.left.is_none_or(|left| -ahead <= i64::from(left));
                let right = self.right.is_none_or(|right| ahead <= i64::from(right));
                seen.push(u8::from(left && right && (!self.causal || ahead <= 0)));
            }
        }
        let seen = Tensor::new(DType::Bool, &[sizes.queries, sizes.capacity], seen)?;
        cx.constant(seen).map(Some)
    }

    /// With `n` valid keys, query i stands at `i + n - Q`: every condition
    /// compares n with a number known for each query and key.
    fn structure_before(&self, cx: &mut NodeCx<'_>, lengths: ValueId) -> Result<ValueId> {
        let sizes = self.sizes(cx)?;
        let lengths = reshape(cx, lengths, &[sizes.batch, 1, 1, 1])?;
        let queries = sizes.queries as i64;
        let ahead = |i: i64, key: i64| key - i + queries;
        let mut seen = compare(cx, &sizes, Binary::LessOrEqual, lengths, |_, key| key + 1)?;
        let mut and = |cx: &mut NodeCx<'_>, other: ValueId| -> Result<()> {
            seen = cx.op1(Binary::And, &[seen, other])?;
            Ok(())
        };
        if self.causal {
            let other = compare(cx, &sizes, Binary::LessOrEqual, lengths, ahead)?;
            and(cx, other)?;
        }
        if let Some(right) = self.right {
            let at = |i: i64, key: i64| ahead(i, key) - i64::from(right);
            let other = compare(cx, &sizes, Binary::LessOrEqual, lengths, at)?;
            and(cx, other)?;
        }
        if let Some(left) = self.left {
            let at = |i: i64, key: i64| ahead(i, key) + i64::from(left);
            let other = compare(cx, &sizes, Binary::GreaterOrEqual, lengths, at)?;
            and(cx, other)?;
        }
        Ok(seen)
    }

    /// The mask with what `structure` hides hidden.
    pub(super) fn masked(
        &self,
        cx: &mut NodeCx<'_>,
        structure: Option<ValueId>,
    ) -> Result<Option<ValueId>> {
        let Some(structure) = structure else { return Ok(self.bias) };
        let added = match self.bias {
            Some(bias) => bias,
            None => number(cx, 0.0)?,
        };
        let hidden = number(cx, f32::NEG_INFINITY)?;
        cx.op1(Where, &[structure, added, hidden]).map(Some)
    }
}

/// Compares a number for each query and key with each sequence's length.
fn compare(
    cx: &mut NodeCx<'_>,
    sizes: &super::core::Sizes,
    comparison: Binary,
    lengths: ValueId,
    number: impl Fn(i64, i64) -> i64,
) -> Result<ValueId> {
    let mut numbers = Vec::with_capacity(sizes.queries * sizes.capacity);
    for i in 0..sizes.queries as i64 {
        for key in 0..sizes.capacity as i64 {
            let number = number(i, key).clamp(i32::MIN.into(), i32::MAX.into());
            numbers.push(number as i32);
        }
    }
    let numbers = cx.constant(Tensor::from_i32(&[sizes.queries, sizes.capacity], &numbers)?)?;
    cx.op1(comparison, &[numbers, lengths])
}
