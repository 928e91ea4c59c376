//! Windows, and the triangles of the mel scale.

use crate::error::Result;
use crate::onnx::NodeCx;
use crate::ops::movement::{count, dtype_of};
use crate::ops::{RefData, RefTensor};
use std::f64::consts::{PI, TAU};

/// Elements of a table at most.
const MOST: usize = 1 << 26;

pub(super) fn hann(cx: &mut NodeCx<'_>) -> Result<()> {
    window(cx, |turn| (PI * turn).sin().powi(2))
}

pub(super) fn hamming(cx: &mut NodeCx<'_>) -> Result<()> {
    let alpha = 25.0 / 46.0;
    window(cx, |turn| alpha - (1.0 - alpha) * (TAU * turn).cos())
}

pub(super) fn blackman(cx: &mut NodeCx<'_>) -> Result<()> {
    window(cx, |turn| 0.42 - 0.5 * (TAU * turn).cos() + 0.08 * (2.0 * TAU * turn).cos())
}

/// `value` of the part of a turn that each element is at.
fn window(cx: &mut NodeCx<'_>, value: impl Fn(f64) -> f64) -> Result<()> {
    let size = whole(cx, 0, "size")?;
    // What is no period ends where it began.
    let periodic = cx.int("periodic", 1)? != 0;
    let turn = if periodic { size as f64 } else { size as f64 - 1.0 };
    let values = (0..size).map(|i| if turn == 0.0 { value(0.0) } else { value(i as f64 / turn) });
    table(cx, &[size], values.collect())
}

/// One whole number of a scalar input, within what a table may have.
pub(super) fn whole(cx: &mut NodeCx<'_>, input: usize, what: &str) -> Result<usize> {
    let value = match cx.known_ints(input)?.as_slice() {
        &[value] => count(cx, what, value)?,
        other => return Err(cx.broken(format!("{what} must be one number, got {other:?}"))),
    };
    if value > MOST {
        return Err(cx.unsupported(format!("{what} {value}")));
    }
    Ok(value)
}

/// Makes real numbers the output, in the dtype that is asked for.
fn table(cx: &mut NodeCx<'_>, extents: &[usize], values: Vec<f64>) -> Result<()> {
    let dtype = dtype_of(cx, cx.int("output_datatype", 1)?)?;
    let data = if dtype.is_float() {
        RefData::Real(values)
    } else {
        RefData::Int(values.into_iter().map(|value| value as i64).collect())
    };
    let y = RefTensor { dtype, extents: extents.to_vec(), data }.to_tensor()?;
    let y = cx.constant(y)?;
    cx.output(0, y);
    Ok(())
}

/// Triangles that are evenly spread on the mel scale, `2595 log10(1 + f / 700)`,
/// one a column; a row is a frequency of a transform.
pub(super) fn mel_weight_matrix(cx: &mut NodeCx<'_>) -> Result<()> {
    let (bands, length) = (whole(cx, 0, "num_mel_bins")?, whole(cx, 1, "dft_length")?);
    let rate = whole(cx, 2, "sample_rate")?;
    let mut edge = |input: usize| -> Result<f64> {
        match cx.known_reals(input)?.as_slice() {
            &[edge] => Ok(edge),
            other => Err(cx.broken(format!("an edge must be one number, got {other:?}"))),
        }
    };
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let (low, high) = (mel(edge(3)?), mel(edge(4)?));
    let rows = length / 2 + 1;
    if rate == 0 || rows.checked_mul(bands).is_none_or(|n| n > MOST) {
        return Err(cx.unsupported(format!("{rows} x {bands} weights at sample_rate {rate}")));
    }
    // The step is that of one band more than there are triangles' corners.
    let step = (high - low) / (bands as f64 + 2.0);
    let corner = |i: usize| {
        let hertz = 700.0 * (10f64.powf((low + i as f64 * step) / 2595.0) - 1.0);
        ((length as f64 + 1.0) * hertz / rate as f64).floor().max(0.0) as usize
    };
    let mut weights = vec![0.0; rows * bands];
    for band in 0..bands {
        let [left, centre, right] = [corner(band), corner(band + 1), corner(band + 2)];
        if right > rows {
            return Err(cx.broken("an edge is beyond half the sample rate"));
        }
        let mut set = |row: usize, value: f64| {
            if row < rows {
                weights[row * bands + band] = value;
            }
        };
        if left == centre {
            set(centre, 1.0);
        }
        (left..=centre).filter(|_| left < centre).for_each(|row| {
            set(row, (row - left) as f64 / (centre - left) as f64);
        });
        (centre..right).for_each(|row| set(row, (right - row) as f64 / (right - centre) as f64));
    }
    table(cx, &[rows, bands], weights)
}
