//! Element by element: is a result within its bound of the reference?

use super::error_model::{largest, storage_rounding};
use crate::error::{Error, Result};
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};
use std::fmt;

/// The byte that executors fill memory with before a run, where asked to: not
/// a number as F32, F16 and BF16, and no likely whole number.
pub const POISON: u8 = 0xff;

/// How a result compares with the reference, at its worst element.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which result.
    pub name: String,
    /// The largest distance from the reference as a part of what is allowed:
    /// at most 1 for a correct result, 0 for an exact or empty one, infinite
    /// where something is not a number or not exact where it must be.
    pub worst_ratio: f64,
    /// Where that is, row-major.
    pub worst_index: usize,
    /// The result's extents.
    pub extents: Vec<usize>,
    /// The result there.
    pub got: f64,
    /// The reference there.
    pub want: f64,
    /// The distance allowed there: the operator's bound and the rounding of
    /// the storage dtype.
    pub bound: f64,
    /// Whether the worst element is wrong and holds [`POISON`] in all its bytes.
    pub unwritten: bool,
    /// Elements that are further off than allowed.
    pub failing: usize,
    /// Elements compared.
    pub elements: usize,
}

impl Report {
    /// Whether every element is within its bound.
    pub fn passed(&self) -> bool {
        self.failing == 0
    }

    /// The worst element's index in each dimension.
    pub fn position(&self) -> Vec<usize> {
        let mut rest = self.worst_index;
        let mut position = vec![0; self.extents.len()];
        for (at, &extent) in position.iter_mut().zip(&self.extents).rev() {
            *at = rest % extent.max(1);
            rest /= extent.max(1);
        }
        position
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{:?}: got {:e}, want {:e} ± {:e} (off by {:e}, {:.3} of the bound); \
             {} of {} elements fail",
            self.name,
            self.position(),
            self.got,
            self.want,
            self.bound,
            (self.got - self.want).abs(),
            self.worst_ratio,
            self.failing,
            self.elements,
        )?;
        if self.unwritten { write!(f, "; never written") } else { Ok(()) }
    }
}

/// Compares a result with the reference.
///
/// `bound` is what [`Operator::bound`](crate::ops::Operator::bound) gave for
/// this output; the rounding to the storage dtype is added here.
///
/// # Errors
/// If the dtypes or extents differ, or if reference or bound are no yardstick:
/// of the wrong length, not a number, or a bound that is negative or infinite.
pub fn compare(name: &str, got: &Tensor, want: &RefTensor, bound: &[f64]) -> Result<Report> {
    if got.dtype() != want.dtype || got.extents() != want.extents {
        let show = |dtype, extents: &[usize]| format!("{dtype}{extents:?}");
        let expected = show(want.dtype, &want.extents);
        return Err(Error::input(name, expected, show(got.dtype(), got.extents())));
    }
    let bytes: &[u8] = got.bytes();
    let size = want.dtype.block_bytes();
    let (got, want_values) = (values(&RefTensor::from_tensor(got)?), values(want));
    if bound.len() != want_values.len() || got.len() != want_values.len() {
        let expected = format!("{} values and bounds", want_values.len());
        return Err(Error::input(name, expected, format!("{}, {}", got.len(), bound.len())));
    }
    let mut report = Report {
        name: name.into(),
        worst_ratio: 0.0,
        worst_index: 0,
        extents: want.extents.clone(),
        got: 0.0,
        want: 0.0,
        bound: 0.0,
        unwritten: false,
        failing: 0,
        elements: got.len(),
    };
    for (index, ((&got, &want_value), &bound)) in
        got.iter().zip(&want_values).zip(bound).enumerate()
    {
        if want_value.is_nan() || !(0.0..f64::INFINITY).contains(&bound) {
            let what = format!("reference {want_value:e} with bound {bound:e}");
            return Err(Error::input(format!("{name}, element {index}"), "a yardstick", what));
        }
        let largest = largest(want.dtype);
        let stored = (want_value.abs() + bound).min(largest);
        let allowed = bound + storage_rounding(want.dtype, stored);
        let ratio = ratio(got, want_value, allowed, largest);
        report.failing += usize::from(ratio > 1.0);
        if ratio > report.worst_ratio || index == 0 {
            let element = bytes.get(index * size..(index + 1) * size).unwrap_or_default();
            report = Report {
                worst_ratio: ratio,
                worst_index: index,
                got,
                want: want_value,
                bound: allowed,
                unwritten: ratio > 1.0 && element.iter().all(|&byte| byte == POISON),
                ..report
            };
        }
    }
    Ok(report)
}

