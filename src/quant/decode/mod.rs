//! Exact decoding of weights to f32.
//!
//! The arithmetic and its order are those of gguf-py's `quants.py` in float32,
//! so results are equal to the last bit. The inner loops have fixed lengths and
//! no branches, so the compiler turns them into vector code; on x86-64 they are
//! compiled twice, with and without AVX2 (measured: 2 to 9 thousand million
//! elements a second on one core, half of that without). Most types are decoded by
//! hand where there are AVX2, FMA and F16C (`vectors`), and give a product their
//! elements in registers.

mod codebook;
mod few_bits;
mod k_quants;
mod legacy;
#[cfg(target_arch = "x86_64")]
pub(crate) mod vectors;

pub(super) use legacy::IQ4_NL_TABLE;

use super::layout::DeviceLayout;
use crate::error::{Error, Result};
use crate::tensor::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Decodes one block of a weight type: `block` is [`DType::block_bytes`] long,
/// `out` [`DType::block_len`].
///
/// # Errors
/// If `dtype` is no weight type or a length is another.
pub fn decode_block(dtype: DType, block: &[u8], out: &mut [f32]) -> Result<()> {
    if out.len() != dtype.block_len() {
        return Err(Error::input(
            format!("elements of a {dtype} block"),
            dtype.block_len(),
            out.len(),
        ));
    }
    decode(dtype, block, out)
}

/// Decodes a run of blocks (of elements, for `F32`, `F16` and `BF16`).
///
/// # Errors
/// If `dtype` is no weight type, or `bytes` is not what `out.len()` elements take.
pub fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let expected = dtype.bytes(&[out.len()])?;
    if bytes.len() != expected {
        return Err(Error::input(
            format!("bytes of {} elements of {dtype}", out.len()),
            expected,
            bytes.len(),
        ));
    }
    if DeviceLayout::of(dtype).is_none() {
        return Err(Error::unsupported(
            format!("decoding {dtype}"),
            "not a weight type; floating-point and block types are",
        ));
    }
    #[cfg(target_arch = "x86_64")]
    if vectors::knows(dtype) && vectors::is_supported() {
        // SAFETY: the processor has the features that the function needs.
        unsafe { decode_in_vectors(dtype, bytes, out) };
        return Ok(());
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the one feature that the function needs.
        unsafe { decode_checked_avx2(dtype, bytes, out) };
        return Ok(());
    }
    decode_checked(dtype, bytes, out);
    Ok(())
}

/// [`decode_checked`] of a type that [`vectors`] knows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn decode_in_vectors(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    let (runs, rest) = out.as_chunks_mut::<32>();
    vectors::runs(dtype, bytes, |i, run| {
        let Some(to) = runs.get_mut(i) else { return };
        for (j, eight) in run.into_iter().enumerate() {
            // SAFETY: there is room for 32 numbers, at any alignment.
            unsafe { std::arch::x86_64::_mm256_storeu_ps(to.as_mut_ptr().add(8 * j), eight) };
        }
    });
    // Plain types are not always whole runs.
    let end = bytes.len() - rest.len() / dtype.block_len() * dtype.block_bytes();
    decode_checked_avx2(dtype, &bytes[end..], rest);
}

/// [`decode_checked`], compiled for processors that have AVX2. Never with FMA:
/// the compiler fuses nothing by itself, and must not.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_checked_avx2(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    decode_checked(dtype, bytes, out);
}

/// Decodes a weight type whose lengths have been checked.
#[inline(always)]
fn decode_checked(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F32 => plain_f32(bytes, out),
        DType::F16 => plain_f16(bytes, out),
        DType::BF16 => plain_bf16(bytes, out),
        DType::Q4_0 => each(bytes, out, legacy::q4_0),
        DType::Q4_1 => each(bytes, out, legacy::q4_1),
        DType::Q5_0 => each(bytes, out, legacy::q5_0),
        DType::Q5_1 => each(bytes, out, legacy::q5_1),
        DType::Q8_0 => each(bytes, out, legacy::q8_0),
        DType::IQ4_NL => each(bytes, out, legacy::iq4_nl),
        DType::Q2_K => each(bytes, out, k_quants::q2_k),
        DType::Q3_K => each(bytes, out, k_quants::q3_k),
        DType::Q4_K => each(bytes, out, k_quants::q4_k),
        DType::Q5_K => each(bytes, out, k_quants::q5_k),
        DType::Q6_K => each(bytes, out, k_quants::q6_k),
        DType::IQ4_XS => each(bytes, out, few_bits::iq4_xs),
        DType::TQ1_0 => each(bytes, out, few_bits::tq1_0),
        DType::TQ2_0 => each(bytes, out, few_bits::tq2_0),
        DType::MXFP4 => each(bytes, out, few_bits::mxfp4),
        DType::NVFP4 => each(bytes, out, few_bits::nvfp4),
        DType::IQ2_XXS => each(bytes, out, codebook::iq2_xxs),
        DType::IQ2_XS => each(bytes, out, codebook::iq2_xs),
        DType::IQ2_S => each(bytes, out, codebook::iq2_s),
        DType::IQ3_XXS => each(bytes, out, codebook::iq3_xxs),
        DType::IQ3_S => each(bytes, out, codebook::iq3_s),
        DType::IQ1_S => each(bytes, out, codebook::iq1_s),
        DType::IQ1_M => each(bytes, out, codebook::iq1_m),
        // No weight types: the caller has returned an error.
        _ => {}
    }
}

