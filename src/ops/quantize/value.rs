//! The formulas of linear quantisation, number by number: the reference and the
//! CPU's kernels share them.

use crate::tensor::{DType, PowerRounding, SmallRounding, small_float_bits};
use half::{bf16, f16};

/// A number in the precision of a division.
fn precise(value: f32, precision: DType) -> f32 {
    match precision {
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

/// x / scale, rounded once in F32 and, where that is the precision, once more to
/// a half (which gives the half nearest to the quotient: F32 has more than twice
/// its digits).
fn quotient(x: f64, scale: f32, precision: DType) -> f32 {
    precise(precise(x as f32, precision) / scale, precision)
}

/// The nearest whole number, ties to even, moved and within the range of `to`.
fn saturated(to: DType, value: f64, zero: i32) -> i64 {
    let (least, most) = to.range().unwrap_or((0, 0));
    // Far beyond the ends of 16 bits.
    let whole = value.clamp(-2_097_152.0, 2_097_152.0).round_ties_even() as i128;
    (whole + i128::from(zero)).clamp(least, most) as i64
}

/// ONNX `QuantizeLinear` to a whole-number type.
pub(crate) fn quantized(to: DType, x: f64, scale: f32, zero: i32, precision: DType) -> i64 {
    saturated(to, quotient(x, scale, precision).into(), zero)
}

/// ONNX `QuantizeLinear` to a floating-point type of at most 8 bits: the code.
pub(crate) fn small(to: DType, x: f64, scale: f32, precision: DType, saturate: bool) -> u8 {
    let rounding = SmallRounding { saturate, power: PowerRounding::Up };
    small_float_bits(to, quotient(x, scale, precision).into(), rounding)
}

/// The same with a factor instead of a scale.
pub(crate) fn requantized(to: DType, x: f64, factor: f32, zero: i32) -> i64 {
    saturated(to, f64::from(x as f32 * factor), zero)
}

/// ONNX `DequantizeLinear`, in F32.
pub(crate) fn dequantized(x: f64, scale: f32, zero: i32) -> f32 {
    (x - f64::from(zero)) as f32 * scale
}
