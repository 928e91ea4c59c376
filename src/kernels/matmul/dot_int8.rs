//! Inner products on the CPU with one operand rounded to eight bits, where
//! [`Policy::allow_int8`] has it: the rounding of `shaders/matmul/int8_rows.wgsl`, whole
//! numbers multiplied and added as such in each block. For processors with AVX2.
//!
//! [`Policy::allow_int8`]: crate::kernels::Policy::allow_int8

use crate::ops::matmul::INT8_BLOCK as BLOCK;
use crate::tensor::DType;

/// A block whose largest element is below this counts as zeros: its scale might not be a
/// normal number.
const LEAST: f32 = 1.5e-36;

/// A row of A, rounded in blocks of [`BLOCK`].
#[derive(Debug, Default)]
pub(super) struct Row {
    quants: Vec<Quants>,
    /// What the quants of each block are multiplied with; not finite where an element is
    /// not.
    scales: Vec<f32>,
    /// `scale` times the sum of the quants of each block.
    sums: Vec<f32>,
    /// The same of each half of a block.
    halves: Vec<f32>,
}

/// Quants of a block, which one load reads.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(32))]
struct Quants([i8; BLOCK]);

impl Row {
    /// Rounds a row for products with weights of a type; `None` where these cannot be
    /// multiplied so.
    pub(super) fn new(x: &[f32], dtype: DType) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::quant::vectors;
            if x.len().is_multiple_of(BLOCK) && vectors::is_coded(dtype) && vectors::is_supported()
            {
                let mut row = Row::default();
                for x in x.as_chunks::<BLOCK>().0 {
                    // SAFETY: the processor has the features that the function needs.
                    unsafe { row.push(x) };
                }
                return Some(row);
            }
        }
        let _ = (x, dtype);
        None
    }

    /// The inner product with encoded weights of the type that the row was rounded for.
    pub(super) fn dot(&self, dtype: DType, w: &[u8]) -> f32 {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: there is a row only where the processor has the features.
            unsafe {
                match dtype {
                    DType::Q4_K | DType::Q5_K | DType::Q6_K => products::of_large(self, dtype, w),
                    _ => products::of_runs(self, dtype, w),
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (dtype, w);
            f32::NAN
        }
    }

    /// `q = round(x / scale)` with `scale = max |x| / 127`.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn push(&mut self, x: &[f32; BLOCK]) {
        // Numbers without a sign are in the order of their bits, and what is none is behind.
        let largest = x.iter().fold(0, |most: u32, x| most.max(x.to_bits() & 0x7fff_ffff));
        let largest = f32::from_bits(largest);
        let (scale, inverse) = match largest {
            _ if !largest.is_finite() => (f32::NAN, 0.0),
            _ if largest < LEAST => (0.0, 0.0),
            _ => (largest / 127.0, 127.0 / largest),
        };
        let mut quants = [0; BLOCK];
        for (q, x) in quants.iter_mut().zip(x) {
            *q = (x * inverse).round_ties_even() as i8;
        }
        let sum = |part: &[i8]| scale * part.iter().map(|&q| i32::from(q)).sum::<i32>() as f32;
        self.sums.push(sum(&quants));
        self.halves.extend(quants.chunks(BLOCK / 2).map(sum));
        self.scales.push(scale);
        self.quants.push(Quants(quants));
    }
}

/// `Σ scale (Σ q w)`, less what is taken off the weights.
#[cfg(target_arch = "x86_64")]
mod products {
    use super::{BLOCK, Quants, Row};
    use crate::kernels::matmul::dot::sum_of_eight;
    use crate::quant::vectors::{self, Coded};
    use crate::tensor::DType;
    use std::arch::x86_64::*;

    /// Sums in eight lanes each, which need not wait for each other.
    struct Sums {
        even: __m256,
        odd: __m256,
        off: __m256,
    }

