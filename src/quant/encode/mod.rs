//! Quantising f32 values: plain round to nearest, block by block.
//!
//! Scales come from the extremes of a block or group, are rounded as they will
//! be stored, and the quants are then chosen for the stored scales. There is no
//! search for better scales, so files made by llama.cpp have smaller errors.

mod k_quants;
mod legacy;

use crate::error::{Error, Result};
use crate::tensor::DType;
use half::{bf16, f16};

/// The types that are encoded: the others need a search for the nearest entry of a
/// codebook, or are made while a model is trained.
pub const ENCODED: [DType; 14] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::IQ4_NL,
];

/// Encodes whole blocks of values as a weight type, into `out`.
///
/// # Errors
/// If `dtype` is none of [`ENCODED`], the values are not a whole number of blocks,
/// `out` has not the size they take, a value to put in a block is not finite, or
/// a value or the scale it needs exceeds the type's range.
pub fn encode(dtype: DType, values: &[f32], out: &mut [u8]) -> Result<()> {
    let size = dtype.bytes(&[values.len()])?;
    if out.len() != size {
        return Err(Error::input(
            format!("bytes for {} elements of {dtype}", values.len()),
            size,
            out.len(),
        ));
    }
    if dtype.is_quantised()
        && let Some(bad) = values.iter().find(|v| !v.is_finite())
    {
        return Err(Error::input(format!("values to encode as {dtype}"), "finite ones", bad));
    }
    match dtype {
        DType::F32 => each(values, out, |[v]: &[f32; 1], to: &mut [u8; 4]| {
            *to = v.to_le_bytes();
            Some(())
        }),
        DType::F16 => each(values, out, |[v]: &[f32; 1], to: &mut [u8; 2]| {
            let half = f16::from_f32(*v);
            *to = half.to_le_bytes();
            (half.is_finite() || !v.is_finite()).then_some(())
        }),
        DType::BF16 => each(values, out, |[v]: &[f32; 1], to: &mut [u8; 2]| {
            let half = bf16::from_f32(*v);
            *to = half.to_le_bytes();
            (half.is_finite() || !v.is_finite()).then_some(())
        }),
        DType::Q4_0 => each(values, out, legacy::q4_0),
        DType::Q4_1 => each(values, out, legacy::q4_1),
        DType::Q5_0 => each(values, out, legacy::q5_0),
        DType::Q5_1 => each(values, out, legacy::q5_1),
        DType::Q8_0 => each(values, out, legacy::q8_0),
        DType::IQ4_NL => each(values, out, legacy::iq4_nl),
        DType::Q2_K => each(values, out, k_quants::q2_k),
        DType::Q3_K => each(values, out, k_quants::q3_k),
        DType::Q4_K => each(values, out, k_quants::q4_k),
        DType::Q5_K => each(values, out, k_quants::q5_k),
        DType::Q6_K => each(values, out, k_quants::q6_k),
        _ => {
            return Err(Error::unsupported(
                format!("encoding as {dtype}"),
                "only floating-point types and block types without a codebook are",
            ));
        }
    }
    .map_err(|block| {
        Error::input(
            format!("values to encode as {dtype}"),
            "values in the type's range",
            format!("larger ones from element {}", block * dtype.block_len()),
        )
    })
}

/// Runs a block encoder over whole blocks; the index of the block it refuses.
fn each<const LEN: usize, const BYTES: usize>(
    values: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; LEN], &mut [u8; BYTES]) -> Option<()>,
) -> std::result::Result<(), usize> {
    let (values, _) = values.as_chunks::<LEN>();
    let (outs, _) = out.as_chunks_mut::<BYTES>();
    for (i, (from, to)) in values.iter().zip(outs).enumerate() {
        block(from, to).ok_or(i)?;
    }
    Ok(())
}

/// Rounds to a half and stores it; what was stored, or `None` if it is infinite.
fn put_half(value: f32, to: &mut [u8]) -> Option<f32> {
    let half = f16::from_f32(value);
    to.copy_from_slice(&half.to_le_bytes());
    half.is_finite().then(|| half.to_f32())
}

/// `1 / scale`, or 0 for a scale of 0, whose quants do not matter.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The nearest whole number in `low..=high`.
fn round_to(value: f32, low: i32, high: i32) -> i32 {
    (value.round() as i32).clamp(low, high)
}

/// The value of largest magnitude, with its sign.
fn signed_max(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, &v| if v.abs() > f32::abs(max) { v } else { max })
}

