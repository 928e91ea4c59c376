//! The CPU twins of `shaders/resize`.

use crate::error::{Error, Result};
use crate::kernels::CpuCx;
use crate::ops::gather::entry;
use crate::ops::resize::{GridSample, Outside, RoiAlign, Sampling};
use rayon::prelude::*;

/// Far beyond any tensor, and its neighbours are still told apart as integers.
const FAR: f32 = 1.0e9;

pub(super) fn taps(axis: usize, cx: &mut CpuCx<'_>) -> Result<()> {
    let (x, indices, weights) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let &[m, taps] = indices.extents.as_slice() else {
        return Err(Error::internal("a table of samples that is no matrix"));
    };
    let (n, inner) = (x.extents[axis], x.extents[axis + 1..].iter().product::<usize>());
    let (values, weights) = (x.read::<f32>(), weights.read::<f32>());
    let places = indices.read::<i32>();
    let places = places.iter().enumerate().map(|(at, &index)| entry(index.into(), n, at));
    let places = places.collect::<Result<Vec<usize>>>()?;
    let y = cx.output(0)?.write::<f32>()?;
    if y.is_empty() {
        return Ok(());
    }
    y.par_chunks_exact_mut(inner).enumerate().for_each(|(line, y)| {
        let slab = line / m * n;
        let own = line % m * taps..(line % m + 1) * taps;
        y.fill(0.0);
        for (&place, &weight) in places[own.clone()].iter().zip(&weights[own]) {
            let x = &values[(slab + place) * inner..][..inner];
            y.iter_mut().zip(x).for_each(|(y, &x)| *y += weight * x);
        }
    });
    Ok(())
}

pub(super) fn grid(op: GridSample, cx: &mut CpuCx<'_>) -> Result<()> {
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    let [_, channels, spatial @ ..] = x.extents.as_slice() else {
        return Err(Error::internal("GridSample of no planes"));
    };
    let points: usize = grid.extents[1..grid.extents.len() - 1].iter().product();
    let (dims, plane) = (spatial.len(), spatial.iter().product::<usize>());
    let (values, places) = (x.read::<f32>(), grid.read::<f32>());
    let y = cx.output(0)?.write::<f32>()?;
    if y.is_empty() {
        return Ok(());
    }
    // Enough for each to be worth while.
    const TOGETHER: usize = 256;
    y.par_chunks_mut(points).enumerate().for_each(|(row, y)| {
        let x = &values[row * plane..][..plane];
        let places = &places[row / channels * points * dims..][..points * dims];
        let chunks = y.par_chunks_mut(TOGETHER).zip(places.par_chunks(TOGETHER * dims));
        chunks.for_each(|(y, places)| {
            for (y, place) in y.iter_mut().zip(places.chunks_exact(dims)) {
                // The grid's last number is that of the slowest dimension.
                let at = |axis: usize| position(op, place[dims - 1 - axis], spatial[axis]);
                let lines: [Line; 3] = std::array::from_fn(|axis| {
                    if axis < dims {
                        Line::new(op, at(axis), spatial[axis])
                    } else {
                        Line::default()
                    }
                });
                *y = sampled(x, &lines[..dims], spatial);
            }
        });
    });
    Ok(())
}

/// A position in elements, inside where the mode moves it there.
fn position(op: GridSample, g: f32, extent: usize) -> f32 {
    let n = extent as f32;
    let at =
        if op.align_corners { (g + 1.0) * 0.5 * (n - 1.0) } else { ((g + 1.0) * n - 1.0) * 0.5 };
    let at = at.clamp(-FAR, FAR);
    let low = if op.align_corners { 0.0 } else { -0.5 };
    let span = n - 1.0 - 2.0 * low;
    match op.outside {
        _ if op.mode == Sampling::Nearest || (at >= low && at <= low + span) => at,
        Outside::Zeros => at,
        Outside::Border => at.clamp(0.0, n - 1.0),
        Outside::Reflection if span <= 0.0 => 0.0,
        Outside::Reflection => {
            let round = (at - low).abs().rem_euclid(2.0 * span);
            low + round.min(2.0 * span - round)
        }
    }
}

/// The elements of one dimension that take part, and their weights.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    taps: usize,
    elements: [Option<usize>; 4],
    weights: [f32; 4],
}

impl Line {
    fn new(op: GridSample, at: f32, extent: usize) -> Self {
        let floor = at.floor();
        let fraction = at - floor;
        let (first, weights) = match op.mode {
            Sampling::Nearest => (at.round_ties_even() as i64, [1.0, 0.0, 0.0, 0.0]),
            Sampling::Linear => (floor as i64, [1.0 - fraction, fraction, 0.0, 0.0]),
            Sampling::Cubic => (
                floor as i64 - 1,
                std::array::from_fn(|tap| {
                    let d = (fraction + 1.0 - tap as f32).abs();
                    if d <= 1.0 {
                        (1.25 * d - 2.25) * d * d + 1.0
                    } else {
                        ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0
                    }
                }),
            ),
        };
        let element = |tap: usize| op.element(first + tap as i64, extent);
        Line { taps: op.mode.taps(), elements: std::array::from_fn(element), weights }
    }
}

