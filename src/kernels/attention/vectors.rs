//! Loops of attention on the CPU, compiled for processors with AVX2 and FMA as well.

/// `y += Σ weights[j] rows[j]`: rows are as long as `y` and follow one another.
pub(super) fn add_weighted(y: &mut [f32], rows: &[f32], weights: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features that the function needs.
        return unsafe { add_weighted_fma(y, rows, weights) };
    }
    add(y, rows, weights, |a, b, c| a * b + c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_weighted_fma(y: &mut [f32], rows: &[f32], weights: &[f32]) {
    add(y, rows, weights, f32::mul_add);
}

/// Elements of a row whose sums stay in registers.
const WIDTH: usize = 32;

#[inline(always)]
fn add(
    y: &mut [f32],
    rows: &[f32],
    weights: &[f32],
    multiply_add: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    let len = y.len();
    let (parts, rest) = y.as_chunks_mut::<WIDTH>();
    let done = parts.len() * WIDTH;
    for (c, part) in parts.iter_mut().enumerate() {
        let mut sums = *part;
        for (weight, row) in weights.iter().zip(rows.chunks_exact(len)) {
            let Some(row) = row[c * WIDTH..].first_chunk::<WIDTH>() else { break };
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum = multiply_add(*weight, *v, *sum);
            }
        }
        *part = sums;
    }
    for (weight, row) in weights.iter().zip(rows.chunks_exact(len)) {
        for (sum, v) in rest.iter_mut().zip(&row[done..]) {
            *sum = multiply_add(*weight, *v, *sum);
        }
    }
}

/// Turns scores of at most `peak` into `e^(score - peak)`, and gives their sum.
pub(super) fn exponentials(scores: &mut [f32], peak: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features that the function needs.
        return unsafe { exponentials_fma(scores, peak) };
    }
    scores.iter_mut().for_each(|score| *score = (*score - peak).exp());
    scores.iter().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn exponentials_fma(scores: &mut [f32], peak: f32) -> f32 {
    scores.iter_mut().for_each(|score| *score = exponential(*score - peak));
    scores.iter().sum()
}

/// `e^x` for an `x` of at most 0, without branches: by the polynomial of Cephes (`expf`),
/// where `x` is a multiple of the logarithm of 2 and a rest. Where the result would be
/// subnormal it is 0.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn exponential(x: f32) -> f32 {
    const LEAST: f32 = -87.336_5;
    // Adding it leaves whole numbers in the last bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    // What is not a number stays so.
    let bounded = if x <= LEAST { LEAST } else { x };
    let shifted = bounded.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(-LN2[1], whole.mul_add(-LN2[0], bounded));
    let mut p = 1.987_569_1e-4_f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(rest, c);
    }
    let fraction = p.mul_add(rest * rest, rest + 1.0);
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    if x <= LEAST { 0.0 } else { fraction * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_twice_the_epsilon() {
        for i in 0..=200_000 {
            let x = -(i as f32) * 4.4e-4;
            let mut one = [x + 3.0];
            let x = f64::from(one[0] - 3.0);
            let sum = exponentials(&mut one, 3.0);
            assert_eq!(sum, one[0]);
            let expected = x.exp();
            let error = (f64::from(sum) - expected).abs();
            let least = f64::from(f32::MIN_POSITIVE);
            assert!(error <= 2.0 * f64::from(f32::EPSILON) * expected + least, "{x}: {sum}");
        }
        let mut hidden = [f32::NEG_INFINITY, 0.0, -500.0];
        assert_eq!(exponentials(&mut hidden, 0.0), 1.0);
        assert_eq!(hidden, [0.0, 1.0, 0.0]);
    }

    #[test]
    fn rows_are_weighted_at_every_width() {
        for (width, count) in [(1, 3), (7, 1), (32, 0), (33, 4), (64, 32), (80, 5)] {
            let rows: Vec<f32> = (0..width * count).map(|i| (i % 11) as f32 - 5.0).collect();
            let weights: Vec<f32> = (0..count).map(|j| j as f32 - 1.0).collect();
            let mut y: Vec<f32> = (0..width).map(|i| i as f32).collect();
            add_weighted(&mut y, &rows, &weights);
            for (i, sum) in y.iter().enumerate() {
                let more: f32 = (0..count).map(|j| weights[j] * rows[j * width + i]).sum();
                assert_eq!(*sum, i as f32 + more, "{width} {i}");
            }
        }
    }
}
