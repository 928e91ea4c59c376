//! Sampling where a grid says.

use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::resize::GridKernel;
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::gamma;

/// How a value between elements is made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// The nearest; halfway between two the one at an even place.
    Nearest,
    /// Linear along each dimension.
    Linear,
    /// Cubic convolution along each dimension (R. Keys, "Cubic convolution
    /// interpolation for digital image processing", 1981), a = -0.75.
    Cubic,
}

impl Sampling {
    /// Every way.
    pub const ALL: [Sampling; 3] = [Sampling::Nearest, Sampling::Linear, Sampling::Cubic];

    /// How many elements of a dimension take part.
    pub(crate) fn taps(self) -> usize {
        match self {
            Sampling::Nearest => 1,
            Sampling::Linear => 2,
            Sampling::Cubic => 4,
        }
    }

    /// The first place that takes part, and the weights from there on.
    fn weights(self, at: f64) -> (i64, Vec<f64>) {
        let fraction = at - at.floor();
        match self {
            Sampling::Nearest => (at.round_ties_even() as i64, vec![1.0]),
            Sampling::Linear => (at.floor() as i64, vec![1.0 - fraction, fraction]),
            Sampling::Cubic => {
                let weight = |tap: i32| cubic((fraction + 1.0 - f64::from(tap)).abs(), -0.75);
                (at.floor() as i64 - 1, (0..4).map(weight).collect())
            }
        }
    }
}

/// The weight in cubic convolution of an element at a distance.
pub(super) fn cubic(distance: f64, a: f64) -> f64 {
    match distance {
        d if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        d if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        _ => 0.0,
    }
}

/// What stands outside of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The nearest element.
    Border,
    /// The plane mirrored at its edges (at the centres of its outer elements
    /// with `align_corners`).
    Reflection,
}

impl Outside {
    /// Every mode.
    pub const ALL: [Outside; 3] = [Outside::Zeros, Outside::Border, Outside::Reflection];
}

/// ONNX `GridSample` (opset 20).
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, H, W]` or `[N, C, D, H, W]` |
/// | grid | F32 `[N, H', W', 2]` or `[N, D', H', W', 3]`: places along W, H (and D), from -1 to 1 |
///
/// The output is F32 `[N, C, H', W']` or `[N, C, D', H', W']`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GridSample {
    /// How a value is made of elements.
    pub mode: Sampling,
    /// What stands outside.
    pub outside: Outside,
    /// Whether -1 and 1 are the centres of the outer elements, rather than
    /// their outer edges.
    pub align_corners: bool,
}

const NAME: &str = "GridSample";

impl GridSample {
    /// The element at a whole place, which may be outside.
    pub(crate) fn element(&self, at: i64, extent: usize) -> Option<usize> {
        let n = extent as i64;
        let inside = match self.outside {
            _ if (0..n).contains(&at) => at,
            _ if n == 0 => return None,
            Outside::Zeros => return None,
            Outside::Border => at.clamp(0, n - 1),
            Outside::Reflection if self.align_corners => {
                let round = at.rem_euclid((2 * n - 2).max(1));
                round.min(2 * n - 2 - round)
            }
            Outside::Reflection => {
                let round = at.rem_euclid(2 * n);
                round.min(2 * n - 1 - round)
            }
        };
        Some(inside as usize)
    }

    /// The place in elements, before anything is moved inside.
    fn position(&self, g: f64, extent: usize) -> f64 {
        let n = extent as f64;
        let at = if self.align_corners {
            (g + 1.0) / 2.0 * (n - 1.0)
        } else {
            ((g + 1.0) * n - 1.0) / 2.0
        };
        at.clamp(-1e9, 1e9)
    }

    fn inside(&self, at: f64, extent: usize) -> f64 {
        let n = extent as f64;
        let (low, high) = if self.align_corners { (0.0, n - 1.0) } else { (-0.5, n - 0.5) };
        match self.outside {
            // A whole place is moved when its element is looked for.
            _ if self.mode == Sampling::Nearest || (low..=high).contains(&at) => at,
            Outside::Zeros => at,
            Outside::Border => at.clamp(0.0, n - 1.0),
            Outside::Reflection if high <= low => 0.0,
            Outside::Reflection => {
                let round = (at - low).rem_euclid(2.0 * (high - low));
                low + round.min(2.0 * (high - low) - round)
            }
        }
    }

    /// The value at a place of a plane, slowest dimension first.
    fn value(&self, x: &[f64], extents: &[usize], place: &[f64]) -> f64 {
        let (Some((&n, others)), Some((&at, rest))) = (extents.split_first(), place.split_first())
        else {
            return x[0];
        };
        let size: usize = others.iter().product();
        let (first, weights) = self.mode.weights(self.inside(at, n));
        let term = |(tap, weight): (usize, f64)| match self.element(first + tap as i64, n) {
            Some(at) => weight * self.value(&x[at * size..][..size], others, rest),
            None => 0.0,
        };
        weights.into_iter().enumerate().map(term).sum()
    }
}

