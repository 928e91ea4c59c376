//! Which elements along an axis a resized one is made of. All in f64, as the
//! extents are known while importing.

use crate::ops::resize::grid::cubic;

/// ONNX `coordinate_transformation_mode`: where the place of a resized element
/// is in the original.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    /// Half pixels of the result, whole ones of the original.
    TfHalfPixelForNn,
    /// Within a part of the original, given by its ends as parts of the whole.
    Crop(f64, f64),
}

/// One axis to resize.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Elements of the original.
    pub(super) from: usize,
    /// Elements of the result.
    pub(super) to: usize,
    /// The scale that was asked for, which need not be the quotient of these.
    pub(super) scale: f64,
    pub(super) coordinates: Coordinates,
}

impl Axis {
    /// Whether nothing changes.
    pub(super) fn is_same(&self) -> bool {
        let whole = !matches!(self.coordinates, Coordinates::Crop(start, end) if (start, end) != (0.0, 1.0));
        self.from == self.to && self.scale == 1.0 && whole
    }

    /// Where the element `i` of the result is in the original.
    fn place(&self, i: usize) -> f64 {
        let (i, n) = (i as f64, self.from as f64);
        // May be a fraction, where the result has the whole elements of it.
        let length = self.scale * n;
        match self.coordinates {
            Coordinates::HalfPixel => (i + 0.5) / self.scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let offset = n / 2.0 * (1.0 - self.to as f64 / length);
                offset + (i + 0.5) / self.scale - 0.5
            }
            Coordinates::PytorchHalfPixel if length == 1.0 => -0.5,
            Coordinates::PytorchHalfPixel => (i + 0.5) / self.scale - 0.5,
            Coordinates::AlignCorners if length == 1.0 => 0.0,
            Coordinates::AlignCorners => i * (n - 1.0) / (length - 1.0),
            Coordinates::Asymmetric => i / self.scale,
            Coordinates::TfHalfPixelForNn => (i + 0.5) / self.scale,
            Coordinates::Crop(start, end) if length == 1.0 => 0.5 * (start + end) * (n - 1.0),
            Coordinates::Crop(start, end) => {
                start * (n - 1.0) + i * (end - start) * (n - 1.0) / (length - 1.0)
            }
        }
    }

    /// For each element whether it lies outside of the original; none with the
    /// modes that do not ask.
    pub(super) fn outside(&self) -> Option<Vec<bool>> {
        let Coordinates::Crop(..) = self.coordinates else { return None };
        let last = self.from as f64 - 1.0;
        let outside = (0..self.to).map(|i| !(0.0..=last).contains(&self.place(i)));
        let outside: Vec<bool> = outside.collect();
        outside.contains(&true).then_some(outside)
    }

    fn clamped(&self, at: f64) -> usize {
        at.clamp(0.0, self.from.saturating_sub(1) as f64) as usize
    }

    /// The element nearest to each, by a rule for what lies between two.
    pub(super) fn nearest(&self, rule: Nearest) -> Vec<usize> {
        let chosen = |at: f64| match rule {
            Nearest::RoundPreferFloor => (at - 0.5).ceil(),
            Nearest::RoundPreferCeil => (at + 0.5).floor(),
            Nearest::Floor => at.floor(),
            Nearest::Ceil => at.ceil(),
        };
        (0..self.to).map(|i| self.clamped(chosen(self.place(i)))).collect()
    }

    /// The weighted elements that each is made of, as many for all.
    pub(super) fn weighted(&self, filter: Filter) -> Weighted {
        // A filter is stretched where elements are fewer.
        let stretch = if filter.antialias { self.scale.min(1.0) } else { 1.0 };
        let radius = filter.radius() / stretch;
        let taps = 2 * radius.ceil() as usize;
        let mut table = Weighted { taps, elements: Vec::new(), weights: Vec::new() };
        for i in 0..self.to {
            let place = self.place(i);
            let first = place.floor() - (taps / 2) as f64 + 1.0;
            let at = |tap: usize| first + tap as f64;
            let mut weights: Vec<f64> =
                (0..taps).map(|tap| filter.weight((at(tap) - place).abs() * stretch)).collect();
            if filter.exclude_outside {
                for (tap, weight) in weights.iter_mut().enumerate() {
                    if at(tap) < 0.0 || at(tap) >= self.from as f64 {
                        *weight = 0.0;
                    }
                }
            }
            if filter.exclude_outside || filter.antialias {
                let sum: f64 = weights.iter().sum();
                if sum != 0.0 {
                    weights.iter_mut().for_each(|weight| *weight /= sum);
                }
            }
            table.elements.extend((0..taps).map(|tap| self.clamped(at(tap))));
            table.weights.extend(weights);
        }
        table
    }
}

