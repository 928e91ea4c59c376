//! Normalisation by neighbouring channels.

use super::first;
use crate::error::Result;
use crate::graph::TensorType;
use crate::kernels::norm::ResponseKernel;
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

/// ONNX `LRN`: `x / (bias + alpha / size * Σ x²)^beta`, the sum over the
/// `size` channels around an element's own, as far as they exist.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, ...]` |
///
/// The output has x's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalResponse {
    /// Channels in the sum: `(size - 1) / 2` before, the rest after.
    pub size: u32,
    /// The factor of the mean of squares.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// What is added; positive.
    pub bias: f32,
}

const NAME: &str = "LRN";

impl LocalResponse {
    /// Has `visit` see every element with the squares in its sum.
    fn elements(
        &self,
        x: &RefTensor,
        mut visit: impl FnMut(f64, &mut dyn Iterator<Item = f64>),
    ) -> Result<()> {
        let data = x.reals()?;
        let channels = x.extents.get(1).copied().unwrap_or(1);
        let inner: usize = x.extents.iter().skip(2).product();
        let before = (self.size as usize - 1) / 2;
        let after = self.size as usize - 1 - before;
        for (at, &value) in data.iter().enumerate() {
            let channel = at / inner % channels;
            let from = channel.saturating_sub(before);
            let to = (channel + after + 1).min(channels);
            let base = at - channel * inner;
            let mut squares = (from..to).map(|c| data[base + c * inner] * data[base + c * inner]);
            visit(value, &mut squares);
        }
        Ok(())
    }

    fn scale(&self, sum: f64) -> f64 {
        f64::from(self.bias) + f64::from(self.alpha) / f64::from(self.size) * sum
    }
}

impl Operator for LocalResponse {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, &["x"], 1, inputs)?;
        rules.dtype(0, &[DType::F32])?;
        let x = rules.input(0)?;
        let positive = self.bias > 0.0 && self.alpha >= 0.0;
        let finite = self.bias.is_finite() && self.alpha.is_finite() && self.beta.is_finite();
        if x.rank() < 2 || self.size == 0 || !positive || !finite {
            return rules.broken(format!("does not take {x} with {self:?}"));
        }
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = first(NAME, inputs, 0)?;
        let mut all = Vec::with_capacity(x.len());
        let beta = f64::from(self.beta);
        self.elements(x, |value, squares| all.push(value / self.scale(squares.sum()).powf(beta)))?;
        Ok(vec![RefTensor::real(x.dtype, &x.extents, all)])
    }

    /// The base of the power is off by `gamma(size + 4)` of itself, all its
    /// terms being positive. The power is `exp2(-beta * log2(base))`: the
    /// logarithm is off by 2^-21 around 1 and by 3 units in the last place
    /// beyond, the exponential by `3 + 2|z|` units (WGSL, "Accuracy of built-in
    /// functions"); the product with x is rounded.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (x, unit) = (cx.input(0)?, cx.arithmetic.unit());
        let beta = f64::from(self.beta).abs();
        let tiny = smallest_normal(DType::F32);
        let mut all = Vec::with_capacity(x.len());
        self.elements(x, |value, squares| {
            let base = self.scale(squares.sum());
            let log = base.log2();
            let base_error = gamma(self.size as usize + 4, unit) + 4.0 * unit;
            let log_error = f64::max(8.0 * unit, 6.0 * unit * log.abs());
            let z = beta * log.abs();
            let shift = beta * log_error + 2.0 * unit * z;
            let relative = (shift * std::f64::consts::LN_2 + beta * base_error).exp_m1()
                + (3.0 + 2.0 * z) * 2.0 * unit
                + 4.0 * unit;
            all.push((value / base.powf(f64::from(self.beta))).abs() * relative + tiny);
        })?;
        Ok(vec![all])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        cx.call(ResponseKernel { op: *self }, &[Some(x)], &[y]);
        Ok(())
    }
}
