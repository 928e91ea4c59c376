//! The extents of a pool, checked.

use crate::graph::{Dim, Shape, TensorType};
use crate::ops::conv::geometry::{Axis, MAX_AXES, Steps, numbers, window_outputs};

/// How a window moves over the spatial axes: the attributes that all pools share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// The taps of the window along each spatial dimension.
    pub kernel_shape: Vec<usize>,
    /// The step of the window; empty for 1.
    pub strides: Vec<usize>,
    /// The distance between its taps; empty for 1.
    pub dilations: Vec<usize>,
    /// Padding before the first element of each spatial dimension, then behind
    /// the last element of each; empty for none.
    pub pads: Vec<usize>,
    /// Whether a window may reach beyond the padding at the end, as long as it
    /// starts within the input or the padding before it.
    pub ceil_mode: bool,
}

/// An axis of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolAxis {
    pub(crate) axis: Axis,
    /// Where the padding at the end ends, counted from where that at the
    /// beginning begins.
    pub(crate) end: usize,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolGeometry {
    /// N and C.
    pub(crate) front: [Dim; 2],
    /// One to three spatial axes.
    pub(crate) axes: Vec<PoolAxis>,
}

impl Window {
    /// The geometry for `x` `[N, C, spatial..]`, or what is wrong, in words.
    pub(crate) fn over(&self, x: &TensorType) -> Result<PoolGeometry, String> {
        if !(3..=2 + MAX_AXES).contains(&x.rank()) {
            return Err(format!("'x' must have a rank of 3 to {}, got {x}", 2 + MAX_AXES));
        }
        let extents = numbers(&x.shape[2..])
            .ok_or_else(|| format!("spatial dimensions must be numbers, got {x}"))?;
        let kernel = &self.kernel_shape;
        if kernel.len() != extents.len() || kernel.iter().any(|&k| k == 0 || k >= 1 << 24) {
            return Err(format!("kernel_shape is {kernel:?} for {x}"));
        }
        let Window { strides, dilations, pads, .. } = self;
        let steps = Steps { strides, dilations, pads };
        steps.check(extents.len())?;
        let axis = |i: usize| {
            let ((begin, end), (stride, dilation)) = (steps.pad(i), steps.step(i));
            let output = self.outputs(extents[i], kernel[i], (stride, dilation), (begin, end));
            let output =
                output.ok_or_else(|| format!("a window of {kernel:?} does not fit into {x}"))?;
            let axis =
                Axis { input: extents[i], output, kernel: kernel[i], stride, dilation, begin };
            Ok(PoolAxis { axis, end: begin + extents[i] + end })
        };
        let axes: Result<Vec<_>, String> = (0..extents.len()).map(axis).collect();
        Ok(PoolGeometry { front: [x.shape[0].clone(), x.shape[1].clone()], axes: axes? })
    }

    fn outputs(
        &self,
        input: usize,
        kernel: usize,
        steps: (usize, usize),
        (begin, end): (usize, usize),
    ) -> Option<usize> {
        let stride = steps.0;
        if !self.ceil_mode {
            return window_outputs(input, kernel, steps, begin + end);
        }
        let up = window_outputs(input, kernel, steps, begin + end + stride - 1)?;
        // The last window starts within the input, or in the padding before it.
        let outside = up > 1 && (up - 1) * stride >= input + begin;
        Some(up - usize::from(outside))
    }
}

impl PoolGeometry {
    /// `[N, C, spatial..]`.
    pub(crate) fn output(&self) -> Shape {
        let mut shape = self.front.to_vec();
        shape.extend(self.axes.iter().map(|axis| Dim::from(axis.axis.output)));
        shape
    }

    /// How many planes there are.
    pub(crate) fn planes(&self) -> Dim {
        Dim::product(&self.front)
    }

    pub(crate) fn plane_in(&self) -> usize {
        self.axes.iter().map(|axis| axis.axis.input).product()
    }

    pub(crate) fn plane_out(&self) -> usize {
        self.axes.iter().map(|axis| axis.axis.output).product()
    }

    pub(crate) fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.axis.kernel).product()
    }

    /// Three axes, the missing ones in front.
    pub(crate) fn three(&self) -> [PoolAxis; MAX_AXES] {
        let mut three = [PoolAxis { axis: Axis::ONE, end: 1 }; MAX_AXES];
        let missing = MAX_AXES - self.axes.len();
        three[missing..].copy_from_slice(&self.axes);
        three
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn outputs(n: usize, kernel: usize, stride: usize, pads: [usize; 2], ceil_mode: bool) -> usize {
        let window = Window {
            kernel_shape: vec![kernel],
            strides: vec![stride],
            pads: pads.to_vec(),
            ceil_mode,
            ..Window::default()
        };
        let x = TensorType::new(DType::F32, [1u64.into(), 1u64.into(), n.into()]);
        window.over(&x).unwrap().axes[0].axis.output
    }

    #[test]
    fn the_last_window_starts_inside() {
        assert_eq!(outputs(4, 3, 2, [0, 0], false), 1);
        assert_eq!(outputs(4, 3, 2, [0, 0], true), 2);
        // ONNX's test_maxpool_2d_ceil_output_size_reduce_by_one.
        assert_eq!(outputs(2, 1, 2, [0, 0], true), 1);
        // ONNX's test_averagepool_2d_ceil_last_window_starts_on_pad.
        assert_eq!(outputs(2, 3, 3, [1, 1], true), 1);
        assert_eq!(outputs(5, 1, 3, [0, 0], true), 2);
        // The only window may reach beyond the input.
        assert_eq!(outputs(2, 4, 4, [0, 0], true), 1);
    }
}