/// ONNX `nearest_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How elements weigh by their distance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    /// The coefficient of cubic convolution; linear without.
    pub(super) cubic: Option<f64>,
    /// Whether it reaches further where the result has fewer elements.
    pub(super) antialias: bool,
    /// Whether places outside of the original weigh nothing.
    pub(super) exclude_outside: bool,
}

impl Filter {
    fn radius(self) -> f64 {
        if self.cubic.is_some() { 2.0 } else { 1.0 }
    }

    fn weight(self, distance: f64) -> f64 {
        match self.cubic {
            Some(a) => cubic(distance, a),
            None => (1.0 - distance).max(0.0),
        }
    }
}

/// The elements that each element of a result is made of, and their weights.
#[derive(Debug, Clone)]
pub(super) struct Weighted {
    pub(super) taps: usize,
    pub(super) elements: Vec<usize>,
    pub(super) weights: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: usize, to: usize, coordinates: Coordinates) -> Axis {
        Axis { from, to, scale: to as f64 / from as f64, coordinates }
    }

    #[test]
    fn places_are_those_of_the_specification() {
        let place = |axis: Axis| (0..axis.to).map(|i| axis.place(i)).collect::<Vec<_>>();
        assert_eq!(place(axis(2, 4, Coordinates::HalfPixel)), [-0.25, 0.25, 0.75, 1.25]);
        assert_eq!(place(axis(2, 4, Coordinates::Asymmetric)), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(place(axis(2, 4, Coordinates::TfHalfPixelForNn)), [0.25, 0.75, 1.25, 1.75]);
        assert_eq!(place(axis(4, 2, Coordinates::AlignCorners)), [0.0, 3.0]);
        assert_eq!(place(axis(4, 1, Coordinates::AlignCorners)), [0.0]);
        assert_eq!(place(axis(5, 3, Coordinates::Crop(0.25, 0.75))), [1.0, 2.0, 3.0]);
        assert_eq!(place(axis(5, 1, Coordinates::Crop(0.25, 0.75))), [2.0]);
    }

    #[test]
    fn halves_are_rounded_as_asked() {
        let axis = axis(2, 4, Coordinates::Asymmetric);
        assert_eq!(axis.nearest(Nearest::RoundPreferFloor), [0, 0, 1, 1]);
        assert_eq!(axis.nearest(Nearest::RoundPreferCeil), [0, 1, 1, 1]);
        assert_eq!(axis.nearest(Nearest::Floor), [0, 0, 1, 1]);
        assert_eq!(axis.nearest(Nearest::Ceil), [0, 1, 1, 1]);
    }

    #[test]
    fn weights_add_up_to_one_and_stay_inside() {
        for cubic in [None, Some(-0.75), Some(-0.5)] {
            for (antialias, exclude_outside) in [(false, false), (true, false), (false, true)] {
                let filter = Filter { cubic, antialias, exclude_outside };
                for (from, to) in [(3, 7), (7, 3), (1, 5), (9, 9), (10, 1)] {
                    let table = axis(from, to, Coordinates::HalfPixel).weighted(filter);
                    assert!(table.elements.iter().all(|&at| at < from));
                    for weights in table.weights.chunks(table.taps) {
                        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{weights:?}");
                    }
                }
            }
        }
    }
}
