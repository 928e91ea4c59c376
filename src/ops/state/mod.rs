//! Operators that update a state in place.

mod cases;
mod onnx;

pub(crate) use cases::cases;
pub(crate) use onnx::ONNX;

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::state::ScatterKernel;
use crate::tensor::DType;

/// ONNX `TensorScatter` (opset 24, mode `linear`): writes the keys or values
/// of new tokens into a cache.
///
/// | Input | Type |
/// |---|---|
/// | past_cache | F32 or F16 `[B, G, C, D]`; a state is updated in place |
/// | update | F32 `[B, Q, G, D]` (`token_major`) or `[B, G, Q, D]` (as in ONNX) |
/// | write_indices | I32 `[B]` |
///
/// Token q of sequence b goes to slot `write_indices[b] + q`. With `skip` a slot
/// outside `0..C` is not written; without it such a slot is an error on the CPU
/// and is not written on the GPU. A cache of F16
/// takes the nearest F16, ties to even; a value beyond its largest becomes the
/// largest, so that caches stay finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorScatter {
    /// The axis of the slots, from the end where negative: 2 or -2.
    pub axis: i64,
    /// The update is `[B, Q, G, D]`, as it comes out of a projection.
    pub token_major: bool,
    /// Tokens whose slot is outside of the cache are left out.
    pub skip: bool,
}

const NAME: &str = "TensorScatter";
const INPUTS: &[&str] = &["past_cache", "update", "write_indices"];

/// The extents of a scatter.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    groups: usize,
    capacity: usize,
    width: usize,
    tokens: usize,
}

impl TensorScatter {
    /// Axes of the update that count tokens and groups.
    pub(crate) fn update_axes(&self) -> (usize, usize) {
        if self.token_major { (1, 2) } else { (2, 1) }
    }

    /// The slot of token `q`, `None` where it is left out.
    pub(crate) fn slot(
        &self,
        first: i64,
        q: usize,
        capacity: usize,
        b: usize,
    ) -> Result<Option<usize>> {
        match slot(first, q, capacity, b) {
            Err(_) if self.skip => Ok(None),
            slot => slot.map(Some),
        }
    }

    fn sizes(&self, inputs: &[Option<&RefTensor>]) -> Result<Sizes> {
        let (cache, update) = (reference_input(inputs, 0)?, reference_input(inputs, 1)?);
        Ok(Sizes {
            groups: cache.extents[1],
            capacity: cache.extents[2],
            width: cache.extents[3],
            tokens: update.extents[self.update_axes().0],
        })
    }

    /// Calls `visit` with the first element of each row, in update and cache.
    fn rows(
        &self,
        inputs: &[Option<&RefTensor>],
        mut visit: impl FnMut(usize, usize),
    ) -> Result<()> {
        let s = self.sizes(inputs)?;
        let indices = reference_input(inputs, 2)?.ints()?;
        for (b, &first) in indices.iter().enumerate() {
            for q in 0..s.tokens {
                let Some(slot) = self.slot(first, q, s.capacity, b)? else { continue };
                for g in 0..s.groups {
                    let row = if self.token_major {
                        (b * s.tokens + q) * s.groups + g
                    } else {
                        (b * s.groups + g) * s.tokens + q
                    };
                    let target = (b * s.groups + g) * s.capacity + slot;
                    visit(row * s.width, target * s.width);
                }
            }
        }
        Ok(())
    }
}

/// The slot of token `q`, or an error naming the index.
fn slot(first: i64, q: usize, capacity: usize, b: usize) -> Result<usize> {
    let slot = first.checked_add(q as i64).and_then(|slot| usize::try_from(slot).ok());
    slot.filter(|&slot| slot < capacity).ok_or_else(|| {
        let expected = format!("slots of 0 to {capacity} - 1");
        Error::input(format!("write_indices[{b}]"), expected, format!("{first} + {q}"))
    })
}

fn reference_input<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
}

/// The largest finite value a cache of this dtype holds.
fn largest(dtype: DType) -> f64 {
    if dtype == DType::F16 { half::f16::MAX.to_f64() } else { f64::INFINITY }
}

impl Operator for TensorScatter {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 3, inputs)?;
        rules.typed(0, &[DType::F32, DType::F16], 4)?;
        rules.typed(1, &[DType::F32], 4)?;
        rules.typed(2, &[DType::I32], 1)?;
        if ![2, -2].contains(&self.axis) {
            return rules.broken(format!("axis must be 2 or -2, got {}", self.axis));
        }
        let cache = rules.input(0)?;
        rules.dim(1, 0, &cache.shape[0])?;
        rules.dim(1, self.update_axes().1, &cache.shape[1])?;
        rules.dim(1, 3, &cache.shape[3])?;
        rules.dim(2, 0, &cache.shape[0])?;
        Ok(vec![cache.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (cache, update) = (reference_input(inputs, 0)?, reference_input(inputs, 1)?);
        let (width, most) = (cache.extents[3], largest(cache.dtype));
        let (mut out, update) = (cache.reals()?.to_vec(), update.reals()?);
        self.rows(inputs, |from, to| {
            for d in 0..width {
                out[to + d] = update[from + d].clamp(-most, most);
            }
        })?;
        Ok(vec![RefTensor::real(cache.dtype, &cache.extents, out)])
    }

    /// Nothing is computed. What is left is the rounding to the cache's dtype,
    /// which is not part of this bound.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![vec![0.0; cx.input(0)?.len()]])
    }

    /// A state is updated where it is; another cache is copied by the kernel.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let cache = cx.input(0)?;
        let past = if cx.is_state(&cache) {
            cx.alias(0, 0)?;
            None
        } else {
            Some(cache)
        };
        let inputs = [past, cx.optional(1), cx.optional(2)];
        let output = cx.output(0)?;
        cx.call(ScatterKernel { op: *self }, &inputs, &[output]);
        Ok(())
    }

    fn updates(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

impl GraphBuilder {
    /// Writes new tokens `[B, Q, G, D]` into a cache `[B, G, C, D]`, from slot
    /// `write_indices[b]` on, and gives the cache's next version; see
    /// [`TensorScatter`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn tensor_scatter(
        &mut self,
        past_cache: ValueId,
        update: ValueId,
        write_indices: ValueId,
    ) -> Result<ValueId> {
        let op = TensorScatter { axis: -2, token_major: true, skip: false };
        self.op1(op, &[past_cache, update, write_indices])
    }

    /// As [`GraphBuilder::tensor_scatter`], leaving out tokens whose slot is
    /// outside of the cache.
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn tensor_scatter_inside(
        &mut self,
        past_cache: ValueId,
        update: ValueId,
        write_indices: ValueId,
    ) -> Result<ValueId> {
        let op = TensorScatter { axis: -2, token_major: true, skip: true };
        self.op1(op, &[past_cache, update, write_indices])
    }
}
