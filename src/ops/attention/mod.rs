//! Scaled dot-product attention over caches of keys and values.

mod buckets;
mod cases;
mod onnx;
mod rows;

pub(crate) use buckets::Buckets;
pub(crate) use cases::cases;
pub(crate) use onnx::ONNX;

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::attention::AttentionKernel;
use crate::tensor::DType;
use rows::Rows;
use std::ops::Range;

/// Attention (the ONNX operator of opset 24, with caches laid out for
/// updating in place and activations token-major).
///
/// | Input | Type |
/// |---|---|
/// | q | F32 `[B, Q, H, D]` |
/// | k | F32 or F16 `[B, G, C, D]`, H a multiple of G |
/// | v | as k, `[B, G, C, Dv]` |
/// | past | I32 `[B]`: keys before the first query of each sequence |
/// | mask (optional) | F32, broadcast to `[B, H, Q, C]`: added to the scores |
/// | sinks (optional) | F32 `[H]`: a score of each head that has no value |
///
/// The output is F32 `[B, Q, H, Dv]`: for each query the values of the visible
/// keys, weighted by the softmax of `softcap(q · k * scale) + mask`, where
/// `softcap(s) = c * tanh(s / c)`. A sink is one more score in that softmax, and
/// adds nothing to the output: weights then sum to less than 1. Query head h uses key head `h / (H / G)`.
///
/// With `causal`, query i of sequence b sees keys up to `past[b] + i`, without
/// it all keys before `past[b] + Q`. So plain self-attention has `past` 0 and
/// C = Q. A window of w leaves the keys with `past[b] + i - key < w`.
///
/// A `past[b]` below 0 means that the first queries stand before the first key:
/// so they see none with `causal`. Without it `past` C - Q shows all keys to all
/// queries, also where there are more of them than keys.
///
/// A mask of minus infinity hides the key, whatever its score is; all other
/// elements must be finite. A query that sees no key gives zeros. A score below
/// -1e38 counts as -1e38. A `past[b]` outside `-Q..=C - Q` is an error on the
/// CPU; on the GPU the nearest valid one is taken, since a shader has no way
/// to report it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// What scores are multiplied with; `None` for `1 / sqrt(D)`.
    pub scale: Option<f32>,
    /// Whether later keys are hidden from a query.
    pub causal: bool,
    /// How many keys a query sees at most, itself included.
    pub window: Option<u32>,
    /// The bound that scores are squeezed into, before the mask is added.
    pub softcap: Option<f32>,
}

const NAME: &str = "Attention";
const INPUTS: &[&str] = &["q", "k", "v", "past", "mask", "sinks"];

/// The least score there is, so that masks add up to finite numbers.
pub(crate) const LEAST_SCORE: f32 = -1e38;

impl Default for Attention {
    /// Causal, with the default scale.
    fn default() -> Self {
        Attention { scale: None, causal: true, window: None, softcap: None }
    }
}

impl Attention {
    /// What scores are multiplied with, for heads of this size.
    pub(crate) fn scale_for(&self, head: u64) -> f32 {
        self.scale.unwrap_or_else(|| (1.0 / (head as f64).sqrt()) as f32)
    }

    /// The keys that query `i` of `queries` sees, given what precedes them.
    pub(crate) fn visible(&self, past: i64, i: usize, queries: usize) -> Range<usize> {
        let number = |keys: i64| usize::try_from(keys).unwrap_or(0);
        let after = number(past.saturating_add(i as i64 + 1));
        let all = number(past.saturating_add(queries as i64));
        let end = if self.causal { after } else { all };
        let window = self.window.map_or(usize::MAX, |w| w as usize);
        after.saturating_sub(window).min(end)..end
    }
}

/// `past[b]`, or an error naming it.
pub(crate) fn checked_past(past: i64, b: usize, queries: usize, capacity: usize) -> Result<i64> {
    let (queries, capacity) = (queries as i64, capacity as i64);
    if (-queries..=capacity - queries).contains(&past) {
        return Ok(past);
    }
    let expected = format!("-{queries} to {capacity} - {queries} (capacity and queries)");
    Err(Error::input(format!("past[{b}]"), expected, past))
}

