//! Weights in registers, for processors with AVX2, FMA and F16C: 32 elements at a time,
//! which a product takes from there. To the last bit what the decoders of blocks give,
//! which say how blocks are laid out.
//!
//! By hand, because the compiler makes less of those (docs/performance.md). Without
//! functions of arrays (`map`), which are calls through memory where little is optimised.

use super::few_bits::{self, half_of_e4m3, mxfp4_scale};
use super::half_at;
use super::legacy::IQ4_NL_TABLE;
use crate::tensor::DType;
use std::arch::x86_64::*;

/// 32 neighbouring elements.
pub(crate) type Run = [__m256; 4];

/// The values of a 4-bit float, doubled, which are whole numbers.
const FP4: [i8; 16] = {
    let (mut whole, mut i) = ([0; 16], 0);
    while i < 16 {
        whole[i] = few_bits::FP4[i] as i8;
        i += 1;
    }
    whole
};

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

/// Gives `each` all whole runs of weights in order, with their numbers: nothing for a type
/// that is not known. Of block types all runs are whole.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn runs(dtype: DType, bytes: &[u8], mut each: impl FnMut(usize, Run)) {
    match dtype {
        DType::F16 => blocks(bytes, |i, block: &[u8; 64]| each(i, halves(block))),
        DType::BF16 => blocks(bytes, |i, block: &[u8; 64]| each(i, brain_halves(block))),
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

/// The half at byte `at` of a block, eight times. All of a register is written, for what
/// writes a part waits for what the register had before. What is not a number may differ
/// in its bits, which a multiplication or an addition makes the same again.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves_at(block: &[u8], at: usize) -> __m256 {
    _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes([block[at], block[at + 1]])))
}

/// Scales and minima of a Q4_K or Q5_K block, of six bits each: four bytes at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn k_groups(block: &[u8]) -> ([f32; 8], [f32; 8]) {
    const LOW: u32 = 0x0f0f_0f0f;
    const SIX: u32 = 0x3f3f_3f3f;
    const TOP: u32 = 0x3030_3030;
    let [a, b, c] = [word_at(block, 4), word_at(block, 8), word_at(block, 12)];
    let scales = [a & SIX, c & LOW | a >> 2 & TOP];
    let mins = [b & SIX, c >> 4 & LOW | b >> 2 & TOP];
    let (d, dmin) = (halves_at(block, 0), halves_at(block, 2));
    (bytes_times(scales, 0, d), bytes_times(mins, 0, dmin))
}

/// Scales of a Q3_K block: sixteen of six bits, less 32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q3_k_scales(block: &[u8], d: __m256) -> [[f32; 8]; 2] {
    const LOW: u32 = 0x0f0f_0f0f;
    const TOP: u32 = 0x3030_3030;
    let [a, b, c] = [word_at(block, 96), word_at(block, 100), word_at(block, 104)];
    let first = [a & LOW | c << 4 & TOP, b & LOW | c << 2 & TOP];
    let second = [a >> 4 & LOW | c & TOP, b >> 4 & LOW | c >> 2 & TOP];
    [bytes_times(first, -32, d), bytes_times(second, -32, d)]
}

#[inline(always)]
fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Eight unsigned bytes, each with a number added, times another.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes_times([first, second]: [u32; 2], add: i32, by: __m256) -> [f32; 8] {
    let bytes = _mm_cvtsi64_si128((u64::from(first) | u64::from(second) << 32) as i64);
    let whole = _mm256_add_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_set1_epi32(add));
    let values = _mm256_mul_ps(by, _mm256_cvtepi32_ps(whole));
    let mut eight = [0.0; 8];
    // SAFETY: there is room for eight numbers, at any alignment.
    unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), values) };
    eight
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn blocks<const BYTES: usize>(bytes: &[u8], mut each: impl FnMut(usize, &[u8; BYTES])) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    for (i, block) in blocks.iter().enumerate() {
        each(i, block);
    }
}