/// Planes with their grid, and where results go.
struct Layout<'a> {
    x: &'a RefTensor,
    grid: &'a RefTensor,
    extents: Vec<usize>,
}

impl<'a> Layout<'a> {
    fn of(inputs: &[Option<&'a RefTensor>]) -> Result<Self> {
        let &[Some(x), Some(grid)] = inputs else {
            return Err(Error::internal(format!("{NAME} without its inputs")));
        };
        let mut extents = x.extents[..2].to_vec();
        extents.extend_from_slice(&grid.extents[1..grid.extents.len() - 1]);
        Ok(Layout { x, grid, extents })
    }

    /// `value` of every plane and place of it, row-major.
    fn map(&self, mut value: impl FnMut(&[f64], &[usize], &[f64]) -> f64) -> Result<Vec<f64>> {
        let spatial = &self.x.extents[2..];
        let plane: usize = spatial.iter().product();
        let points: usize = self.extents[2..].iter().product();
        let (x, grid, channels) = (self.x.reals()?, self.grid.reals()?, self.extents[1]);
        let mut out = Vec::with_capacity(self.extents.iter().product());
        for row in 0..self.extents[0] * channels {
            for point in 0..points {
                let dims = spatial.len();
                let place = &grid[(row / channels * points + point) * dims..][..dims];
                // The grid has the fastest dimension first.
                let place: Vec<f64> = place.iter().rev().copied().collect();
                out.push(value(&x[row * plane..][..plane], spatial, &place));
            }
        }
        Ok(out)
    }
}

impl Operator for GridSample {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, &["x", "grid"], 2, inputs)?;
        let x = rules.input(0)?;
        if ![4, 5].contains(&x.rank()) {
            return rules.broken(format!("'x' must have rank 4 or 5, got {x}"));
        }
        rules.dtype(0, &[DType::F32])?;
        rules.typed(1, &[DType::F32], x.rank())?;
        let grid = rules.input(1)?;
        rules.dim(1, 0, &x.shape[0])?;
        rules.dim(1, x.rank() - 1, &(x.rank() - 2).into())?;
        let mut shape = x.shape[..2].to_vec();
        shape.extend_from_slice(&grid.shape[1..grid.rank() - 1]);
        Ok(vec![TensorType::new(DType::F32, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let layout = Layout::of(inputs)?;
        let out = layout.map(|x, extents, place| {
            let place = place.iter().zip(extents).map(|(&g, &n)| self.position(g, n));
            self.value(x, extents, &place.collect::<Vec<_>>())
        })?;
        Ok(vec![RefTensor::real(DType::F32, &layout.extents, out)])
    }

    /// A place is off by the rounding of `(g + 1) n` and of the few steps after
    /// it, each of numbers no larger. What that does to the value is seen by
    /// moving the place so far along each dimension: between its kinks the
    /// value is smooth, so that twice the largest move covers what lies between.
    /// The weights of linear sampling cost a rounding, the polynomials of cubic
    /// sampling 35 units in all (no step of theirs exceeds 12); then there is
    /// the sum. Weights of a dimension add up to at most 1.5 in magnitude.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let (layout, unit) = (Layout::of(cx.inputs)?, cx.arithmetic.unit());
        let bound = layout.map(|x, extents, place| {
            let dims = extents.len();
            let at: Vec<f64> =
                place.iter().zip(extents).map(|(&g, &n)| self.position(g, n)).collect();
            let off = |axis: usize| {
                let reach = (place[axis].abs() + 1.0) * extents[axis] as f64 + 1.0;
                8.0 * unit * reach.min(1e9)
            };
            let value = self.value(x, extents, &at);
            let corner = |signs: usize| {
                let moved = (0..dims).map(|axis| {
                    let sign = if signs >> axis & 1 == 1 { 1.0 } else { -1.0 };
                    at[axis] + sign * off(axis)
                });
                (self.value(x, extents, &moved.collect::<Vec<_>>()) - value).abs()
            };
            let moved = (0..1 << dims).map(corner).fold(0.0, f64::max);
            let largest = x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            let (weights, sums): (f64, f64) = match self.mode {
                Sampling::Nearest => (0.0, 0.0),
                Sampling::Linear => (2.0, 1.0),
                Sampling::Cubic => (4.0 * 35.0, 1.5),
            };
            let spread = sums.powi(dims as i32 - 1) * dims as f64;
            let terms = self.mode.taps().pow(dims as u32);
            2.0 * moved
                + largest * (unit * weights * spread + sums.powi(dims as i32) * gamma(terms, unit))
        })?;
        Ok(vec![bound])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, grid, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        cx.call(GridKernel { op: *self }, &[Some(x), Some(grid)], &[y]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Samples planes where a grid says; see [`GridSample`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn grid_sample(&mut self, op: GridSample, x: ValueId, grid: ValueId) -> Result<ValueId> {
        self.op1(op, &[x, grid])
    }
}
