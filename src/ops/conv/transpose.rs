//! Transposed convolutions.

use super::geometry::{Geometry, Steps};
use super::{infer, lower, operands, reference};
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::ops::elementwise::Unary;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};

/// ONNX `ConvTranspose` with an epilogue: each element of x is spread over the
/// outputs of its window, `y[m, i * stride + k * dilation - pad] += w[c, m, k]
/// x[c, i]`; then come `bias[m]`, `residual[m, o]` and the activation.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, spatial..]`, one to three spatial dimensions |
/// | w | F32 `[C, M / group, kernel..]` |
/// | bias, optional | F32 `[M]` |
/// | residual, optional | F32, the shape of the output |
///
/// The output is F32 `[N, M, spatial..]` with extents `stride * (n - 1) +
/// dilation * (kernel - 1) + 1 + output_padding - pads`. Only N may be a symbol.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvTranspose {
    /// The step of the window along each spatial dimension; empty for 1.
    pub strides: Vec<usize>,
    /// The distance between its taps; empty for 1.
    pub dilations: Vec<usize>,
    /// What is cut off before the first output of each spatial dimension, then
    /// behind the last one of each; empty for nothing.
    pub pads: Vec<usize>,
    /// Outputs added behind the last one of each dimension; empty for none.
    pub output_padding: Vec<usize>,
    /// Into how many groups channels are divided.
    pub group: usize,
    /// Applied to the result.
    pub activation: Option<Unary>,
}

impl Default for ConvTranspose {
    fn default() -> Self {
        ConvTranspose {
            strides: Vec::new(),
            dilations: Vec::new(),
            pads: Vec::new(),
            output_padding: Vec::new(),
            group: 1,
            activation: None,
        }
    }
}

const CONV_TRANSPOSE: &str = "ConvTranspose";

impl ConvTranspose {
    fn geometry(&self, x: &TensorType, w: &TensorType) -> Result<Geometry> {
        let ConvTranspose { strides, dilations, pads, output_padding, .. } = self;
        let steps = Steps { strides, dilations, pads };
        Geometry::transposed(x, w, steps, self.group, output_padding)
            .map_err(|what| Error::rule(CONV_TRANSPOSE, what))
    }
}

impl Operator for ConvTranspose {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        CONV_TRANSPOSE
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        infer(CONV_TRANSPOSE, inputs, |x, w| self.geometry(x, w))
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (x, w) = operands(CONV_TRANSPOSE, inputs)?;
        let g = self.geometry(&reference::ty(x), &reference::ty(w))?;
        Ok(vec![reference::value(&g, inputs, self.activation)?])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (x, w) = operands(CONV_TRANSPOSE, cx.inputs)?;
        let g = self.geometry(&reference::ty(x), &reference::ty(w))?;
        Ok(vec![reference::bound(&g, cx, self.activation)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let geometry = self.geometry(&cx.input(0)?.ty, &cx.input(1)?.ty)?;
        lower(cx, geometry, self.activation)
    }
}
