//! Matrix products in f64, and how far an executor may be from them.

use super::geometry::Geometry;
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::ops::elementwise::Unary;
use crate::ops::{Arithmetic, BoundCx, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::{gamma, half_rounding, independent};

/// A sum of products and what its error is made of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    /// The sum.
    pub(crate) value: f64,
    /// The sum of absolute values.
    magnitude: f64,
    /// How far the sum moves when the operands are rounded to f16.
    halved: f64,
    /// The sum of squares of how far each product moves when rows of the first one are
    /// rounded to eight bits.
    eighth: f64,
}

/// The product of two tensors, an element at a time, row-major.
pub(crate) struct Product {
    geometry: Geometry,
    m: usize,
    n: usize,
    k: usize,
}

impl Product {
    pub(crate) fn new(
        op: &str,
        a: &RefTensor,
        b: &RefTensor,
        trans_a: bool,
        trans_b: bool,
    ) -> Result<Self> {
        let geometry = Geometry::new(&ty(a), &ty(b), trans_a, trans_b)
            .map_err(|what| Error::rule(op, what))?;
        let (m, n, k) = (number(&geometry.m)?, number(&geometry.n)?, number(&geometry.k)?);
        Ok(Product { geometry, m, n, k })
    }

    /// The extents of the result.
    pub(super) fn extents(&self) -> Result<Vec<usize>> {
        self.geometry.shape.iter().map(number).collect()
    }

    /// The column of C that an element of the result is in.
    pub(super) fn column(&self, index: usize) -> usize {
        index % self.n.max(1)
    }

    /// Every element's sum.
    pub(crate) fn sums(&self, a: &RefTensor, b: &RefTensor) -> Result<Vec<Sum>> {
        let (a, b) = (a.reals()?, b.reals()?);
        let mut sums = Vec::new();
        for z in 0..number(&self.geometry.matrices())? {
            let (za, zb) = self.matrices(z)?;
            for row in 0..self.m {
                for column in 0..self.n {
                    sums.push(self.sum(&a[za..], &b[zb..], row, column));
                }
            }
        }
        Ok(sums)
    }

    /// Where the matrices of A and B start that meet as number `z`.
    fn matrices(&self, z: usize) -> Result<(usize, usize)> {
        let (mut rest, mut at_a, mut at_b) = (z, 0, 0);
        for (dim, (a, b)) in self.geometry.batch.iter().zip(self.geometry.steps()).rev() {
            let extent = number(&dim.extent)?;
            let i = rest % extent;
            rest /= extent;
            at_a += i * number(&a)?;
            at_b += i * number(&b)?;
        }
        Ok((at_a * self.m * self.k, at_b * self.k * self.n))
    }

    pub(super) fn sum(&self, a: &[f64], b: &[f64], row: usize, column: usize) -> Sum {
        let mut sum = Sum::default();
        let (mut largest, mut squares) = (0.0f64, 0.0);
        for i in 0..self.k {
            let x = if self.geometry.trans_a { a[i * self.m + row] } else { a[row * self.k + i] };
            let w =
                if self.geometry.rows_b { b[column * self.k + i] } else { b[i * self.n + column] };
            sum.value += x * w;
            sum.magnitude += (x * w).abs();
            let (dx, dw) = (half_rounding(x), half_rounding(w));
            sum.halved += dx * w.abs() + x.abs() * dw + dx * dw;
            (largest, squares) = (largest.max(x.abs()), squares + w * w);
            if (i + 1) % INT8_BLOCK == 0 {
                sum.eighth += eighth_rounding(largest).powi(2) * squares;
                (largest, squares) = (0.0, 0.0);
            }
        }
        sum
    }

    /// How far an executor's sum may be off: the probabilistic bound of Higham
    /// and Mary over `k` roundings, and the rounding of the operands where
    /// they are rounded.
    pub(crate) fn error(&self, sum: &Sum, arithmetic: Arithmetic) -> f64 {
        let accumulated = gamma(self.k, Arithmetic::F32.unit());
        match arithmetic {
            Arithmetic::F32 => accumulated * sum.magnitude,
            Arithmetic::Int8In => {
                let rounded = independent(sum.eighth);
                rounded + accumulated * (sum.magnitude + rounded)
            }
            // Sums are in f32 even where elementwise work is in f16.
            Arithmetic::F16In | Arithmetic::F16 => {
                sum.halved + accumulated * (sum.magnitude + sum.halved)
            }
        }
    }
}

