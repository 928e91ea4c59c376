//! Inner products on the CPU.

#[cfg(target_arch = "x86_64")]
use crate::quant::vectors;
use crate::tensor::DType;

/// Independent partial sums, so that additions need not wait for each other:
/// four vectors of eight.
const LANES: usize = 32;

/// `Σ x[i] w[i]` over the shorter of the two lengths.
#[inline]
pub(in crate::kernels) fn dot(x: &[f32], w: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features that the function needs.
        return unsafe { dot_fma(x, w) };
    }
    sum(x, w, |a, b, c| a * b + c)
}

/// [`dot`] with encoded weights, which are decoded on the way, where
/// [`dot_coded`](super::dot_coded) gains nothing: to the last bit what [`dot`] gives of the
/// decoded ones. `None` where that has to be done.
#[inline]
pub(super) fn dot_encoded(x: &[f32], dtype: DType, w: &[u8]) -> Option<f32> {
    #[cfg(target_arch = "x86_64")]
    if x.len().is_multiple_of(LANES) && vectors::knows(dtype) && vectors::is_supported() {
        // SAFETY: the processor has the features that the function needs.
        return Some(unsafe { dot_runs(x, dtype, w) });
    }
    let _ = (x, dtype, w);
    None
}

/// [`dot_encoded`] of whole runs of weights.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_runs(x: &[f32], dtype: DType, w: &[u8]) -> f32 {
    use std::arch::x86_64::*;
    let (xs, _) = x.as_chunks::<LANES>();
    let mut sums = [_mm256_setzero_ps(); LANES / 8];
    vectors::runs(dtype, w, |i, run| {
        let Some(x) = xs.get(i) else { return };
        let x = x.as_ptr();
        for j in 0..LANES / 8 {
            // SAFETY: there are `LANES` numbers, eight for each sum, at any alignment.
            let x = unsafe { _mm256_loadu_ps(x.add(8 * j)) };
            sums[j] = _mm256_fmadd_ps(x, run[j], sums[j]);
        }
    });
    total(sums)
}

/// How many rows of A are multiplied side by side, and by how many of B.
pub(super) const SIDE_BY_SIDE: [usize; 2] = [4, 2];

/// Whether [`dots`] can be had for rows of `k` elements.
pub(super) fn has_dots(k: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        return k > 0 && k.is_multiple_of(8);
    }
    let _ = k;
    false
}

/// Inner products of rows `x`, `k` elements each, with one or two rows of `w`: gives
/// `each` the number of a row, of one of `w`, and their product. Where [`has_dots`] says no,
/// nothing is done.
///
/// A row of `x` is read once for both of `w`, and these once for four of `x`; a library for
/// products of matrices would rearrange all of `w` first, which takes longer than a few
/// rows' products.
#[inline]
pub(super) fn dots(x: &[f32], w: &[f32], k: usize, each: impl FnMut(usize, usize, f32)) {
    #[cfg(target_arch = "x86_64")]
    if has_dots(k) {
        // SAFETY: the processor has both features that the function needs.
        unsafe { dots_fma(x, w, k, each) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, w, k, each);
}

/// [`dots`] for a `k` of whole vectors of eight.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dots_fma(x: &[f32], w: &[f32], k: usize, mut each: impl FnMut(usize, usize, f32)) {
    use std::arch::x86_64::*;
    const ROWS: usize = SIDE_BY_SIDE[0];
    let (Some(first), count) = (w.get(..k), w.len() / k) else { return };
    let second = w.get(k..2 * k).unwrap_or(first);
    for (block, rows) in x.chunks(ROWS * k).enumerate() {
        let there = rows.len() / k;
        // What is not there is another one once more, and not given.
        let at = |row: usize| &rows[row.min(there.saturating_sub(1)) * k..][..k];
        let rows: [&[f32]; ROWS] = std::array::from_fn(at);
        let mut sums = [[_mm256_setzero_ps(); ROWS]; 2];
        for i in (0..k).step_by(8) {
            // SAFETY: all have `k` elements, eight from each multiple of eight.
            unsafe {
                let a = _mm256_loadu_ps(first.as_ptr().add(i));
                let b = _mm256_loadu_ps(second.as_ptr().add(i));
                for row in 0..ROWS {
                    let x = _mm256_loadu_ps(rows[row].as_ptr().add(i));
                    sums[0][row] = _mm256_fmadd_ps(x, a, sums[0][row]);
                    sums[1][row] = _mm256_fmadd_ps(x, b, sums[1][row]);
                }
            }
        }
        for (column, sums) in sums.into_iter().take(count).enumerate() {
            for (row, sum) in sums.into_iter().take(there).enumerate() {
                each(ROWS * block + row, column, sum_of_eight(sum));
            }
        }
    }
}

/// The sum of all, in the order of [`sum`].
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn total([a, b, c, d]: [std::arch::x86_64::__m256; LANES / 8]) -> f32 {
    use std::arch::x86_64::*;
    sum_of_eight(_mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d)))
}

