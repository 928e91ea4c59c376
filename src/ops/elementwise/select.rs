//! Choice between two tensors.

use super::broadcast;
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::DType;

/// The second input where the first, a truth value, is set; the third
/// elsewhere. All three are broadcast to a common shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Where;

impl Operator for Where {
    fn name(&self) -> &str {
        "Where"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(condition), Some(a), Some(b)] = inputs else {
            return Err(Error::rule(self.name(), format!("takes 3 inputs, got {inputs:?}")));
        };
        if condition.dtype != DType::Bool || a.dtype != b.dtype || a.dtype.is_quantised() {
            let what = format!("does not take {}, {}, {}", condition.dtype, a.dtype, b.dtype);
            return Err(Error::rule(self.name(), what));
        }
        let shape = broadcast::shape(self.name(), &[condition, a, b])?;
        Ok(vec![TensorType::new(a.dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let &[Some(condition), Some(a), Some(b)] = inputs else {
            return Err(Error::rule(self.name(), "takes 3 inputs"));
        };
        let extents = broadcast::extents(self.name(), &[condition, a, b])?;
        let truth = condition.ints()?;
        let chosen = (0..extents.iter().product()).map(|i| {
            let yes = truth[broadcast::offset(i, &extents, &condition.extents)] != 0;
            let from = if yes { a } else { b };
            (yes, broadcast::offset(i, &extents, &from.extents))
        });
        let data = match (&a.data, &b.data) {
            (RefData::Real(x), RefData::Real(y)) => {
                RefData::Real(chosen.map(|(yes, i)| if yes { x[i] } else { y[i] }).collect())
            }
            _ => {
                let (x, y) = (a.ints()?, b.ints()?);
                RefData::Int(chosen.map(|(yes, i)| if yes { x[i] } else { y[i] }).collect())
            }
        };
        Ok(vec![RefTensor { dtype: a.dtype, extents, data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![vec![0.0; cx.outputs[0].len()]])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), Some(cx.input(2)?)];
        let output = cx.output(0)?;
        cx.call(Map::Where, &inputs, &[output]);
        Ok(())
    }
}
