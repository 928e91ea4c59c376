//! Bytes of blocks in registers, and the numbers that blocks have of their groups.

use std::arch::x86_64::*;

/// The half at byte `at` of a block, eight times. All of a register is written, for what
/// writes a part waits for what the register had before. What is not a number may differ
/// in its bits, which a multiplication or an addition makes the same again.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn halves_at(block: &[u8], at: usize) -> __m256 {
    _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes([block[at], block[at + 1]])))
}

/// Scales and minima of a Q4_K or Q5_K block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn k_groups(block: &[u8]) -> ([f32; 8], [f32; 8]) {
    let (scales, mins) = k_scales(block);
    (stored(scales), stored(mins))
}

/// Scales and minima of a Q4_K or Q5_K block, of six bits each: four bytes at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn k_scales(block: &[u8]) -> (__m256, __m256) {
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
pub(super) fn q3_k_scales(block: &[u8], d: __m256) -> [[f32; 8]; 2] {
    const LOW: u32 = 0x0f0f_0f0f;
    const TOP: u32 = 0x3030_3030;
    let [a, b, c] = [word_at(block, 96), word_at(block, 100), word_at(block, 104)];
    let first = [a & LOW | c << 4 & TOP, b & LOW | c << 2 & TOP];
    let second = [a >> 4 & LOW | c & TOP, b >> 4 & LOW | c >> 2 & TOP];
    [stored(bytes_times(first, -32, d)), stored(bytes_times(second, -32, d))]
}

#[inline(always)]
fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Eight unsigned bytes, each with a number added, times another.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes_times([first, second]: [u32; 2], add: i32, by: __m256) -> __m256 {
    let bytes = _mm_cvtsi64_si128((u64::from(first) | u64::from(second) << 32) as i64);
    let whole = _mm256_add_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_set1_epi32(add));
    _mm256_mul_ps(by, _mm256_cvtepi32_ps(whole))
}

/// The numbers of a register.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn stored(values: __m256) -> [f32; 8] {
    let mut eight = [0.0; 8];
    // SAFETY: there is room for eight numbers, at any alignment.
    unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), values) };
    eight
}

/// 16 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn sixteen(bytes: &[u8], at: usize) -> __m128i {
    let bytes = &bytes[at..at + 16];
    // SAFETY: so many bytes are there, and the load wants no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// 32 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn thirty_two(bytes: &[u8], at: usize) -> __m256i {
    let bytes = &bytes[at..at + 32];
    // SAFETY: so many bytes are there, and the load wants no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Low and high nibbles: 16 of each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nibbles(bytes: __m128i) -> __m256i {
    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes);
    _mm256_and_si256(both, _mm256_set1_epi8(0xf))
}

/// Bytes that are `value` where a bit of a word is set, in the order of its bits, and 0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn spread(word: u32, value: i8) -> __m256i {
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
pub(super) fn bits(bytes: __m256i, at: usize, mask: i8) -> __m256i {
    let moved = _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(at as i32));
    _mm256_and_si256(moved, _mm256_set1_epi8(mask))
}

/// Bytes that are `value` where bit `bit` of other bytes is set, and 0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn where_set(bytes: __m256i, bit: usize, value: i8) -> __m256i {
    let mask = _mm256_set1_epi8((1u8 << bit) as i8);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, mask), mask);
    _mm256_and_si256(set, _mm256_set1_epi8(value))
}

/// What a table has for nibbles.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn looked_up(table: &[i8; 16], nibbles: __m256i) -> __m256i {
    // SAFETY: the table has 16 bytes, and the load wants no alignment.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles)
}
