//! Inner products on the CPU.

/// Independent partial sums, so that additions need not wait for each other:
/// four vectors of eight.
const LANES: usize = 32;

/// `Σ x[i] w[i]` over the shorter of the two lengths.
#[inline]
pub(super) fn dot(x: &[f32], w: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features that the function needs.
        return unsafe { dot_fma(x, w) };
    }
    sum(x, w, |a, b, c| a * b + c)
}

/// [`dot`] compiled for processors with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dot_fma(x: &[f32], w: &[f32]) -> f32 {
    sum(x, w, f32::mul_add)
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
    use super::dot;

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
