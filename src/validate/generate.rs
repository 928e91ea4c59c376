//! Values of a case's inputs, drawn from a seed.
//!
//! The same seed gives the same tensor on every machine.

use super::case::{CaseInput, Values};
use super::error_model::{largest, smallest_normal};
use crate::error::{Error, Result};
use crate::ops::RefTensor;
use crate::quant::random::{Scales, random_blocks};
use crate::tensor::{DType, Tensor};
use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64;

/// How often values that came out all zero are drawn again.
const TRIES: u64 = 16;

/// Draws an input. `seed` should differ from input to input; [`mix`] helps.
///
/// Floating-point inputs are never all zero, because a kernel that writes
/// nothing but zeros would pass. Elements too small for a normal number of the
/// dtype are moved to the smallest one: WGSL lets devices flush subnormals, and
/// no operator's bound accounts for that. `Values::Exact` is taken as it is.
///
/// # Errors
/// If the values cannot be of the dtype, or can be nothing but zero.
pub fn generate(input: &CaseInput, seed: u64) -> Result<Tensor> {
    if let Values::Exact(tensor) = &input.values {
        return Ok(tensor.clone());
    }
    let may_be_zero = input.dtype.is_integer() || input.extents.contains(&0);
    for attempt in 0..TRIES {
        let tensor = draw(input, mix(seed, attempt))?;
        if may_be_zero || tensor.bytes().iter().any(|&byte| byte != 0 && byte != 0x80) {
            return Ok(tensor);
        }
    }
    let what = format!("values of a {}{:?}", input.dtype, input.extents);
    Err(Error::input(what, "some that are not zero", format!("{:?}", input.values)))
}

/// A seed from a seed and a number, such as an input's position.
pub fn mix(seed: u64, number: u64) -> u64 {
    // The finaliser of SplitMix64 (G. Steele et al., "Fast splittable
    // pseudorandom number generators", OOPSLA 2014).
    let mut z = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn draw(input: &CaseInput, seed: u64) -> Result<Tensor> {
    let (dtype, extents) = (input.dtype, &input.extents);
    if dtype.is_quantised() {
        let blocks = dtype.bytes(extents)? / dtype.block_bytes();
        return Tensor::new(dtype, extents, random_blocks(dtype, blocks, seed, Scales::Unit)?);
    }
    // Checks the size before anything of that size is made.
    let count = dtype.bytes(extents)? / dtype.block_bytes();
    let mut rng = Pcg64::seed_from_u64(seed);
    let drawn = if dtype.is_integer() {
        let data = (0..count).map(|_| whole(&input.values, dtype, &mut rng)).collect();
        RefTensor::int(dtype, extents, data)
    } else {
        let data = (0..count).map(|_| storable(real(&input.values, &mut rng), dtype)).collect();
        RefTensor::real(dtype, extents, data)
    };
    drawn.to_tensor()
}

fn real(values: &Values, rng: &mut Pcg64) -> f64 {
    match *values {
        Values::Normal(deviation) => normal(rng) * deviation,
        Values::Uniform(from, to) => from + (to - from) * unit(rng),
        Values::Whole(from, to) => between(from, to, rng) as f64,
        Values::Exact(_) => 0.0,
    }
}

fn whole(values: &Values, dtype: DType, rng: &mut Pcg64) -> i64 {
    let value = match *values {
        Values::Whole(from, to) => between(from, to, rng),
        // A float outside the range becomes the nearest end.
        _ => real(values, rng).round() as i64,
    };
    let (least, most) = range(dtype);
    value.clamp(least, most)
}

fn range(dtype: DType) -> (i64, i64) {
    let clamp = |end: i128| end.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    dtype.range().map_or((i64::MIN, i64::MAX), |(least, most)| (clamp(least), clamp(most)))
}

/// The value with its magnitude moved into the normal numbers of the dtype.
/// Zero stays zero.
fn storable(value: f64, dtype: DType) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    value.abs().clamp(smallest_normal(dtype), largest(dtype)).copysign(value)
}

/// From `from` up to, not including, `to`; `from` if that is empty.
fn between(from: i64, to: i64, rng: &mut Pcg64) -> i64 {
    let count = to.saturating_sub(from).max(1) as u64;
    // The bias is below count / 2^64.
    from.wrapping_add((rng.next_u64() % count) as i64)
}

/// From 0 up to, not including, 1.
fn unit(rng: &mut Pcg64) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Standard normal, by Box and Muller's transform.
fn normal(rng: &mut Pcg64) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reals(input: &CaseInput, seed: u64) -> Vec<f64> {
        let tensor = generate(input, seed).unwrap();
        RefTensor::from_tensor(&tensor).unwrap().reals().unwrap().to_vec()
    }

    #[test]
    fn normals_have_the_deviation_asked_for() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let input = CaseInput::run(dtype, &[100, 100]).values(Values::Normal(3.0));
            let values = reals(&input, 7);
            let mean = values.iter().sum::<f64>() / 1e4;
            let variance = values.iter().map(|v| v * v).sum::<f64>() / 1e4;
            assert!(mean.abs() < 0.15, "{dtype}: {mean}");
            assert!((variance.sqrt() - 3.0).abs() < 0.1, "{dtype}: {variance}");
            assert_eq!(values, reals(&input, 7));
            assert_ne!(values, reals(&input, 8));
        }
    }

    #[test]
    fn ends_are_respected() {
        let input = CaseInput::run(DType::F32, &[1000]).values(Values::Uniform(2.0, 3.0));
        assert!(reals(&input, 1).iter().all(|v| (2.0..=3.0).contains(v)));
        let input = CaseInput::run(DType::I32, &[1000]).values(Values::Whole(-2, 5));
        let drawn = generate(&input, 1).unwrap().to_i32().unwrap();
        for value in -2..5 {
            assert!(drawn.contains(&value), "{value}");
        }
        assert!(drawn.iter().all(|v| (-2..5).contains(v)));
        let input = CaseInput::run(DType::Bool, &[1000]).values(Values::Whole(0, 9));
        assert!(generate(&input, 1).unwrap().bytes().iter().all(|&b| b <= 1));
    }

    #[test]
    fn halves_are_normal_numbers_or_zero() {
        let input = CaseInput::run(DType::F16, &[1000]).values(Values::Normal(1e-5));
        assert!(reals(&input, 3).iter().all(|v| v.abs() >= f64::powi(2.0, -14)));
        let input = CaseInput::run(DType::F16, &[1000]).values(Values::Normal(1e6));
        assert!(reals(&input, 3).iter().all(|v| v.is_finite()));
    }

    #[test]
    fn nothing_but_zeros_is_refused() {
        let input = CaseInput::run(DType::F32, &[8]).values(Values::Uniform(0.0, 0.0));
        assert!(generate(&input, 1).is_err());
        let input = CaseInput::run(DType::F32, &[1]).values(Values::Whole(0, 2));
        assert!((0..64).all(|seed| reals(&input, seed) == [1.0]));
        let input = CaseInput::run(DType::F32, &[0, 3]).values(Values::Uniform(0.0, 0.0));
        assert_eq!(generate(&input, 1).unwrap().len(), 0);
    }

    #[test]
    fn quantised_inputs_are_blocks() {
        for dtype in DType::ALL.into_iter().filter(|d| d.is_quantised()) {
            let values = reals(&CaseInput::run(dtype, &[3, 512]), 5);
            assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|&v| v != 0.0));
        }
    }
}
