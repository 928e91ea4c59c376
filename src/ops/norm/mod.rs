//! Normalisation along the last axis, of groups of channels and by neighbouring
//! channels.

mod batch;
mod cases;
mod contrib;
mod group;
mod onnx;
mod response;

pub(crate) use cases::{
    group_cases, layer_cases, response_cases, rms_cases, skip_layer_cases, skip_rms_cases,
};
pub(crate) use contrib::CONTRIB;
pub use group::GroupNormalization;
pub(crate) use onnx::ONNX;
pub use response::LocalResponse;

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::norm::NormKernel;
use crate::tensor::DType;
use crate::validate::error_model::gamma;

/// Which mean is taken out and what the rest is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `x / sqrt(mean(x²) + ε) * scale`.
    Rms,
    /// `(x - mean) / sqrt(variance + ε) * scale + bias`.
    Layer,
}

/// ONNX `RMSNormalization` (opset 23) and `LayerNormalization` (opset 17)
/// along the last axis.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[..., N]` |
/// | scale | F32 `[N]` |
/// | bias | F32 `[N]`, optional, for `LayerNormalization` |
///
/// The output has x's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Which of the two.
    pub kind: Kind,
    /// Added under the root; positive.
    pub epsilon: f32,
}

/// `SkipSimplifiedLayerNormalization` and `SkipLayerNormalization` of ONNX
/// Runtime's `com.microsoft` domain: the residual is added first.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[..., N]` |
/// | skip | F32, x's shape |
/// | scale | F32 `[N]` |
/// | bias | F32 `[N]`, optional, for the layer kind |
///
/// Outputs: the normalised sum, and the sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SkipNormalization {
    /// What is done to the sum.
    pub norm: Normalization,
}

impl Normalization {
    /// Root mean square normalisation.
    pub fn rms(epsilon: f32) -> Self {
        Normalization { kind: Kind::Rms, epsilon }
    }

    /// Layer normalisation.
    pub fn layer(epsilon: f32) -> Self {
        Normalization { kind: Kind::Layer, epsilon }
    }

    fn op(&self) -> &'static str {
        match self.kind {
            Kind::Rms => "RMSNormalization",
            Kind::Layer => "LayerNormalization",
        }
    }

    fn check(
        &self,
        names: &'static [&'static str],
        op: &'static str,
        inputs: &[Option<&TensorType>],
    ) -> Result<TensorType> {
        let first = names.len() - 2;
        let rules = Rules::new(op, names, first + 1, inputs)?;
        rules.dtype(0, &[DType::F32])?;
        let x = rules.input(0)?;
        if x.rank() == 0 || !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return rules.broken(format!("a scalar, or epsilon {}", self.epsilon));
        }
        for index in first..names.len() {
            if rules.optional(index).is_some() {
                rules.typed(index, &[DType::F32], 1)?;
                rules.dim(index, 0, &x.width())?;
            }
        }
        if self.kind == Kind::Rms && rules.optional(first + 1).is_some() {
            return rules.broken("takes no bias");
        }
        Ok(x.clone())
    }

    /// Rows of `x` normalised, with the mean and the divisor of each row.
    fn rows(
        &self,
        x: &[f64],
        n: usize,
        scale: &[f64],
        bias: Option<&[f64]>,
    ) -> (Vec<f64>, Vec<(f64, f64)>) {
        let (mut y, mut facts) = (Vec::with_capacity(x.len()), Vec::new());
        for row in x.chunks_exact(n.max(1)) {
            let count = n as f64;
            let mean = match self.kind {
                Kind::Rms => 0.0,
                Kind::Layer => row.iter().sum::<f64>() / count,
            };
            let square: f64 = row.iter().map(|v| (v - mean) * (v - mean)).sum();
            let divisor = (square / count + f64::from(self.epsilon)).sqrt();
            for (i, v) in row.iter().enumerate() {
                y.push((v - mean) / divisor * scale[i] + bias.map_or(0.0, |bias| bias[i]));
            }
            facts.push((mean, divisor));
        }
        (y, facts)
    }

    /// With `δ` the error of each element of x:
    ///
    /// - the mean is off by `μ = δ + gamma(N) mean|x|` (Higham, Accuracy and
    ///   Stability, 4.2);
    /// - so `d = x - mean` is off by `δ + μ + u|d|`;
    /// - the mean square of d by `2 mean(|d| e_d) + mean(e_d²) + gamma(N + 2)
    ///   mean(d²)`, and the divisor by that over twice the divisor, plus
    ///   `inverseSqrt`'s 2 units in the last place (WGSL, "Accuracy of built-in
    ///   functions");
    /// - quotient, scale and bias cost `u` each.
    fn bound_rows(&self, x: &[f64], delta: f64, rows: &Inputs<'_>, unit: f64) -> Vec<f64> {
        let n = rows.scale.len();
        let (_, facts) = self.rows(x, n, rows.scale, rows.bias);
        let mut bound = Vec::with_capacity(x.len());
        for (row, (mean, divisor)) in x.chunks_exact(n.max(1)).zip(facts) {
            let count = n as f64;
            let size = row.iter().map(|v| v.abs()).sum::<f64>() / count;
            let error = |v: f64| delta * v.abs();
            let mean_error = match self.kind {
                Kind::Rms => 0.0,
                Kind::Layer => (gamma(n, unit) + 2.0 * unit + delta) * size,
            };
            let off = |v: f64| error(v) + mean_error + unit * (v - mean).abs();
            let square: f64 = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
            let crossed: f64 =
                row.iter().map(|&v| 2.0 * (v - mean).abs() * off(v) + off(v) * off(v)).sum::<f64>()
                    / count;
            let square_error =
                crossed + (gamma(n + 2, unit) + 4.0 * unit) * (square + f64::from(self.epsilon));
            let relative = square_error / (2.0 * divisor * divisor) + 4.0 * unit;
            for (i, &v) in row.iter().enumerate() {
                let scaled = ((v - mean) / divisor * rows.scale[i]).abs();
                let from_d = off(v) / divisor * rows.scale[i].abs();
                let bias = rows.bias.map_or(0.0, |bias| bias[i].abs());
                bound.push(
                    from_d * (1.0 + relative)
                        + scaled * (relative + 4.0 * unit)
                        + 2.0 * unit * bias,
                );
            }
        }
        bound
    }
}

