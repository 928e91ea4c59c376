//! Linear attention: keys and values are gathered in a state of fixed size.

mod cases;
mod convolution;
mod onnx;
mod scan;
mod stateful;

pub(crate) use cases::{cases, convolution_cases, stateful_cases};
pub use convolution::StatefulConvolution;
pub(crate) use onnx::ONNX;
pub use stateful::StatefulLinearAttention;

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::linear_attention::LinearAttentionKernel;
use crate::tensor::DType;
use scan::Scan;

pub(crate) use scan::Span;

/// ONNX `LinearAttention` (opset 27).
///
/// | Input | Type |
/// |---|---|
/// | query | F32 `[B, T, H D]` |
/// | key | F32 `[B, T, G D]`, H a multiple of G |
/// | value | F32 `[B, T, G Dv]` |
/// | past_state (optional) | F32 `[B, G, D, Dv]`; 0 where absent |
/// | decay (optional) | F32 `[B, T, G D]` or `[B, T, G]` |
/// | beta (optional) | F32 `[B, T, G]` or `[B, T, 1]` |
///
/// Outputs: F32 `[B, T, H Dv]`, and the state after the last token. For each
/// token and key head
///
/// ```text
/// S = exp(decay) S                 u = beta (v - Sᵀ k), or v without beta
/// S = S + k uᵀ                     y = scale Sᵀ q for the query heads of the key head
/// ```
///
/// where the decay is one for each row of S or one for all. With decay and beta
/// this is the gated delta rule (S. Yang et al., arXiv 2412.06464), with neither
/// that of A. Katharopoulos et al. (arXiv 2006.16236).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearAttention {
    /// H.
    pub q_heads: u64,
    /// G.
    pub kv_heads: u64,
    /// What outputs are multiplied with; `None` for `1 / sqrt(D)`.
    pub scale: Option<f32>,
}

const NAME: &str = "LinearAttention";
const INPUTS: &[&str] = &["query", "key", "value", "past_state", "decay", "beta"];

/// Which heads belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heads {
    /// States, each with a head of values, a decay and a beta.
    pub(crate) states: u64,
    /// Heads of the output; several read one state where there are more.
    pub(crate) outputs: u64,
    /// Heads of keys. Where they are fewer than states, states share them, and
    /// queries too.
    pub(crate) keys: u64,
    /// States that share a key are `keys` apart, not neighbours.
    pub(crate) tiled: bool,
}

/// Rows and columns of a state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) head: u64,
    pub(crate) value: u64,
}

impl Heads {
    /// Heads of queries.
    pub(crate) fn queries(&self) -> u64 {
        if self.keys == self.states { self.outputs } else { self.keys }
    }

    /// The key head of a state.
    pub(crate) fn key(&self, state: usize) -> usize {
        let (states, keys) = (self.states as usize, self.keys as usize);
        if self.tiled { state % keys } else { state / (states / keys) }
    }

    /// The query head of an output.
    pub(crate) fn query(&self, output: usize) -> usize {
        if self.keys == self.states { output } else { self.key(output) }
    }

    /// The sizes that the widths of query and value leave.
    pub(crate) fn sizes(&self, query: &TensorType, value: &TensorType) -> Result<Sizes> {
        let share = |ty: &TensorType, heads: u64| {
            let width = ty.width().as_const().filter(|&n| n > 0 && heads > 0);
            let width = width.filter(|width| width.is_multiple_of(heads));
            width.map(|width| width / heads).ok_or_else(|| {
                Error::rule(NAME, format!("{ty} does not have {heads} heads of a constant size"))
            })
        };
        Ok(Sizes { head: share(query, self.queries())?, value: share(value, self.states)? })
    }
}

/// What outputs are multiplied with, for heads of this size.
pub(crate) fn scale_for(scale: Option<f32>, head: u64) -> f32 {
    scale.unwrap_or_else(|| (1.0 / (head as f64).sqrt()) as f32)
}

impl LinearAttention {
    fn grouping(&self) -> Heads {
        let (states, outputs) = (self.kv_heads, self.q_heads);
        Heads { states, outputs, keys: states, tiled: false }
    }
}

impl Operator for LinearAttention {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 3, inputs)?;
        for index in 0..3 {
            rules.typed(index, &[DType::F32], 3)?;
        }
        let (heads, groups) = (self.q_heads, self.kv_heads);
        if groups == 0 || heads == 0 || !heads.is_multiple_of(groups) {
            return rules.broken(format!("{heads} query heads do not share {groups} key heads"));
        }
        if self.scale.is_some_and(|scale| !scale.is_finite()) {
            return rules.broken("scale must be finite");
        }
        let (query, value) = (rules.input(0)?, rules.input(2)?);
        let sizes = self.grouping().sizes(query, value)?;
        let (batch, tokens) = (&query.shape[0], &query.shape[1]);
        for index in [1, 2, 4, 5] {
            if rules.optional(index).is_some() {
                rules.typed(index, &[DType::F32], 3)?;
                rules.dim(index, 0, batch)?;
                rules.dim(index, 1, tokens)?;
            }
        }
        rules.dim(1, 2, &Dim::from(groups * sizes.head))?;
        let width = |index: usize| rules.optional(index).map(|ty| ty.width());
        let fits = |index: usize, widths: [u64; 2]| {
            width(index).is_none_or(|width| widths.iter().any(|&n| width == Dim::from(n)))
        };
        if !fits(4, [groups, groups * sizes.head]) || !fits(5, [groups, 1]) {
            let widths = [4, 5].map(|index| width(index).map(|width| width.to_string()));
            return rules.broken(format!("decay and beta of widths {widths:?}"));
        }
        let state = [batch.clone(), groups.into(), sizes.head.into(), sizes.value.into()];
        if rules.optional(3).is_some() {
            rules.typed(3, &[DType::F32], 4)?;
            for (axis, dim) in state.iter().enumerate() {
                rules.dim(3, axis, dim)?;
            }
        }
        let output = [batch.clone(), tokens.clone(), (heads * sizes.value).into()];
        Ok(vec![TensorType::new(DType::F32, output), TensorType::new(DType::F32, state)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        Scan::new(self.grouping(), self.scale, inputs, 0.0)?.values()
    }

    /// Errors are carried along with the state. An element s that is off by e:
    ///
    /// - decayed by d it is off by `e d + |s| d r` with r the error of `exp`
    ///   ([`exp_error`]) and of the product;
    /// - what a key retrieves, `Σ s k`, is off by `Σ |k| e` and `gamma(D)` of the
    ///   sum of magnitudes; the difference from v and the product with beta are
    ///   rounded, to either neighbour: 2 u each;
    /// - adding `k u` adds `|k|` times the error of u and rounds product and sum;
    /// - an output is a sum of D products with all of that, and a scaling.
    ///
    /// Each term may be flushed to 0 where it is no normal number.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        // All of it is in f32, whatever matrix products use.
        let unit = super::Arithmetic::F32.unit();
        Scan::new(self.grouping(), self.scale, cx.inputs, unit)?.errors()
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs: Vec<_> = (0..6).map(|index| cx.optional(index)).collect();
        let outputs = [cx.output(0)?, cx.output(1)?];
        let kernel = LinearAttentionKernel { heads: self.grouping(), scale: self.scale };
        cx.call(kernel, &inputs, &outputs);
        Ok(())
    }
}

impl GraphBuilder {
    /// Linear attention: the outputs and the state after the last token; see
    /// [`LinearAttention`] for the inputs.
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn linear_attention(
        &mut self,
        op: LinearAttention,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<ValueId>> {
        self.op(op, inputs)
    }
}
