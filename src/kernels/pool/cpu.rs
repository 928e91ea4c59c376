//! Pools on the CPU, a plane to a task.

use super::{Pool, PoolKernel, along};
use crate::error::{Error, Result};
use crate::kernels::CpuCx;
use crate::ops::pool::{PoolAxis, StorageOrder};
use crate::tensor::DType;
use crate::threads::{pairs, pieces};
use bytemuck::Pod;
use std::ops::Range;

/// Computes a [`PoolKernel`].
pub(super) fn run(kernel: &PoolKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    match (kernel.pool, cx.input(0)?.dtype) {
        (Pool::Largest(order), DType::F32) => largest(kernel, cx, order, -f32::MAX),
        (Pool::Largest(order), DType::I8) => largest(kernel, cx, order, i8::MIN),
        (Pool::Largest(order), DType::U8) => largest(kernel, cx, order, u8::MIN),
        (Pool::Mean { include }, DType::F32) => folded(
            kernel,
            cx,
            |sum, x| sum + x,
            |sum, met, padded| sum / if include { padded } else { met }.max(1) as f32,
        ),
        (Pool::Norm { p }, DType::F32) => {
            let raised = |sum: f32, x: f32| sum + x.abs().powi(p as i32);
            folded(kernel, cx, raised, |sum, _, _| match p {
                1 => sum,
                2 => sum.sqrt(),
                _ => sum.powf(1.0 / p as f32),
            })
        }
        (_, dtype) => Err(Error::internal(format!("a pool of {dtype}"))),
    }
}

/// What the window of an output meets along an axis: the taps, the first input,
/// and how many taps are in the input or in padding.
#[derive(Clone)]
struct Along {
    taps: Range<usize>,
    first: usize,
    padded: usize,
}

/// Every output's window along an axis.
fn windows(PoolAxis { axis, end }: &PoolAxis) -> Vec<Along> {
    let window = |o: usize| {
        let start = o * axis.stride;
        // Taps before a position, counted from where padding begins.
        let before = |position: usize| {
            position.saturating_sub(start).div_ceil(axis.dilation).min(axis.kernel)
        };
        let taps = before(axis.begin)..before(axis.begin + axis.input);
        let first = (start + taps.start * axis.dilation).saturating_sub(axis.begin);
        Along { taps, first, padded: before(*end) }
    };
    (0..axis.output).map(window).collect()
}

/// The windows of a kernel, and what it takes to go through a plane.
struct Plane {
    along: [Vec<Along>; 3],
    three: [PoolAxis; 3],
}

impl Plane {
    fn new(kernel: &PoolKernel) -> Self {
        let three = kernel.geometry.three();
        Plane { along: [0, 1, 2].map(|i| windows(&three[i])), three }
    }

    /// Folds what every window meets, in the order of the taps: `fold` is given
    /// the place and the element, `done` the number of elements met and of taps
    /// that are not beyond the padding.
    fn each<T: Copy, S: Copy>(
        &self,
        x: &[T],
        start: S,
        fold: impl Fn(S, [usize; 3], T) -> S,
        mut done: impl FnMut(usize, S, usize, usize),
    ) {
        let [_, h, w] = &self.three.map(|axis| axis.axis);
        let d = &self.three[0].axis;
        let mut number = 0;
        for in_d in &self.along[0] {
            for in_h in &self.along[1] {
                for in_w in &self.along[2] {
                    let mut state = start;
                    for (qd, _) in in_d.taps.clone().enumerate() {
                        let id = in_d.first + qd * d.dilation;
                        for (qh, _) in in_h.taps.clone().enumerate() {
                            let ih = in_h.first + qh * h.dilation;
                            let row = &x[(id * h.input + ih) * w.input..][..w.input];
                            for (qw, _) in in_w.taps.clone().enumerate() {
                                let iw = in_w.first + qw * w.dilation;
                                state = fold(state, [id, ih, iw], row[iw]);
                            }
                        }
                    }
                    let met = in_d.taps.len() * in_h.taps.len() * in_w.taps.len();
                    let padded = in_d.padded * in_h.padded * in_w.padded;
                    done(number, state, met, padded);
                    number += 1;
                }
            }
        }
    }
}

fn folded(
    kernel: &PoolKernel,
    cx: &mut CpuCx<'_>,
    fold: impl Fn(f32, f32) -> f32 + Sync,
    finish: impl Fn(f32, usize, usize) -> f32 + Sync,
) -> Result<()> {
    let x = cx.input(0)?.read::<f32>();
    let y = cx.output(0)?.write::<f32>()?;
    if y.is_empty() {
        return Ok(());
    }
    let plane = Plane::new(kernel);
    let (size, out) = (kernel.geometry.plane_in(), kernel.geometry.plane_out());
    pieces(y, out, 1, &|i, y| {
        let x = &x[i * size..(i + 1) * size];
        plane.each(
            x,
            0.0,
            |sum, _, x| fold(sum, x),
            |at, sum, met, padded| {
                y[at] = finish(sum, met, padded);
            },
        );
    });
    Ok(())
}

fn largest<T: Pod + PartialOrd + Send + Sync>(
    kernel: &PoolKernel,
    cx: &mut CpuCx<'_>,
    order: Option<StorageOrder>,
    lowest: T,
) -> Result<()> {
    let x = cx.input(0)?.read::<T>();
    let plane = Plane::new(kernel);
    let (size, out) = (kernel.geometry.plane_in(), kernel.geometry.plane_out());
    let Some(order) = order else {
        let y = cx.output(0)?.write::<T>()?;
        if y.is_empty() {
            return Ok(());
        }
        pieces(y, out, 1, &|i, y| {
            let larger = |best: T, _, x: T| if x > best { x } else { best };
            let x = &x[i * size..(i + 1) * size];
            plane.each(x, lowest, larger, |at, best, _, _| y[at] = best);
        });
        return Ok(());
    };
    let [y, indices] = cx.outputs.as_mut_slice() else {
        return Err(Error::internal("a pool with indices without a second output"));
    };
    let (y, indices) = (y.write::<T>()?, indices.write::<i32>()?);
    if y.is_empty() {
        return Ok(());
    }
    let along = along(&plane.three, order);
    pairs((y, out), (indices, out), &|i, y, indices| {
        let none = (lowest, None::<usize>);
        let larger = |best: (T, Option<usize>), at: [usize; 3], x: T| {
            if best.1.is_some() && x <= best.0 {
                return best;
            }
            (x, Some(at.iter().zip(along).map(|(i, by)| i * by).sum()))
        };
        let x = &x[i * size..(i + 1) * size];
        plane.each(x, none, larger, |at, (best, place), _, _| {
            y[at] = best;
            indices[at] = (i * size + place.unwrap_or(0)) as i32;
        });
    });
    Ok(())
}
