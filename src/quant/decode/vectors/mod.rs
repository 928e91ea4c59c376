//! Weights in registers, for processors with AVX2, FMA and F16C: 32 elements at a time,
//! which a product takes from there. To the last bit what the decoders of blocks give,
//! which say how blocks are laid out.
//!
//! By hand, because the compiler makes less of those (docs/performance.md). Without
//! functions of arrays (`map`), which are calls through memory where little is optimised.

mod bits;
mod blocks;

use super::half_at;
use crate::tensor::DType;
pub(crate) use bits::{halves_at, k_scales, stored};
pub(crate) use blocks::{q4_k_quants, q5_k_quants, q6_k_quants};

use bits::{k_groups, q3_k_scales, sixteen};
use blocks::*;
use std::arch::x86_64::*;

/// 32 neighbouring elements.
pub(crate) type Run = [__m256; 4];

/// 32 neighbouring elements as whole numbers.
#[derive(Clone, Copy)]
pub(crate) struct Coded {
    /// Signed bytes.
    pub(crate) quants: __m256i,
    /// What they are multiplied with, eight times: the first 16 and the others.
    pub(crate) scales: [__m256; 2],
    /// What is taken off then.
    pub(crate) less: Option<[__m256; 2]>,
}

/// Whether the processor has what [`runs`] needs.
#[inline]
pub(crate) fn is_supported() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c")
}

/// Whether [`runs`] knows a type.
pub(crate) fn knows(dtype: DType) -> bool {
    use DType::*;
    matches!(
        dtype,
        F16 | BF16
            | Q4_0
            | Q4_1
            | Q5_0
            | Q5_1
            | Q8_0
            | IQ4_NL
            | Q2_K
            | Q3_K
            | Q4_K
            | Q5_K
            | Q6_K
            | IQ4_XS
            | TQ2_0
            | MXFP4
            | NVFP4
    )
}

/// Whether [`coded`] knows a type.
pub(crate) fn is_coded(dtype: DType) -> bool {
    knows(dtype) && !matches!(dtype, DType::F16 | DType::BF16)
}

/// Gives `each` all whole runs of weights in order, with their numbers: nothing for a type
/// that is not known. Of block types all runs are whole.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn runs(dtype: DType, bytes: &[u8], mut each: impl FnMut(usize, Run)) {
    match dtype {
        DType::F16 => blocks(bytes, |i, block: &[u8; 64]| each(i, halves(block))),
        DType::BF16 => blocks(bytes, |i, block: &[u8; 64]| each(i, brain_halves(block))),
        _ => coded(dtype, bytes, |i, run| each(i, floats(run))),
    }
}

/// As [`runs`], of block types, as whole numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn coded(dtype: DType, bytes: &[u8], mut each: impl FnMut(usize, Coded)) {
    match dtype {
        DType::Q4_0 => blocks(bytes, |i, block: &[u8; 18]| each(i, q4_0(block))),
        DType::Q4_1 => blocks(bytes, |i, block: &[u8; 20]| each(i, q4_1(block))),
        DType::Q5_0 => blocks(bytes, |i, block: &[u8; 22]| each(i, q5_0(block))),
        DType::Q5_1 => blocks(bytes, |i, block: &[u8; 24]| each(i, q5_1(block))),
        DType::Q8_0 => blocks(bytes, |i, block: &[u8; 34]| each(i, q8_0(block))),
        DType::IQ4_NL => blocks(bytes, |i, block: &[u8; 18]| each(i, iq4_nl(block))),
        DType::MXFP4 => blocks(bytes, |i, block: &[u8; 17]| each(i, mxfp4(block))),
        DType::NVFP4 => blocks(bytes, |i, block: &[u8; 36]| {
            each(2 * i, nvfp4(block, 0));
            each(2 * i + 1, nvfp4(block, 2));
        }),
        DType::Q2_K => blocks(bytes, |i, block: &[u8; 84]| {
            let (d, dmin) = (half_at(block, 80), half_at(block, 82));
            for run in 0..8 {
                each(8 * i + run, q2_k(block, d, dmin, run));
            }
        }),
        DType::Q3_K => blocks(bytes, |i, block: &[u8; 110]| {
            let scales = q3_k_scales(block, halves_at(block, 108));
            for run in 0..8 {
                let own = &scales[run / 4][run % 4 * 2..];
                each(8 * i + run, q3_k(block, own[0], own[1], run));
            }
        }),
        DType::Q4_K => blocks(bytes, |i, block: &[u8; 144]| {
            let (scales, mins) = k_groups(block);
            for g in 0..8 {
                each(8 * i + g, q4_k(block, scales[g], mins[g], g));
            }
        }),
        DType::Q5_K => blocks(bytes, |i, block: &[u8; 176]| {
            let (scales, mins) = k_groups(block);
            for g in 0..8 {
                each(8 * i + g, q5_k(block, scales[g], mins[g], g));
            }
        }),
        DType::Q6_K => blocks(bytes, |i, block: &[u8; 210]| {
            let d = half_at(block, 208);
            for run in 0..8 {
                each(8 * i + run, q6_k(block, d, run));
            }
        }),
        DType::IQ4_XS => blocks(bytes, |i, block: &[u8; 136]| {
            let (d, high) = (half_at(block, 0), u16::from_le_bytes([block[2], block[3]]));
            for g in 0..8 {
                each(8 * i + g, iq4_xs(block, d, high, g));
            }
        }),
        DType::TQ2_0 => blocks(bytes, |i, block: &[u8; 66]| {
            let d = halves_at(block, 64);
            for run in 0..8 {
                each(8 * i + run, tq2_0(block, d, run));
            }
        }),
        _ => {}
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn floats(coded: Coded) -> Run {
    let [a, b, c, d] = signed(coded.quants);
    let [first, second] = coded.scales;
    let [a, b] = [_mm256_mul_ps(first, a), _mm256_mul_ps(first, b)];
    let [c, d] = [_mm256_mul_ps(second, c), _mm256_mul_ps(second, d)];
    let Some([first, second]) = coded.less else { return [a, b, c, d] };
    let [a, b] = [_mm256_sub_ps(a, first), _mm256_sub_ps(b, first)];
    [a, b, _mm256_sub_ps(c, second), _mm256_sub_ps(d, second)]
}

/// Signed bytes as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn signed(bytes: __m256i) -> Run {
    let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
    [
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(low))),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(high))),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn blocks<const BYTES: usize>(bytes: &[u8], mut each: impl FnMut(usize, &[u8; BYTES])) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    for (i, block) in blocks.iter().enumerate() {
        each(i, block);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(block: &[u8; 64]) -> Run {
    [
        _mm256_cvtph_ps(sixteen(block, 0)),
        _mm256_cvtph_ps(sixteen(block, 16)),
        _mm256_cvtph_ps(sixteen(block, 32)),
        _mm256_cvtph_ps(sixteen(block, 48)),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn brain_halves(block: &[u8; 64]) -> Run {
    [
        brain_eight(sixteen(block, 0)),
        brain_eight(sixteen(block, 16)),
        brain_eight(sixteen(block, 32)),
        brain_eight(sixteen(block, 48)),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn brain_eight(halves: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}
