//! Gated activations.

use super::binary::pair;
use super::{Unary, broadcast};
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};

/// `act(a) * b` of real numbers, broadcast to a common shape: SwiGLU, GeGLU and
/// their kin in one pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatedActivation {
    /// What is applied to the first input, the gate.
    pub act: Unary,
}

impl Operator for GatedActivation {
    fn name(&self) -> &str {
        "GatedActivation"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(a), Some(b)] = inputs else {
            return Err(Error::rule(self.name(), format!("takes 2 inputs, got {inputs:?}")));
        };
        if a.dtype != b.dtype || !a.dtype.is_float() {
            let what = format!("does not take {} and {}", a.dtype, b.dtype);
            return Err(Error::rule(self.name(), what));
        }
        Ok(vec![TensorType::new(a.dtype, broadcast::shape(self.name(), &[a, b])?)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (a, b) = pair(self.name(), inputs)?;
        let extents = broadcast::extents(self.name(), &[a, b])?;
        let (gate, up) = (a.reals()?, b.reals()?);
        let value = |i| {
            let x = gate[broadcast::offset(i, &extents, &a.extents)];
            self.act.eval(x) * up[broadcast::offset(i, &extents, &b.extents)]
        };
        let values = (0..extents.iter().product()).map(value).collect();
        Ok(vec![RefTensor::real(a.dtype, &extents, values)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (a, b, y) = (cx.input(0)?, cx.input(1)?, &cx.outputs[0]);
        let (gate, up) = (a.reals()?, b.reals()?);
        let unit = crate::ops::Arithmetic::F32.unit();
        let error = |(i, f): (usize, &f64)| {
            let x = gate[broadcast::offset(i, &y.extents, &a.extents)];
            let factor = up[broadcast::offset(i, &y.extents, &b.extents)];
            // The activation's error, then a product rounded to either neighbour.
            self.act.error(x) * factor.abs() * (1.0 + 2.0 * unit) + 2.0 * unit * f.abs()
        };
        Ok(vec![y.reals()?.iter().enumerate().map(error).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?)];
        let output = cx.output(0)?;
        cx.call(Map::Gated(self.act), &inputs, &[output]);
        Ok(())
    }
}
