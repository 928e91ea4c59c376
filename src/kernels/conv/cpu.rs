//! Convolutions on the CPU: matrix products whose right side is gathered a few
//! columns at a time; direct sums where groups have few channels.

use super::ConvKernel;
use crate::error::{Error, Result};
use crate::kernels::CpuCx;
use crate::kernels::matmul::{Left, Target};
use crate::ops::conv::geometry::{Axis, Geometry};
use crate::ops::elementwise::Unary;
use gemm::Parallelism;
use rayon::prelude::*;
use std::borrow::Cow;

/// Gathered elements that a task keeps at once: 2 MiB.
const GATHERED: usize = 512 << 10;
/// The fewest and the most outputs of a task.
const FEWEST: usize = 64;
const MOST: usize = 1024;
/// With at most so many products to an output, gathering costs more than it saves.
const FEW_OUTPUTS: usize = 2;

/// Computes a [`ConvKernel`].
pub(super) fn run(kernel: &ConvKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let floats = |i: usize| cx.optional(i).map(|tensor| tensor.read::<f32>());
    let (bias, residual) = (floats(2), floats(3));
    let samples = x.extents.first().copied().unwrap_or(0);
    let g = &kernel.geometry;
    let three = g.three();
    let y = cx.output(0)?.write::<f32>()?;
    if y.is_empty() {
        return Ok(());
    }
    let work = Work {
        g,
        three,
        samples,
        x: x.read::<f32>(),
        w: w.read::<f32>(),
        finish: Finish { g, bias, residual, activation: kernel.activation },
    };
    if work.x.is_empty() || work.w.is_empty() {
        work.nothing(y);
    } else if g.transposed {
        work.transposed(y)?;
    } else if g.m <= FEW_OUTPUTS {
        work.planes(y);
    } else {
        work.products(y)?;
    }
    Ok(())
}

/// What follows the sums.
struct Finish<'a> {
    g: &'a Geometry,
    bias: Option<Cow<'a, [f32]>>,
    residual: Option<Cow<'a, [f32]>>,
    activation: Option<Unary>,
}

impl Finish<'_> {
    /// Finishes the sums in `row`, which are those from `at` on in y.
    fn row(&self, row: &mut [f32], at: usize) {
        if let Some(bias) = &self.bias {
            let bias = bias[at / self.g.plane_out() % bias.len()];
            row.iter_mut().for_each(|y| *y += bias);
        }
        if let Some(residual) = &self.residual {
            row.iter_mut().zip(&residual[at..]).for_each(|(y, r)| *y += r);
        }
        match self.activation {
            Some(Unary::Relu) => row.iter_mut().for_each(|y| *y = y.max(0.0)),
            Some(f) => row.iter_mut().for_each(|y| *y = f.eval_f32(*y)),
            None => {}
        }
    }
}

struct Work<'a> {
    g: &'a Geometry,
    three: [Axis; 3],
    samples: usize,
    x: Cow<'a, [f32]>,
    w: Cow<'a, [f32]>,
    finish: Finish<'a>,
}

/// y, which several tasks write to.
#[derive(Clone, Copy)]
struct Shared {
    y: *mut f32,
    len: usize,
}

// SAFETY: tasks write to different elements.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// A part of y.
    ///
    /// # Safety
    /// Nobody else may use the part while the slice lives.
    unsafe fn slice<'y>(self, start: usize, count: usize) -> Result<&'y mut [f32]> {
        if start.checked_add(count).is_none_or(|end| end > self.len) {
            return Err(Error::internal("a convolution writes past its result"));
        }
        // SAFETY: the part is in y, and the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.y.add(start), count) })
    }
}

