//! Values of a layer as planes.

use wginfer::ops::{RefData, RefTensor};
use wginfer::{Error, Tensor};

/// A vector is broken into rows of so many values.
const ROW: usize = 64;

/// The share of values at either end that have no colours of their own: a single
/// large one would leave the others all alike.
const OUTER: f64 = 0.002;

/// A layer's values as planes of numbers, one for each channel.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) ty: String,
    pub(super) extents: Vec<usize>,
    pub(super) width: usize,
    pub(super) height: usize,
    /// One plane after another, row by row; a vector is filled up.
    pub(super) values: Vec<f64>,
    /// The smallest and the largest finite value of the whole batch.
    pub(super) range: Option<(f64, f64)>,
    /// The range that all but the outermost values of the planes are in.
    pub(super) most: Option<(f64, f64)>,
    /// The mean of the finite values.
    pub(super) mean: f64,
    /// Values that are not finite.
    pub(super) odd: usize,
    /// How many of the planes' values there really are.
    pub(super) filled: usize,
}

impl Maps {
    /// The last two dimensions are a plane's, those before count the channels; of
    /// a batch the first element is shown. Vectors, and channels of one value
    /// each, become one plane together.
    pub(super) fn of(tensor: &Tensor) -> Result<Self, Error> {
        let all: Vec<f64> = match RefTensor::from_tensor(tensor)?.data {
            RefData::Real(values) => values,
            RefData::Int(values) => values.into_iter().map(|v| v as f64).collect(),
        };
        let extents = tensor.extents().to_vec();
        let mut shape = extents.as_slice();
        let mut values = all.as_slice();
        if let [batch, rest @ ..] = shape
            && shape.len() >= 4
            && *batch > 1
        {
            values = &values[..all.len() / batch];
            shape = rest;
        }
        let finite = all.iter().copied().filter(|v| v.is_finite());
        let range = finite.clone().fold(None, |range: Option<(f64, f64)>, v| {
            Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
        });
        let count = finite.clone().count();
        let mean = finite.sum::<f64>() / count.max(1) as f64;
        let odd = all.len() - count;
        let (most, filled) = (inner(values), values.len());
        let (width, height, values) = planes(shape, values.to_vec());
        let ty = tensor.dtype().to_string();
        Ok(Maps { ty, extents, width, height, values, range, most, mean, odd, filled })
    }

    /// Whether its channels are pictures rather than single values.
    pub(super) fn is_plane(&self) -> bool {
        matches!(self.extents[..], [.., _, height, width] if height.min(width) > 1)
    }

    /// How many planes there are.
    pub(super) fn count(&self) -> usize {
        self.values.len().checked_div(self.width * self.height).unwrap_or(0)
    }

    pub(super) fn plane(&self, index: usize) -> &[f64] {
        let area = self.width * self.height;
        &self.values[index * area..][..area]
    }
}

/// The range that all but the outermost finite values are in.
fn inner(values: &[f64]) -> Option<(f64, f64)> {
    let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    let outer = (finite.len() as f64 * OUTER) as usize;
    finite.get(outer).copied().zip(finite.iter().nth_back(outer).copied())
}

fn planes(shape: &[usize], mut values: Vec<f64>) -> (usize, usize, Vec<f64>) {
    let (height, width) = match shape {
        [.., height, width] if height * width > 1 => (*height, *width),
        _ => (1, values.len()),
    };
    if height > 1 || width <= ROW {
        return (width, height, values);
    }
    if width == values.len() {
        let rows = values.len().div_ceil(ROW);
        values.resize(rows * ROW, f64::NAN);
        return (ROW, rows, values);
    }
    (width, height, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(extents: &[usize]) -> Maps {
        let count: usize = extents.iter().product();
        let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
        Maps::of(&Tensor::from_f32(extents, &values).unwrap()).unwrap()
    }

    #[test]
    fn the_last_two_dimensions_are_a_plane() {
        let shape = |extents: &[usize]| {
            let maps = maps(extents);
            (maps.count(), maps.height, maps.width)
        };
        assert_eq!(shape(&[1, 6, 4, 5]), (6, 4, 5));
        assert_eq!(shape(&[2, 6, 4, 5]), (6, 4, 5));
        assert_eq!(shape(&[2, 3, 6, 4, 5]), (18, 4, 5));
        assert_eq!(shape(&[7, 9]), (1, 7, 9));
        assert_eq!(shape(&[1, 96, 1, 1]), (1, 2, 64));
        assert_eq!(shape(&[10]), (1, 1, 10));
        assert_eq!(shape(&[]), (1, 1, 1));
        assert_eq!(shape(&[1, 0, 3, 3]).0, 0);
        assert_eq!(maps(&[2, 6, 4, 5]).range, Some((0.0, 239.0)));
        assert_eq!(maps(&[1, 96, 1, 1]).filled, 96);
        assert_eq!(maps(&[1, 6, 4, 5]).plane(5)[19], 119.0);
        assert!(maps(&[1, 6, 4, 5]).is_plane() && !maps(&[1, 6, 1, 1]).is_plane());
    }

    #[test]
    fn the_outermost_values_are_left_out_of_the_colours() {
        let maps = maps(&[1, 1, 10, 100]);
        assert_eq!(maps.range, Some((0.0, 999.0)));
        assert_eq!(maps.most, Some((2.0, 997.0)));
    }
}
