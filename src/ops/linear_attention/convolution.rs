//! The short convolution before linear attention, over a state that a session keeps.

use super::scan::Span;
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::linear_attention::ConvolutionKernel;
use crate::ops::rules::Rules;
use crate::ops::{Arithmetic, BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

/// Each channel convolved with its latest tokens, in steps: ONNX's
/// `CausalConvWithState` (opset 27), tokens before channels, over a state that is
/// updated in place.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[B, T, C]` |
/// | weight | F32 `[C, K]`, K from 2 to 16 |
/// | bias (optional) | F32 `[C]` |
/// | state | F32 `[B, K - 1, C]`; a state is updated in place |
/// | span | I32 `[B, 2]` |
///
/// Outputs: F32 `[B, T, C]`, and the state's next version: the latest K - 1 tokens.
///
/// ```text
/// y[t, c] = bias[c] + sum over j of weight[c, j] z[t - K + 1 + j, c]
/// ```
///
/// where z is x, and the state before its first token. `span` says which rows are
/// tokens and when the state is zeros, as in
/// [`StatefulLinearAttention`](super::StatefulLinearAttention).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatefulConvolution;

const NAME: &str = "StatefulConvolution";
const INPUTS: &[&str] = &["x", "weight", "bias", "state", "span"];

/// The most tokens that a convolution reaches over.
const MOST_TAPS: u64 = 16;

/// The inputs with their roles.
struct Taps<'a> {
    x: &'a [f64],
    weight: &'a [f64],
    bias: Option<&'a [f64]>,
    state: &'a [f64],
    span: &'a [i64],
    extents: [usize; 4],
}