/// The vectors along the axis.
struct Inputs<'a> {
    scale: &'a [f64],
    bias: Option<&'a [f64]>,
}

impl<'a> Inputs<'a> {
    fn of(op: &str, inputs: &[Option<&'a RefTensor>], first: usize) -> Result<Self> {
        let at = |index: usize| inputs.get(index).copied().flatten();
        let scale = at(first).ok_or_else(|| Error::internal(format!("{op} without scale")))?;
        let bias = at(first + 1).map(RefTensor::reals).transpose()?;
        Ok(Inputs { scale: scale.reals()?, bias })
    }
}

fn first<'a>(op: &str, inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{op} without input {index}")))
}

impl Operator for Normalization {
    fn name(&self) -> &str {
        self.op()
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        Ok(vec![self.check(&["x", "scale", "bias"], self.op(), inputs)?])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = first(self.op(), inputs, 0)?;
        let vectors = Inputs::of(self.op(), inputs, 1)?;
        let (y, _) = self.rows(x.reals()?, vectors.scale.len(), vectors.scale, vectors.bias);
        Ok(vec![RefTensor::real(x.dtype, &x.extents, y)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let vectors = Inputs::of(self.op(), cx.inputs, 1)?;
        let x = cx.input(0)?.reals()?;
        Ok(vec![self.bound_rows(x, 0.0, &vectors, cx.arithmetic.unit())])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), None, Some(cx.input(1)?), cx.optional(2)];
        let y = cx.output(0)?;
        cx.call(NormKernel { norm: *self, groups: None }, &inputs, &[y]);
        Ok(())
    }
}

impl Operator for SkipNormalization {
    fn name(&self) -> &str {
        match self.norm.kind {
            Kind::Rms => "SkipSimplifiedLayerNormalization",
            Kind::Layer => "SkipLayerNormalization",
        }
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let names = &["x", "skip", "scale", "bias"];
        let op = match self.norm.kind {
            Kind::Rms => "SkipSimplifiedLayerNormalization",
            Kind::Layer => "SkipLayerNormalization",
        };
        let x = self.norm.check(names, op, inputs)?;
        let skip = inputs.get(1).copied().flatten();
        if skip != Some(&x) {
            return Err(Error::rule(op, format!("'skip' must be {x}, got {skip:?}")));
        }
        Ok(vec![x.clone(), x])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (x, skip) = (first(self.name(), inputs, 0)?, first(self.name(), inputs, 1)?);
        let vectors = Inputs::of(self.name(), inputs, 2)?;
        let sum: Vec<f64> = x.reals()?.iter().zip(skip.reals()?).map(|(a, b)| a + b).collect();
        let (y, _) = self.norm.rows(&sum, vectors.scale.len(), vectors.scale, vectors.bias);
        let tensor = |data| RefTensor::real(x.dtype, &x.extents, data);
        Ok(vec![tensor(y), tensor(sum)])
    }

    /// The sum is off by `u` relative to itself; the rest follows from that.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let vectors = Inputs::of(self.name(), cx.inputs, 2)?;
        let sum = cx.outputs.get(1).ok_or_else(|| Error::internal("one output of two"))?.reals()?;
        let unit = cx.arithmetic.unit();
        let normalised = self.norm.bound_rows(sum, unit, &vectors, unit);
        Ok(vec![normalised, sum.iter().map(|v| unit * v.abs()).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), Some(cx.input(2)?), cx.optional(3)];
        let outputs = [cx.output(0)?, cx.output(1)?];
        cx.call(NormKernel { norm: self.norm, groups: None }, &inputs, &outputs);
        Ok(())
    }
}

impl GraphBuilder {
    /// RMS normalisation of `x` (F32 `[..., N]`) by `scale` (F32 `[N]`); see
    /// [`Normalization`].
    ///
    /// # Errors
    /// If types do not fit or epsilon is not positive.
    pub fn rms_normalization(
        &mut self,
        x: ValueId,
        scale: ValueId,
        epsilon: f32,
    ) -> Result<ValueId> {
        self.op1(Normalization::rms(epsilon), &[x, scale])
    }

    /// Layer normalisation of `x` (F32 `[..., N]`); see [`Normalization`].
    ///
    /// # Errors
    /// If types do not fit or epsilon is not positive.
    pub fn layer_normalization(
        &mut self,
        x: ValueId,
        scale: ValueId,
        bias: Option<ValueId>,
        epsilon: f32,
    ) -> Result<ValueId> {
        let outputs = self.op(Normalization::layer(epsilon), &[Some(x), Some(scale), bias])?;
        outputs.first().copied().ok_or_else(|| Error::internal("an operator without output"))
    }
}
