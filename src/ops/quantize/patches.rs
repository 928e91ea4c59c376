//! What a convolution's window sees, as columns of a matrix.

use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::kernels::movement::{Step, StridedCopy};
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};

/// The elements under a window at each of its places: `[N, C, spatial..]`, padded
/// already, becomes `[N, C, kernel.., places..]`. So a convolution is a matrix
/// product, in any arithmetic.
///
/// Input: any plain dtype, with 1 to 3 spatial dimensions that are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patches {
    /// The window's extents.
    pub kernel: Vec<usize>,
    /// How far the window moves, for each axis.
    pub strides: Vec<usize>,
    /// How far the window's elements are apart, for each axis.
    pub dilations: Vec<usize>,
}

impl Patches {
    /// The extents of the spatial dimensions, and how many places the window has
    /// along each.
    fn axes(&self, x: &TensorType) -> Result<Vec<(usize, usize)>> {
        let wrong = |what: String| Error::rule("Patches", what);
        let axes = self.kernel.len();
        if !(1..=3).contains(&axes) || x.rank() != axes + 2 {
            return Err(wrong(format!("a window {:?} over {x}", self.kernel)));
        }
        if self.strides.len() != axes || self.dilations.len() != axes {
            return Err(wrong(format!("{self:?} has not {axes} of each")));
        }
        let mut all = Vec::with_capacity(axes);
        for (i, dim) in x.shape.iter().skip(2).enumerate() {
            let extent = dim.as_const().and_then(|n| usize::try_from(n).ok());
            let extent = extent.ok_or_else(|| wrong(format!("extents of {x} are not numbers")))?;
            let (kernel, stride) = (self.kernel[i], self.strides[i]);
            let reach = kernel.checked_sub(1).and_then(|k| k.checked_mul(self.dilations[i]));
            let free = reach.and_then(|reach| extent.checked_sub(reach)?.checked_sub(1));
            let places = free.and_then(|free| free.checked_div(stride)).map(|steps| steps + 1);
            let places = places.ok_or_else(|| wrong(format!("{self:?} does not fit {x}")))?;
            all.push((extent, places));
        }
        Ok(all)
    }

    /// The distance in the source along each dimension of the result.
    fn strides_of(&self, x: &TensorType, axes: &[(usize, usize)]) -> Vec<Dim> {
        let mut own: Vec<usize> = vec![1; axes.len()];
        for i in (0..axes.len().saturating_sub(1)).rev() {
            own[i] = own[i + 1] * axes[i + 1].0;
        }
        let plane: usize = axes.iter().map(|axis| axis.0).product();
        let mut strides = vec![&x.shape[1] * plane, plane.into()];
        strides.extend(own.iter().zip(&self.dilations).map(|(own, by)| Dim::from(own * by)));
        strides.extend(own.iter().zip(&self.strides).map(|(own, by)| Dim::from(own * by)));
        strides
    }
}

impl Operator for Patches {
    fn name(&self) -> &str {
        "Patches"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let &[Some(x)] = inputs else { return Err(Error::rule(self.name(), "takes 1 input")) };
        if x.dtype.is_quantised() {
            return Err(Error::rule(self.name(), format!("does not take {x}")));
        }
        let axes = self.axes(x)?;
        let mut shape = x.shape[..2].to_vec();
        shape.extend(self.kernel.iter().map(|&n| Dim::from(n)));
        shape.extend(axes.iter().map(|&(_, places)| Dim::from(places)));
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let &[Some(x)] = inputs else { return Err(Error::rule(self.name(), "takes 1 input")) };
        let shape: Vec<Dim> = x.extents.iter().map(|&n| n.into()).collect();
        let ty = TensorType::new(x.dtype, shape);
        let result = self.infer(&[Some(&ty)])?;
        let extents = result[0].extents(&crate::graph::Bindings::new(0))?;
        let strides: Vec<usize> = self
            .strides_of(&ty, &self.axes(&ty)?)
            .iter()
            .map(|stride| stride.as_const().unwrap_or(0) as usize)
            .collect();
        let source = |flat: usize| {
            let (mut left, mut at) = (flat, 0);
            for (&n, &stride) in extents.iter().zip(&strides).rev() {
                at += left % n * stride;
                left /= n;
            }
            at
        };
        let count: usize = extents.iter().product();
        let data = match &x.data {
            RefData::Real(v) => RefData::Real((0..count).map(|i| v[source(i)]).collect()),
            RefData::Int(v) => RefData::Int((0..count).map(|i| v[source(i)]).collect()),
        };
        Ok(vec![RefTensor { dtype: x.dtype, extents, data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(cx.outputs.iter().map(|y| vec![0.0; y.len()]).collect())
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let strides = self.strides_of(&x.ty, &self.axes(&x.ty)?);
        let steps = strides.into_iter().map(Step::forward).collect();
        cx.call(StridedCopy { start: Dim::Const(0), steps }, &[Some(x)], &[y]);
        Ok(())
    }
}
