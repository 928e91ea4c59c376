//! Linear attention: keys and values are gathered in a state of fixed size.

mod cases;
mod onnx;

pub(crate) use cases::cases;
pub(crate) use onnx::ONNX;

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::linear_attention::LinearAttentionKernel;
use crate::ops::elementwise::exp_error;
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

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

/// Rows and columns of a state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) head: u64,
    pub(crate) value: u64,
}

impl LinearAttention {
    /// What outputs are multiplied with, for heads of this size.
    pub(crate) fn scale_for(&self, head: u64) -> f32 {
        self.scale.unwrap_or_else(|| (1.0 / (head as f64).sqrt()) as f32)
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
        Ok(Sizes { head: share(query, self.q_heads)?, value: share(value, self.kv_heads)? })
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
        let sizes = self.sizes(query, value)?;
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
        let scan = Scan::new(self, inputs, 0.0)?;
        let run = scan.run();
        let [batch, tokens] = [scan.batch, scan.tokens];
        let width = scan.heads * scan.value;
        Ok(vec![
            RefTensor::real(DType::F32, &[batch, tokens, width], run.y.0),
            RefTensor::real(DType::F32, &[batch, scan.groups, scan.head, scan.value], run.state.0),
        ])
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
        let run = Scan::new(self, cx.inputs, unit)?.run();
        Ok(vec![run.y.1, run.state.1])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs: Vec<_> = (0..6).map(|index| cx.optional(index)).collect();
        let outputs = [cx.output(0)?, cx.output(1)?];
        cx.call(LinearAttentionKernel { op: *self }, &inputs, &outputs);
        Ok(())
    }
}

/// The inputs with their roles; `unit` is 0 where no errors are wanted.
struct Scan<'a> {
    query: &'a [f64],
    key: &'a [f64],
    values: &'a [f64],
    past: Option<&'a [f64]>,
    decay: Option<(&'a [f64], usize)>,
    beta: Option<(&'a [f64], usize)>,
    batch: usize,
    tokens: usize,
    heads: usize,
    groups: usize,
    head: usize,
    value: usize,
    scale: f64,
    unit: f64,
}

/// Values and their errors.
type Inexact = (Vec<f64>, Vec<f64>);

struct Run {
    y: Inexact,
    state: Inexact,
}

impl<'a> Scan<'a> {
    fn new(op: &LinearAttention, inputs: &[Option<&'a RefTensor>], unit: f64) -> Result<Self> {
        let at = |index: usize| inputs.get(index).copied().flatten();
        let required = |index: usize| {
            at(index).ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
        };
        let (query, value) = (required(0)?, required(2)?);
        let wide = |index: usize| -> Result<Option<(&'a [f64], usize)>> {
            let Some(tensor) = at(index) else { return Ok(None) };
            Ok(Some((tensor.reals()?, tensor.extents[2])))
        };
        let head = query.extents[2] / op.q_heads as usize;
        Ok(Scan {
            query: query.reals()?,
            key: required(1)?.reals()?,
            values: value.reals()?,
            past: at(3).map(RefTensor::reals).transpose()?,
            decay: wide(4)?,
            beta: wide(5)?,
            batch: query.extents[0],
            tokens: query.extents[1],
            heads: op.q_heads as usize,
            groups: op.kv_heads as usize,
            head,
            value: value.extents[2] / op.kv_heads as usize,
            scale: op.scale_for(head as u64).into(),
            unit,
        })
    }

    fn run(&self) -> Run {
        let states = self.batch * self.groups * self.head * self.value;
        let outputs = self.batch * self.tokens * self.heads * self.value;
        let mut run = Run {
            y: (vec![0.0; outputs], vec![0.0; outputs]),
            state: (vec![0.0; states], vec![0.0; states]),
        };
        for b in 0..self.batch {
            for g in 0..self.groups {
                for column in 0..self.value {
                    self.column(b, g, column, &mut run);
                }
            }
        }
        run
    }

    /// A column of one state through all tokens.
    fn column(&self, b: usize, g: usize, column: usize, run: &mut Run) {
        let flush = if self.unit > 0.0 { smallest_normal(DType::F32) } else { 0.0 };
        let gamma = if self.unit > 0.0 { gamma(self.head, self.unit) } else { 0.0 };
        let round = 2.0 * self.unit;
        let place = |i: usize| ((b * self.groups + g) * self.head + i) * self.value + column;
        let start = |i: usize| self.past.map_or(0.0, |past| past[place(i)]);
        let mut s: Vec<f64> = (0..self.head).map(start).collect();
        let mut e = vec![0.0; self.head];
        let share = self.heads / self.groups;
        for t in 0..self.tokens {
            let token = b * self.tokens + t;
            let key = &self.key[(token * self.groups + g) * self.head..][..self.head];
            let (mut u, mut off) =
                (self.values[(token * self.groups + g) * self.value + column], 0.0);
            if let Some((decay, width)) = self.decay {
                for i in 0..self.head {
                    let each = width != self.groups;
                    let at = if each { g * self.head + i } else { g };
                    let exponent = decay[token * width + at];
                    let factor = exponent.exp();
                    let wrong = if self.unit > 0.0 { exp_error(exponent) + round } else { 0.0 };
                    e[i] = (e[i] + (s[i].abs() + e[i]) * wrong) * factor + flush;
                    s[i] *= factor;
                }
            }
            if let Some((beta, width)) = self.beta {
                let (mut held, mut size, mut moved) = (0.0, 0.0, 0.0);
                for i in 0..self.head {
                    held += s[i] * key[i];
                    size += (s[i].abs() + e[i]) * key[i].abs();
                    moved += e[i] * key[i].abs();
                }
                let rate = beta[token * width + g.min(width - 1)];
                off = moved + gamma * size + self.head as f64 * flush;
                u -= held;
                off += round * (u.abs() + off);
                off = off * rate.abs() + round * (rate * u).abs() + flush;
                u *= rate;
            }
            for i in 0..self.head {
                let added = key[i] * u;
                let wrong = key[i].abs() * off;
                s[i] += added;
                e[i] += wrong + round * (added.abs() + wrong + s[i].abs() + e[i]) + flush;
            }
            for h in g * share..(g + 1) * share {
                let query = &self.query[(token * self.heads + h) * self.head..][..self.head];
                let (mut sum, mut size, mut moved) = (0.0, 0.0, 0.0);
                for i in 0..self.head {
                    sum += query[i] * s[i];
                    size += query[i].abs() * (s[i].abs() + e[i]);
                    moved += query[i].abs() * e[i];
                }
                let at = (token * self.heads + h) * self.value + column;
                let wrong = moved + gamma * size + self.head as f64 * flush;
                run.y.0[at] = sum * self.scale;
                run.y.1[at] = (wrong + round * (sum.abs() + wrong)) * self.scale.abs() + flush;
            }
        }
        for i in 0..self.head {
            run.state.0[place(i)] = s[i];
            run.state.1[place(i)] = e[i];
        }
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
