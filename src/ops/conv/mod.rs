//! Convolutions, and transposed ones.

mod cases;
mod causal;
mod columns;
pub(crate) mod geometry;
mod onnx;
pub(crate) mod padding;
pub(crate) mod reference;
mod transpose;

pub(crate) use cases::{conv_cases, conv_transpose_cases};
pub(crate) use onnx::ONNX;
pub use transpose::ConvTranspose;

use super::elementwise::Unary;
use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::conv::ConvKernel;
use crate::tensor::DType;
use geometry::{Geometry, Steps};

/// ONNX `Conv` with an epilogue: output channel m at place o is
/// `activation(Σ w[m, c, k] x[c, o * stride + k * dilation - pad] + bias[m] +
/// residual[m, o])`, where x outside its extents is 0.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, spatial..]`, one to three spatial dimensions |
/// | w | F32 `[M, C / group, kernel..]` |
/// | bias, optional | F32 `[M]` |
/// | residual, optional | F32, the shape of the output |
///
/// The output is F32 `[N, M, spatial..]`. Only N may be a symbol. Output
/// channels are in as many groups as input channels, and each of them sees the
/// input channels of its group.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// The step of the window along each spatial dimension; empty for 1.
    pub strides: Vec<usize>,
    /// The distance between its taps; empty for 1.
    pub dilations: Vec<usize>,
    /// Zeros before the first element of each spatial dimension, then behind
    /// the last element of each; empty for none.
    pub pads: Vec<usize>,
    /// Into how many groups channels are divided.
    pub group: usize,
    /// Applied to the result.
    pub activation: Option<Unary>,
}

impl Default for Conv {
    fn default() -> Self {
        let (strides, dilations, pads) = (Vec::new(), Vec::new(), Vec::new());
        Conv { strides, dilations, pads, group: 1, activation: None }
    }
}

const CONV: &str = "Conv";

/// The inputs of both operators, as messages call them.
const INPUTS: &[&str] = &["x", "w", "bias", "residual"];

impl Conv {
    fn geometry(&self, x: &TensorType, w: &TensorType) -> Result<Geometry> {
        let Conv { strides, dilations, pads, .. } = self;
        Geometry::convolution(x, w, Steps { strides, dilations, pads }, self.group)
            .map_err(|what| Error::rule(CONV, what))
    }
}

impl Operator for Conv {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        CONV
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        infer(CONV, inputs, |x, w| self.geometry(x, w))
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (x, w) = operands(CONV, inputs)?;
        let g = self.geometry(&reference::ty(x), &reference::ty(w))?;
        Ok(vec![reference::value(&g, inputs, self.activation)?])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (x, w) = operands(CONV, cx.inputs)?;
        let g = self.geometry(&reference::ty(x), &reference::ty(w))?;
        Ok(vec![reference::bound(&g, cx, self.activation)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let geometry = self.geometry(&cx.input(0)?.ty, &cx.input(1)?.ty)?;
        lower(cx, geometry, self.activation)
    }
}

/// The shape rule of both operators.
fn infer(
    op: &'static str,
    inputs: &[Option<&TensorType>],
    geometry: impl Fn(&TensorType, &TensorType) -> Result<Geometry>,
) -> Result<Vec<TensorType>> {
    let rules = Rules::new(op, INPUTS, 2, inputs)?;
    for index in (0..inputs.len()).filter(|&index| rules.optional(index).is_some()) {
        rules.dtype(index, &[DType::F32])?;
    }
    let g = geometry(rules.input(0)?, rules.input(1)?)?;
    let y = TensorType::new(DType::F32, g.output());
    let bias = TensorType::new(DType::F32, [y.shape[1].clone()]);
    for (index, expected) in [(2, &bias), (3, &y)] {
        if let Some(ty) = rules.optional(index).filter(|ty| *ty != expected) {
            return rules.broken(format!("'{}' must be {expected}, got {ty}", INPUTS[index]));
        }
    }
    Ok(vec![y])
}

fn operands<'a>(
    op: &str,
    inputs: &[Option<&'a RefTensor>],
) -> Result<(&'a RefTensor, &'a RefTensor)> {
    match inputs {
        [Some(x), Some(w), ..] => Ok((x, w)),
        _ => Err(Error::internal(format!("{op} without operands"))),
    }
}

fn lower(cx: &mut Lowering<'_>, geometry: Geometry, activation: Option<Unary>) -> Result<()> {
    let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), cx.optional(2), cx.optional(3)];
    let y = cx.output(0)?;
    // A function that does nothing needs no code.
    let activation = activation.filter(|f| *f != Unary::Identity);
    cx.call(ConvKernel { geometry, activation }, &inputs, &[y]);
    Ok(())
}

impl GraphBuilder {
    /// A convolution of `x` `[N, C, spatial..]` with `w` `[M, C / group,
    /// kernel..]` and `bias` `[M]`; see [`Conv`].
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn conv(
        &mut self,
        op: Conv,
        x: ValueId,
        w: ValueId,
        bias: Option<ValueId>,
    ) -> Result<ValueId> {
        self.convolved(op, x, w, bias)
    }

    /// A transposed convolution of `x` `[N, C, spatial..]` with `w` `[C, M /
    /// group, kernel..]` and `bias` `[M]`; see [`ConvTranspose`].
    ///
    /// # Errors
    /// If types or shapes do not fit each other.
    pub fn conv_transpose(
        &mut self,
        op: ConvTranspose,
        x: ValueId,
        w: ValueId,
        bias: Option<ValueId>,
    ) -> Result<ValueId> {
        self.convolved(op, x, w, bias)
    }

    fn convolved(
        &mut self,
        op: impl Operator,
        x: ValueId,
        w: ValueId,
        bias: Option<ValueId>,
    ) -> Result<ValueId> {
        let mut inputs = vec![Some(x), Some(w)];
        inputs.extend(bias.map(Some));
        let outputs = self.op(op, &inputs)?;
        outputs.first().copied().ok_or_else(|| Error::internal("a convolution without a result"))
    }
}
