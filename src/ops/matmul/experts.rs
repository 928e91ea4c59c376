//! Products with matrices that rows choose: the layers of a mixture of experts.

use super::present;
use super::reference::{Product, Sum, activated_error, finished, gated_error};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::matmul::{ExpertsKernel, Extents};
use crate::ops::elementwise::Unary;
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::quant::WEIGHT_TYPES;
use crate::tensor::DType;

/// `y[t, s] = activation(x[t] · weight[chosen[t, s]]ᵀ)`, in f32: every row meets
/// the matrices that its indices choose.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[T, K]`, or `[T, S, K]` with a row for every index |
/// | chosen | I32 `[T, S]`: 0 to E - 1 |
/// | weight | any weight type ([`crate::quant::WEIGHT_TYPES`]), `[E, N, K]` |
///
/// Output: F32 `[T, S, N]`. Matrices that no row chooses are not read. An index
/// that is none of E is an error of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExpertMatMul {
    /// Applied to the result.
    pub activation: Option<Unary>,
}

/// `y[t, s] = activation(x[t] · gate[i]ᵀ) * (x[t] · up[i]ᵀ)` with `i =
/// chosen[t, s]`: the inner half of a gated feed-forward network for each expert.
///
/// Inputs: x, chosen, gate and up; the last two are of one type, the rest is as
/// for [`ExpertMatMul`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatedExpertMatMul {
    /// Applied to the product with `gate`.
    pub activation: Unary,
}

const PLAIN: &str = "ExpertMatMul";
const GATED: &str = "GatedExpertMatMul";

/// The matrix that an index means, or an error naming it.
pub(crate) fn expert(index: i64, experts: usize, at: usize) -> Result<usize> {
    let expert = usize::try_from(index).ok().filter(|&expert| expert < experts);
    expert
        .ok_or_else(|| Error::input(format!("chosen[{at}]"), format!("0 to {experts} - 1"), index))
}

fn infer(name: &str, names: &[&str], inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
    let rules = Rules::new(name, names, names.len(), inputs)?;
    rules.dtype(0, &[DType::F32])?;
    rules.dtype(1, &[DType::I32])?;
    rules.dtype(2, &WEIGHT_TYPES)?;
    let (x, chosen, weight) = (rules.input(0)?, rules.input(1)?, rules.input(2)?);
    let Some(e) = Extents::new(&x.shape, &chosen.shape, &weight.shape) else {
        return rules.broken(format!("ranks do not fit: {x}, {chosen}, {weight}"));
    };
    let wanted = match e.shared {
        true => vec![e.rows.clone(), e.k.clone()],
        false => vec![e.rows.clone(), e.chosen.clone(), e.k.clone()],
    };
    for (dim, wanted) in wanted.iter().enumerate() {
        rules.dim(0, dim, wanted)?;
    }
    let block = weight.dtype.block_len() as u64;
    if e.k.as_const().is_none_or(|k| !k.is_multiple_of(block)) {
        return rules.broken(format!("the last dimension of {weight} is no multiple of {block}"));
    }
    if e.experts.as_const().is_none() || e.n.as_const().is_none() {
        return rules.broken(format!("the extents of {weight} must be constants"));
    }
    if names.len() == 4 && rules.input(3)? != weight {
        return rules.broken(format!("gate is {weight} and up is {}", rules.input(3)?));
    }
    Ok(vec![TensorType::new(DType::F32, [e.rows, e.chosen, e.n])])
}

/// Every sum of the products, and a product that knows their length.
struct Sums {
    sums: Vec<Sum>,
    product: Product,
    extents: Vec<usize>,
}