fn ratio(got: f64, want: f64, allowed: f64, largest: f64) -> f64 {
    // Beyond the largest number the nearest is infinity, and a conversion may
    // stop at the largest instead.
    if want.abs() + allowed > largest && !got.is_nan() {
        let reached = got.abs() >= largest.min(want.abs() - allowed);
        return if reached && got.signum() == want.signum() { 0.0 } else { f64::INFINITY };
    }
    let distance = (got - want).abs();
    match distance {
        d if d.is_nan() => f64::INFINITY,
        0.0 => 0.0,
        d => d / allowed,
    }
}

fn values(tensor: &RefTensor) -> Vec<f64> {
    match &tensor.data {
        RefData::Real(data) => data.clone(),
        // Exact up to 2^53; larger ones are told apart well enough by a test.
        RefData::Int(data) if tensor.dtype == DType::U64 => {
            data.iter().map(|&v| v as u64 as f64).collect()
        }
        RefData::Int(data) => data.iter().map(|&v| v as f64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(got: &[f32], want: &[f64], bound: &[f64]) -> Result<Report> {
        let want = RefTensor::real(DType::F32, &[want.len()], want.to_vec());
        compare("y", &Tensor::from_f32(&[got.len()], got)?, &want, bound)
    }

    #[test]
    fn within_the_bound_passes_and_just_beyond_fails() {
        let want = [1.0, -2.0, 100.0];
        let bound = [1e-6, 1e-6, 1e-4];
        assert!(check(&[1.0, -2.0, 100.0], &want, &bound).unwrap().passed());
        let near = check(&[1.0 + 9e-7, -2.0, 100.0], &want, &bound).unwrap();
        assert!(near.passed() && near.worst_index == 0 && near.worst_ratio > 0.7);
        let off = check(&[1.0, -2.000_002, 100.0], &want, &bound).unwrap();
        assert_eq!((off.passed(), off.worst_index, off.failing), (false, 1, 1));
        assert!(off.to_string().contains("y[1]"), "{off}");
    }

    #[test]
    fn what_is_not_a_number_fails() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(u32::MAX)] {
            let report = check(&[1.0, bad], &[1.0, 1e30], &[1.0, 1e30]).unwrap();
            assert_eq!((report.passed(), report.worst_index), (false, 1), "{bad}");
        }
        let report = check(&[f32::from_bits(u32::MAX)], &[f64::INFINITY], &[0.0]).unwrap();
        assert!(!report.passed());
        assert!(report.to_string().contains("never written"));
    }

    #[test]
    fn overflow_is_accepted_where_the_reference_overflows() {
        let huge = 1e39;
        assert!(check(&[f32::INFINITY], &[huge], &[0.0]).unwrap().passed());
        assert!(check(&[f32::MAX], &[huge], &[0.0]).unwrap().passed());
        assert!(!check(&[f32::NEG_INFINITY], &[huge], &[0.0]).unwrap().passed());
        assert!(!check(&[1e30], &[huge], &[0.0]).unwrap().passed());
    }

    #[test]
    fn whole_numbers_are_exact() {
        let want = RefTensor::int(DType::I32, &[2, 2], vec![1, -2, 3, 4]);
        let right = Tensor::from_i32(&[2, 2], &[1, -2, 3, 4]).unwrap();
        let wrong = Tensor::from_i32(&[2, 2], &[1, -2, 3, 5]).unwrap();
        assert!(compare("y", &right, &want, &[0.0; 4]).unwrap().passed());
        let report = compare("y", &wrong, &want, &[0.0; 4]).unwrap();
        assert_eq!((report.worst_ratio, report.position()), (f64::INFINITY, vec![1, 1]));
        let poison = Tensor::from_i32(&[2, 2], &[1, -2, 3, -1]).unwrap();
        let report = compare("y", &poison, &want, &[0.0; 4]).unwrap();
        assert!(report.to_string().contains("never written"));
    }

    #[test]
    fn a_bad_yardstick_is_an_error() {
        assert!(check(&[1.0], &[f64::NAN], &[1.0]).is_err());
        assert!(check(&[1.0], &[1.0], &[f64::NAN]).is_err());
        assert!(check(&[1.0], &[1.0], &[f64::INFINITY]).is_err());
        assert!(check(&[1.0], &[1.0], &[-1.0]).is_err());
        assert!(check(&[1.0], &[1.0], &[]).is_err());
        assert!(check(&[1.0, 2.0], &[1.0], &[1.0]).is_err());
    }
}
