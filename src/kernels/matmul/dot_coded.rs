//! Inner products on the CPU with encoded weights, whose quants are multiplied as the whole
//! numbers they are and the sums with the scales of their groups. A row of A is as it is,
//! or rounded to eight bits where [`Policy::allow_int8`] has it: with the rounding of
//! `shaders/matmul/int8_rows.wgsl`, and whole numbers multiplied and added as such in each
//! block. For processors with AVX2.
//!
//! [`Policy::allow_int8`]: crate::kernels::Policy::allow_int8

use crate::ops::matmul::INT8_BLOCK as BLOCK;
use crate::tensor::DType;

/// A block whose largest element is below this is rounded to zeros: its scale might not be
/// a normal number.
const LEAST: f32 = 1.5e-36;

/// Whether a row that is not rounded gains by a type: those whose minima are taken off for
/// eight groups at once.
pub(super) fn gains(dtype: DType) -> bool {
    matches!(dtype, DType::Q4_K | DType::Q5_K)
}

/// A row of A, in blocks of [`BLOCK`].
#[derive(Debug)]
pub(super) struct Row<'a> {
    values: Values<'a>,
    /// What the values of each block are multiplied with; not finite where an element of a
    /// rounded row is not.
    scales: Vec<f32>,
    /// The sum of the elements of each block.
    sums: Vec<f32>,
    /// The same of each half of a block; of rounded rows.
    halves: Vec<f32>,
}

/// The elements of a row.
#[derive(Debug)]
enum Values<'a> {
    Plain(&'a [[f32; BLOCK]]),
    Rounded(Vec<Quants>),
}

/// Quants of a block, which one load reads.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(32))]
struct Quants([i8; BLOCK]);