fn sums(name: &str, inputs: &[Option<&RefTensor>], weight: usize) -> Result<Sums> {
    let (x, chosen) = (present(name, inputs, 0)?, present(name, inputs, 1)?);
    let weight = present(name, inputs, weight)?;
    let e = Extents::new(&x.extents, &chosen.extents, &weight.extents)
        .ok_or_else(|| Error::rule(name, "ranks do not fit"))?;
    let (rows, weights) = (x.reals()?, weight.reals()?);
    let line = |len: usize| RefTensor::real(DType::F32, &[1, len], vec![0.0; len]);
    let product = Product::new(name, &line(e.k), &line(e.k), false, true)?;
    let mut sums = Vec::new();
    for (pair, &index) in chosen.ints()?.iter().enumerate() {
        let row = if e.shared { pair / e.chosen } else { pair };
        let expert = expert(index, e.experts, pair)?;
        let (x, w) = (&rows[row * e.k..], &weights[expert * e.n * e.k..]);
        sums.extend((0..e.n).map(|column| product.sum(x, w, 0, column)));
    }
    Ok(Sums { sums, product, extents: vec![e.rows, e.chosen, e.n] })
}

fn lower(kernel: ExpertsKernel, inputs: usize, cx: &mut Lowering<'_>) -> Result<()> {
    let inputs = (0..inputs).map(|i| cx.input(i).map(Some)).collect::<Result<Vec<_>>>()?;
    let output = cx.output(0)?;
    cx.call(kernel, &inputs, &[output]);
    Ok(())
}

impl Operator for ExpertMatMul {
    fn name(&self) -> &str {
        PLAIN
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        infer(PLAIN, &["x", "chosen", "weight"], inputs)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let Sums { sums, extents, .. } = sums(PLAIN, inputs, 2)?;
        let data = sums.iter().map(|sum| finished(sum.value, 0.0, self.activation)).collect();
        Ok(vec![RefTensor::real(DType::F32, &extents, data)])
    }

    /// As for any matrix product: an element is a sum of K terms.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let Sums { sums, product, .. } = sums(PLAIN, cx.inputs, 2)?;
        let of = |sum| activated_error(&product, self.activation, sum, cx.arithmetic);
        Ok(vec![sums.iter().map(of).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let activation = self.activation.filter(|f| *f != Unary::Identity);
        lower(ExpertsKernel { activation, gated: false }, 3, cx)
    }
}

impl Operator for GatedExpertMatMul {
    fn name(&self) -> &str {
        GATED
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        infer(GATED, &["x", "chosen", "gate", "up"], inputs)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (gates, ups) = (sums(GATED, inputs, 2)?, sums(GATED, inputs, 3)?);
        let pairs = gates.sums.iter().zip(&ups.sums);
        let data = pairs.map(|(g, u)| self.activation.eval(g.value) * u.value).collect();
        Ok(vec![RefTensor::real(DType::F32, &gates.extents, data)])
    }

    /// As for [`GatedMatMul`](super::GatedMatMul).
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (gates, ups) = (sums(GATED, cx.inputs, 2)?, sums(GATED, cx.inputs, 3)?);
        let of = |pair| gated_error(&gates.product, self.activation, pair, cx.arithmetic);
        Ok(vec![gates.sums.iter().zip(&ups.sums).map(of).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(ExpertsKernel { activation: Some(self.activation), gated: true }, 4, cx)
    }
}

impl GraphBuilder {
    /// Rows of `x` times the matrices that `chosen` has for them; see
    /// [`ExpertMatMul`].
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn expert_matmul(
        &mut self,
        x: ValueId,
        chosen: ValueId,
        weight: ValueId,
        activation: Option<Unary>,
    ) -> Result<ValueId> {
        self.op1(ExpertMatMul { activation }, &[x, chosen, weight])
    }

    /// The inner half of a gated network for each expert; see
    /// [`GatedExpertMatMul`].
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn gated_expert_matmul(
        &mut self,
        (x, chosen): (ValueId, ValueId),
        gate: ValueId,
        up: ValueId,
        activation: Unary,
    ) -> Result<ValueId> {
        self.op1(GatedExpertMatMul { activation }, &[x, chosen, gate, up])
    }
}
