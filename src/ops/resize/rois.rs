//! Pooling regions of planes.

use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, TensorType, ValueId};
use crate::kernels::resize::RoisKernel;
use crate::ops::gather::entry;
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::gamma;

/// ONNX `RoiAlign` (opset 16): regions of planes, pooled to one size (K. He et
/// al., "Mask R-CNN", 2017).
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[N, C, H, W]` |
/// | rois | F32 `[R, 4]`: x and y of two corners |
/// | batch_indices | I32 `[R]`, -N to N - 1, negative ones count from the end |
///
/// The output is F32 `[R, C, output_height, output_width]`. Each element is the
/// mean of bilinear samples spread evenly over its part of the region; a sample
/// more than one element outside is 0. With `largest` it is the largest of the
/// four weighted elements of each sample, as in ONNX. A batch index out of
/// range is an error of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlign {
    /// Whether places are those of the centres of elements (ONNX `half_pixel`),
    /// rather than of their corners with regions of at least one element.
    pub half_pixel: bool,
    /// The largest weighted element rather than the mean.
    pub largest: bool,
    /// Rows of a result.
    pub output_height: usize,
    /// Columns of a result.
    pub output_width: usize,
    /// Samples of a result's element along each dimension; 0 for as many as
    /// elements are covered, rounded up.
    pub sampling_ratio: u32,
    /// Elements in a unit of the corners.
    pub spatial_scale: f32,
}

const NAME: &str = "RoiAlign";

/// Where samples of one dimension of a region are.
#[derive(Debug, Clone, Copy)]
struct Spread {
    start: f64,
    length: f64,
    bins: usize,
    samples: usize,
}

impl Spread {
    /// Of all numbers of samples there may be if the length is off by so much.
    fn all(op: &RoiAlign, from: f64, to: f64, bins: usize, off: f64) -> Vec<Self> {
        let (scale, shift) = (f64::from(op.spatial_scale), if op.half_pixel { 0.5 } else { 0.0 });
        let (start, end) = (from * scale - shift, to * scale - shift);
        let length = if op.half_pixel { end - start } else { (end - start).max(1.0) };
        let of = |samples| Spread { start, length, bins, samples };
        if op.sampling_ratio > 0 {
            return vec![of(op.sampling_ratio as usize)];
        }
        let covered = |off: f64| ((length + off) / bins as f64).ceil().clamp(0.0, 65535.0) as usize;
        (covered(-off)..=covered(off)).map(of).collect()
    }

    fn place(self, bin: usize, sample: usize) -> f64 {
        let size = self.length / self.bins as f64;
        self.start + bin as f64 * size + (sample as f64 + 0.5) * size / self.samples as f64
    }
}

/// A plane to take samples from.
#[derive(Clone, Copy)]
struct Plane<'a> {
    x: &'a [f64],
    height: usize,
    width: usize,
}

impl Plane<'_> {
    /// The weighted elements of a sample.
    fn sample(&self, v: f64, u: f64) -> [f64; 4] {
        if v < -1.0 || v > self.height as f64 || u < -1.0 || u > self.width as f64 {
            return [0.0; 4];
        }
        let pair = |place: f64, extent: usize| {
            let (at, low) = (place.max(0.0), place.max(0.0) as usize);
            if low + 1 >= extent {
                (extent - 1, extent - 1, 0.0)
            } else {
                (low, low + 1, at - low as f64)
            }
        };
        let ((top, bottom, dv), (left, right, du)) = (pair(v, self.height), pair(u, self.width));
        let at = |row: usize, column: usize| self.x[row * self.width + column];
        [
            (1.0 - dv) * (1.0 - du) * at(top, left),
            (1.0 - dv) * du * at(top, right),
            dv * (1.0 - du) * at(bottom, left),
            dv * du * at(bottom, right),
        ]
    }

    fn largest(&self) -> f64 {
        self.x.iter().fold(0.0, |largest, x| largest.max(x.abs()))
    }
}

impl RoiAlign {
    /// `value` of every plane of every region, its corners, row and column.
    fn map(
        &self,
        inputs: &[Option<&RefTensor>],
        mut value: impl FnMut(Plane<'_>, &[f64], usize, usize) -> f64,
    ) -> Result<(Vec<usize>, Vec<f64>)> {
        let &[Some(x), Some(rois), Some(batch_indices)] = inputs else {
            return Err(Error::internal(format!("{NAME} without its inputs")));
        };
        let &[n, c, height, width] = x.extents.as_slice() else {
            return Err(Error::rule(NAME, "'x' must have rank 4"));
        };
        let (data, corners) = (x.reals()?, rois.reals()?);
        let size = height * width;
        let mut out = Vec::new();
        for (region, &batch) in batch_indices.ints()?.iter().enumerate() {
            let batch = entry(batch, n, region)?;
            for channel in 0..c {
                let x = &data[(batch * c + channel) * size..][..size];
                for i in 0..self.output_height * self.output_width {
                    let (row, column) = (i / self.output_width, i % self.output_width);
                    let plane = Plane { x, height, width };
                    out.push(value(plane, &corners[region * 4..][..4], row, column));
                }
            }
        }
        Ok((vec![rois.extents[0], c, self.output_height, self.output_width], out))
    }

    fn pooled(
        &self,
        plane: Plane<'_>,
        (down, row): (Spread, usize),
        (across, column): (Spread, usize),
    ) -> f64 {
        let places = (0..down.samples).flat_map(|a| (0..across.samples).map(move |b| (a, b)));
        let samples =
            places.map(|(a, b)| plane.sample(down.place(row, a), across.place(column, b)));
        let count = down.samples * across.samples;
        if count == 0 {
            0.0
        } else if self.largest {
            samples.flatten().fold(f64::NEG_INFINITY, f64::max)
        } else {
            samples.flatten().sum::<f64>() / count as f64
        }
    }

    /// How far an executor may be off: see [`RoiAlign::bound`].
    fn bound_of(&self, plane: Plane<'_>, corners: &[f64], bin: (usize, usize), unit: f64) -> f64 {
        let reach = |from: f64, to: f64| {
            (from.abs() + to.abs()) * f64::from(self.spatial_scale).abs() + 2.0
        };
        let off_u = 8.0 * unit * reach(corners[0], corners[2]);
        let off_v = 8.0 * unit * reach(corners[1], corners[3]);
        let all_across = Spread::all(self, corners[0], corners[2], self.output_width, off_u);
        let all_down = Spread::all(self, corners[1], corners[3], self.output_height, off_v);
        let exact = |from: f64, to: f64, bins| Spread::all(self, from, to, bins, 0.0).pop();
        let (Some(across), Some(down)) = (
            exact(corners[0], corners[2], self.output_width),
            exact(corners[1], corners[3], self.output_height),
        ) else {
            return 0.0;
        };
        let value = self.pooled(plane, (down, bin.0), (across, bin.1));
        let mut most: f64 = 0.0;
        for &down in &all_down {
            for &across in &all_across {
                let other = self.pooled(plane, (down, bin.0), (across, bin.1));
                let moved = self.moved(plane, (down, bin.0, off_v), (across, bin.1, off_u));
                let count = down.samples * across.samples;
                let sum = if self.largest { 4 } else { 4 * count + 4 };
                let rounding = 2.0 * plane.largest() * gamma(sum, unit);
                most = most.max((other - value).abs() + moved + rounding);
            }
        }
        most
    }

    /// The mean (or largest) of how far samples move when their places do.
    fn moved(
        &self,
        plane: Plane<'_>,
        (down, row, off_v): (Spread, usize, f64),
        (across, column, off_u): (Spread, usize, f64),
    ) -> f64 {
        let (mut sum, mut largest) = (0.0, 0.0f64);
        for a in 0..down.samples {
            for b in 0..across.samples {
                let (v, u) = (down.place(row, a), across.place(column, b));
                let own = plane.sample(v, u);
                let mut most = 0.0f64;
                for (dv, du) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
                    let other = plane.sample(v + dv * off_v, u + du * off_u);
                    let total = |parts: [f64; 4]| parts.iter().sum::<f64>();
                    let top = |parts: [f64; 4]| parts.into_iter().fold(f64::NEG_INFINITY, f64::max);
                    let by = if self.largest { top } else { total };
                    most = most.max((by(other) - by(own)).abs());
                }
                sum += 2.0 * most;
                largest = largest.max(2.0 * most);
            }
        }
        let count = down.samples * across.samples;
        if self.largest { largest } else { sum / count.max(1) as f64 }
    }
}

impl Operator for RoiAlign {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, &["x", "rois", "batch_indices"], 3, inputs)?;
        rules.typed(0, &[DType::F32], 4)?;
        rules.typed(1, &[DType::F32], 2)?;
        rules.typed(2, &[DType::I32], 1)?;
        let (x, rois) = (rules.input(0)?, rules.input(1)?);
        rules.dim(1, 1, &4.into())?;
        rules.dim(2, 0, &rois.shape[0])?;
        if self.output_height == 0 || self.output_width == 0 {
            return rules.broken("a result has at least one row and one column");
        }
        if x.shape[2..].iter().any(|n| n.as_const() == Some(0)) {
            return rules.broken(format!("'x' has no elements to pool: {x}"));
        }
        let size = [self.output_height.into(), self.output_width.into()];
        let shape = [rois.shape[0].clone(), x.shape[1].clone()].into_iter().chain(size);
        Ok(vec![TensorType::new(DType::F32, shape.collect::<Vec<_>>())])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let (extents, out) = self.map(inputs, |plane, corners, row, column| {
            let spread = |from: f64, to: f64, bins| Spread::all(self, from, to, bins, 0.0).pop();
            let across = spread(corners[0], corners[2], self.output_width);
            let down = spread(corners[1], corners[3], self.output_height);
            let both = down.zip(across);
            both.map_or(0.0, |(down, across)| self.pooled(plane, (down, row), (across, column)))
        })?;
        Ok(vec![RefTensor::real(DType::F32, &extents, out)])
    }

    /// Places are off by a few roundings of numbers no larger than the corners
    /// and one. That can change how many samples there are, and moves each of
    /// them; between its kinks a sample is smooth, so that twice the largest
    /// move to either side covers what lies between. Then there is the sum.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let unit = cx.arithmetic.unit();
        let bound = self.map(cx.inputs, |plane, corners, row, column| {
            self.bound_of(plane, corners, (row, column), unit)
        });
        Ok(vec![bound?.1])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
        let y = cx.output(0)?;
        cx.call(RoisKernel { op: *self }, &inputs.map(Some), &[y]);
        Ok(())
    }
}

impl GraphBuilder {
    /// Pools regions of planes to one size; see [`RoiAlign`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn roi_align(
        &mut self,
        op: RoiAlign,
        [x, rois, batch_indices]: [ValueId; 3],
    ) -> Result<ValueId> {
        self.op1(op, &[x, rois, batch_indices])
    }
}
