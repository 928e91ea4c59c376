//! Convolutions in f64, and how far an executor may be from them.

use super::geometry::{Axis, Geometry};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::ops::elementwise::Unary;
use crate::ops::{BoundCx, RefTensor};
use crate::validate::error_model::gamma;

/// A sum of products.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    value: f64,
    /// The sum of absolute values.
    magnitude: f64,
    terms: usize,
}

impl Sum {
    fn add(&mut self, product: f64) {
        self.value += product;
        self.magnitude += product.abs();
        self.terms += 1;
    }
}

/// The type of a reference's tensor.
pub(crate) fn ty(tensor: &RefTensor) -> TensorType {
    let shape: Vec<Dim> = tensor.extents.iter().map(|&n| n.into()).collect();
    TensorType::new(tensor.dtype, shape)
}

/// Every output's sum, row-major.
pub(super) fn sums(g: &Geometry, x: &RefTensor, w: &RefTensor) -> Result<Vec<Sum>> {
    let (x, w) = (x.reals()?, w.reals()?);
    let (plane, taps) = (g.plane_in(), g.taps());
    let outputs = positions(&g.axes, |axis| axis.output);
    let kernel = positions(&g.axes, |axis| axis.kernel);
    let batch = g.batch.as_const().unwrap_or(0) as usize;
    let mut sums = vec![Sum::default(); batch * g.groups * g.m * outputs.len()];
    for n in 0..batch {
        for group in 0..g.groups {
            for m in 0..g.m {
                let channel = (n * g.groups + group) * g.m + m;
                let sums = &mut sums[channel * outputs.len()..][..outputs.len()];
                for c in 0..g.c {
                    let x = &x[((n * g.groups + group) * g.c + c) * plane..][..plane];
                    let row = if g.transposed {
                        (group * g.c + c) * g.m + m
                    } else {
                        (group * g.m + m) * g.c + c
                    };
                    let w = &w[row * taps..][..taps];
                    if g.transposed {
                        scatter(g, &kernel, x, w, sums);
                    } else {
                        gather(g, &outputs, &kernel, x, w, sums);
                    }
                }
            }
        }
    }
    Ok(sums)
}

/// Every output takes what its window meets.
fn gather(
    g: &Geometry,
    outputs: &[Vec<usize>],
    kernel: &[Vec<usize>],
    x: &[f64],
    w: &[f64],
    sums: &mut [Sum],
) {
    for (sum, o) in sums.iter_mut().zip(outputs) {
        for (w, k) in w.iter().zip(kernel) {
            let at = g
                .axes
                .iter()
                .zip(o.iter().zip(k))
                .try_fold(0, |at, (axis, (&o, &k))| Some(at * axis.input + axis.met(o, k)?));
            if let Some(at) = at {
                sum.add(w * x[at]);
            }
        }
    }
}

/// Every input is spread over the outputs of its window.
fn scatter(g: &Geometry, kernel: &[Vec<usize>], x: &[f64], w: &[f64], sums: &mut [Sum]) {
    for (x, i) in x.iter().zip(positions(&g.axes, |axis| axis.input)) {
        for (w, k) in w.iter().zip(kernel) {
            let at = g.axes.iter().zip(i.iter().zip(k)).try_fold(0, |at, (axis, (&i, &k))| {
                let o = (i * axis.stride + k * axis.dilation).checked_sub(axis.begin)?;
                (o < axis.output).then_some(at * axis.output + o)
            });
            if let Some(at) = at {
                sums[at].add(w * x);
            }
        }
    }
}

/// Every position in axes of the given lengths, row-major.
pub(crate) fn positions(axes: &[Axis], length: impl Fn(&Axis) -> usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for axis in axes {
        let with = |before: Vec<usize>| {
            (0..length(axis)).map(move |i| before.iter().copied().chain([i]).collect())
        };
        all = all.into_iter().flat_map(with).collect();
    }
    all
}

/// What is added to a sum, and what is applied to it.
struct Finish<'a> {
    plane: usize,
    channels: usize,
    bias: Option<&'a [f64]>,
    residual: Option<&'a [f64]>,
    activation: Option<Unary>,
}

impl<'a> Finish<'a> {
    fn new(
        g: &Geometry,
        inputs: &[Option<&'a RefTensor>],
        activation: Option<Unary>,
    ) -> Result<Self> {
        let reals = |i: usize| inputs.get(i).copied().flatten().map(RefTensor::reals).transpose();
        let (plane, channels) = (g.plane_out(), g.groups * g.m);
        Ok(Finish { plane, channels, bias: reals(2)?, residual: reals(3)?, activation })
    }

    /// What is added to an output's sum.
    fn terms(&self, at: usize) -> impl Iterator<Item = f64> {
        let bias = self.bias.map(|bias| bias[at / self.plane % self.channels]);
        let residual = self.residual.map(|residual| residual[at]);
        bias.into_iter().chain(residual)
    }
}

/// The convolution of the first two inputs with bias, residual and activation.
pub(super) fn value(
    g: &Geometry,
    inputs: &[Option<&RefTensor>],
    activation: Option<Unary>,
) -> Result<RefTensor> {
    let [Some(x), Some(w), ..] = inputs else {
        return Err(Error::internal("a convolution without operands"));
    };
    let finish = Finish::new(g, inputs, activation)?;
    let of = |(at, sum): (usize, &Sum)| {
        let value = finish.terms(at).fold(sum.value, |value, term| value + term);
        activation.map_or(value, |f| f.eval(value))
    };
    let data = sums(g, x, w)?.iter().enumerate().map(of).collect();
    let extents: Option<Vec<usize>> = super::geometry::numbers(&g.output());
    let extents = extents.ok_or_else(|| Error::internal("the reference needs numbers"))?;
    Ok(RefTensor::real(x.dtype, &extents, data))
}

/// The probabilistic bound of Higham and Mary over the products of a sum, one
/// rounding for each term added to it, and the activation's own error.
pub(super) fn bound(g: &Geometry, cx: &BoundCx<'_>, activation: Option<Unary>) -> Result<Vec<f64>> {
    let unit = cx.arithmetic.unit();
    let finish = Finish::new(g, cx.inputs, activation)?;
    let of = |(at, sum): (usize, &Sum)| {
        let (mut value, mut error) = (sum.value, gamma(sum.terms, unit) * sum.magnitude);
        for term in finish.terms(at) {
            value += term;
            error += unit * (value.abs() + error);
        }
        finish.activation.map_or(error, |f| f.propagate(value, error))
    };
    Ok(sums(g, cx.input(0)?, cx.input(1)?)?.iter().enumerate().map(of).collect())
}
