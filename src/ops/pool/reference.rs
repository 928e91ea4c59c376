//! Pools in f64.

use super::{PoolGeometry, StorageOrder, Window};
use crate::error::{Error, Result};
use crate::ops::conv::geometry::numbers;
use crate::ops::conv::reference::{positions, ty};
use crate::ops::{RefData, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

/// What the windows of a pool meet.
pub(super) struct Windows<'a> {
    x: &'a RefTensor,
    geometry: PoolGeometry,
    extents: Vec<usize>,
}

/// What one window meets.
struct Met {
    /// The places in the plane, in the order of the taps.
    places: Vec<usize>,
    /// Taps in the input or in padding.
    padded: usize,
}

impl<'a> Windows<'a> {
    pub(super) fn new(op: &str, window: &Window, inputs: &[Option<&'a RefTensor>]) -> Result<Self> {
        let &[Some(x)] = inputs else {
            return Err(Error::internal(format!("{op} without input")));
        };
        let geometry = window.over(&ty(x)).map_err(|what| Error::rule(op, what))?;
        let extents = numbers(&geometry.output());
        let extents = extents.ok_or_else(|| Error::internal("the reference needs numbers"))?;
        Ok(Windows { x, geometry, extents })
    }

    /// Every window of a plane, row-major.
    fn met(&self) -> Vec<Met> {
        let axes: Vec<_> = self.geometry.axes.iter().map(|axis| axis.axis).collect();
        let taps = positions(&axes, |axis| axis.kernel);
        let window = |o: Vec<usize>| {
            let mut met = Met { places: Vec::new(), padded: 0 };
            for k in &taps {
                let along = self.geometry.axes.iter().zip(o.iter().zip(k));
                let padded = along
                    .clone()
                    .all(|(a, (&o, &k))| o * a.axis.stride + k * a.axis.dilation < a.end);
                met.padded += usize::from(padded);
                let place = along
                    .into_iter()
                    .try_fold(0, |at, (a, (&o, &k))| Some(at * a.axis.input + a.axis.met(o, k)?));
                met.places.extend(place);
            }
            met
        };
        positions(&axes, |axis| axis.output).into_iter().map(window).collect()
    }

    /// Applies `value` to every window: where its plane starts, and what it meets.
    fn each<T>(&self, value: impl Fn(usize, &Met) -> T) -> Vec<T> {
        let met = self.met();
        let planes = self.x.extents[0] * self.x.extents[1];
        let size = self.geometry.plane_in();
        let value = &value;
        (0..planes).flat_map(|plane| met.iter().map(move |met| value(plane * size, met))).collect()
    }

    fn real(&self, data: Vec<f64>) -> RefTensor {
        RefTensor::real(self.x.dtype, &self.extents, data)
    }

    /// The largest elements, and their numbers.
    pub(super) fn largest(
        &self,
        order: Option<StorageOrder>,
    ) -> Result<(RefTensor, Option<RefTensor>)> {
        let (places, y) = match &self.x.data {
            RefData::Real(x) => {
                let places = self.each(|start, met| first_largest(x, start, met));
                let lowest = -f64::from(f32::MAX);
                let value = |&(_, at): &(usize, Option<usize>)| at.map_or(lowest, |at| x[at]);
                let data = places.iter().map(value).collect();
                (places, self.real(data))
            }
            RefData::Int(x) => {
                let places = self.each(|start, met| first_largest(x, start, met));
                let lowest = if self.x.dtype == DType::I8 { -128 } else { 0 };
                let value = |&(_, at): &(usize, Option<usize>)| at.map_or(lowest, |at| x[at]);
                let data = places.iter().map(value).collect();
                (places, RefTensor::int(self.x.dtype, &self.extents, data))
            }
        };
        let indices = order.map(|order| {
            let number = |&(start, at): &(usize, Option<usize>)| {
                (start + at.map_or(0, |at| self.counted(at - start, order))) as i64
            };
            RefTensor::int(DType::I32, &self.extents, places.iter().map(number).collect())
        });
        Ok((y, indices))
    }

    /// The number of a place in a plane, row-major or `Σ i_a Π_{b < a} n_b`.
    fn counted(&self, place: usize, order: StorageOrder) -> usize {
        if order == StorageOrder::RowMajor {
            return place;
        }
        let sizes: Vec<usize> = self.geometry.axes.iter().map(|axis| axis.axis.input).collect();
        let (mut rest, mut number) = (place, 0);
        for a in (0..sizes.len()).rev() {
            number += rest % sizes[a] * sizes[..a].iter().product::<usize>();
            rest /= sizes[a];
        }
        number
    }

    pub(super) fn mean(&self, include: bool) -> Result<RefTensor> {
        let x = self.x.reals()?;
        Ok(self.real(self.each(|start, met| {
            let sum: f64 = met.places.iter().map(|at| x[start + at]).sum();
            sum / divisor(met, include)
        })))
    }

    pub(super) fn mean_bound(&self, include: bool, unit: f64) -> Result<Vec<f64>> {
        let x = self.x.reals()?;
        Ok(self.each(|start, met| {
            let sum: f64 = met.places.iter().map(|at| x[start + at]).sum();
            let magnitude: f64 = met.places.iter().map(|at| x[start + at].abs()).sum();
            let error = gamma(met.places.len(), unit) * magnitude;
            (error + 5.0 * unit * (sum.abs() + error)) / divisor(met, include)
        }))
    }

    pub(super) fn norm(&self, p: u32) -> Result<RefTensor> {
        let x = self.x.reals()?;
        Ok(self.real(self.each(|start, met| power_sum(x, start, met, p).powf(1.0 / f64::from(p)))))
    }

    pub(super) fn norm_bound(&self, p: u32, unit: f64) -> Result<Vec<f64>> {
        let x = self.x.reals()?;
        Ok(self.each(|start, met| {
            let sum = power_sum(x, start, met, p);
            if sum == 0.0 {
                return smallest_normal(DType::F32);
            }
            let norm = sum.powf(1.0 / f64::from(p));
            let terms = met.places.len();
            // Powers below the smallest normal number may be flushed to zero.
            let flushed = terms as f64 * smallest_normal(DType::F32);
            let relative = gamma(terms + p as usize, unit) + flushed / sum.max(flushed);
            let root = match p {
                1 => 0.0,
                2 => 9.0 * unit,
                _ => root_error(sum, p, unit),
            };
            let lost = if sum <= flushed { norm } else { 0.0 };
            norm * (relative + root * (1.0 + relative)) + lost + smallest_normal(DType::F32)
        }))
    }
}

/// The relative error of `exp2(log2(sum) / p)`: the logarithm is off by 2^-21
/// near 1 and by 3 units in the last place elsewhere, the quotient by 2.5 (of the
/// reciprocal) and half of one, the power by 3 + 2 |exponent| (WGSL, "Accuracy
/// of concrete floating-point expressions").
fn root_error(sum: f64, p: u32, unit: f64) -> f64 {
    let log = sum.log2();
    let log_error = f64::powi(2.0, -21).max(6.0 * unit * log.abs());
    let exponent = (log / f64::from(p)).abs();
    let shift = log_error / f64::from(p) + 8.0 * unit * exponent;
    (shift * std::f64::consts::LN_2).exp_m1() + (3.0 + 2.0 * exponent) * 2.0 * unit
}

/// Where the plane starts, and the place in x of the first of the largest elements.
fn first_largest<T: PartialOrd + Copy>(x: &[T], start: usize, met: &Met) -> (usize, Option<usize>) {
    let larger = |best: Option<usize>, at: usize| match best {
        Some(best) if x[at] <= x[best] => Some(best),
        _ => Some(at),
    };
    (start, met.places.iter().map(|at| start + at).fold(None, larger))
}

fn divisor(met: &Met, include: bool) -> f64 {
    (if include { met.padded } else { met.places.len() }).max(1) as f64
}

fn power_sum(x: &[f64], start: usize, met: &Met, p: u32) -> f64 {
    met.places.iter().map(|at| x[start + at].abs().powi(p as i32)).sum()
}