impl Work<'_> {
    /// No products at all: bias, residual and activation alone.
    fn nothing(&self, y: &mut [f32]) {
        let plane = self.g.plane_out();
        for (i, row) in y.chunks_mut(plane).enumerate() {
            row.fill(0.0);
            self.finish.row(row, i * plane);
        }
    }

    /// The input channels of a group of a sample.
    fn inputs(&self, n: usize, group: usize) -> &[f32] {
        let len = self.g.c * self.g.plane_in();
        &self.x[(n * self.g.groups + group) * len..][..len]
    }

    /// Plane by plane, tap by tap.
    fn planes(&self, y: &mut [f32]) {
        let g = self.g;
        let (plane, taps) = (g.plane_out(), g.taps());
        y.par_chunks_mut(plane).enumerate().for_each(|(channel, out)| {
            out.fill(0.0);
            let (group, n) = (channel / g.m % g.groups, channel / (g.m * g.groups));
            let weights = &self.w[channel % (g.m * g.groups) * g.c * taps..][..g.c * taps];
            let inputs = self.inputs(n, group).chunks(g.plane_in());
            for (x, w) in inputs.zip(weights.chunks(taps)) {
                self.plane(x, w, out);
            }
            self.finish.row(out, channel * plane);
        });
    }

    /// Adds what one input channel gives to an output channel.
    fn plane(&self, x: &[f32], w: &[f32], y: &mut [f32]) {
        let [d, h, width] = self.three;
        for (row, out) in y.chunks_mut(width.output).enumerate() {
            let (od, oh) = (row / h.output, row % h.output);
            for (tap, w) in w.chunks(width.kernel).enumerate() {
                let place = d.met(od, tap / h.kernel).zip(h.met(oh, tap % h.kernel));
                let Some((id, ih)) = place else { continue };
                let x = &x[(id * h.input + ih) * width.input..][..width.input];
                for (k, &w) in w.iter().enumerate() {
                    let (first, last) = inside(&width, k);
                    if first >= last {
                        continue;
                    }
                    let out = &mut out[first..last];
                    let from = first * width.stride + k * width.dilation - width.begin;
                    if width.stride == 1 {
                        out.iter_mut().zip(&x[from..]).for_each(|(y, x)| *y += w * x);
                    } else {
                        let x = x[from..].iter().step_by(width.stride);
                        out.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
                    }
                }
            }
        }
    }

    /// A product of the weights with what the window meets, some columns at a time.
    fn products(&self, y: &mut [f32]) -> Result<()> {
        let g = self.g;
        let (plane, rows) = (g.plane_out(), g.c * g.taps());
        let columns = (GATHERED / rows).clamp(FEWEST, MOST).min(plane);
        let parts = plane.div_ceil(columns);
        let tasks = self.samples * g.groups * parts;
        // Few tasks leave the threads to the products themselves.
        let alone = tasks < rayon::current_num_threads();
        let threads = if alone { Parallelism::Rayon(0) } else { Parallelism::None };
        let shared = Shared { y: y.as_mut_ptr(), len: y.len() };
        let task = |scratch: &mut Vec<f32>, task: usize| -> Result<()> {
            let (part, channels) = (task % parts, task / parts);
            let (group, n) = (channels % g.groups, channels / g.groups);
            let start = part * columns;
            let count = columns.min(plane - start);
            let x = self.inputs(n, group);
            let (matrix, stride): (&[f32], usize) = if self.is_point() {
                (&x[start..], plane)
            } else {
                scratch.resize(rows * count, 0.0);
                self.gather(x, start, count, scratch);
                (scratch, count)
            };
            let w = &self.w[group * g.m * rows..][..g.m * rows];
            let left = Left { data: w, row: rows as isize, column: 1 };
            let first = channels * g.m * plane + start;
            // SAFETY: a task has columns of its own in the rows of its group.
            let to = Target { c: unsafe { shared.y.add(first) }, stride: plane as isize };
            // SAFETY: there are m rows of `plane` elements from the group's
            // first, w has m by `rows` elements, and the matrix `rows` by `count`.
            unsafe {
                to.add_product(left, g.m, matrix, stride as isize, 1, count, rows, false, threads);
            }
            for m in 0..g.m {
                let at = first + m * plane;
                // SAFETY: the columns are this task's own.
                let row = unsafe { shared.slice(at, count)? };
                self.finish.row(row, at);
            }
            Ok(())
        };
        if alone {
            let mut scratch = Vec::new();
            return (0..tasks).try_for_each(|i| task(&mut scratch, i));
        }
        (0..tasks).into_par_iter().try_for_each_init(Vec::new, task)
    }

    /// Whether the input is the matrix already.
    fn is_point(&self) -> bool {
        self.three.iter().all(Axis::is_point)
    }

    /// The matrix of what the window meets: a row for each channel and tap, a
    /// column for each of `count` outputs from `start` on.
    fn gather(&self, x: &[f32], start: usize, count: usize, to: &mut [f32]) {
        let [d, h, w] = self.three;
        for (row, to) in to.chunks_mut(count).enumerate() {
            let (above, kw) = (row / w.kernel, row % w.kernel);
            let (channel, tap) = (above / (d.kernel * h.kernel), above % (d.kernel * h.kernel));
            let x = &x[channel * self.g.plane_in()..][..self.g.plane_in()];
            let (first, last) = inside(&w, kw);
            let mut at = 0;
            while at < count {
                let (line, ow) = ((start + at) / w.output, (start + at) % w.output);
                let len = (w.output - ow).min(count - at);
                let to = &mut to[at..at + len];
                at += len;
                let place = d
                    .met(line / h.output, tap / h.kernel)
                    .zip(h.met(line % h.output, tap % h.kernel));
                let Some((id, ih)) = place else {
                    to.fill(0.0);
                    continue;
                };
                let x = &x[(id * h.input + ih) * w.input..][..w.input];
                let (from, end) = (first.clamp(ow, ow + len), last.clamp(ow, ow + len));
                to[..from - ow].fill(0.0);
                to[end.max(from) - ow..].fill(0.0);
                if from >= end {
                    continue;
                }
                let source = from * w.stride + kw * w.dilation - w.begin;
                let to = &mut to[from - ow..end - ow];
                if w.stride == 1 {
                    to.copy_from_slice(&x[source..source + to.len()]);
                } else {
                    let x = x[source..].iter().step_by(w.stride);
                    to.iter_mut().zip(x).for_each(|(to, x)| *to = *x);
                }
            }
        }
    }

    /// A product gives what every input is to every tap; that is added up.
    fn transposed(&self, y: &mut [f32]) -> Result<()> {
        let g = self.g;
        let (plane, out, taps) = (g.plane_in(), g.plane_out(), g.taps());
        // Some output channels to a task, which then has these planes alone.
        let tasks = 2 * rayon::current_num_threads();
        let share = (self.samples * g.groups * g.m).div_ceil(tasks);
        let channels = share.clamp(1, (GATHERED / (taps * FEWEST)).max(1)).min(g.m);
        let blocks = g.m.div_ceil(channels);
        let columns = (GATHERED / (channels * taps)).clamp(FEWEST, MOST).min(plane);
        let shared = Shared { y: y.as_mut_ptr(), len: y.len() };
        let task = |scratch: &mut Vec<f32>, task: usize| -> Result<()> {
            let (block, above) = (task % blocks, task / blocks);
            let (group, n) = (above % g.groups, above / g.groups);
            let m = block * channels;
            let count = channels.min(g.m - m);
            let first = (above * g.m + m) * out;
            // SAFETY: a task has the planes of its channels to itself.
            let y = unsafe { shared.slice(first, count * out)? };
            y.fill(0.0);
            let x = self.inputs(n, group);
            let w = &self.w[(group * g.c * g.m + m) * taps..];
            let left = Left { data: w, row: 1, column: (g.m * taps) as isize };
            for start in (0..plane).step_by(columns) {
                let width = columns.min(plane - start);
                scratch.resize(count * taps * width, 0.0);
                let to = Target { c: scratch.as_mut_ptr(), stride: width as isize };
                let x = &x[start..];
                // SAFETY: the scratch memory is this task's own and large enough;
                // w has `taps` elements for each of the channels in each of the c
                // rows, and x has c rows of `plane` elements.
                unsafe {
                    let (rows, none) = (count * taps, Parallelism::None);
                    to.add_product(left, rows, x, plane as isize, 1, width, g.c, false, none);
                }
                for (y, spread) in y.chunks_mut(out).zip(scratch.chunks(taps * width)) {
                    self.scatter(spread, start, width, y);
                }
            }
            for (i, row) in y.chunks_mut(out).enumerate() {
                self.finish.row(row, first + i * out);
            }
            Ok(())
        };
        let all = self.samples * g.groups * blocks;
        (0..all).into_par_iter().try_for_each_init(Vec::new, task)
    }

    /// Adds what `count` inputs from `start` on give at every tap.
    fn scatter(&self, spread: &[f32], start: usize, count: usize, y: &mut [f32]) {
        let [d, h, w] = self.three;
        for (tap, spread) in spread.chunks(count).enumerate() {
            let (kd, kh) = (tap / w.kernel / h.kernel, tap / w.kernel % h.kernel);
            for (i, &value) in spread.iter().enumerate() {
                let (line, iw) = ((start + i) / w.input, (start + i) % w.input);
                let od = reached(&d, line / h.input, kd);
                let oh = reached(&h, line % h.input, kh);
                let ow = reached(&w, iw, tap % w.kernel);
                if let (Some(od), Some(oh), Some(ow)) = (od, oh, ow) {
                    y[(od * h.output + oh) * w.output + ow] += value;
                }
            }
        }
    }
}

/// The outputs that meet an input, and not padding, at tap `k`.
fn inside(axis: &Axis, k: usize) -> (usize, usize) {
    let before = axis.begin.saturating_sub(k * axis.dilation);
    let first = before.div_ceil(axis.stride);
    let end = (axis.input + axis.begin).saturating_sub(k * axis.dilation);
    (first, end.div_ceil(axis.stride).min(axis.output))
}

/// The output that input `i` reaches at tap `k` of a transposed convolution.
fn reached(axis: &Axis, i: usize, k: usize) -> Option<usize> {
    let o = (i * axis.stride + k * axis.dilation).checked_sub(axis.begin)?;
    (o < axis.output).then_some(o)
}