fn min_max(values: &[f32]) -> (f32, f32) {
    values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::decode;
    use crate::quant::random::largest_factors;
    use rand_core::{RngCore, SeedableRng};

    /// The largest error, as a part of the block's largest magnitude, for values
    /// of both signs. Half a step for types with a minimum, one step for those
    /// without (the step beyond the top quant is cut off), plus the rounding of
    /// group scales and minima; for IQ4_NL the gap from 113 to 127.
    fn largest_error(dtype: DType) -> f32 {
        match dtype {
            DType::F32 => 0.0,
            DType::F16 => 1.0 / 2048.0,
            DType::BF16 => 1.0 / 256.0,
            DType::Q4_0 => 1.0 / 8.0,
            DType::Q5_0 => 1.0 / 16.0,
            DType::Q8_0 => 0.5 / 127.0,
            DType::Q4_1 => 1.0 / 15.0,
            DType::Q5_1 => 1.0 / 31.0,
            DType::IQ4_NL => 14.0 / 127.0,
            // Step 2/3; scale off by 1/30 of it, three times; minimum off by 1/30.
            DType::Q2_K => 1.0 / 3.0 + 2.0 / 30.0 + 1.0 / 30.0,
            // Step 1/4; scale off by 1/62 of it, four times.
            DType::Q3_K => 1.0 / 4.0 + 1.0 / 62.0,
            DType::Q4_K => 1.0 / 15.0 + 3.0 / 126.0,
            DType::Q5_K => 1.0 / 31.0 + 3.0 / 126.0,
            DType::Q6_K => 1.0 / 32.0 + 1.0 / 254.0,
            other => panic!("{other} is no weight type"),
        }
    }

    fn round_trip(dtype: DType, values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0; dtype.bytes(&[values.len()]).unwrap()];
        encode(dtype, values, &mut bytes).unwrap();
        let mut back = vec![f32::NAN; values.len()];
        decode(dtype, &bytes, &mut back).unwrap();
        back
    }

    /// Sums of uniform values: roughly normal, standard deviation 1.
    fn normal(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = rand_pcg::Pcg32::seed_from_u64(seed);
        let mut unit = || (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
        (0..n).map(|_| (0..12).map(|_| unit()).sum::<f32>() - 6.0).collect()
    }

    #[test]
    fn errors_stay_below_the_step_at_every_size_of_value() {
        for dtype in ENCODED {
            let len = dtype.block_len();
            let factors = largest_factors(dtype);
            for (seed, size) in [1e-3, 0.02, 1.0, 300.0].into_iter().enumerate() {
                let values: Vec<f32> =
                    normal(64 * 256, seed as u64).iter().map(|v| v * size).collect();
                let back = round_trip(dtype, &values);
                for (block, decoded) in values.chunks(len).zip(back.chunks(len)) {
                    let largest = signed_max(block).abs();
                    // Rounding the scales costs a part in 2^11 where they are normal
                    // halves, and half of the smallest half where they are not.
                    let bound = largest * (largest_error(dtype) * 1.01 + 0.001)
                        + (factors[0] + factors[1]) * f32::powi(2.0, -25);
                    for (v, d) in block.iter().zip(decoded) {
                        assert!((v - d).abs() <= bound, "{dtype} {size}: {v} became {d}");
                    }
                }
            }
        }
    }

    #[test]
    fn more_bits_give_smaller_errors() {
        let values = normal(256 * 256, 9);
        let rms = |dtype| {
            let back = round_trip(dtype, &values);
            let sum: f64 = values.iter().zip(&back).map(|(v, d)| f64::from(v - d).powi(2)).sum();
            (sum / values.len() as f64).sqrt()
        };
        let order = [DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::Q8_0];
        for pair in order.windows(2) {
            assert!(rms(pair[1]) < 0.7 * rms(pair[0]), "{} after {}", pair[1], pair[0]);
        }
        assert!(rms(DType::Q5_0) < 0.6 * rms(DType::Q4_0));
        assert!(rms(DType::Q5_1) < 0.6 * rms(DType::Q4_1));
        assert!(rms(DType::IQ4_NL) < 1.05 * rms(DType::Q4_0));
        // A uniform step of 2 * 2.5 / 15 would give 0.096.
        assert!(rms(DType::Q4_0) < 0.1, "{}", rms(DType::Q4_0));
    }

    #[test]
    fn zeros_and_tiny_values_decode_to_almost_nothing() {
        for dtype in ENCODED {
            assert!(round_trip(dtype, &[0.0; 256]).iter().all(|&v| v == 0.0), "{dtype}");
            let tiny: Vec<f32> = (0..256).map(|i| (i as f32 - 100.0) * 1e-40).collect();
            assert!(round_trip(dtype, &tiny).iter().all(|v| v.abs() < 1e-4), "{dtype}");
        }
    }

    #[test]
    fn constant_blocks_survive() {
        for dtype in ENCODED {
            for value in [0.75, -0.75] {
                let back = round_trip(dtype, &[value; 256]);
                assert!(back.iter().all(|v| (v - value).abs() < 0.004), "{dtype}: {}", back[0]);
            }
        }
    }

    #[test]
    fn values_out_of_range_are_errors() {
        for dtype in ENCODED {
            let mut bytes = vec![0; dtype.bytes(&[256]).unwrap()];
            let mut values = [1.0; 256];
            values[255] = 3.4e38;
            values[254] = -3.4e38;
            let fits = dtype == DType::F32;
            assert_eq!(encode(dtype, &values, &mut bytes).is_ok(), fits, "{dtype}");
            values[255] = f32::NAN;
            values[254] = f32::INFINITY;
            let fits = !dtype.is_quantised();
            assert_eq!(encode(dtype, &values, &mut bytes).is_ok(), fits, "{dtype}");
        }
        assert!(encode(DType::Q4_0, &[0.0; 31], &mut [0; 18]).is_err());
        assert!(encode(DType::Q4_0, &[0.0; 32], &mut [0; 17]).is_err());
        assert!(encode(DType::I8, &[0.0; 4], &mut [0; 4]).is_err());
    }
}