/// 16 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sixteen(bytes: &[u8], at: usize) -> __m128i {
    let bytes = &bytes[at..at + 16];
    // SAFETY: so many bytes are there, and the load wants no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// 32 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn thirty_two(bytes: &[u8], at: usize) -> __m256i {
    let bytes = &bytes[at..at + 32];
    // SAFETY: so many bytes are there, and the load wants no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Low and high nibbles: 16 of each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(bytes: __m128i) -> __m256i {
    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes);
    _mm256_and_si256(both, _mm256_set1_epi8(0xf))
}

/// Signed bytes as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn signed(bytes: __m256i) -> Run {
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
fn scaled([a, b, c, d]: Run, scale: __m256) -> Run {
    [
        _mm256_mul_ps(scale, a),
        _mm256_mul_ps(scale, b),
        _mm256_mul_ps(scale, c),
        _mm256_mul_ps(scale, d),
    ]
}

/// Scales of 16 elements each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled_twice([a, b, c, d]: Run, first: f32, second: f32) -> Run {
    let (first, second) = (_mm256_set1_ps(first), _mm256_set1_ps(second));
    [
        _mm256_mul_ps(first, a),
        _mm256_mul_ps(first, b),
        _mm256_mul_ps(second, c),
        _mm256_mul_ps(second, d),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn moved([a, b, c, d]: Run, by: __m256) -> Run {
    [_mm256_add_ps(a, by), _mm256_add_ps(b, by), _mm256_add_ps(c, by), _mm256_add_ps(d, by)]
}

/// With minima of 16 elements each taken off.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lowered_twice([a, b, c, d]: Run, first: f32, second: f32) -> Run {
    let (first, second) = (_mm256_set1_ps(first), _mm256_set1_ps(second));
    [
        _mm256_sub_ps(a, first),
        _mm256_sub_ps(b, first),
        _mm256_sub_ps(c, second),
        _mm256_sub_ps(d, second),
    ]
}

/// Bytes that are `value` where a bit of a word is set, in the order of its bits, and 0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn spread(word: u32, value: i8) -> __m256i {
    let places = _mm256_setr_epi8(
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3,
        3, 3,
    );
    let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let own = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word as i32), places), bits);
    _mm256_and_si256(_mm256_cmpeq_epi8(own, bits), _mm256_set1_epi8(value))
}

/// Bits of bytes from bit `at` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bits(bytes: __m256i, at: usize, mask: i8) -> __m256i {
    let moved = _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(at as i32));
    _mm256_and_si256(moved, _mm256_set1_epi8(mask))
}

/// Bytes that are `value` where bit `bit` of other bytes is set, and 0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn where_set(bytes: __m256i, bit: usize, value: i8) -> __m256i {
    let mask = _mm256_set1_epi8((1u8 << bit) as i8);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, mask), mask);
    _mm256_and_si256(set, _mm256_set1_epi8(value))
}

