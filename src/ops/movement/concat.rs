//! Tensors one after another.

use super::{exact, present};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::kernels::movement::Place;
use crate::ops::rules::front_axis;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};

/// ONNX `Concat`: at least one input, all of one plain dtype and, but for the
/// axis, one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concat {
    /// The axis, from the end where negative.
    pub axis: i64,
}

const NAME: &str = "Concat";

impl Operator for Concat {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let parts: Option<Vec<_>> = inputs.iter().copied().collect();
        let parts = parts.filter(|parts| !parts.is_empty());
        let parts = parts.ok_or_else(|| Error::rule(NAME, "every input must be present"))?;
        let first = parts[0];
        let axis = front_axis(NAME, self.axis, first.rank())?;
        let mut result = first.clone();
        result.shape[axis] = Dim::Const(0);
        for part in parts {
            let alike = part.dtype == first.dtype
                && part.rank() == first.rank()
                && (0..first.rank()).all(|i| i == axis || part.shape[i] == first.shape[i]);
            if !alike || part.dtype.is_quantised() {
                let what = format!("{part} does not join {first} along axis {axis}");
                return Err(Error::rule(NAME, what));
            }
            result.shape[axis] = &result.shape[axis] + &part.shape[axis];
        }
        Ok(vec![result])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let first = present(NAME, inputs, 0)?;
        let axis = front_axis(NAME, self.axis, first.extents.len())?;
        let outer: usize = first.extents[..axis].iter().product();
        let mut extents = first.extents.clone();
        extents[axis] = 0;
        let mut parts = Vec::new();
        for i in 0..inputs.len() {
            let part = present(NAME, inputs, i)?;
            extents[axis] += part.extents[axis];
            parts.push((part, part.extents[axis..].iter().product::<usize>()));
        }
        let data = match &first.data {
            RefData::Real(_) => RefData::Real(joined(&parts, outer, RefTensor::reals)?),
            RefData::Int(_) => RefData::Int(joined(&parts, outer, RefTensor::ints)?),
        };
        Ok(vec![RefTensor { dtype: first.dtype, extents, data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(exact(cx.outputs))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let y = cx.output(0)?;
        let axis = front_axis(NAME, self.axis, y.ty.rank())?;
        let mut inputs = Vec::new();
        while let Some(input) = cx.optional(inputs.len()) {
            inputs.push(Some(input));
        }
        cx.call(Place { axis }, &inputs, &[y]);
        Ok(())
    }
}

fn joined<T: Copy>(
    parts: &[(&RefTensor, usize)],
    outer: usize,
    data: impl Fn(&RefTensor) -> Result<&[T]>,
) -> Result<Vec<T>> {
    let mut out = Vec::new();
    for o in 0..outer {
        for (part, row) in parts {
            out.extend_from_slice(&data(part)?[o * row..(o + 1) * row]);
        }
    }
    Ok(out)
}
