//! Matrix products: with bias and activation, gated, and with matrices that rows choose.

mod bnb4;
mod cases;
mod distance;
mod einsum;
mod expert_cases;
mod experts;
pub(crate) mod geometry;
mod host;
mod mixture;
mod nbits;
mod onnx;
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use cases::{gated_cases, matmul_cases};
pub(crate) use distance::squared;
pub(crate) use expert_cases::{expert_cases, gated_expert_cases};
pub(crate) use experts::expert;
pub use experts::{ExpertMatMul, GatedExpertMatMul};
pub(crate) use host::COMPUTED;
pub(crate) use onnx::ONNX;

use super::elementwise::Unary;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::matmul::MatMulKernel;
use crate::quant::DeviceLayout;
use crate::tensor::DType;
use geometry::Geometry;
pub(crate) use reference::{INT8_BLOCK, Product, Sum};

/// `y = activation(a · b + bias)`, in f32.
///
/// Inputs: `a` F32 `[batch.., M, K]` (`[batch.., K, M]` if `trans_a`), `b`
/// `[batch.., K, N]` (`[batch.., N, K]` if `trans_b`), and optionally `bias`
/// F32 `[N]`. Batch dimensions broadcast as in ONNX, and a vector `[K]` stands
/// for one row of `a` or one column of `b`, whose dimension the result lacks.
/// Output: F32 `[batch.., M, N]`.
///
/// `b` may be of any weight type ([`crate::quant::WEIGHT_TYPES`]). A quantised
/// one has its blocks along K: it must be `[N, K]` with `trans_b`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MatMul {
    /// The matrices of `a` are stored transposed.
    pub trans_a: bool,
    /// The matrices of `b` are stored transposed, as weights of linear layers are.
    pub trans_b: bool,
    /// Applied to the result.
    pub activation: Option<Unary>,
}

/// `y = activation(x · gateᵀ) * (x · upᵀ)`, the inner half of a gated
/// feed-forward network, in f32.
///
/// Inputs: `x` F32 `[.., M, K]`, `gate` and `up` `[N, K]` of the same weight
/// type. Output: F32 `[.., M, N]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatedMatMul {
    /// Applied to the product with `gate`.
    pub activation: Unary,
}

impl MatMul {
    fn kernel(&self) -> MatMulKernel {
        MatMulKernel {
            trans_a: self.trans_a,
            trans_b: self.trans_b,
            // A function that does nothing needs no code.
            activation: self.activation.filter(|f| *f != Unary::Identity),
            gated: false,
        }
    }

    fn product(&self, inputs: &[Option<&RefTensor>]) -> Result<Product> {
        let (a, b) = (present(self.name(), inputs, 0)?, present(self.name(), inputs, 1)?);
        Product::new(self.name(), a, b, self.trans_a, self.trans_b)
    }
}

