//! What blocks of each type have of 32 neighbouring elements.

use super::Coded;
use super::bits::*;
use crate::quant::decode::few_bits::{self, half_of_e4m3, mxfp4_scale};
use crate::quant::decode::legacy::IQ4_NL_TABLE;
use std::arch::x86_64::*;

/// The values of a 4-bit float, doubled, which are whole numbers.
const FP4: [i8; 16] = {
    let (mut whole, mut i) = ([0; 16], 0);
    while i < 16 {
        whole[i] = few_bits::FP4[i] as i8;
        i += 1;
    }
    whole
};

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled(quants: __m256i, scale: __m256) -> Coded {
    Coded { quants, scales: [scale; 2], less: None }
}

/// With a scale for each half.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled_twice(quants: __m256i, first: f32, second: f32) -> Coded {
    Coded { quants, scales: [_mm256_set1_ps(first), _mm256_set1_ps(second)], less: None }
}

/// With a number that is added in the end.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn moved(quants: __m256i, scale: __m256, by: __m256) -> Coded {
    let less = _mm256_xor_ps(by, _mm256_set1_ps(-0.0));
    Coded { quants, scales: [scale; 2], less: Some([less; 2]) }
}

/// With minima of each half taken off.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lowered(coded: Coded, first: f32, second: f32) -> Coded {
    Coded { less: Some([_mm256_set1_ps(first), _mm256_set1_ps(second)]), ..coded }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_0(block: &[u8; 18]) -> Coded {
    let quants = _mm256_sub_epi8(nibbles(sixteen(block, 2)), _mm256_set1_epi8(8));
    scaled(quants, halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_1(block: &[u8; 20]) -> Coded {
    moved(nibbles(sixteen(block, 4)), halves_at(block, 0), halves_at(block, 2))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_0(block: &[u8; 22]) -> Coded {
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    let quants = _mm256_or_si256(nibbles(sixteen(block, 6)), spread(high, 16));
    let quants = _mm256_sub_epi8(quants, _mm256_set1_epi8(16));
    scaled(quants, halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_1(block: &[u8; 24]) -> Coded {
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    let quants = _mm256_or_si256(nibbles(sixteen(block, 8)), spread(high, 16));
    moved(quants, halves_at(block, 0), halves_at(block, 2))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q8_0(block: &[u8; 34]) -> Coded {
    scaled(thirty_two(block, 2), halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn iq4_nl(block: &[u8; 18]) -> Coded {
    let values = looked_up(&IQ4_NL_TABLE, nibbles(sixteen(block, 2)));
    scaled(values, halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn mxfp4(block: &[u8; 17]) -> Coded {
    let values = looked_up(&FP4, nibbles(sixteen(block, 1)));
    scaled(values, _mm256_set1_ps(mxfp4_scale(block[0])))
}

/// Groups `group` and the one after it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nvfp4(block: &[u8; 36], group: usize) -> Coded {
    let values = looked_up(&FP4, nibbles(sixteen(block, 4 + 8 * group)));
    // Eight bytes are a group: its low nibbles, then its high ones.
    let values = _mm256_permute4x64_epi64::<0b11_01_10_00>(values);
    scaled_twice(values, half_of_e4m3(block[group]), half_of_e4m3(block[group + 1]))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q2_k(block: &[u8; 84], d: f32, dmin: f32, run: usize) -> Coded {
    let quants = bits(thirty_two(block, 16 + run / 4 * 32), run % 4 * 2, 3);
    let scale = |half: usize| d * f32::from(block[2 * run + half] & 0xf);
    let min = |half: usize| dmin * f32::from(block[2 * run + half] >> 4);
    lowered(scaled_twice(quants, scale(0), scale(1)), min(0), min(1))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q3_k(block: &[u8; 110], first: f32, second: f32, run: usize) -> Coded {
    let low = bits(thirty_two(block, 32 + run / 4 * 32), run % 4 * 2, 3);
    let quants = _mm256_or_si256(low, where_set(thirty_two(block, 0), run, 4));
    let quants = _mm256_sub_epi8(quants, _mm256_set1_epi8(4));
    scaled_twice(quants, first, second)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_k(block: &[u8; 144], scale: f32, min: f32, group: usize) -> Coded {
    lowered(scaled(q4_k_quants(block, group), _mm256_set1_ps(scale)), min, min)
}

/// Quants of a group, from 0 to 15.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn q4_k_quants(block: &[u8; 144], group: usize) -> __m256i {
    bits(thirty_two(block, 16 + group / 2 * 32), group % 2 * 4, 0xf)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_k(block: &[u8; 176], scale: f32, min: f32, group: usize) -> Coded {
    lowered(scaled(q5_k_quants(block, group), _mm256_set1_ps(scale)), min, min)
}

/// Quants of a group, from 0 to 31.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn q5_k_quants(block: &[u8; 176], group: usize) -> __m256i {
    let low = bits(thirty_two(block, 48 + group / 2 * 32), group % 2 * 4, 0xf);
    _mm256_or_si256(low, where_set(thirty_two(block, 16), group, 16))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q6_k(block: &[u8; 210], d: f32, run: usize) -> Coded {
    let quants = _mm256_sub_epi8(q6_k_quants(block, run), _mm256_set1_epi8(32));
    let scale = |half: usize| d * f32::from(block[192 + 2 * run + half] as i8);
    scaled_twice(quants, scale(0), scale(1))
}

/// Quants of a run, from 0 to 63: 32 less is what they stand for.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn q6_k_quants(block: &[u8; 210], run: usize) -> __m256i {
    let low = bits(thirty_two(block, run / 4 * 64 + run % 2 * 32), run / 2 % 2 * 4, 0xf);
    let high = bits(thirty_two(block, 128 + run / 4 * 32), run % 4 * 2, 3);
    _mm256_or_si256(low, _mm256_slli_epi16::<4>(high))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn iq4_xs(block: &[u8; 136], d: f32, high: u16, group: usize) -> Coded {
    let low = (block[4 + group / 2] >> (group % 2 * 4)) & 0xf;
    let scale = i16::from(low) | ((high >> (2 * group) & 3) << 4) as i16;
    let values = looked_up(&IQ4_NL_TABLE, nibbles(sixteen(block, 8 + group * 16)));
    scaled(values, _mm256_set1_ps(d * f32::from(scale - 32)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tq2_0(block: &[u8; 66], d: __m256, run: usize) -> Coded {
    let quants = bits(thirty_two(block, run / 4 * 32), run % 4 * 2, 3);
    scaled(_mm256_sub_epi8(quants, _mm256_set1_epi8(1)), d)
}