/// The sum of eight lanes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn sum_of_eight(eight: std::arch::x86_64::__m256) -> f32 {
    use std::arch::x86_64::*;
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// [`dot`] for processors with AVX2 and FMA, with the sums of [`sum`] in the same order. By
/// hand, because the compiler made vectors of two numbers of that.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dot_fma(x: &[f32], w: &[f32]) -> f32 {
    use std::arch::x86_64::*;
    let ((xs, x_rest), (ws, w_rest)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    let mut sums = [_mm256_setzero_ps(); LANES / 8];
    for (x, w) in xs.iter().zip(ws) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both have `LANES` elements, eight for each sum.
            let (x, w) = unsafe {
                (_mm256_loadu_ps(x.as_ptr().add(8 * i)), _mm256_loadu_ps(w.as_ptr().add(8 * i)))
            };
            *sum = _mm256_fmadd_ps(x, w, *sum);
        }
    }
    let one = total(sums);
    x_rest.iter().zip(w_rest).fold(one, |sum, (&x, &w)| x.mul_add(w, sum))
}

#[inline(always)]
fn sum(x: &[f32], w: &[f32], multiply_add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let ((xs, x_rest), (ws, w_rest)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (x, w) in xs.iter().zip(ws) {
        for i in 0..LANES {
            sums[i] = multiply_add(x[i], w[i], sums[i]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    let rest = x_rest.iter().zip(w_rest);
    rest.fold(sums[0], |sum, (&x, &w)| multiply_add(x, w, sum))
}

#[cfg(test)]
mod tests {
    use super::{dot, dot_encoded};
    use crate::quant::random::{Scales, random_blocks};
    #[cfg(target_arch = "x86_64")]
    use crate::quant::vectors;
    use crate::quant::{self, WEIGHT_TYPES};
    use crate::tensor::DType;

    /// The same as [`super::sum`] with fused multiply-adds, to the last bit.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vectors_sum_in_the_order_of_the_others() {
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
            return;
        }
        for n in [0usize, 5, 32, 63, 96, 100, 577] {
            let draw = |seed: u32| {
                let next = move |i: usize| (i as u32 ^ seed).wrapping_mul(0x9e37_79b9) as f32;
                (0..n).map(|i| next(i) * 1e-9 - 2.0).collect::<Vec<f32>>()
            };
            let (x, w) = (draw(1), draw(77));
            // SAFETY: the processor has both features.
            let vectors = unsafe { super::dot_fma(&x, &w) };
            assert_eq!(vectors.to_bits(), super::sum(&x, &w, f32::mul_add).to_bits(), "{n}");
        }
    }

    /// The same as of decoded weights, to the last bit.
    #[test]
    fn encoded_weights_are_summed_like_decoded_ones() {
        for dtype in WEIGHT_TYPES {
            let n = 3 * 256;
            let w = random_blocks(dtype, n / dtype.block_len(), 5, Scales::Unit).unwrap();
            let x: Vec<f32> = (0..n).map(|i| (i * 37 % 101) as f32 * 0.02 - 1.0).collect();
            let mut decoded = vec![f32::NAN; n];
            quant::decode(dtype, &w, &mut decoded).unwrap();
            let found = dot_encoded(&x, dtype, &w);
            #[cfg(target_arch = "x86_64")]
            assert_eq!(found.is_some(), vectors::knows(dtype) && vectors::is_supported());
            // What is no whole number of runs is decoded first.
            assert_eq!(dot_encoded(&x[..40], DType::F16, &[0; 80]), None);
            let Some(sum) = found else { continue };
            assert!(sum.is_finite() && sum != 0.0, "{dtype}: {sum}");
            assert_eq!(sum.to_bits(), dot(&x, &decoded).to_bits(), "{dtype}");
        }
    }

    #[test]
    fn rows_side_by_side_are_summed_exactly() {
        for (m, n, k) in [(1, 1, 8), (5, 2, 40), (4, 1, 64), (18, 2, 96), (7, 2, 8)] {
            let x: Vec<f32> = (0..m * k).map(|i| (i % 13) as f32 - 6.0).collect();
            let w: Vec<f32> = (0..n * k).map(|i| (i % 7) as f32 - 3.0).collect();
            let mut found = vec![f32::NAN; m * n];
            if !super::has_dots(k) {
                return;
            }
            super::dots(&x, &w, k, |row, column, sum| found[row * n + column] = sum);
            for (row, x) in x.chunks(k).enumerate() {
                for (column, w) in w.chunks(k).enumerate() {
                    let exact: f32 = x.iter().zip(w).map(|(a, b)| a * b).sum();
                    assert_eq!(found[row * n + column], exact, "{m} {n} {k}: {row} {column}");
                }
            }
        }
        assert!(!super::has_dots(9) && !super::has_dots(0));
    }

    #[test]
    fn sums_whole_numbers_exactly_at_every_length() {
        for n in [0usize, 1, 7, 31, 32, 33, 64, 100, 257] {
            let x: Vec<f32> = (0..n).map(|i| (i % 13) as f32 - 6.0).collect();
            let w: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
            let expected: f32 = x.iter().zip(&w).map(|(a, b)| a * b).sum();
            assert_eq!(dot(&x, &w), expected, "{n}");
        }
    }
}