/// The weighted sum of the elements that take part.
fn sampled(x: &[f32], lines: &[Line], extents: &[usize]) -> f32 {
    let Some((line, others)) = lines.split_first() else { return x[0] };
    let size: usize = extents[1..].iter().product();
    let mut sum = 0.0;
    for tap in 0..line.taps {
        if let Some(at) = line.elements[tap] {
            sum += line.weights[tap] * sampled(&x[at * size..][..size], others, &extents[1..]);
        }
    }
    sum
}

pub(super) fn rois(op: RoiAlign, cx: &mut CpuCx<'_>) -> Result<()> {
    let (x, rois, batch_indices) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let &[batches, channels, height, width] = x.extents.as_slice() else {
        return Err(Error::internal("RoiAlign of no planes"));
    };
    let (values, rois) = (x.read::<f32>(), rois.read::<f32>());
    let batch_indices = batch_indices.read::<i32>();
    let batch = |(at, &index): (usize, &i32)| entry(index.into(), batches, at);
    let batch = batch_indices.iter().enumerate().map(batch).collect::<Result<Vec<_>>>()?;
    let (rows, columns) = (op.output_height, op.output_width);
    let y = cx.output(0)?.write::<f32>()?;
    if y.is_empty() {
        return Ok(());
    }
    y.par_chunks_exact_mut(rows * columns).enumerate().for_each(|(number, y)| {
        let (region, channel) = (number / channels, number % channels);
        let plane = height * width;
        let x = &values[(batch[region] * channels + channel) * plane..][..plane];
        let corners = &rois[region * 4..][..4];
        let across = Spread::new(op, corners[0], corners[2], columns);
        let down = Spread::new(op, corners[1], corners[3], rows);
        for (i, y) in y.iter_mut().enumerate() {
            *y = pooled(op, x, (height, width), (down, i / columns), (across, i % columns));
        }
    });
    Ok(())
}

/// Where samples of one dimension of a region are.
#[derive(Debug, Clone, Copy)]
struct Spread {
    start: f32,
    bin: f32,
    samples: usize,
}

impl Spread {
    fn new(op: RoiAlign, from: f32, to: f32, bins: usize) -> Self {
        let shift = if op.half_pixel { 0.5 } else { 0.0 };
        let start = from * op.spatial_scale - shift;
        let length = (to * op.spatial_scale - shift) - start;
        let length = if op.half_pixel { length } else { length.max(1.0) };
        let bin = length / bins as f32;
        let samples = match op.sampling_ratio {
            0 => bin.ceil().clamp(0.0, 65535.0) as usize,
            ratio => ratio as usize,
        };
        Spread { start, bin, samples }
    }

    fn place(self, bin: usize, sample: usize) -> f32 {
        self.start + bin as f32 * self.bin + (sample as f32 + 0.5) * self.bin / self.samples as f32
    }
}

/// The two elements around a place, and the weight of the second.
fn pair(place: f32, extent: usize) -> (usize, usize, f32) {
    let at = place.max(0.0);
    let low = at as usize;
    if low + 1 >= extent { (extent - 1, extent - 1, 0.0) } else { (low, low + 1, at - low as f32) }
}

fn pooled(
    op: RoiAlign,
    x: &[f32],
    (height, width): (usize, usize),
    (down, row): (Spread, usize),
    (across, column): (Spread, usize),
) -> f32 {
    let (mut sum, mut largest) = (0.0, f32::MIN);
    for a in 0..down.samples {
        let v = down.place(row, a);
        for b in 0..across.samples {
            let u = across.place(column, b);
            if v < -1.0 || v > height as f32 || u < -1.0 || u > width as f32 {
                largest = f32::max(largest, 0.0);
                continue;
            }
            let ((top, bottom, dv), (left, right, du)) = (pair(v, height), pair(u, width));
            let parts = [
                (1.0 - dv) * (1.0 - du) * x[top * width + left],
                (1.0 - dv) * du * x[top * width + right],
                dv * (1.0 - du) * x[bottom * width + left],
                dv * du * x[bottom * width + right],
            ];
            sum += parts[0] + parts[1] + parts[2] + parts[3];
            largest = parts.into_iter().fold(largest, f32::max);
        }
    }
    let samples = down.samples * across.samples;
    match (op.largest, samples) {
        (true, 0) => 0.0,
        (true, _) => largest,
        _ => sum / samples.max(1) as f32,
    }
}