    /// Of any type, run by run.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn of_runs(x: &Row, dtype: DType, w: &[u8]) -> f32 {
        let mut sums = zeros();
        vectors::coded(dtype, w, |i, run| add(&mut sums, x, i, run));
        total(sums)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn add(sums: &mut Sums, x: &Row, i: usize, run: Coded) {
        let (Some(own), Some(&scale), [first, second]) =
            (x.quants.get(i), x.scales.get(i), run.scales)
        else {
            return;
        };
        // Bytes without a sign by bytes with one: the sign goes over. Two of the products
        // are at most 2 * 128 * 127, which 16 bits hold.
        let signed = _mm256_sign_epi8(load(own), run.quants);
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(run.quants), signed);
        // Four elements in each lane, so the first half of the run is the first half here.
        let whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        let scale = _mm256_mul_ps(_mm256_blend_ps::<0xf0>(first, second), _mm256_set1_ps(scale));
        sums.even = _mm256_fmadd_ps(whole, scale, sums.even);
        if let (Some([first, second]), Some(&[a, b])) = (run.less, x.halves.as_chunks().0.get(i)) {
            let halves = _mm256_set_m128(_mm_set_ss(b), _mm_set_ss(a));
            sums.off = _mm256_fmadd_ps(_mm256_blend_ps::<0xf0>(first, second), halves, sums.off);
        }
    }

    /// Of types with blocks of 256: their scales eight at a time.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn of_large(x: &Row, dtype: DType, w: &[u8]) -> f32 {
        let mut sums = zeros();
        let quants = x.quants.as_chunks::<8>().0.iter().zip(x.scales.as_chunks::<8>().0);
        let all = quants.zip(x.sums.as_chunks::<8>().0.iter().zip(x.halves.as_chunks::<16>().0));
        match dtype {
            DType::Q4_K => {
                for (block, ((own, scales), (wholes, _))) in w.as_chunks::<144>().0.iter().zip(all)
                {
                    let by = by_groups(&mut sums, vectors::k_scales(block), scales, wholes);
                    for g in 0..8 {
                        add_unsigned(&mut sums, g, vectors::q4_k_quants(block, g), own, &by);
                    }
                }
            }
            DType::Q5_K => {
                for (block, ((own, scales), (wholes, _))) in w.as_chunks::<176>().0.iter().zip(all)
                {
                    let by = by_groups(&mut sums, vectors::k_scales(block), scales, wholes);
                    for g in 0..8 {
                        add_unsigned(&mut sums, g, vectors::q5_k_quants(block, g), own, &by);
                    }
                }
            }
            DType::Q6_K => {
                for (block, ((own, scales), (_, halves))) in w.as_chunks::<210>().0.iter().zip(all)
                {
                    q6_k(&mut sums, block, own, (scales, halves));
                }
            }
            _ => return f32::NAN,
        }
        total(sums)
    }

    /// What whole numbers of each group are multiplied with; the minima are taken off.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn by_groups(
        sums: &mut Sums,
        (scales, mins): (__m256, __m256),
        of_x: &[f32; 8],
        wholes: &[f32; 8],
    ) -> [f32; 8] {
        sums.off = _mm256_fmadd_ps(mins, eight(wholes), sums.off);
        vectors::stored(_mm256_mul_ps(scales, eight(of_x)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn add_unsigned(sums: &mut Sums, g: usize, w: __m256i, x: &[Quants; 8], by: &[f32; 8]) {
        let pairs = _mm256_maddubs_epi16(w, load(&x[g]));
        let whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        let sum = if g.is_multiple_of(2) { &mut sums.even } else { &mut sums.odd };
        *sum = _mm256_fmadd_ps(whole, _mm256_set1_ps(by[g]), *sum);
    }

    /// A block of Q6_K: scales of each 16 elements are whole numbers and multiplied as
    /// such, and so much of them is taken off as quants are too large.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn q6_k(
        sums: &mut Sums,
        block: &[u8; 210],
        x: &[Quants; 8],
        (of_x, halves): (&[f32; 8], &[f32; 16]),
    ) {
        let d = vectors::halves_at(block, 208);
        // SAFETY: there are 16 bytes from 192 on, and the load wants no alignment.
        let scales = unsafe { _mm_loadu_si128(block.as_ptr().add(192).cast()) };
        let too_much = _mm256_mul_ps(d, _mm256_set1_ps(32.0));
        let [first, second] = halves.as_chunks::<8>().0 else { return };
        for (scales, halves) in [(scales, first), (_mm_srli_si128::<8>(scales), second)] {
            let scales = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales));
            sums.off = _mm256_fmadd_ps(_mm256_mul_ps(too_much, scales), eight(halves), sums.off);
        }
        let by = vectors::stored(_mm256_mul_ps(d, eight(of_x)));
        let both = _mm256_cvtepi8_epi16(scales);
        let apart = _mm256_set_m128i(_mm_set1_epi16(0x0302), _mm_set1_epi16(0x0100));
        for run in 0..8 {
            // Both scales of the run, each for a half of it.
            let own = _mm256_permutevar8x32_epi32(both, _mm256_set1_epi32(run as i32));
            let own = _mm256_shuffle_epi8(own, apart);
            let pairs = _mm256_maddubs_epi16(vectors::q6_k_quants(block, run), load(&x[run]));
            let whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, own));
            let sum = if run.is_multiple_of(2) { &mut sums.even } else { &mut sums.odd };
            *sum = _mm256_fmadd_ps(whole, _mm256_set1_ps(by[run]), *sum);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn load(quants: &Quants) -> __m256i {
        const { assert!(size_of::<Quants>() == BLOCK && BLOCK == 32) };
        // SAFETY: there are 32 bytes at an address of as many.
        unsafe { _mm256_load_si256((&raw const quants.0).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn eight(numbers: &[f32; 8]) -> __m256 {
        // SAFETY: there are eight numbers, and the load wants no alignment.
        unsafe { _mm256_loadu_ps(numbers.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn zeros() -> Sums {
        let zero = _mm256_setzero_ps();
        Sums { even: zero, odd: zero, off: zero }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn total(sums: Sums) -> f32 {
        sum_of_eight(_mm256_sub_ps(_mm256_add_ps(sums.even, sums.odd), sums.off))
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::quant::random::{Scales, random_blocks};
    use crate::quant::{self, WEIGHT_TYPES, vectors};

    fn drawn(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed) % 1013) as f32 * 0.002 - 1.0).collect()
    }

    /// What the row stands for, in f64.
    fn value(row: &Row) -> Vec<f64> {
        let block = |(q, &scale): (&Quants, &f32)| q.0.map(|q| f64::from(q) * f64::from(scale));
        row.quants.iter().zip(&row.scales).flat_map(block).collect()
    }

    #[test]
    fn rows_are_rounded_to_the_nearest_step() {
        if !vectors::is_supported() {
            return;
        }
        let x = drawn(96, 5);
        let row = Row::new(&x, DType::Q4_K).unwrap();
        assert_eq!((row.quants.len(), row.halves.len()), (3, 6));
        for (i, block) in x.chunks(BLOCK).enumerate() {
            let (quants, scale) = (row.quants[i].0, row.scales[i]);
            let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!((scale - largest / 127.0).abs() <= 1e-7 * largest);
            assert!(quants.iter().any(|q| q.abs() == 127));
            for (x, q) in block.iter().zip(quants) {
                assert!((x - f32::from(q) * scale).abs() <= scale * 0.5001);
            }
            let sum = |half: &[i8]| half.iter().map(|&q| i32::from(q)).sum::<i32>() as f32;
            assert_eq!(row.halves[2 * i], scale * sum(&quants[..16]));
            assert_eq!(row.halves[2 * i + 1], scale * sum(&quants[16..]));
            assert_eq!(row.sums[i], scale * sum(&quants));
        }
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 17, 255] {
                let mut x = drawn(256, 7);
                x[at] = wrong;
                for dtype in [DType::Q4_1, DType::Q8_0, DType::Q4_K, DType::Q6_K] {
                    let blocks = 256 / dtype.block_len();
                    let w = random_blocks(dtype, blocks, 5, Scales::Unit).unwrap();
                    let row = Row::new(&x, dtype).unwrap();
                    assert!(row.dot(dtype, &w).is_nan(), "{wrong} at {at}, {dtype}");
                }
            }
        }
        let zeros = Row::new(&[1e-37; 32], DType::Q8_0).unwrap();
        assert_eq!((zeros.scales[0], zeros.quants[0].0), (0.0, [0; BLOCK]));
        assert!(Row::new(&x, DType::F16).is_none() && Row::new(&x, DType::IQ2_S).is_none());
        assert!(Row::new(&x[..95], DType::Q4_0).is_none());
    }

    /// Whole numbers are multiplied exactly, so what is left are the roundings of a few
    /// sums in f32.
    #[test]
    fn products_are_those_of_the_rounded_row() {
        if !vectors::is_supported() {
            return;
        }
        let mut tried = 0;
        for dtype in WEIGHT_TYPES.into_iter().filter(|&dtype| vectors::is_coded(dtype)) {
            for (n, seed) in [(256, 3), (3 * 256, 11), (8 * 256, 23)] {
                let w = random_blocks(dtype, n / dtype.block_len(), seed, Scales::Unit).unwrap();
                let x = drawn(n, seed as usize);
                let row = Row::new(&x, dtype).unwrap();
                let mut decoded = vec![f32::NAN; n];
                quant::decode(dtype, &w, &mut decoded).unwrap();
                let products = value(&row);
                let products = products.iter().zip(&decoded).map(|(x, &w)| x * f64::from(w));
                let exact: f64 = products.clone().sum();
                // Parts of eight lanes: as many additions as runs, and what a minimum and
                // its scale are off by.
                let size: f64 = products.map(f64::abs).sum();
                let bound = size * (n / BLOCK + 8) as f64 * 2f64.powi(-24);
                let found = f64::from(row.dot(dtype, &w));
                assert!((found - exact).abs() <= bound, "{dtype} {n}: {found} for {exact}");
                assert!(exact.abs() > 10.0 * bound, "{dtype} {n}: {exact} shows nothing");
                tried += 1;
            }
        }
        assert_eq!(tried, 3 * 15);
    }

    /// The least and the largest quants there are, beside the largest of a row.
    #[test]
    fn the_largest_products_fit() {
        if !vectors::is_supported() {
            return;
        }
        for quant in [-128i8, 127] {
            let mut block = vec![0x00, 0x3c];
            block.extend([quant as u8; 32]);
            for sign in [-1.0, 1.0] {
                let row = Row::new(&[sign; 32], DType::Q8_0).unwrap();
                let exact = 32.0 * f64::from(quant) * f64::from(sign);
                let found = f64::from(row.dot(DType::Q8_0, &block));
                assert!((found - exact).abs() < 1e-3, "{found} for {exact}");
            }
        }
    }
}