impl Operator for MatMul {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        "MatMul"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let wrong = |what: String| Error::rule(self.name(), what);
        if !(2..=3).contains(&inputs.len()) {
            return Err(wrong(format!("takes 2 or 3 inputs, got {}", inputs.len())));
        }
        let (a, b) = (present(self.name(), inputs, 0)?, present(self.name(), inputs, 1)?);
        check_types(a, b, self.trans_b).map_err(wrong)?;
        let geometry = Geometry::new(a, b, self.trans_a, self.trans_b).map_err(wrong)?;
        if let Some(bias) = inputs.get(2).copied().flatten()
            && *bias != TensorType::new(DType::F32, [geometry.n.clone()])
        {
            return Err(wrong(format!("bias is {bias}, it must be F32[{}]", geometry.n)));
        }
        Ok(vec![TensorType::new(DType::F32, geometry.shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let product = self.product(inputs)?;
        let (a, b) = (present(self.name(), inputs, 0)?, present(self.name(), inputs, 1)?);
        let bias = inputs.get(2).copied().flatten().map(RefTensor::reals).transpose()?;
        let finish = |(i, sum): (usize, &Sum)| {
            let bias = bias.map_or(0.0, |bias| bias[product.column(i)]);
            reference::finished(sum.value, bias, self.activation)
        };
        let data = product.sums(a, b)?.iter().enumerate().map(finish).collect();
        Ok(vec![RefTensor::real(DType::F32, &product.extents()?, data)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let product = self.product(cx.inputs)?;
        Ok(vec![reference::bound(&product, self.activation, cx)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), cx.optional(2)];
        let output = cx.output(0)?;
        cx.call(self.kernel(), &inputs, &[output]);
        Ok(())
    }
}

impl Operator for GatedMatMul {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        "GatedMatMul"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let wrong = |what: String| Error::rule(self.name(), what);
        if inputs.len() != 3 {
            return Err(wrong(format!("takes 3 inputs, got {}", inputs.len())));
        }
        let x = present(self.name(), inputs, 0)?;
        let gate = present(self.name(), inputs, 1)?;
        let up = present(self.name(), inputs, 2)?;
        if gate != up {
            return Err(wrong(format!("gate is {gate} and up is {up}; they must be alike")));
        }
        if gate.rank() != 2 {
            return Err(wrong(format!("gate is {gate}, it must have two dimensions")));
        }
        check_types(x, gate, true).map_err(wrong)?;
        let geometry = Geometry::new(x, gate, false, true).map_err(wrong)?;
        Ok(vec![TensorType::new(DType::F32, geometry.shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = present(self.name(), inputs, 0)?;
        let gate = present(self.name(), inputs, 1)?;
        let up = present(self.name(), inputs, 2)?;
        let product = Product::new(self.name(), x, gate, false, true)?;
        let (gates, ups) = (product.sums(x, gate)?, product.sums(x, up)?);
        let pairs = gates.iter().zip(&ups);
        let data = pairs.map(|(g, u)| self.activation.eval(g.value) * u.value).collect();
        Ok(vec![RefTensor::real(DType::F32, &product.extents()?, data)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let product = Product::new(self.name(), cx.input(0)?, cx.input(1)?, false, true)?;
        Ok(vec![reference::gated_bound(&product, self.activation, cx)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), Some(cx.input(2)?)];
        let output = cx.output(0)?;
        let kernel = MatMulKernel {
            trans_a: false,
            trans_b: true,
            activation: Some(self.activation),
            gated: true,
        };
        cx.call(kernel, &inputs, &[output]);
        Ok(())
    }
}

/// The checks that concern element types.
fn check_types(a: &TensorType, b: &TensorType, trans_b: bool) -> std::result::Result<(), String> {
    if a.dtype != DType::F32 {
        return Err(format!("a is {a}, it must be F32"));
    }
    if DeviceLayout::of(b.dtype).is_none() {
        return Err(format!("b is {b}, it must be of a floating-point or block type"));
    }
    if b.dtype.is_quantised() {
        if b.rank() != 2 || !trans_b {
            return Err(format!("b is {b}; a quantised b must be [N, K] and transposed"));
        }
        let block = b.dtype.block_len() as u64;
        if let Some(k) = b.width().as_const()
            && !k.is_multiple_of(block)
        {
            return Err(format!("b is {b}; its last dimension must be a multiple of {block}"));
        }
    }
    Ok(())
}

fn present<'a, T>(op: &str, inputs: &[Option<&'a T>], index: usize) -> Result<&'a T> {
    let found = inputs.get(index).copied().flatten();
    found.ok_or_else(|| Error::rule(op, format!("input {index} is missing")))
}

impl GraphBuilder {
    /// `a · b`; see [`MatMul`].
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.op1(MatMul::default(), &[a, b])
    }

    /// A linear layer: `x · weightᵀ + bias` with `x` `[.., K]`, `weight`
    /// `[N, K]` of any weight type and `bias` `[N]`.
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn linear(
        &mut self,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
    ) -> Result<ValueId> {
        self.matmul_with(MatMul { trans_b: true, ..MatMul::default() }, x, weight, bias)
    }

    /// A matrix product with all options; see [`MatMul`].
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn matmul_with(
        &mut self,
        op: MatMul,
        a: ValueId,
        b: ValueId,
        bias: Option<ValueId>,
    ) -> Result<ValueId> {
        let mut inputs = vec![Some(a), Some(b)];
        inputs.extend(bias.map(Some));
        let outputs = self.op(op, &inputs)?;
        outputs.first().copied().ok_or_else(|| Error::internal("a product without a result"))
    }

    /// `activation(x · gateᵀ) * (x · upᵀ)`; see [`GatedMatMul`].
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn gated_matmul(
        &mut self,
        x: ValueId,
        gate: ValueId,
        up: ValueId,
        activation: Unary,
    ) -> Result<ValueId> {
        self.op1(GatedMatMul { activation }, &[x, gate, up])
    }
}
