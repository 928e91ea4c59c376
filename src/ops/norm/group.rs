//! Normalisation of groups of channels.

use super::{Inputs, Kind, Normalization, first};
use crate::error::Result;
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::norm::{Groups, NormKernel};
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;

/// ONNX `GroupNormalization` (opset 21), and `InstanceNormalization` where
/// there are as many groups as channels: the channels of a group of an instance
/// are normalised together.
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, ...]`, C a constant |
/// | scale | F32 `[C]` |
/// | bias | F32 `[C]` |
///
/// The output has x's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormalization {
    /// How many groups; C is a multiple of it.
    pub groups: u64,
    /// Added under the root; positive.
    pub epsilon: f32,
}

const NAME: &str = "GroupNormalization";

impl GroupNormalization {
    fn norm(&self) -> Normalization {
        Normalization { kind: Kind::Layer, epsilon: self.epsilon }
    }

    /// Has `visit` see every row of x with its scale and bias.
    fn rows(
        &self,
        inputs: &[Option<&RefTensor>],
        mut visit: impl FnMut(&[f64], &Inputs<'_>),
    ) -> Result<()> {
        let x = first(NAME, inputs, 0)?;
        let vectors = Inputs::of(NAME, inputs, 1)?;
        let spatial: usize = x.extents.iter().skip(2).product();
        let channels = vectors.scale.len() / self.groups.max(1) as usize;
        let spread = |all: &[f64], row: usize| -> Vec<f64> {
            let group = row % self.groups as usize * channels;
            let own = &all[group..group + channels];
            own.iter().flat_map(|&v| std::iter::repeat_n(v, spatial)).collect()
        };
        let n = (channels * spatial).max(1);
        for (i, row) in x.reals()?.chunks_exact(n).enumerate() {
            let scale = spread(vectors.scale, i);
            let bias = vectors.bias.map(|bias| spread(bias, i));
            visit(row, &Inputs { scale: &scale, bias: bias.as_deref() });
        }
        Ok(())
    }
}

impl Operator for GroupNormalization {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, &["x", "scale", "bias"], 3, inputs)?;
        rules.dtype(0, &[DType::F32])?;
        let x = rules.input(0)?;
        let (true, Some(channels)) = (x.rank() >= 2, x.shape.get(1).and_then(Dim::as_const)) else {
            return rules.broken(format!("'x' must be [N, C, ...] with a constant C, got {x}"));
        };
        if self.groups == 0 || channels % self.groups != 0 {
            return rules.broken(format!("{} groups of the channels of {x}", self.groups));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return rules.broken(format!("epsilon {}", self.epsilon));
        }
        for index in [1, 2] {
            rules.typed(index, &[DType::F32], 1)?;
            rules.dim(index, 0, &channels.into())?;
        }
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = first(NAME, inputs, 0)?;
        let mut all = Vec::with_capacity(x.len());
        self.rows(inputs, |row, vectors| {
            all.extend(self.norm().rows(row, row.len(), vectors.scale, vectors.bias).0);
        })?;
        Ok(vec![RefTensor::real(x.dtype, &x.extents, all)])
    }

    /// As for [`Normalization`].
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let mut all = Vec::new();
        self.rows(cx.inputs, |row, vectors| {
            all.extend(self.norm().bound_rows(row, 0.0, vectors, cx.arithmetic.unit()));
        })?;
        Ok(vec![all])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let channels = x.ty.shape.get(1).and_then(Dim::as_const).unwrap_or(0);
        let groups = Groups {
            groups: self.groups,
            channels: channels / self.groups.max(1),
            spatial: Dim::product(x.ty.shape.iter().skip(2)),
        };
        let kernel = NormKernel { norm: self.norm(), groups: Some(groups) };
        let inputs = [Some(x), None, Some(cx.input(1)?), cx.optional(2)];
        let y = cx.output(0)?;
        cx.call(kernel, &inputs, &[y]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Normalises groups of channels of `x` (F32 `[N, C, ...]`); see
    /// [`GroupNormalization`].
    ///
    /// # Errors
    /// If types do not fit or epsilon is not positive.
    pub fn group_normalization(
        &mut self,
        x: ValueId,
        scale: ValueId,
        bias: ValueId,
        groups: u64,
        epsilon: f32,
    ) -> Result<ValueId> {
        self.op1(GroupNormalization { groups, epsilon }, &[x, scale, bias])
    }
}