/// What a table has for nibbles.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn looked_up(table: &[i8; 16], nibbles: __m256i) -> __m256i {
    // SAFETY: the table has 16 bytes, and the load wants no alignment.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles)
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

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4_0(block: &[u8; 18]) -> Run {
    let quants = _mm256_sub_epi8(nibbles(sixteen(block, 2)), _mm256_set1_epi8(8));
    scaled(signed(quants), halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4_1(block: &[u8; 20]) -> Run {
    let quants = signed(nibbles(sixteen(block, 4)));
    moved(scaled(quants, halves_at(block, 0)), halves_at(block, 2))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q5_0(block: &[u8; 22]) -> Run {
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    let quants = _mm256_or_si256(nibbles(sixteen(block, 6)), spread(high, 16));
    let quants = _mm256_sub_epi8(quants, _mm256_set1_epi8(16));
    scaled(signed(quants), halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q5_1(block: &[u8; 24]) -> Run {
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    let quants = _mm256_or_si256(nibbles(sixteen(block, 8)), spread(high, 16));
    moved(scaled(signed(quants), halves_at(block, 0)), halves_at(block, 2))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0(block: &[u8; 34]) -> Run {
    scaled(signed(thirty_two(block, 2)), halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn iq4_nl(block: &[u8; 18]) -> Run {
    let values = looked_up(&IQ4_NL_TABLE, nibbles(sixteen(block, 2)));
    scaled(signed(values), halves_at(block, 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn mxfp4(block: &[u8; 17]) -> Run {
    let values = looked_up(&FP4, nibbles(sixteen(block, 1)));
    scaled(signed(values), _mm256_set1_ps(mxfp4_scale(block[0])))
}

/// Groups `group` and the one after it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nvfp4(block: &[u8; 36], group: usize) -> Run {
    let [a, b, c, d] = signed(looked_up(&FP4, nibbles(sixteen(block, 4 + 8 * group))));
    // Eight bytes are a group: its low nibbles, then its high ones.
    scaled_twice([a, c, b, d], half_of_e4m3(block[group]), half_of_e4m3(block[group + 1]))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q2_k(block: &[u8; 84], d: f32, dmin: f32, run: usize) -> Run {
    let quants = bits(thirty_two(block, 16 + run / 4 * 32), run % 4 * 2, 3);
    let scale = |half: usize| d * f32::from(block[2 * run + half] & 0xf);
    let min = |half: usize| dmin * f32::from(block[2 * run + half] >> 4);
    lowered_twice(scaled_twice(signed(quants), scale(0), scale(1)), min(0), min(1))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q3_k(block: &[u8; 110], first: f32, second: f32, run: usize) -> Run {
    let low = bits(thirty_two(block, 32 + run / 4 * 32), run % 4 * 2, 3);
    let quants = _mm256_or_si256(low, where_set(thirty_two(block, 0), run, 4));
    let quants = _mm256_sub_epi8(quants, _mm256_set1_epi8(4));
    scaled_twice(signed(quants), first, second)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4_k(block: &[u8; 144], scale: f32, min: f32, group: usize) -> Run {
    let quants = bits(thirty_two(block, 16 + group / 2 * 32), group % 2 * 4, 0xf);
    lowered_twice(scaled(signed(quants), _mm256_set1_ps(scale)), min, min)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q5_k(block: &[u8; 176], scale: f32, min: f32, group: usize) -> Run {
    let low = bits(thirty_two(block, 48 + group / 2 * 32), group % 2 * 4, 0xf);
    let quants = _mm256_or_si256(low, where_set(thirty_two(block, 16), group, 16));
    lowered_twice(scaled(signed(quants), _mm256_set1_ps(scale)), min, min)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q6_k(block: &[u8; 210], d: f32, run: usize) -> Run {
    let low = bits(thirty_two(block, run / 4 * 64 + run % 2 * 32), run / 2 % 2 * 4, 0xf);
    let high = bits(thirty_two(block, 128 + run / 4 * 32), run % 4 * 2, 3);
    let quants = _mm256_or_si256(low, _mm256_slli_epi16::<4>(high));
    let quants = _mm256_sub_epi8(quants, _mm256_set1_epi8(32));
    let scale = |half: usize| d * f32::from(block[192 + 2 * run + half] as i8);
    scaled_twice(signed(quants), scale(0), scale(1))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn iq4_xs(block: &[u8; 136], d: f32, high: u16, group: usize) -> Run {
    let low = (block[4 + group / 2] >> (group % 2 * 4)) & 0xf;
    let scale = i16::from(low) | ((high >> (2 * group) & 3) << 4) as i16;
    let values = looked_up(&IQ4_NL_TABLE, nibbles(sixteen(block, 8 + group * 16)));
    scaled(signed(values), _mm256_set1_ps(d * f32::from(scale - 32)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tq2_0(block: &[u8; 66], d: __m256, run: usize) -> Run {
    let quants = bits(thirty_two(block, run / 4 * 32), run % 4 * 2, 3);
    scaled(signed(_mm256_sub_epi8(quants, _mm256_set1_epi8(1))), d)
}
