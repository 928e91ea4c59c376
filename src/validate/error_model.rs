//! How far floating-point results may be from the exact value.
//!
//! Operators build their bounds from [`gamma`]; the comparison adds
//! [`storage_rounding`] for the dtype in which the result is kept.

use crate::tensor::DType;

/// The confidence parameter of [`gamma`].
const LAMBDA: f64 = 5.0;

/// The largest relative error that `n` successive roundings of unit round-off
/// `unit` leave, save with a small probability.
///
/// This is the probabilistic bound of N. J. Higham and T. Mary, "A New Approach
/// to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5), 2019,
/// Theorem 2.4: `exp(λ √n u + n u² / (1 − u)) − 1` with λ = 5. It grows with √n
/// where the worst case grows with n. One product of n roundings exceeds it
/// with probability at most `2 exp(−λ² (1 − u)² / 2)`, which is 7.5e-6 when
/// roundings behave as independent and of mean zero; an exceeded bound must in
/// addition have been reached, and √n u times five seldom is.
///
/// 0 for `n == 0`.
pub fn gamma(n: usize, unit: f64) -> f64 {
    let n = n as f64;
    (LAMBDA * n.sqrt() * unit + n * unit * unit / (1.0 - unit)).exp_m1()
}

/// How far a sum of errors is off that are independent and of mean zero, given the sum of
/// the squares of their largest amounts: exceeded with the same small probability as
/// [`gamma`] (Hoeffding's inequality).
pub(crate) fn independent(squares: f64) -> f64 {
    LAMBDA * squares.sqrt()
}

/// A binary floating-point format, as far as rounding goes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Format {
    /// Bits of the significand, the hidden one included.
    precision: i32,
    /// Exponent of the smallest normal number.
    min_exponent: i32,
    /// The largest finite number.
    max: f64,
}

fn format(dtype: DType) -> Option<Format> {
    match dtype {
        DType::F32 => Some(Format { precision: 24, min_exponent: -126, max: f32::MAX.into() }),
        DType::F16 => {
            Some(Format { precision: 11, min_exponent: -14, max: half::f16::MAX.to_f64() })
        }
        DType::BF16 => {
            Some(Format { precision: 8, min_exponent: -126, max: half::bf16::MAX.to_f64() })
        }
        DType::F64 => Some(Format { precision: 53, min_exponent: -1022, max: f64::MAX }),
        DType::F8E4M3FN => Some(Format { precision: 4, min_exponent: -6, max: 448.0 }),
        DType::F8E4M3FNUZ => Some(Format { precision: 4, min_exponent: -7, max: 240.0 }),
        DType::F8E5M2 => Some(Format { precision: 3, min_exponent: -14, max: 57344.0 }),
        DType::F8E5M2FNUZ => Some(Format { precision: 3, min_exponent: -15, max: 57344.0 }),
        DType::F8E8M0 => {
            Some(Format { precision: 1, min_exponent: -127, max: f64::powi(2.0, 127) })
        }
        DType::F4E2M1 => Some(Format { precision: 2, min_exponent: 0, max: 6.0 }),
        _ => None,
    }
}

/// The distance between the two numbers of `dtype` around `value`; that of the
/// subnormals below the smallest normal number. 0 for a dtype that is not a
/// floating-point one, infinite beyond its largest number.
pub fn ulp(dtype: DType, value: f64) -> f64 {
    let Some(format) = format(dtype) else { return 0.0 };
    if value.abs() > format.max {
        return f64::INFINITY;
    }
    let exponent = exponent(value).max(format.min_exponent);
    f64::powi(2.0, exponent - format.precision + 1)
}

/// The smallest normal number of `dtype`; 0 where it is no floating-point one.
pub fn smallest_normal(dtype: DType) -> f64 {
    format(dtype).map_or(0.0, |f| f64::powi(2.0, f.min_exponent))
}

/// The largest finite number of a floating-point `dtype`; infinite for others.
pub fn largest(dtype: DType) -> f64 {
    format(dtype).map_or(f64::INFINITY, |f| f.max)
}

/// How far `value` may move when it is stored as `dtype`: half the distance
/// between neighbours. Results that may be subnormal get the smallest normal
/// number instead, since WGSL lets a device flush them to zero (WGSL, section
/// "Differences from IEEE-754"). 0 for integers.
pub fn storage_rounding(dtype: DType, value: f64) -> f64 {
    let floor = smallest_normal(dtype);
    // Twice the floor, because the value may have been rounded below it before.
    if value.abs() < 2.0 * floor { floor } else { 0.5 * ulp(dtype, value) }
}

/// How far a number moves when it is rounded to f16, whose smallest normal
/// number is 2^-14; smaller ones may be taken for zero.
pub(crate) fn half_rounding(x: f64) -> f64 {
    if x.abs() >= f64::powi(2.0, -14) { x.abs() * f64::powi(2.0, -11) } else { x.abs() }
}

/// `floor(log2(|value|))`, exactly; very low for zero.
fn exponent(value: f64) -> i32 {
    let bits = value.to_bits() >> 52 & 0x7ff;
    // Subnormal f64s are far below every format's smallest number.
    bits as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn gamma_follows_the_square_root() {
        let unit = f64::powi(2.0, -24);
        assert_eq!(gamma(0, unit), 0.0);
        assert!((gamma(1, unit) / (5.0 * unit) - 1.0).abs() < 1e-6);
        assert!((gamma(10_000, unit) / (500.0 * unit) - 1.0).abs() < 1e-3);
        // Below the worst case for long sums, the point of the model.
        assert!(gamma(4096, unit) < 4096.0 * unit / 10.0);
        assert!(gamma(4, unit) < gamma(5, unit));
    }

    #[test]
    fn ulps_are_those_of_the_formats() {
        for value in [1.0f32, 1.5, 3.0, 1e-30, 7e30, f32::MIN_POSITIVE, 1e-40] {
            let next = f32::from_bits(value.to_bits() + 1);
            assert_eq!(ulp(DType::F32, value.into()), f64::from(next) - f64::from(value));
        }
        for value in [1.0f32, 0.1, 1000.0, 6.2e-5, 3e-6] {
            let half = f16::from_f32(value);
            let next = f16::from_bits(half.to_bits() + 1);
            assert_eq!(ulp(DType::F16, half.to_f64()), next.to_f64() - half.to_f64());
            let brain = bf16::from_f32(value);
            let next = bf16::from_bits(brain.to_bits() + 1);
            assert_eq!(ulp(DType::BF16, brain.to_f64()), next.to_f64() - brain.to_f64());
        }
        assert_eq!(ulp(DType::F16, -65504.0), 32.0);
        assert_eq!(ulp(DType::F16, 1e5), f64::INFINITY);
        assert_eq!(ulp(DType::I32, 3.0), 0.0);
    }

    #[test]
    fn rounding_to_storage_stays_within_the_allowance() {
        let mut value = 1e-8f64;
        while value < 6e4 {
            let moved = (f16::from_f64(value).to_f64() - value).abs();
            assert!(moved <= storage_rounding(DType::F16, value), "{value}");
            let moved = (f64::from(value as f32) - value).abs();
            assert!(moved <= storage_rounding(DType::F32, value), "{value}");
            value *= 1.07;
        }
        // A subnormal may be flushed, a normal number may not.
        assert!(storage_rounding(DType::F16, 5e-5) >= 5e-5);
        assert!(storage_rounding(DType::F16, 1.3e-4) < 1e-7);
    }
}
