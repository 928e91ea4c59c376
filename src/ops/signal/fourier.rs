//! Discrete Fourier transforms as products with a table of their factors.

use super::windows::whole;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::Binary;
use crate::ops::gather::Take;
use crate::ops::matmul::MatMul;
use crate::ops::movement::{front_axes, reshaped, transposed};
use crate::tensor::{DType, Tensor};
use std::f64::consts::TAU;

/// Elements of a table at most: 256 MiB.
const MOST: usize = 1 << 26;

/// One transform.
#[derive(Debug, Clone, Copy)]
struct Transform {
    /// Elements that are there.
    given: usize,
    /// 1 where these are real, 2 where they are complex.
    parts: usize,
    /// The length of the transform.
    length: usize,
    inverse: bool,
    /// Whether only half the frequencies are given out or, inverse, given.
    onesided: bool,
}

impl Transform {
    /// Elements of the result, and whether they are complex.
    fn result(&self) -> (usize, usize) {
        match (self.onesided, self.inverse) {
            (true, false) => (self.length / 2 + 1, 2),
            (true, true) => (self.length, 1),
            (false, _) => (self.length, 2),
        }
    }

    /// What each part of each element contributes to each part of each element
    /// of the result: `[given parts, results parts]`.
    fn table(&self) -> Vec<f32> {
        let (count, parts) = self.result();
        let mut table = vec![0.0; self.given * self.parts * count * parts];
        let sign = if self.inverse { 1.0 } else { -1.0 };
        for n in 0..self.given {
            let weight = self.weight(n);
            for k in 0..count {
                // A whole number of turns is nothing, whatever its size.
                let turn =
                    (n as u128 * k as u128 % self.length as u128) as f64 / self.length as f64;
                let (sine, cosine) = (sign * TAU * turn).sin_cos();
                let mut set = |from: usize, to: usize, value: f64| {
                    let row = n * self.parts + from;
                    table[(row * count + k) * parts + to] = (weight * value) as f32;
                };
                set(0, 0, cosine);
                if parts == 2 {
                    set(0, 1, sine);
                }
                if self.parts == 2 {
                    set(1, 0, -sine);
                }
                if self.parts == 2 && parts == 2 {
                    set(1, 1, cosine);
                }
            }
        }
        table
    }

    /// How often element n counts: not at all past the end, and twice where it
    /// stands for its mirror image.
    fn weight(&self, n: usize) -> f64 {
        let scale = if self.inverse { 1.0 / self.length as f64 } else { 1.0 };
        if !(self.onesided && self.inverse) {
            return if n < self.length { scale } else { 0.0 };
        }
        match n {
            _ if n > self.length / 2 => 0.0,
            _ if n == 0 || 2 * n == self.length => scale,
            _ => 2.0 * scale,
        }
    }
}

/// Transforms `x` `[.., given, .., parts]` along an axis.
fn transformed(cx: &mut NodeCx<'_>, x: ValueId, axis: usize, t: Transform) -> Result<ValueId> {
    let (count, parts) = t.result();
    let (rows, columns) = (t.given * t.parts, count * parts);
    if rows.checked_mul(columns).is_none_or(|n| n > MOST) {
        let what = format!("a transform of {} to {count} elements", t.given);
        return Err(cx.unsupported(what));
    }
    let mut extents = cx.extents_of(x)?;
    let last = extents.len() - 2;
    // The axis goes to the end, before the parts, and back.
    let mut order: Vec<usize> = (0..extents.len()).filter(|&i| i != axis).collect();
    order.insert(last, axis);
    let mut back: Vec<usize> = (0..last).collect();
    back.insert(axis, last);
    back.push(last + 1);
    let x = transposed(cx, x, &order)?;
    extents.remove(axis);
    extents.pop();
    let outer: usize = extents.iter().product();
    let x = reshaped(cx, x, &[outer, rows])?;
    let table = cx.constant(Tensor::from_f32(&[rows, columns], &t.table())?)?;
    let y = cx.op1(MatMul::default(), &[x, table])?;
    extents.extend([count, parts]);
    let y = reshaped(cx, y, &extents)?;
    transposed(cx, y, &back)
}

pub(super) fn dft_17(cx: &mut NodeCx<'_>) -> Result<()> {
    let axis = cx.int("axis", 1)?;
    along(cx, axis)
}

pub(super) fn dft(cx: &mut NodeCx<'_>) -> Result<()> {
    let axis = match cx.optional(2) {
        None => -2,
        Some(_) => match cx.known_ints(2)?.as_slice() {
            &[axis] => axis,
            other => return Err(cx.broken(format!("axis must be one number, got {other:?}"))),
        },
    };
    along(cx, axis)
}

