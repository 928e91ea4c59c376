//! What of matrices the host computes.

use super::onnx::real;
use crate::error::Result;
use crate::onnx::{HostOperator, NodeCx, When};
use crate::ops::RefTensor;
use crate::tensor::DType;

const fn computed(domain: &'static str, name: &'static str, since: u32) -> HostOperator {
    HostOperator { domain, name, since, when: When::Unknown, compute: |cx| cx.by_row() }
}

pub(crate) const COMPUTED: &[HostOperator] =
    &[computed("", "Det", 11), computed("com.microsoft", "Inverse", 1)];

/// Determinants are computed on the host.
pub(super) fn determinant(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, batch, n) = square(cx)?;
    let values = cx.known_reals(0)?;
    let count: usize = batch.iter().product();
    let matrix = |i: usize| eliminated(values[i * n * n..(i + 1) * n * n].to_vec(), n);
    let data = (0..count).map(matrix).collect();
    let y = cx.constant(RefTensor::real(dtype, &batch, data).to_tensor()?)?;
    cx.output(0, y);
    Ok(())
}

/// Dtype, batch and size of square matrices.
fn square(cx: &NodeCx<'_>) -> Result<(DType, Vec<usize>, usize)> {
    let (dtype, extents) = (real(cx, 0)?, cx.extents(0)?);
    match extents.as_slice() {
        &[ref batch @ .., rows, n] if rows == n => Ok((dtype, batch.to_vec(), n)),
        _ => Err(cx.broken(format!("'X' must be [..., M, M], got {extents:?}"))),
    }
}

/// Inverses are computed on the host.
pub(super) fn inverse(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, mut extents, n) = square(cx)?;
    let values = cx.known_reals(0)?;
    let count: usize = extents.iter().product();
    let mut data = Vec::with_capacity(values.len());
    for i in 0..count {
        let matrix = values[i * n * n..(i + 1) * n * n].to_vec();
        let inverse = inverted(matrix, n);
        data.extend(inverse.ok_or_else(|| cx.broken(format!("matrix {i} has no inverse")))?);
    }
    extents.extend([n, n]);
    let y = cx.constant(RefTensor::real(dtype, &extents, data).to_tensor()?)?;
    cx.output(0, y);
    Ok(())
}

/// The inverse by elimination with the largest pivots; none where one is 0.
fn inverted(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    let mut inverse = vec![0.0; n * n];
    (0..n).for_each(|i| inverse[i * n + i] = 1.0);
    for column in 0..n {
        let size = |row: &usize| a[row * n + column].abs();
        let pivot = (column..n).max_by(|p, q| size(p).total_cmp(&size(q)))?;
        let value = a[pivot * n + column];
        if value == 0.0 {
            return None;
        }
        for matrix in [&mut a, &mut inverse] {
            if pivot != column {
                (0..n).for_each(|j| matrix.swap(pivot * n + j, column * n + j));
            }
            (0..n).for_each(|j| matrix[column * n + j] /= value);
        }
        for row in (0..n).filter(|&row| row != column) {
            let factor = a[row * n + column];
            for matrix in [&mut a, &mut inverse] {
                (0..n).for_each(|j| matrix[row * n + j] -= factor * matrix[column * n + j]);
            }
        }
    }
    Some(inverse)
}

/// The determinant by elimination with the largest pivots.
fn eliminated(mut a: Vec<f64>, n: usize) -> f64 {
    let mut all = 1.0;
    for column in 0..n {
        let size = |row: &usize| a[row * n + column].abs();
        let pivot = (column..n).max_by(|p, q| size(p).total_cmp(&size(q))).unwrap_or(column);
        if a[pivot * n + column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            (0..n).for_each(|j| a.swap(pivot * n + j, column * n + j));
            all = -all;
        }
        all *= a[column * n + column];
        for row in column + 1..n {
            let factor = a[row * n + column] / a[column * n + column];
            (column..n).for_each(|j| a[row * n + j] -= factor * a[column * n + j]);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{eliminated, inverted};

    #[test]
    fn determinants_are_those_of_small_matrices() {
        assert_eq!(eliminated(vec![], 0), 1.0);
        assert_eq!(eliminated(vec![3.0], 1), 3.0);
        assert!((eliminated(vec![0.0, 2.0, 3.0, 4.0], 2) + 6.0).abs() < 1e-12);
        let three = vec![2.0, -1.0, 0.0, 1.0, 3.0, 2.0, 4.0, 1.0, 1.0];
        assert!((eliminated(three, 3) + 5.0).abs() < 1e-12);
        assert_eq!(eliminated(vec![1.0, 2.0, 2.0, 4.0], 2), 0.0);
    }

    #[test]
    fn inverses_are_those_of_small_matrices() {
        assert_eq!(inverted(vec![], 0), Some(vec![]));
        let inverse = inverted(vec![0.0, 2.0, 4.0, 1.0], 2).unwrap_or_default();
        for (got, want) in inverse.iter().zip([-0.125, 0.25, 0.5, 0.0]) {
            assert!((got - want).abs() < 1e-12, "{inverse:?}");
        }
        assert_eq!(inverse.len(), 4);
        assert_eq!(inverted(vec![1.0, 2.0, 2.0, 4.0], 2), None);
    }
}