impl<'a> Row<'a> {
    /// A row for products with weights of a type, rounded or not; `None` where these cannot
    /// be multiplied so. A row that is not rounded is made only where it [`gains`].
    pub(super) fn new(x: &'a [f32], dtype: DType, rounded: bool) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::quant::vectors;
            let whole = x.len().is_multiple_of(BLOCK);
            let worth = rounded || gains(dtype);
            if worth && whole && vectors::is_coded(dtype) && vectors::is_supported() {
                let (blocks, _) = x.as_chunks::<BLOCK>();
                // SAFETY: the processor has the features that the functions need.
                return Some(unsafe {
                    if rounded { Self::rounded(blocks) } else { Self::plain(blocks) }
                });
            }
        }
        let _ = (x, dtype, rounded);
        None
    }

    /// The inner product with encoded weights of the type that the row was made for.
    pub(super) fn dot(&self, dtype: DType, w: &[u8]) -> f32 {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: there is a row only where the processor has the features.
            unsafe { products::dot(self, dtype, w) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (dtype, w);
            f32::NAN
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn plain(blocks: &'a [[f32; BLOCK]]) -> Self {
        let sums = blocks.iter().map(|block| products::sum(block)).collect();
        let scales = vec![1.0; blocks.len()];
        Row { values: Values::Plain(blocks), scales, sums, halves: Vec::new() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn rounded(blocks: &[[f32; BLOCK]]) -> Self {
        let (mut quants, mut scales) = (Vec::new(), Vec::new());
        let (mut sums, mut halves) = (Vec::new(), Vec::new());
        for block in blocks {
            let (own, scale) = round(block);
            let sum = |part: &[i8]| scale * part.iter().map(|&q| i32::from(q)).sum::<i32>() as f32;
            sums.push(sum(&own));
            halves.extend(own.chunks(BLOCK / 2).map(sum));
            scales.push(scale);
            quants.push(Quants(own));
        }
        Row { values: Values::Rounded(quants), scales, sums, halves }
    }
}

/// `q = round(x / scale)` with `scale = max |x| / 127`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn round(x: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
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
    (quants, scale)
}

/// `Σ scale (Σ q x)`, less what is taken off the weights.
#[cfg(target_arch = "x86_64")]
mod products {
    use super::{BLOCK, Quants, Row, Values};
    use crate::kernels::matmul::dot::sum_of_eight;
    use crate::quant::vectors;
    use crate::tensor::DType;
    use std::arch::x86_64::*;

    /// Sums in eight lanes each, which need not wait for each other.
    struct Sums {
        even: __m256,
        odd: __m256,
        off: __m256,
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn dot(x: &Row<'_>, dtype: DType, w: &[u8]) -> f32 {
        use DType::{Q4_K, Q5_K, Q6_K};
        match (&x.values, dtype) {
            (Values::Plain(own), Q4_K | Q5_K) => {
                of_groups(x, dtype, w, |i, g, quants| by_numbers(&own[8 * i + g], quants))
            }
            (Values::Rounded(own), Q4_K | Q5_K) => {
                of_groups(x, dtype, w, |i, g, quants| unsigned_by_quants(&own[8 * i + g], quants))
            }
            (Values::Rounded(own), Q6_K) => of_q6_k(x, own, w),
            (Values::Rounded(own), _) => of_runs(x, own, dtype, w),
            (Values::Plain(_), _) => f32::NAN,
        }
    }

    /// Of any type with a rounded row, run by run.
    #[target_feature(enable = "avx2,fma,f16c")]
    fn of_runs(x: &Row<'_>, own: &[Quants], dtype: DType, w: &[u8]) -> f32 {
        let mut sums = zeros();
        let (halves, _) = x.halves.as_chunks::<2>();
        vectors::coded(dtype, w, |i, run| {
            let (Some(own), Some(&scale), Some(&[a, b])) =
                (own.get(i), x.scales.get(i), halves.get(i))
            else {
                return;
            };
            let scale = _mm256_mul_ps(both(run.scales), _mm256_set1_ps(scale));
            sums.even = _mm256_fmadd_ps(signed_by_quants(own, run.quants), scale, sums.even);
            if let Some(less) = run.less {
                let of_x = _mm256_set_m128(_mm_set_ss(b), _mm_set_ss(a));
                sums.off = _mm256_fmadd_ps(both(less), of_x, sums.off);
            }
        });
        total(sums)
    }

    /// Of Q4_K and Q5_K: what is there once for each 32 elements, for eight of these at a
    /// time. `whole` gives sums of products of quants, of a group of a block.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn of_groups(
        x: &Row<'_>,
        dtype: DType,
        w: &[u8],
        whole: impl Fn(usize, usize, __m256i) -> __m256,
    ) -> f32 {
        let mut sums = zeros();
        let of_x = x.scales.as_chunks::<8>().0.iter().zip(x.sums.as_chunks::<8>().0);
        if dtype == DType::Q4_K {
            let blocks = w.as_chunks::<144>().0.iter();
            for (i, (block, of_x)) in blocks.zip(of_x).enumerate() {
                let by = by_groups(&mut sums, vectors::k_scales(block), of_x);
                for g in 0..8 {
                    let whole = whole(i, g, vectors::q4_k_quants(block, g));
                    add_group(&mut sums, g, whole, &by);
                }
            }
        } else {
            let blocks = w.as_chunks::<176>().0.iter();
            for (i, (block, of_x)) in blocks.zip(of_x).enumerate() {
                let by = by_groups(&mut sums, vectors::k_scales(block), of_x);
                for g in 0..8 {
                    let whole = whole(i, g, vectors::q5_k_quants(block, g));
                    add_group(&mut sums, g, whole, &by);
                }
            }
        }
        total(sums)
    }

    /// What whole numbers of each group are multiplied with; the minima are taken off.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn by_groups(
        sums: &mut Sums,
        (scales, mins): (__m256, __m256),
        (of_x, sums_of_x): (&[f32; 8], &[f32; 8]),
    ) -> [f32; 8] {
        sums.off = _mm256_fmadd_ps(mins, eight(sums_of_x), sums.off);
        vectors::stored(_mm256_mul_ps(scales, eight(of_x)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn add_group(sums: &mut Sums, g: usize, whole: __m256, by: &[f32; 8]) {
        let sum = if g.is_multiple_of(2) { &mut sums.even } else { &mut sums.odd };
        *sum = _mm256_fmadd_ps(whole, _mm256_set1_ps(by[g]), *sum);
    }

    /// Of Q6_K with a rounded row: scales of each 16 elements are whole numbers and
    /// multiplied as such, and so much of them is taken off as quants are too large.
    #[target_feature(enable = "avx2,fma,f16c")]
    fn of_q6_k(x: &Row<'_>, own: &[Quants], w: &[u8]) -> f32 {
        let mut sums = zeros();
        let of_x = x.scales.as_chunks::<8>().0.iter().zip(x.halves.as_chunks::<16>().0);
        let of_x = own.as_chunks::<8>().0.iter().zip(of_x);
        for (block, (own, (of_x, halves))) in w.as_chunks::<210>().0.iter().zip(of_x) {
            let d = vectors::halves_at(block, 208);
            // SAFETY: there are 16 bytes from 192 on, and the load wants no alignment.
            let scales = unsafe { _mm_loadu_si128(block.as_ptr().add(192).cast()) };
            let too_much = _mm256_mul_ps(d, _mm256_set1_ps(32.0));
            let parts = [scales, _mm_srli_si128::<8>(scales)];
            for (scales, halves) in parts.into_iter().zip(halves.as_chunks::<8>().0) {
                let scales = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales));
                let too_much = _mm256_mul_ps(too_much, scales);
                sums.off = _mm256_fmadd_ps(too_much, eight(halves), sums.off);
            }
            let by = vectors::stored(_mm256_mul_ps(d, eight(of_x)));
            let scales = _mm256_cvtepi8_epi16(scales);
            let apart = _mm256_set_m128i(_mm_set1_epi16(0x0302), _mm_set1_epi16(0x0100));
            for (run, own) in own.iter().enumerate() {
                // Both scales of the run, each for a half of it.
                let scales = _mm256_permutevar8x32_epi32(scales, _mm256_set1_epi32(run as i32));
                let scales = _mm256_shuffle_epi8(scales, apart);
                let pairs = _mm256_maddubs_epi16(vectors::q6_k_quants(block, run), load(own));
                let whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, scales));
                add_group(&mut sums, run, whole, &by);
            }
        }
        total(sums)
    }

    /// Products of signed quants, four added in each lane: the first half of the run in the
    /// first half of the lanes.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn signed_by_quants(x: &Quants, w: __m256i) -> __m256 {
        // Bytes without a sign by bytes with one: the sign goes over. Two of the products
        // are at most 2 * 128 * 127, which 16 bits hold.
        let signed = _mm256_sign_epi8(load(x), w);
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), signed);
        _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn unsigned_by_quants(x: &Quants, w: __m256i) -> __m256 {
        let pairs = _mm256_maddubs_epi16(w, load(x));
        _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }

    /// Products of quants, four added in each lane.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn by_numbers(x: &[f32; BLOCK], w: __m256i) -> __m256 {
        let [a, b, c, d] = vectors::signed(w);
        let [x, y, z, v] = fours(x);
        let sum = _mm256_fmadd_ps(b, y, _mm256_mul_ps(a, x));
        _mm256_fmadd_ps(d, v, _mm256_fmadd_ps(c, z, sum))
    }

    /// A block's numbers, in four registers.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn fours(x: &[f32; BLOCK]) -> [__m256; 4] {
        let (eights, _) = x.as_chunks::<8>();
        [eight(&eights[0]), eight(&eights[1]), eight(&eights[2]), eight(&eights[3])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn sum(x: &[f32; BLOCK]) -> f32 {
        let [a, b, c, d] = fours(x);
        sum_of_eight(_mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d)))
    }

    /// What is there for each half of a run, in the lanes of each.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn both([first, second]: [__m256; 2]) -> __m256 {
        _mm256_blend_ps::<0xf0>(first, second)
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
    fn value(row: &Row<'_>) -> Vec<f64> {
        let block = |(q, &scale): (&Quants, &f32)| q.0.map(|q| f64::from(q) * f64::from(scale));
        match &row.values {
            Values::Plain(blocks) => blocks.as_flattened().iter().map(|&x| x.into()).collect(),
            Values::Rounded(quants) => quants.iter().zip(&row.scales).flat_map(block).collect(),
        }
    }

    #[test]
    fn rows_are_rounded_to_the_nearest_step() {
        if !vectors::is_supported() {
            return;
        }
        let x = drawn(96, 5);
        let row = Row::new(&x, DType::Q4_K, true).unwrap();
        let Values::Rounded(quants) = &row.values else { panic!("not rounded") };
        assert_eq!((quants.len(), row.halves.len()), (3, 6));
        for (i, block) in x.chunks(BLOCK).enumerate() {
            let (quants, scale) = (quants[i].0, row.scales[i]);
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
                    for rounded in [false, true] {
                        let Some(row) = Row::new(&x, dtype, rounded) else { continue };
                        assert!(!row.dot(dtype, &w).is_finite(), "{wrong} at {at}, {dtype}");
                    }
                }
            }
        }
        // SAFETY: the processor was asked above.
        assert_eq!(unsafe { round(&[1e-37; BLOCK]) }, ([0; BLOCK], 0.0));
        for dtype in [DType::F16, DType::IQ2_S] {
            assert!(Row::new(&x, dtype, true).is_none());
        }
        assert!(Row::new(&x[..95], DType::Q4_0, false).is_none());
    }

    /// Whole numbers are multiplied exactly, so what is left are the roundings of a few
    /// sums in f32: of what quants stand for, and of what is taken off.
    #[test]
    fn products_are_those_of_the_row() {
        if !vectors::is_supported() {
            return;
        }
        let mut tried = 0;
        for dtype in WEIGHT_TYPES.into_iter().filter(|&dtype| vectors::is_coded(dtype)) {
            for (n, seed) in [(256, 3), (3 * 256, 11), (8 * 256, 23)] {
                let w = random_blocks(dtype, n / dtype.block_len(), seed, Scales::Unit).unwrap();
                let x = drawn(n, seed as usize);
                let mut decoded = vec![f32::NAN; n];
                quant::decode(dtype, &w, &mut decoded).unwrap();
                for rounded in [false, true] {
                    let Some(row) = Row::new(&x, dtype, rounded) else { continue };
                    let products = value(&row);
                    let products = products.iter().zip(&decoded).map(|(x, &w)| x * f64::from(w));
                    let exact: f64 = products.clone().sum();
                    // Parts of eight lanes: as many additions as runs, and what a minimum
                    // and its scale are off by.
                    let size: f64 = products.map(f64::abs).sum();
                    let bound = size * (n / BLOCK + 8) as f64 * 2f64.powi(-24);
                    let found = f64::from(row.dot(dtype, &w));
                    assert!((found - exact).abs() <= bound, "{dtype} {n}: {found} for {exact}");
                    assert!(exact.abs() > 10.0 * bound, "{dtype} {n}: {exact} shows nothing");
                    tried += 1;
                }
            }
        }
        assert_eq!(tried, 3 * (15 + 2));
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
                let x = [sign; BLOCK];
                let row = Row::new(&x, DType::Q8_0, true).unwrap();
                let exact = 32.0 * f64::from(quant) * f64::from(sign);
                let found = f64::from(row.dot(DType::Q8_0, &block));
                assert!((found - exact).abs() < 1e-3, "{found} for {exact}");
            }
        }
    }
}
