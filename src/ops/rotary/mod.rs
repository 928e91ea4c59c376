//! Rotary position embedding: pairs of features turned by an angle that grows
//! with the position (J. Su et al., "RoFormer", arXiv 2104.09864).

mod cases;
mod onnx;
pub(crate) mod scatter;
pub mod tables;

pub(crate) use cases::cases;
pub(crate) use cases::scatter_cases;
pub(crate) use onnx::ONNX;
pub use scatter::{MOST_NORMED, RotaryScatter};

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::rotary::RotaryKernel;
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

/// ONNX `RotaryEmbedding` (opset 23) on token-major activations.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[B, Q, H, D]` |
/// | cos, sin | F32 `[P, rotary_dim / 2]`, a row per position; see [`tables`] |
/// | position_ids | I32 `[B, Q]`, each in `0..P` |
///
/// The output has the type of x. Features past `rotary_dim` are copied. A
/// position out of range is an error on the CPU; on the GPU the nearest
/// position is taken, since a shader has no way to report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotaryEmbedding {
    /// Pairs are features `(2i, 2i + 1)`; otherwise `(i, i + rotary_dim / 2)`.
    pub interleaved: bool,
    /// How many of the D features are turned: even, at most D.
    pub rotary_dim: usize,
}

const NAME: &str = "RotaryEmbedding";
const INPUTS: &[&str] = &["x", "cos", "sin", "position_ids"];

impl RotaryEmbedding {
    /// The two features of pair `i`.
    pub(crate) fn pair(&self, i: usize) -> (usize, usize) {
        if self.interleaved { (2 * i, 2 * i + 1) } else { (i, i + self.rotary_dim / 2) }
    }

    /// What errors of the elements of x become: the sum over both elements of a pair of
    /// an error times what it is multiplied with. `inputs` are the operator's.
    pub(crate) fn carried(
        &self,
        inputs: &[Option<&RefTensor>],
        errors: &[f64],
    ) -> Result<Vec<f64>> {
        let (x, cos, sin) =
            (reference_input(inputs, 0)?, reference_input(inputs, 1)?, reference_input(inputs, 2)?);
        let (cos, sin) = (cos.reals()?, sin.reals()?);
        let (heads, width, half) = (x.extents[2], x.extents[3], self.rotary_dim / 2);
        let mut carried = errors.to_vec();
        self.tokens(inputs, |token, position| {
            for head in 0..heads {
                let at = (token * heads + head) * width;
                for i in 0..half {
                    let (a, b) = self.pair(i);
                    let (c, s) = (cos[position * half + i].abs(), sin[position * half + i].abs());
                    carried[at + a] = errors[at + a] * c + errors[at + b] * s;
                    carried[at + b] = errors[at + a] * s + errors[at + b] * c;
                }
            }
        })?;
        Ok(carried)
    }

    /// Calls `visit` with each token's number, checked position and first element.
    fn tokens(
        &self,
        inputs: &[Option<&RefTensor>],
        mut visit: impl FnMut(usize, usize),
    ) -> Result<()> {
        let (cos, ids) = (reference_input(inputs, 1)?, reference_input(inputs, 3)?);
        let rows = cos.extents[0];
        for (token, &id) in ids.ints()?.iter().enumerate() {
            let position = usize::try_from(id).ok().filter(|&p| p < rows).ok_or_else(|| {
                Error::input(format!("position_ids[{token}]"), format!("0 to {rows} - 1"), id)
            })?;
            visit(token, position);
        }
        Ok(())
    }
}

fn reference_input<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
}

impl Operator for RotaryEmbedding {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 4, inputs)?;
        rules.typed(0, &[DType::F32], 4)?;
        rules.typed(1, &[DType::F32], 2)?;
        rules.typed(2, &[DType::F32], 2)?;
        rules.typed(3, &[DType::I32], 2)?;
        let x = rules.input(0)?;
        if !self.rotary_dim.is_multiple_of(2) {
            return rules.broken(format!("rotary_dim must be even, got {}", self.rotary_dim));
        }
        if x.shape[3].as_const().is_none_or(|width| width < self.rotary_dim as u64) {
            let what = format!("rotary_dim {} does not fit the last dimension", self.rotary_dim);
            return rules.broken(format!("{what} of {x}"));
        }
        rules.dim(1, 1, &Dim::from(self.rotary_dim / 2))?;
        rules.dim(2, 0, &rules.input(1)?.shape[0])?;
        rules.dim(2, 1, &Dim::from(self.rotary_dim / 2))?;
        rules.dim(3, 0, &x.shape[0])?;
        rules.dim(3, 1, &x.shape[1])?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = reference_input(inputs, 0)?;
        let (cos, sin) =
            (reference_input(inputs, 1)?.reals()?, reference_input(inputs, 2)?.reals()?);
        let (heads, width, half) = (x.extents[2], x.extents[3], self.rotary_dim / 2);
        let values = x.reals()?;
        let mut out = values.to_vec();
        self.tokens(inputs, |token, position| {
            for head in 0..heads {
                let at = (token * heads + head) * width;
                for i in 0..half {
                    let (a, b) = self.pair(i);
                    let (c, s) = (cos[position * half + i], sin[position * half + i]);
                    let (first, second) = (values[at + a], values[at + b]);
                    out[at + a] = first * c - second * s;
                    out[at + b] = first * s + second * c;
                }
            }
        })?;
        Ok(vec![RefTensor::real(DType::F32, &x.extents, out)])
    }

    /// Two products and one sum, so three roundings of quantities that are at
    /// most `|x0 c| + |x1 s|`; the tables are exact inputs. Either product may
    /// be flushed to zero where it is subnormal.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (x, cos, sin) = (cx.input(0)?, cx.input(1)?.reals()?, cx.input(2)?.reals()?);
        let (heads, width, half) = (x.extents[2], x.extents[3], self.rotary_dim / 2);
        let values = x.reals()?;
        let (rounding, flush) = (gamma(3, cx.arithmetic.unit()), 2.0 * smallest_normal(DType::F32));
        let mut bound = vec![0.0; values.len()];
        self.tokens(cx.inputs, |token, position| {
            for head in 0..heads {
                let at = (token * heads + head) * width;
                for i in 0..half {
                    let (a, b) = self.pair(i);
                    let (c, s) = (cos[position * half + i].abs(), sin[position * half + i].abs());
                    let (first, second) = (values[at + a].abs(), values[at + b].abs());
                    bound[at + a] = rounding * (first * c + second * s) + flush;
                    bound[at + b] = rounding * (first * s + second * c) + flush;
                }
            }
        })?;
        Ok(vec![bound])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [cx.optional(0), cx.optional(1), cx.optional(2), cx.optional(3)];
        let output = cx.output(0)?;
        cx.call(RotaryKernel { op: *self }, &inputs, &[output]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Turns the features of `x` `[B, Q, H, D]` by their positions `[B, Q]`;
    /// see [`RotaryEmbedding`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn rotary_embedding(
        &mut self,
        op: RotaryEmbedding,
        x: ValueId,
        cos: ValueId,
        sin: ValueId,
        position_ids: ValueId,
    ) -> Result<ValueId> {
        self.op1(op, &[x, cos, sin, position_ids])
    }
}