fn check_attributes(op: &Attention, rules: &Rules<'_>) -> Result<()> {
    if op.scale.is_some_and(|scale| !scale.is_finite()) {
        return rules.broken("scale must be finite");
    }
    if op.softcap.is_some_and(|cap| !(cap.is_finite() && cap > 0.0)) {
        return rules.broken("softcap must be above 0 and finite");
    }
    Ok(())
}

fn check_mask(rules: &Rules<'_>) -> Result<()> {
    let Some(mask) = rules.optional(4) else { return Ok(()) };
    rules.dtype(4, &[DType::F32])?;
    let (q, k) = (rules.input(0)?, rules.input(1)?);
    let full = [&q.shape[0], &q.shape[2], &q.shape[1], &k.shape[2]];
    let fits = mask.rank() <= 4
        && mask
            .shape
            .iter()
            .rev()
            .zip(full.iter().rev())
            .all(|(dim, full)| dim == *full || dim.as_const() == Some(1));
    if fits {
        Ok(())
    } else {
        rules.broken(format!("mask {mask} does not broadcast to [B, H, Q, C]"))
    }
}

impl Operator for Attention {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 4, inputs)?;
        check_attributes(self, &rules)?;
        rules.typed(0, &[DType::F32], 4)?;
        rules.typed(1, &[DType::F32, DType::F16], 4)?;
        let (q, k) = (rules.input(0)?, rules.input(1)?);
        rules.typed(2, &[k.dtype], 4)?;
        rules.typed(3, &[DType::I32], 1)?;
        let v = rules.input(2)?;
        let fixed = |ty: &TensorType, axis: usize| ty.shape[axis].as_const().filter(|&n| n > 0);
        let (Some(heads), Some(groups)) = (q.shape[2].as_const(), fixed(k, 1)) else {
            return rules.broken(format!("numbers of heads must be constants, got {q} and {k}"));
        };
        if heads % groups != 0 {
            return rules.broken(format!("{heads} query heads do not share {groups} key heads"));
        }
        if fixed(q, 3).is_none() || fixed(v, 3).is_none() {
            return rules.broken(format!("head sizes must be constants above 0, got {q} and {v}"));
        }
        rules.dim(1, 0, &q.shape[0])?;
        rules.dim(1, 3, &q.shape[3])?;
        rules.dim(2, 0, &q.shape[0])?;
        rules.dim(2, 1, &k.shape[1])?;
        rules.dim(2, 2, &k.shape[2])?;
        rules.dim(3, 0, &q.shape[0])?;
        check_mask(&rules)?;
        if rules.optional(5).is_some() {
            rules.typed(5, &[DType::F32], 1)?;
            rules.dim(5, 0, &q.shape[2])?;
        }
        let mut shape = q.shape.clone();
        shape[3] = v.shape[3].clone();
        Ok(vec![TensorType::new(DType::F32, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let rows = Rows::new(self, inputs)?;
        let mut out = vec![0.0; rows.count() * rows.value];
        rows.each(|row| {
            let target = &mut out[row.index * rows.value..][..rows.value];
            for (key, &weight) in row.visible.clone().zip(&row.weights) {
                for (target, v) in target.iter_mut().zip(rows.values_of(row, key)) {
                    *target += weight * v;
                }
            }
        })?;
        Ok(vec![RefTensor::real(DType::F32, &rows.extents(), out)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let output = cx.outputs.first().ok_or_else(|| Error::internal("no reference output"))?;
        rows::bound(self, cx.inputs, output.reals()?, cx.arithmetic).map(|b| vec![b])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs: Vec<_> = (0..6).map(|i| cx.optional(i)).collect();
        let output = cx.output(0)?;
        cx.call(AttentionKernel { op: *self }, &inputs, &[output]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Attention of queries `[B, Q, H, D]` over caches `[B, G, C, D]`; see
    /// [`Attention`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn attention(
        &mut self,
        op: Attention,
        (q, k, v): (ValueId, ValueId, ValueId),
        past: ValueId,
        [mask, sinks]: [Option<ValueId>; 2],
    ) -> Result<ValueId> {
        let outputs = self.op(op, &[Some(q), Some(k), Some(v), Some(past), mask, sinks])?;
        outputs.first().copied().ok_or_else(|| Error::internal("attention without output"))
    }
}