/// Elements that are rounded to eight bits with one scale.
pub(crate) const INT8_BLOCK: usize = 32;

/// How far an element moves when it is rounded to a whole number of eight bits with the
/// scale `largest / 127` of its block: half a step, and what dividing by the scale in f32
/// leaves (2.5 ULP of at most 127 steps, twice). Blocks of less than 1.5e-36 may become zeros.
fn eighth_rounding(largest: f64) -> f64 {
    (largest / 254.0 * (1.0 + 2e-4)).max(largest.min(1.5e-36))
}

/// The unit round-off of what follows the sum.
fn after(arithmetic: Arithmetic) -> f64 {
    match arithmetic {
        Arithmetic::F16 => Arithmetic::F16.unit(),
        _ => Arithmetic::F32.unit(),
    }
}

/// The value of a sum with bias and activation.
pub(super) fn finished(sum: f64, bias: f64, activation: Option<Unary>) -> f64 {
    let value = sum + bias;
    activation.map_or(value, |f| f.eval(value))
}

/// The bound of a product with bias and activation.
pub(super) fn bound(
    product: &Product,
    activation: Option<Unary>,
    cx: &BoundCx<'_>,
) -> Result<Vec<f64>> {
    let bias = cx.inputs.get(2).copied().flatten().map(RefTensor::reals).transpose()?;
    let unit = after(cx.arithmetic);
    let sums = product.sums(cx.input(0)?, cx.input(1)?)?;
    let of = |(i, sum): (usize, &Sum)| {
        let mut error = product.error(sum, cx.arithmetic);
        let mut value = sum.value;
        if let Some(bias) = bias {
            value += bias[product.column(i)];
            error += unit * (value.abs() + error);
        }
        match activation {
            Some(f) => activated(f, value, error, cx.arithmetic),
            None => error,
        }
    };
    Ok(sums.iter().enumerate().map(of).collect())
}

/// The bound of an activated product times another.
pub(super) fn gated_bound(
    product: &Product,
    activation: Unary,
    cx: &BoundCx<'_>,
) -> Result<Vec<f64>> {
    let gates = product.sums(cx.input(0)?, cx.input(1)?)?;
    let ups = product.sums(cx.input(0)?, cx.input(2)?)?;
    let of = |(gate, up)| gated_error(product, activation, (gate, up), cx.arithmetic);
    Ok(gates.iter().zip(&ups).map(of).collect())
}

/// How far an activated sum times another may be off.
pub(super) fn gated_error(
    product: &Product,
    activation: Unary,
    (gate, up): (&Sum, &Sum),
    arithmetic: Arithmetic,
) -> f64 {
    let value = activation.eval(gate.value).abs();
    let gate_error = activated_error(product, Some(activation), gate, arithmetic);
    let up_error = product.error(up, arithmetic);
    let moved = value * up_error + up.value.abs() * gate_error + gate_error * up_error;
    moved + after(arithmetic) * (value * up.value.abs() + moved)
}

/// How far an activated sum may be off.
pub(super) fn activated_error(
    product: &Product,
    activation: Option<Unary>,
    sum: &Sum,
    arithmetic: Arithmetic,
) -> f64 {
    let error = product.error(sum, arithmetic);
    activation.map_or(error, |f| activated(f, sum.value, error, arithmetic))
}

/// The error of an activation whose argument is off by `error`.
fn activated(f: Unary, x: f64, error: f64, arithmetic: Arithmetic) -> f64 {
    let own = match arithmetic {
        Arithmetic::F16 => 8.0 * Arithmetic::F16.unit() * f.eval(x).abs().max(x.abs()),
        _ => 0.0,
    };
    f.propagate(x, error) + own
}

fn ty(tensor: &RefTensor) -> TensorType {
    // Whether blocks fit is checked where the graph is built.
    let shape: Vec<Dim> = tensor.extents.iter().map(|&n| n.into()).collect();
    TensorType::new(DType::F32, shape)
}

fn number(dim: &Dim) -> Result<usize> {
    let value = dim.as_const().and_then(|n| usize::try_from(n).ok());
    value.ok_or_else(|| Error::internal(format!("the reference needs numbers, got {dim}")))
}
