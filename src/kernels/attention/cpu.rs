//! Attention on the CPU: one row of the output at a time, keys in blocks.

use crate::error::{Error, Result};
use crate::kernels::{CpuCx, CpuTensor};
use crate::ops::attention::{Attention, LEAST_SCORE, checked_past};
use crate::tensor::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use std::borrow::Cow;

/// Keys whose scores are computed before the output is updated.
const BLOCK: usize = 32;

/// A cache in either of its storage types.
enum Cache<'a> {
    F32(Cow<'a, [f32]>),
    F16(Cow<'a, [f16]>),
}

impl<'a> Cache<'a> {
    fn of(tensor: &CpuTensor<'a>) -> Self {
        match tensor.dtype {
            DType::F16 => Cache::F16(tensor.read()),
            _ => Cache::F32(tensor.read()),
        }
    }

    /// A row, converted into `room` where it must be.
    fn row<'r>(&'r self, start: usize, room: &'r mut [f32]) -> &'r [f32] {
        match self {
            Cache::F32(all) => &all[start..start + room.len()],
            Cache::F16(all) => {
                all[start..start + room.len()].convert_to_f32_slice(room);
                room
            }
        }
    }
}

/// An additive mask and its strides along `[B, H, Q, C]`.
struct Mask<'a> {
    values: Cow<'a, [f32]>,
    strides: [usize; 4],
}

impl<'a> Mask<'a> {
    fn of(tensor: &CpuTensor<'a>) -> Self {
        let (mut strides, mut stride) = ([0; 4], 1);
        for (i, &n) in tensor.extents.iter().rev().enumerate() {
            if n != 1 {
                strides[3 - i] = stride;
            }
            stride *= n;
        }
        Mask { values: tensor.read(), strides }
    }

    fn at(&self, index: [usize; 4]) -> f32 {
        let at: usize = index.iter().zip(self.strides).map(|(i, stride)| i * stride).sum();
        self.values[at]
    }
}

pub(super) fn run(op: &Attention, cx: &mut CpuCx<'_>) -> Result<()> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let ([batch, queries, heads, head], [_, groups, capacity, value]) =
        (extents(&q)?, extents(&v)?);
    let past = cx.input(3)?.read::<i32>().into_owned();
    let mut before = Vec::with_capacity(batch);
    for (b, &past) in past.iter().enumerate() {
        before.push(checked_past(past.into(), b, queries, capacity)?);
    }
    let mask = cx.optional(4).map(|mask| Mask::of(&mask));
    let sinks = cx.optional(5).map(|sinks| sinks.read::<f32>());
    let (q, k, v) = (q.read::<f32>(), Cache::of(&k), Cache::of(&v));
    let scale = op.scale_for(head as u64);
    let y = cx.output(0)?.write::<f32>()?;
    y.par_chunks_mut(value).enumerate().for_each(|(row, y)| {
        let (b, i, h) = (row / heads / queries, row / heads % queries, row % heads);
        let slab = (b * groups + h / (heads / groups)) * capacity;
        let query = &q[row * head..(row + 1) * head];
        let (mut key_room, mut value_room) = (vec![0.0; head], vec![0.0; value]);
        let mut online = Online { peak: LEAST_SCORE, sum: 0.0 };
        let visible = op.visible(before[b], i, queries);
        let mut scores = [0.0; BLOCK];
        y.fill(0.0);
        let mut start = visible.start;
        while start < visible.end {
            let end = visible.end.min(start + BLOCK);
            let scores = &mut scores[..end - start];
            for (score, j) in scores.iter_mut().zip(start..) {
                let added = mask.as_ref().map(|mask| mask.at([b, h, i, j]));
                if added == Some(f32::NEG_INFINITY) {
                    *score = f32::NEG_INFINITY;
                    continue;
                }
                let key = k.row((slab + j) * head, &mut key_room);
                let mut s = dot(query, key) * scale;
                if let Some(cap) = op.softcap {
                    s = cap * (s / cap).tanh();
                }
                s += added.unwrap_or(0.0);
                *score = s.max(LEAST_SCORE);
            }
            online.rescale(scores, y);
            for (weight, j) in scores.iter().zip(start..) {
                let row = v.row((slab + j) * value, &mut value_room);
                for (y, v) in y.iter_mut().zip(row) {
                    *y += weight * v;
                }
            }
            start = end;
        }
        if let Some(sinks) = &sinks {
            // One more score, of a key without values.
            online.rescale(&mut [sinks[h].max(LEAST_SCORE)], y);
        }
        if online.sum > 0.0 {
            y.iter_mut().for_each(|y| *y /= online.sum);
        }
    });
    Ok(())
}

/// The running maximum and sum of an online softmax.
struct Online {
    peak: f32,
    sum: f32,
}

impl Online {
    /// Turns a block of scores into weights and brings `y` to the new maximum.
    fn rescale(&mut self, scores: &mut [f32], y: &mut [f32]) {
        let peak = scores.iter().copied().fold(self.peak, f32::max);
        if peak > self.peak {
            let factor = (self.peak - peak).exp();
            y.iter_mut().for_each(|y| *y *= factor);
            self.sum *= factor;
            self.peak = peak;
        }
        for score in scores {
            *score = (*score - peak).exp();
            self.sum += *score;
        }
    }
}

/// A product in eight lanes, so that it vectorises and errs less.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let ((a8, a_rest), (b8, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.iter().zip(b8) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

fn extents(tensor: &CpuTensor<'_>) -> Result<[usize; 4]> {
    tensor.extents[..].try_into().map_err(|_| Error::internal("attention over other than rank 4"))
}