/// Runs a block decoder over whole blocks.
#[inline(always)]
fn each<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (outs, _) = out.as_chunks_mut::<LEN>();
    for (from, to) in blocks.iter().zip(outs) {
        block(from, to);
    }
}

#[inline(always)]
fn plain_f32(bytes: &[u8], out: &mut [f32]) {
    let (words, _) = bytes.as_chunks::<4>();
    for (to, from) in out.iter_mut().zip(words) {
        *to = f32::from_le_bytes(*from);
    }
}

#[inline(always)]
fn plain_bf16(bytes: &[u8], out: &mut [f32]) {
    let (halves, _) = bytes.as_chunks::<2>();
    for (to, from) in out.iter_mut().zip(halves) {
        *to = f32::from_bits(u32::from(u16::from_le_bytes(*from)) << 16);
    }
}

/// Through a small aligned buffer, for `bytes` may start at an odd address and
/// the conversion of whole slices uses the processor's instructions.
fn plain_f16(bytes: &[u8], out: &mut [f32]) {
    let (halves, _) = bytes.as_chunks::<2>();
    let mut aligned = [f16::ZERO; 128];
    for (to, from) in out.chunks_mut(128).zip(halves.chunks(128)) {
        let aligned = &mut aligned[..from.len()];
        for (a, b) in aligned.iter_mut().zip(from) {
            *a = f16::from_le_bytes(*b);
        }
        aligned.convert_to_f32_slice(to);
    }
}

/// The f16 at byte `at` of a block.
#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Exact and without a call: block decoders convert one or two halves per
/// block, and a check of the processor's features would cost more.
#[inline(always)]
fn half_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let value = if magnitude < 0x400 {
        // Subnormal: a count of 2^-24.
        (magnitude as f32 * f32::from_bits(0x3380_0000)).to_bits()
    } else if magnitude < 0x7c00 {
        (magnitude << 13) + (112 << 23)
    } else {
        (magnitude << 13) + (224 << 23)
    };
    f32::from_bits(value | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::WEIGHT_TYPES;
    use crate::quant::random::{Scales, random_blocks};

    #[test]
    fn every_half_is_converted_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (half_to_f32(bits), f16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "{bits:#06x}: {ours} {theirs}"
            );
        }
    }

    #[test]
    fn plain_types_decode_from_odd_addresses() {
        let halves: Vec<u16> = (0..300).map(|i| i * 197 % 0x7c00).collect();
        let mut bytes = vec![0u8];
        bytes.extend(halves.iter().flat_map(|h| h.to_le_bytes()));
        let mut out = vec![0.0; 300];
        decode(DType::F16, &bytes[1..], &mut out).unwrap();
        for (h, v) in halves.iter().zip(&out) {
            assert_eq!(f16::from_bits(*h).to_f32().to_bits(), v.to_bits());
        }
        decode(DType::BF16, &bytes[1..], &mut out).unwrap();
        for (h, v) in halves.iter().zip(&out) {
            assert_eq!(u32::from(*h) << 16, v.to_bits());
        }
        let mut out = vec![0.0; 150];
        decode(DType::F32, &bytes[1..], &mut out).unwrap();
        for (pair, v) in halves.chunks(2).zip(&out) {
            assert_eq!(u32::from(pair[0]) | u32::from(pair[1]) << 16, v.to_bits());
        }
    }

    #[test]
    fn both_compilations_give_the_same_bits() {
        for dtype in WEIGHT_TYPES {
            let bytes = random_blocks(dtype, 40, 3, Scales::Any).unwrap();
            let mut one = vec![f32::NAN; 40 * dtype.block_len()];
            let mut other = one.clone();
            decode(dtype, &bytes, &mut one).unwrap();
            decode_checked(dtype, &bytes, &mut other);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&one), bits(&other), "{dtype}");
        }
    }

    #[test]
    fn wrong_lengths_and_types_are_errors() {
        assert!(decode(DType::Q4_0, &[0; 17], &mut [0.0; 32]).is_err());
        assert!(decode(DType::Q4_0, &[0; 18], &mut [0.0; 31]).is_err());
        assert!(decode(DType::I8, &[0; 4], &mut [0.0; 4]).is_err());
        assert!(decode_block(DType::Q4_0, &[0; 36], &mut [0.0; 64]).is_err());
        assert!(decode_block(DType::Q4_0, &[0; 18], &mut [0.0; 32]).is_ok());
    }
}
