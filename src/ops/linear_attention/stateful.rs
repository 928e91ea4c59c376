//! Linear attention over a state that a session keeps.

use super::Heads;
use super::scan::Scan;
use crate::error::Result;
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::linear_attention::LinearAttentionKernel;
use crate::ops::rules::Rules;
use crate::ops::{Arithmetic, BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;

/// [`LinearAttention`](super::LinearAttention) in steps, over a state that is updated in place. ONNX has no
/// such operator.
///
/// | Input | Type |
/// |---|---|
/// | query | F32 `[B, T, K D]` |
/// | key | F32 `[B, T, K D]`, G a multiple of K |
/// | value | F32 `[B, T, G Dv]` |
/// | state | F32 `[B, G, D, Dv]`; a state is updated in place |
/// | decay (optional) | F32 `[B, T, G D]` or `[B, T, G]` |
/// | beta (optional) | F32 `[B, T, G]` or `[B, T, 1]` |
/// | span | I32 `[B, 2]` |
/// | erase (optional) | F32 `[B, T, 2 G D]`; without beta, and with as many keys as states |
///
/// Outputs: F32 `[B, T, G Dv]`, and the state's next version.
///
/// `span` has two numbers of each sequence: how many of its tokens came before this
/// step, and how many of the T rows come before its first token in it. Those rows
/// are padding: they leave the state as it is, and their output is 0. Where no token
/// came before, the state is zeros, whatever it holds; a sequence without tokens in
/// a step (of T padding rows and more) keeps its state in any case.
///
/// For each token the formulas are those of [`LinearAttention`](super::LinearAttention); state g reads the
/// key and the query of head `g / (G / K)` or, where `tiled`, `g mod K`.
///
/// `erase` has a vector e of each state and token, and behind those of all states a
/// vector f. Between decay and key, `S = S + f (Sᵀ e)ᵀ`: the generalised delta rule of
/// RWKV-7 (B. Peng et al., arXiv 2503.14456), which forgets what one key retrieves and
/// writes at another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatefulLinearAttention {
    /// G.
    pub states: u64,
    /// K.
    pub keys: u64,
    /// Whether the states that share a key are K apart, not neighbours.
    pub tiled: bool,
    /// What outputs are multiplied with; `None` for `1 / sqrt(D)`.
    pub scale: Option<f32>,
}

const NAME: &str = "StatefulLinearAttention";
const INPUTS: &[&str] = &["query", "key", "value", "state", "decay", "beta", "span", "erase"];

impl StatefulLinearAttention {
    fn grouping(&self) -> Heads {
        let (states, keys) = (self.states, self.keys);
        Heads { states, outputs: states, keys, tiled: self.tiled }
    }
}

impl Operator for StatefulLinearAttention {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, INPUTS, 4, inputs)?;
        for index in 0..3 {
            rules.typed(index, &[DType::F32], 3)?;
        }
        rules.typed(3, &[DType::F32], 4)?;
        rules.typed(6, &[DType::I32], 2)?;
        let (states, keys) = (self.states, self.keys);
        if keys == 0 || states == 0 || !states.is_multiple_of(keys) {
            return rules.broken(format!("{states} states do not share {keys} keys"));
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
        rules.dim(1, 2, &Dim::from(keys * sizes.head))?;
        let width = |index: usize| rules.optional(index).map(|ty| ty.width());
        let fits = |index: usize, widths: [u64; 2]| {
            width(index).is_none_or(|width| widths.iter().any(|&n| width == Dim::from(n)))
        };
        if !fits(4, [states, states * sizes.head]) || !fits(5, [states, 1]) {
            let widths = [4, 5].map(|index| width(index).map(|width| width.to_string()));
            return rules.broken(format!("decay and beta of widths {widths:?}"));
        }
        if rules.optional(7).is_some() {
            rules.typed(7, &[DType::F32], 3)?;
            rules.dim(7, 0, batch)?;
            rules.dim(7, 1, tokens)?;
            rules.dim(7, 2, &Dim::from(2 * states * sizes.head))?;
            if rules.optional(5).is_some() || states != keys {
                return rules.broken("erase goes with neither beta nor shared keys");
            }
        }
        let state: [Dim; 4] = [batch.clone(), states.into(), sizes.head.into(), sizes.value.into()];
        for (axis, dim) in state.iter().enumerate() {
            rules.dim(3, axis, dim)?;
        }
        rules.dim(6, 0, batch)?;
        rules.dim(6, 1, &Dim::from(2u64))?;
        let output = [batch.clone(), tokens.clone(), (states * sizes.value).into()];
        Ok(vec![TensorType::new(DType::F32, output), TensorType::new(DType::F32, state)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        Scan::new(self.grouping(), self.scale, inputs, 0.0)?.values()
    }

    /// As [`LinearAttention`](super::LinearAttention)'s. Rows of padding are exact.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Scan::new(self.grouping(), self.scale, cx.inputs, Arithmetic::F32.unit())?.errors()
    }

    /// A state is updated where it is; another value is copied by the kernel.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let mut inputs: Vec<_> = (0..8).map(|index| cx.optional(index)).collect();
        let state = cx.input(3)?;
        if cx.is_state(&state) {
            cx.alias(1, 3)?;
            inputs[3] = None;
        }
        let outputs = [cx.output(0)?, cx.output(1)?];
        let kernel = LinearAttentionKernel { heads: self.grouping(), scale: self.scale };
        cx.call(kernel, &inputs, &outputs);
        Ok(())
    }

    fn updates(&self) -> &[(usize, usize)] {
        &[(3, 1)]
    }
}

impl GraphBuilder {
    /// A step of linear attention over a state: the outputs; see
    /// [`StatefulLinearAttention`] for the inputs.
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn stateful_linear_attention(
        &mut self,
        op: StatefulLinearAttention,
        [query, key, value, state]: [ValueId; 4],
        [decay, beta, erase]: [Option<ValueId>; 3],
        span: ValueId,
    ) -> Result<ValueId> {
        let given = [query, key, value, state].map(Some);
        let inputs: Vec<_> = given.into_iter().chain([decay, beta, Some(span), erase]).collect();
        let outputs = self.op(op, &inputs)?;
        outputs.first().copied().ok_or_else(|| crate::Error::internal("no output"))
    }
}
