//! Random weights for tests: any bytes, but finite scales.

use super::layout::DeviceLayout;
use crate::error::{Error, Result};
use crate::tensor::DType;
use half::{bf16, f16};
use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg32;

/// Which scales (elements, for plain types) random blocks get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scales {
    /// Decoded values of about -1 to 1; one scale in eight is subnormal.
    Unit,
    /// Any finite half (or element): zeros, subnormals and the largest included.
    Any,
}

/// Random blocks of a weight type; elements, for plain types.
///
/// The same seed gives the same bytes on every machine. Every block decodes to
/// finite values.
///
/// # Errors
/// If `dtype` is no weight type or the size does not fit in memory's address space.
pub fn random_blocks(dtype: DType, blocks: usize, seed: u64, scales: Scales) -> Result<Vec<u8>> {
    let layout = DeviceLayout::of(dtype)
        .ok_or_else(|| Error::unsupported(format!("random {dtype} blocks"), "not a weight type"))?;
    let mut rng = Pcg32::seed_from_u64(seed);
    let size = dtype.block_bytes();
    let mut bytes = vec![0; dtype.bytes(&[blocks.saturating_mul(dtype.block_len())])?];
    if !dtype.is_quantised() {
        for element in bytes.chunks_exact_mut(size) {
            random_element(dtype, &mut rng, scales, element);
        }
        return Ok(bytes);
    }
    rng.fill_bytes(&mut bytes);
    for block in bytes.chunks_exact_mut(size) {
        if other_scales(dtype, &mut rng, scales, block) {
            continue;
        }
        let largest = largest_factors(dtype);
        for (half, largest) in layout.head_of(block).chunks_exact_mut(2).zip(largest) {
            half.copy_from_slice(&random_half(&mut rng, scales, largest).to_le_bytes());
        }
    }
    Ok(bytes)
}

/// Gives a block finite scales where they are no halves in the head; whether so.
fn other_scales(dtype: DType, rng: &mut Pcg32, scales: Scales, block: &mut [u8]) -> bool {
    let unit = scales == Scales::Unit;
    match dtype {
        // 2^-5 to 2^-4 times 12, or any power that gives normal finite values.
        DType::MXFP4 => {
            let (least, count) = if unit { (123, 2) } else { (2, 240) };
            block[0] = (least + rng.next_u32() % count) as u8;
        }
        // 2^-4 to 2^-3 times 12, halved, or anything.
        DType::NVFP4 => {
            for scale in &mut block[..4] {
                *scale = if unit { 0x18 + (rng.next_u32() % 8) as u8 } else { *scale & 0x7f };
            }
        }
        // The rest of its head are bits of the scales of groups.
        DType::IQ4_XS => {
            let half = random_half(rng, scales, 32.0 * 127.0);
            block[..2].copy_from_slice(&half.to_le_bytes());
        }
        DType::IQ1_M => {
            let half = random_half(rng, scales, 15.0 * 1.125);
            for (i, scale) in block[48..].chunks_exact_mut(2).enumerate() {
                let quarter = (half >> (4 * i)) as u8 & 0xf;
                scale[1] = scale[1] & 0x0f | quarter << 4;
            }
        }
        _ => return false,
    }
    true
}

/// The largest integers that the scale and the minimum of a block multiply.
pub(super) fn largest_factors(dtype: DType) -> [f32; 2] {
    match dtype {
        DType::Q4_0 => [8.0, 1.0],
        DType::Q4_1 => [15.0, 1.0],
        DType::Q5_0 => [16.0, 1.0],
        DType::Q5_1 => [31.0, 1.0],
        DType::Q8_0 => [128.0, 1.0],
        DType::Q2_K => [15.0 * 3.0, 15.0],
        DType::Q3_K => [32.0 * 4.0, 1.0],
        DType::Q4_K => [63.0 * 15.0, 63.0],
        DType::Q5_K => [63.0 * 31.0, 63.0],
        DType::Q6_K => [128.0 * 32.0, 1.0],
        DType::IQ4_NL => [127.0, 1.0],
        DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S => [15.5 * 0.25 * 43.0, 1.0],
        DType::IQ3_XXS => [15.5 * 0.5 * 62.0, 1.0],
        DType::IQ3_S => [31.0 * 15.0, 1.0],
        DType::IQ1_S => [15.0 * 1.125, 1.0],
        _ => [1.0, 1.0],
    }
}

/// A finite half; in `Unit`, at most 1 when multiplied by `largest`.
fn random_half(rng: &mut Pcg32, scales: Scales, largest: f32) -> u16 {
    let sign = (rng.next_u32() & 1) << 15;
    let subnormal = rng.next_u32().is_multiple_of(8);
    let magnitude = if subnormal {
        rng.next_u32() % 0x400
    } else {
        match scales {
            Scales::Any => rng.next_u32() % 0x7c00,
            Scales::Unit => {
                let size = 0.25 + 0.75 * unit(rng);
                u32::from(f16::from_f32(size / largest).to_bits())
            }
        }
    };
    // Both parts are below 2^16.
    (sign | magnitude) as u16
}

/// From 0 to 1 in steps of 2^-24.
fn unit(rng: &mut Pcg32) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// One finite element of a plain type.
fn random_element(dtype: DType, rng: &mut Pcg32, scales: Scales, element: &mut [u8]) {
    let value = match scales {
        Scales::Unit => unit(rng) * 2.0 - 1.0,
        // Clearing the exponent's lowest bit leaves no infinity and no NaN.
        Scales::Any => f32::from_bits(rng.next_u32() & !(1 << 23)),
    };
    match dtype {
        DType::F32 => element.copy_from_slice(&value.to_le_bytes()),
        DType::BF16 => {
            let half = match scales {
                Scales::Unit => bf16::from_f32(value).to_bits(),
                Scales::Any => (value.to_bits() >> 16) as u16,
            };
            element.copy_from_slice(&half.to_le_bytes());
        }
        _ => {
            let half = match scales {
                Scales::Unit => f16::from_f32(value).to_bits(),
                Scales::Any => random_half(rng, scales, 1.0),
            };
            element.copy_from_slice(&half.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{WEIGHT_TYPES, decode};

    #[test]
    fn random_blocks_are_finite_and_repeatable() {
        for dtype in WEIGHT_TYPES {
            for scales in [Scales::Unit, Scales::Any] {
                let bytes = random_blocks(dtype, 200, 7, scales).unwrap();
                assert_eq!(bytes, random_blocks(dtype, 200, 7, scales).unwrap());
                assert_ne!(bytes, random_blocks(dtype, 200, 8, scales).unwrap());
                let mut values = vec![0.0; 200 * dtype.block_len()];
                decode(dtype, &bytes, &mut values).unwrap();
                let largest = values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                assert!(largest.is_finite(), "{dtype} {scales:?}");
                if scales == Scales::Unit {
                    assert!((0.5..=2.01).contains(&largest), "{dtype}: {largest}");
                }
            }
        }
    }

    #[test]
    fn some_scales_are_subnormal() {
        let bytes = random_blocks(DType::Q4_0, 200, 1, Scales::Unit).unwrap();
        let subnormal = bytes
            .chunks_exact(18)
            .filter(|b| u16::from_le_bytes([b[0], b[1]]) & 0x7c00 == 0)
            .count();
        assert!((5..80).contains(&subnormal), "{subnormal} of 200");
    }

    #[test]
    fn other_types_are_errors() {
        assert!(random_blocks(DType::I32, 1, 0, Scales::Any).is_err());
        assert!(random_blocks(DType::Q4_0, usize::MAX / 8, 0, Scales::Any).is_err());
    }
}