impl<'a> Taps<'a> {
    fn new(inputs: &[Option<&'a RefTensor>]) -> Result<Self> {
        let required = |index: usize| {
            let input = inputs.get(index).copied().flatten();
            input.ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
        };
        let (x, weight) = (required(0)?, required(1)?);
        let bias = inputs.get(2).copied().flatten();
        Ok(Taps {
            x: x.reals()?,
            weight: weight.reals()?,
            bias: bias.map(RefTensor::reals).transpose()?,
            state: required(3)?.reals()?,
            span: required(4)?.ints()?,
            extents: [x.extents[0], x.extents[1], x.extents[2], weight.extents[1]],
        })
    }

    fn span(&self, b: usize) -> Span {
        Span::new(self.span[2 * b], self.span[2 * b + 1], self.extents[1])
    }

    /// The value `back` tokens before token `t` of a channel.
    fn before(&self, b: usize, c: usize, t: usize, back: usize) -> f64 {
        let [_, tokens, channels, kernel] = self.extents;
        let span = self.span(b);
        match t.checked_sub(back).filter(|&at| at >= span.skip) {
            Some(at) => self.x[(b * tokens + at) * channels + c],
            None if span.fresh => 0.0,
            // The last of the state is what comes right before the first token.
            None => {
                let further = span.skip + back - t;
                self.state[(b * (kernel - 1) + kernel - 1 - further) * channels + c]
            }
        }
    }

    /// Outputs made of each token's products, 0 for padding.
    fn each(&self, of: impl Fn(usize, &mut dyn Iterator<Item = f64>) -> f64) -> Vec<f64> {
        let [batch, tokens, channels, kernel] = self.extents;
        let mut y = vec![0.0; batch * tokens * channels];
        for b in 0..batch {
            for t in self.span(b).skip..tokens {
                for c in 0..channels {
                    let product = |j: usize| {
                        self.weight[c * kernel + j] * self.before(b, c, t, kernel - 1 - j)
                    };
                    y[(b * tokens + t) * channels + c] = of(c, &mut (0..kernel).map(product));
                }
            }
        }
        y
    }

    /// The state's next version.
    fn state(&self) -> Vec<f64> {
        let [batch, tokens, channels, kernel] = self.extents;
        let mut next = self.state.to_vec();
        for b in (0..batch).filter(|&b| self.span(b).skip < tokens) {
            for j in 0..kernel - 1 {
                for c in 0..channels {
                    let value = self.before(b, c, tokens - 1, kernel - 2 - j);
                    next[(b * (kernel - 1) + j) * channels + c] = value;
                }
            }
        }
        next
    }
}

impl Operator for StatefulConvolution {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 2, inputs)?;
        rules.typed(0, &[DType::F32], 3)?;
        rules.typed(1, &[DType::F32], 2)?;
        rules.typed(3, &[DType::F32], 3)?;
        rules.typed(4, &[DType::I32], 2)?;
        let (x, weight) = (rules.input(0)?, rules.input(1)?);
        let taps = weight.shape[1].as_const().filter(|taps| (2..=MOST_TAPS).contains(taps));
        let Some(taps) = taps else {
            return rules.broken(format!("{weight}: not 2 to {MOST_TAPS} taps"));
        };
        if x.shape[2].as_const().is_none_or(|channels| channels == 0) {
            return rules.broken(format!("{x}: a number of channels that is not constant"));
        }
        rules.dim(1, 0, &x.shape[2])?;
        if rules.optional(2).is_some() {
            rules.typed(2, &[DType::F32], 1)?;
            rules.dim(2, 0, &x.shape[2])?;
        }
        let state = [x.shape[0].clone(), (taps - 1).into(), x.shape[2].clone()];
        for (axis, dim) in state.iter().enumerate() {
            rules.dim(3, axis, dim)?;
        }
        rules.dim(4, 0, &x.shape[0])?;
        rules.dim(4, 1, &Dim::from(2u64))?;
        Ok(vec![x.clone(), TensorType::new(DType::F32, state)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let taps = Taps::new(inputs)?;
        let bias = |c: usize| taps.bias.map_or(0.0, |bias| bias[c]);
        let y = taps.each(|c, products| bias(c) + products.sum::<f64>());
        let [batch, tokens, channels, kernel] = taps.extents;
        Ok(vec![
            RefTensor::real(DType::F32, &[batch, tokens, channels], y),
            RefTensor::real(DType::F32, &[batch, kernel - 1, channels], taps.state()),
        ])
    }

    /// A sum of K products and the bias: `gamma(K + 1)` of the sum of magnitudes, with
    /// a rounding to either neighbour (2 u), and each product may be flushed to 0. The
    /// state is copied.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let taps = Taps::new(cx.inputs)?;
        let kernel = taps.extents[3];
        let share = gamma(kernel + 1, 2.0 * Arithmetic::F32.unit());
        let flush = (kernel + 1) as f64 * smallest_normal(DType::F32);
        let bias = |c: usize| taps.bias.map_or(0.0, |bias| bias[c].abs());
        let sum = |c: usize, products: &mut dyn Iterator<Item = f64>| {
            bias(c) + products.map(f64::abs).sum::<f64>()
        };
        let errors = taps.each(|c, products| share * sum(c, products) + flush);
        Ok(vec![errors, vec![0.0; taps.state.len()]])
    }

    /// A state is updated where it is; another value is copied by the kernel.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let mut inputs: Vec<_> = (0..5).map(|index| cx.optional(index)).collect();
        let state = cx.input(3)?;
        if cx.is_state(&state) {
            cx.alias(1, 3)?;
            inputs[3] = None;
        }
        let outputs = [cx.output(0)?, cx.output(1)?];
        cx.call(ConvolutionKernel, &inputs, &outputs);
        Ok(())
    }

    fn updates(&self) -> &[(usize, usize)] {
        &[(3, 1)]
    }
}

impl GraphBuilder {
    /// A step of a convolution over a state: the outputs; see [`StatefulConvolution`]
    /// for the inputs.
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn stateful_convolution(
        &mut self,
        [x, weight, state]: [ValueId; 3],
        bias: Option<ValueId>,
        span: ValueId,
    ) -> Result<ValueId> {
        let inputs = [Some(x), Some(weight), bias, Some(state), Some(span)];
        let outputs = self.op(StatefulConvolution, &inputs)?;
        outputs.first().copied().ok_or_else(|| Error::internal("no output"))
    }
}
