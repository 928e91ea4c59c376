//! Floating-point numbers of at most 8 bits: exact values, and the nearest code.
//!
//! The formats are those of P. Micikevicius et al., "FP8 Formats for Deep
//! Learning" (2022), of B. Noune et al., "8-bit Numerical Formats for Deep
//! Neural Networks" (2022, the `FNUZ` ones), and of the OCP Microscaling
//! Formats specification 1.0 (`E8M0`, `E2M1`); what conversions do is ONNX's
//! table for `Cast`.

use super::DType;

/// What a format does at the top of its range.
#[derive(Clone, Copy, PartialEq)]
enum Special {
    /// The largest exponent is for infinity and for what is not a number.
    Ieee,
    /// Only all ones is not a number.
    AllOnes,
    /// The code of -0 is not a number, and there is no -0.
    NegativeZero,
    /// Every code is a number.
    None,
}

#[derive(Clone, Copy)]
struct Format {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    special: Special,
}

fn format(dtype: DType) -> Format {
    let format = |exponent, mantissa, bias, special| Format { exponent, mantissa, bias, special };
    match dtype {
        DType::F8E4M3FN => format(4, 3, 7, Special::AllOnes),
        DType::F8E4M3FNUZ => format(4, 3, 8, Special::NegativeZero),
        DType::F8E5M2 => format(5, 2, 15, Special::Ieee),
        DType::F8E5M2FNUZ => format(5, 2, 16, Special::NegativeZero),
        _ => format(2, 1, 1, Special::None),
    }
}

impl Format {
    fn sign(self) -> u8 {
        1 << (self.exponent + self.mantissa)
    }

    /// The code of the largest number.
    fn largest(self) -> u8 {
        let all = self.sign() - 1;
        match self.special {
            Special::Ieee => all - (1 << self.mantissa),
            Special::AllOnes => all - 1,
            Special::NegativeZero | Special::None => all,
        }
    }

    fn value(self, code: u8) -> f64 {
        let magnitude = code & (self.sign() - 1);
        let negative = code & self.sign() != 0;
        let nan = match self.special {
            Special::Ieee | Special::AllOnes => magnitude > self.largest(),
            Special::NegativeZero => negative && magnitude == 0,
            Special::None => false,
        };
        if self.special == Special::Ieee && magnitude == self.largest() + 1 {
            return if negative { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        if nan {
            return f64::NAN;
        }
        let fraction = f64::from(magnitude & ((1 << self.mantissa) - 1));
        let exponent = i32::from(magnitude >> self.mantissa);
        let hidden = if exponent > 0 { f64::from(1 << self.mantissa) } else { 0.0 };
        let scale = f64::powi(2.0, exponent.max(1) - self.bias - self.mantissa as i32);
        (hidden + fraction) * if negative { -scale } else { scale }
    }

    fn code(self, value: f64, saturate: bool) -> u8 {
        let sign = if value.is_sign_negative() { self.sign() } else { 0 };
        let nan = match self.special {
            Special::Ieee => sign | (self.largest() + 3),
            Special::AllOnes => sign | (self.largest() + 1),
            Special::NegativeZero => self.sign(),
            // There is nothing better; -0 is what ONNX's own cases have.
            Special::None => self.sign(),
        };
        if value.is_nan() {
            return nan;
        }
        let magnitude = self.rounded(value.abs());
        if magnitude.is_none_or(|m| m > self.largest()) {
            return match self.special {
                _ if saturate => sign | self.largest(),
                Special::None => sign | self.largest(),
                Special::Ieee => sign | (self.largest() + 1),
                _ => nan,
            };
        }
        match magnitude.unwrap_or(0) {
            0 if self.special == Special::NegativeZero => 0,
            magnitude => sign | magnitude,
        }
    }

    /// The code of the nearest number, ties to even, as if the range went on;
    /// `None` where it would not fit a byte.
    fn rounded(self, value: f64) -> Option<u8> {
        if value >= f64::from(u32::MAX) {
            return None;
        }
        let least = 1 - self.bias;
        let exponent = if value > 0.0 { value.log2().floor() as i32 } else { least };
        // The logarithm may have been rounded up to a whole number.
        let exponent = if f64::powi(2.0, exponent) > value { exponent - 1 } else { exponent };
        let exponent = exponent.max(least);
        let units = value / f64::powi(2.0, exponent - self.mantissa as i32);
        // A carry out of the fraction counts the exponent up by itself.
        let code = ((exponent - least) << self.mantissa) as f64 + units.round_ties_even();
        (code < 256.0).then_some(code as u8)
    }
}

/// How a number becomes one of [`DType::F8E8M0`] and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SmallRounding {
    /// Numbers out of range become the nearest end, not infinity or not a number.
    pub saturate: bool,
    /// For [`DType::F8E8M0`] only; the others go to the nearest, ties to even.
    pub power: PowerRounding,
}

/// Where a number between two powers of two goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PowerRounding {
    /// To the larger.
    Up,
    /// To the smaller.
    Down,
    /// To the nearer; to the larger from half way.
    Nearest,
}

