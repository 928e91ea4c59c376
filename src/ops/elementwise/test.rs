//! Questions about real numbers.

use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::Map;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;

/// A question about each real number, answered by truth values. Devices look at
/// the bits, since WGSL lets them assume that all numbers are finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Test {
    /// Whether it is not a number.
    IsNaN,
    /// Whether it is infinite.
    IsInf {
        /// Whether negative infinity counts.
        negative: bool,
        /// Whether positive infinity counts.
        positive: bool,
    },
}

impl Test {
    /// The shader features that select the question.
    pub(crate) fn features(self) -> Vec<&'static str> {
        match self {
            Test::IsNaN => vec!["op_is_nan"],
            Test::IsInf { negative, positive } => {
                let mut features = vec!["op_is_inf"];
                features.extend(negative.then_some("negative"));
                features.extend(positive.then_some("positive"));
                features
            }
        }
    }

    /// The answer.
    pub fn eval(self, x: f64) -> bool {
        match self {
            Test::IsNaN => x.is_nan(),
            Test::IsInf { negative, positive } => {
                (negative && x == f64::NEG_INFINITY) || (positive && x == f64::INFINITY)
            }
        }
    }
}

impl Operator for Test {
    fn name(&self) -> &str {
        match self {
            Test::IsNaN => "IsNaN",
            Test::IsInf { .. } => "IsInf",
        }
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(x)] = inputs else {
            return Err(Error::rule(self.name(), format!("takes 1 input, got {inputs:?}")));
        };
        if !x.dtype.is_float() && !x.dtype.is_small_float() {
            return Err(Error::rule(self.name(), format!("takes real numbers, not {x}")));
        }
        Ok(vec![TensorType::new(DType::Bool, x.shape.clone())])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let &[Some(x)] = inputs else { return Err(Error::rule(self.name(), "takes 1 input")) };
        let answers = x.reals()?.iter().map(|&v| i64::from(self.eval(v))).collect();
        Ok(vec![RefTensor::int(DType::Bool, &x.extents, answers)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(vec![vec![0.0; cx.input(0)?.len()]])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (input, output) = (cx.input(0)?, cx.output(0)?);
        cx.call(Map::Test(*self), &[Some(input)], &[output]);
        Ok(())
    }
}