fn along(cx: &mut NodeCx<'_>, axis: i64) -> Result<()> {
    let extents = cx.extents(0)?;
    let rank = extents.len();
    let axis = front_axes(cx, &[axis], rank)?.remove(0);
    let parts = parts(cx, &extents)?;
    if rank < 2 || axis + 1 == rank {
        return Err(cx.broken(format!("axis {axis} of {extents:?} holds no signal")));
    }
    let (inverse, onesided) = (cx.int("inverse", 0)? != 0, cx.int("onesided", 0)? != 0);
    let given = extents[axis];
    let length = match cx.optional(1) {
        Some(_) => whole(cx, 1, "dft_length")?,
        None if inverse && onesided => 2 * given.saturating_sub(1),
        None => given,
    };
    if length == 0 {
        return Err(cx.broken("a transform of no elements"));
    }
    if onesided && !inverse && parts == 2 {
        return Err(cx.unsupported("attribute 'onesided' with a complex signal"));
    }
    let dtype = single(cx)?;
    let x = cx.input_f32(0)?;
    let y = transformed(cx, x, axis, Transform { given, parts, length, inverse, onesided })?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn single(cx: &NodeCx<'_>) -> Result<DType> {
    match cx.dtype(0)? {
        dtype @ (DType::F32 | DType::F16 | DType::BF16) => Ok(dtype),
        other => Err(cx.unsupported(other)),
    }
}

fn parts(cx: &NodeCx<'_>, extents: &[usize]) -> Result<usize> {
    match extents.last() {
        Some(&parts @ (1 | 2)) => Ok(parts),
        _ => Err(cx.broken(format!("the last dimension of {extents:?} must be 1 or 2"))),
    }
}

/// Pieces of a signal `[batch, length, parts]`, each transformed. Exporters leave
/// the last dimension out where there is one part, and ONNX Runtime takes that.
pub(super) fn stft(cx: &mut NodeCx<'_>) -> Result<()> {
    let mut extents = cx.extents(0)?;
    if extents.len() == 2 {
        extents.push(1);
    }
    let (parts, dtype) = (parts(cx, &extents)?, single(cx)?);
    let &[_, signal, _] = extents.as_slice() else {
        return Err(cx.broken(format!("the signal must have 3 dimensions, got {extents:?}")));
    };
    let step = whole(cx, 1, "frame_step")?;
    let window = cx.optional(2);
    let own = window.map(|window| cx.extents_of(window)).transpose()?;
    let own = own.map(|extents| extents.iter().product::<usize>());
    let length = match (cx.optional(3), own) {
        (Some(_), own) => {
            let length = whole(cx, 3, "frame_length")?;
            if own.is_some_and(|own| own != length) {
                return Err(cx.broken(format!("a window of {own:?} for frames of {length}")));
            }
            length
        }
        (None, Some(own)) => own,
        (None, None) => signal,
    };
    if step == 0 || length == 0 || length > signal {
        let what = format!("frames of {length} every {step} of {signal} elements");
        return Err(cx.broken(what));
    }
    let onesided = cx.int("onesided", 1)? != 0;
    if onesided && parts == 2 {
        return Err(cx.unsupported("attribute 'onesided' with a complex signal"));
    }
    let frames = (signal - length) / step + 1;
    let starts = (0..frames).flat_map(|frame| (0..length).map(move |i| (frame * step + i) as i32));
    let places = Tensor::from_i32(&[frames, length], &starts.collect::<Vec<_>>())?;
    let (x, places) = (cx.input_f32(0)?, cx.constant(places)?);
    let x = reshaped(cx, x, &extents)?;
    let mut pieces = cx.op1(Take { axis: 1, batch_dims: 0 }, &[x, places])?;
    if let Some(window) = window {
        let window = cx.cast(window, DType::F32)?;
        let window = reshaped(cx, window, &[length, 1])?;
        pieces = cx.op1(Binary::Mul, &[pieces, window])?;
    }
    let t = Transform { given: length, parts, length, inverse: false, onesided };
    let y = transformed(cx, pieces, 2, t)?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transform and back again is the signal.
    #[test]
    fn tables_are_inverse_to_each_other() {
        for (length, onesided) in [(1, false), (6, false), (7, false), (6, true), (7, true)] {
            let parts = if onesided { 1 } else { 2 };
            let there = Transform { given: length, parts, length, inverse: false, onesided };
            let (given, between) = there.result();
            let back = Transform { given, parts: between, length, inverse: true, onesided };
            let (a, b) = (there.table(), back.table());
            let (n, m) = (length * parts, given * between);
            for i in 0..n {
                for j in 0..n {
                    let sum: f32 = (0..m).map(|k| a[i * m + k] * b[k * n + j]).sum();
                    let want = if i == j { 1.0 } else { 0.0 };
                    assert!((sum - want).abs() < 1e-5, "{length} {onesided}: {i} {j} {sum}");
                }
            }
        }
    }
}