impl SmallRounding {
    /// What ONNX's `Cast` does without attributes.
    pub const DEFAULT: SmallRounding = SmallRounding { saturate: true, power: PowerRounding::Up };
}

impl Default for SmallRounding {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The value of a code of a small floating-point type.
pub fn small_float(dtype: DType, code: u8) -> f64 {
    match (dtype, code) {
        (DType::F8E8M0, 255) => f64::NAN,
        (DType::F8E8M0, _) => f64::powi(2.0, i32::from(code) - 127),
        _ => format(dtype).value(code),
    }
}

/// The code of a number in a small floating-point type.
pub fn small_float_bits(dtype: DType, value: f64, rounding: SmallRounding) -> u8 {
    if dtype == DType::F8E8M0 {
        return power_code(value, rounding);
    }
    format(dtype).code(value, rounding.saturate)
}

/// ONNX leaves negative numbers open; they are taken for 0 here.
fn power_code(value: f64, rounding: SmallRounding) -> u8 {
    const NAN: u8 = 255;
    if value.is_nan() {
        return NAN;
    }
    if value == f64::INFINITY {
        return if rounding.saturate { NAN - 1 } else { NAN };
    }
    if value <= 0.0 {
        return if rounding.saturate { 0 } else { NAN };
    }
    let below = {
        let exponent = value.log2().floor() as i32;
        if f64::powi(2.0, exponent) > value { exponent - 1 } else { exponent }
    };
    let part = value / f64::powi(2.0, below);
    let up = match rounding.power {
        PowerRounding::Up => part > 1.0,
        PowerRounding::Down => false,
        PowerRounding::Nearest => part >= 1.5,
    };
    let code = below + i32::from(up) + 127;
    match u8::try_from(code) {
        Ok(code) if code < NAN => code,
        _ if !rounding.saturate => NAN,
        _ if code < 0 => 0,
        _ => NAN - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: [DType; 6] = [
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::F8E8M0,
        DType::F4E2M1,
    ];

    #[test]
    fn codes_survive() {
        for dtype in SMALL {
            let codes = if dtype == DType::F4E2M1 { 0..=15 } else { 0..=255u8 };
            for code in codes {
                let value = small_float(dtype, code);
                let exact = SmallRounding { saturate: false, power: PowerRounding::Nearest };
                let again = small_float_bits(dtype, value, exact);
                if value.is_nan() {
                    assert!(small_float(dtype, again).is_nan(), "{dtype} {code}");
                } else {
                    assert_eq!(again, code, "{dtype} {value}");
                }
            }
        }
    }

    #[test]
    fn the_ends_are_those_of_the_formats() {
        let ends = [
            (DType::F8E4M3FN, 448.0, 2f64.powi(-9)),
            (DType::F8E4M3FNUZ, 240.0, 2f64.powi(-10)),
            (DType::F8E5M2, 57344.0, 2f64.powi(-16)),
            (DType::F8E5M2FNUZ, 57344.0, 2f64.powi(-17)),
            (DType::F4E2M1, 6.0, 0.5),
        ];
        for (dtype, most, least) in ends {
            let round = SmallRounding::default();
            let value = |v| small_float(dtype, small_float_bits(dtype, v, round));
            assert_eq!((value(1e9), value(-1e9)), (most, -most), "{dtype}");
            assert_eq!((value(least), value(least * 0.4)), (least, 0.0), "{dtype}");
            // Half way, to even.
            assert_eq!((value(least * 0.5), value(least * 1.5)), (0.0, least * 2.0), "{dtype}");
        }
    }

    #[test]
    fn out_of_range_follows_the_table_of_cast() {
        let cut = SmallRounding { saturate: false, power: PowerRounding::Nearest };
        let value = |dtype, v| small_float(dtype, small_float_bits(dtype, v, cut));
        assert_eq!(value(DType::F8E5M2, 1e9), f64::INFINITY);
        for dtype in [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2FNUZ, DType::F8E8M0] {
            assert!(value(dtype, f64::INFINITY).is_nan(), "{dtype}");
        }
        assert!(value(DType::F8E8M0, 0.0).is_nan());
        // 464 is half way between 448 and the next step, and goes to even.
        assert_eq!(value(DType::F8E4M3FN, 464.0), 448.0);
        assert!(value(DType::F8E4M3FN, 465.0).is_nan());
        let up = SmallRounding::default();
        assert_eq!(small_float_bits(DType::F8E8M0, 1.1, up), 128);
        assert_eq!(small_float_bits(DType::F8E8M0, 0.0, up), 0);
        assert_eq!(small_float_bits(DType::F8E8M0, 1.5, cut), 128);
        assert_eq!(small_float_bits(DType::F8E8M0, 1.4, cut), 127);
    }
}
