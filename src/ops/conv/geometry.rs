//! The extents of a convolution, checked. Its shape rule, its reference and its
//! kernels all start from here.

use crate::graph::{Dim, Shape, TensorType};

/// The most spatial axes that there are kernels for.
pub(crate) const MAX_AXES: usize = 3;

/// The attributes that convolutions and pools share, one number for each spatial
/// axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps<'a> {
    /// Empty for 1 along each axis.
    pub(crate) strides: &'a [usize],
    /// Empty for 1 along each axis.
    pub(crate) dilations: &'a [usize],
    /// All begins, then all ends; empty for none.
    pub(crate) pads: &'a [usize],
}

/// A spatial axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Padding before the first element.
    pub(crate) begin: usize,
}

impl Axis {
    /// An axis of one element.
    pub(crate) const ONE: Axis =
        Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, begin: 0 };

    /// The input that output `o` meets at tap `k`, if it is not padding.
    pub(crate) fn met(&self, o: usize, k: usize) -> Option<usize> {
        let at = (o * self.stride + k * self.dilation).checked_sub(self.begin)?;
        (at < self.input).then_some(at)
    }

    /// Whether every output meets exactly the input at its own place.
    pub(crate) fn is_point(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.begin == 0 && self.input == self.output
    }
}

/// A convolution or a transposed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) batch: Dim,
    pub(crate) groups: usize,
    /// Input channels of a group.
    pub(crate) c: usize,
    /// Output channels of a group.
    pub(crate) m: usize,
    /// One to three spatial axes.
    pub(crate) axes: Vec<Axis>,
    pub(crate) transposed: bool,
}

/// A result, or what is wrong, in words.
type Checked<T> = Result<T, String>;

impl Geometry {
    /// `x` `[N, C, spatial..]` with `w` `[M, C / group, kernel..]`.
    pub(crate) fn convolution(
        x: &TensorType,
        w: &TensorType,
        steps: Steps<'_>,
        group: usize,
    ) -> Checked<Self> {
        let (extents, weights) = operands(x, w, group)?;
        let (channels, outputs) = (extents[0], weights[0]);
        if weights[1].checked_mul(group) != Some(channels) || !outputs.is_multiple_of(group) {
            return Err(format!("x {x} in {group} groups does not fit weights {w}"));
        }
        let axis = |i: usize| {
            let (begin, end) = steps.pad(i);
            let output = window_outputs(extents[i + 1], weights[i + 2], steps.step(i), begin + end)
                .ok_or_else(|| format!("the window of w {w} is larger than x {x} with padding"))?;
            Ok(steps.axis(i, extents[i + 1], output, weights[i + 2]))
        };
        let axes = steps.axes(extents.len() - 1, axis)?;
        let (c, m) = (weights[1], outputs / group);
        Ok(Geometry { batch: x.shape[0].clone(), groups: group, c, m, axes, transposed: false })
    }

    /// `x` `[N, C, spatial..]` with `w` `[C, M / group, kernel..]`, and so many
    /// outputs more at the end of each axis.
    pub(crate) fn transposed(
        x: &TensorType,
        w: &TensorType,
        steps: Steps<'_>,
        group: usize,
        more: &[usize],
    ) -> Checked<Self> {
        let (extents, weights) = operands(x, w, group)?;
        let channels = extents[0];
        if weights[0] != channels || !channels.is_multiple_of(group) {
            return Err(format!("x {x} in {group} groups does not fit weights {w}"));
        }
        if !more.is_empty() && more.len() != extents.len() - 1 {
            return Err(format!("output_padding has {} numbers for x {x}", more.len()));
        }
        let axis = |i: usize| {
            let (stride, dilation) = steps.step(i);
            let (begin, end) = steps.pad(i);
            let more = more.get(i).copied().unwrap_or(0);
            let reach = |n: usize, by: usize| n.checked_sub(1)?.checked_mul(by);
            let all = reach(extents[i + 1], stride)
                .and_then(|all| all.checked_add(reach(weights[i + 2], dilation)?)?.checked_add(1))
                .and_then(|all| all.checked_add(more)?.checked_sub(begin)?.checked_sub(end))
                .ok_or_else(|| format!("padding takes more than there is of x {x} with w {w}"))?;
            Ok(steps.axis(i, extents[i + 1], all, weights[i + 2]))
        };
        let axes = steps.axes(extents.len() - 1, axis)?;
        let (c, m) = (channels / group, weights[1]);
        Ok(Geometry { batch: x.shape[0].clone(), groups: group, c, m, axes, transposed: true })
    }

    /// `[N, M, spatial..]`.
    pub(crate) fn output(&self) -> Shape {
        let mut shape = vec![self.batch.clone(), Dim::from(self.groups * self.m)];
        shape.extend(self.axes.iter().map(|axis| Dim::from(axis.output)));
        shape
    }

    /// Elements of a channel of the input.
    pub(crate) fn plane_in(&self) -> usize {
        self.axes.iter().map(|axis| axis.input).product()
    }

    /// Elements of a channel of the output.
    pub(crate) fn plane_out(&self) -> usize {
        self.axes.iter().map(|axis| axis.output).product()
    }

    /// Taps of the window.
    pub(crate) fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// Three axes, the missing ones in front. Where every output meets only the
    /// input at its own place, a plane is one long row.
    pub(crate) fn three(&self) -> [Axis; MAX_AXES] {
        let mut three = [Axis::ONE; MAX_AXES];
        if !self.transposed && self.axes.iter().all(Axis::is_point) {
            let plane = self.plane_in();
            three[2] = Axis { input: plane, output: plane, ..Axis::ONE };
            return three;
        }
        let missing = MAX_AXES - self.axes.len();
        three[missing..].copy_from_slice(&self.axes);
        three
    }
}

impl Steps<'_> {
    pub(crate) fn step(&self, i: usize) -> (usize, usize) {
        let of = |list: &[usize]| list.get(i).copied().unwrap_or(1);
        (of(self.strides), of(self.dilations))
    }

    pub(crate) fn pad(&self, i: usize) -> (usize, usize) {
        let of = |i: usize| self.pads.get(i).copied().unwrap_or(0);
        (of(i), of(i + self.pads.len() / 2))
    }

    fn axis(&self, i: usize, input: usize, output: usize, kernel: usize) -> Axis {
        let (stride, dilation) = self.step(i);
        Axis { input, output, kernel, stride, dilation, begin: self.pad(i).0 }
    }

    /// Whether there are as many numbers as axes, and none that means nothing.
    pub(crate) fn check(&self, axes: usize) -> Checked<()> {
        let lists = [("strides", self.strides, axes), ("dilations", self.dilations, axes)];
        for (name, list, count) in lists.into_iter().chain([("pads", self.pads, 2 * axes)]) {
            if !list.is_empty() && list.len() != count {
                return Err(format!("{name} must have {count} numbers, got {list:?}"));
            }
            // Kernels count in 31 bits.
            let least = usize::from(name != "pads");
            if list.iter().any(|&n| n < least || n >= 1 << 24) {
                return Err(format!("{name} must be {least} to 2^24, got {list:?}"));
            }
        }
        Ok(())
    }

    fn axes(&self, count: usize, axis: impl Fn(usize) -> Checked<Axis>) -> Checked<Vec<Axis>> {
        self.check(count)?;
        (0..count).map(axis).collect()
    }
}

/// How many places a window of so many taps has, if any.
pub(crate) fn window_outputs(
    input: usize,
    kernel: usize,
    (stride, dilation): (usize, usize),
    padding: usize,
) -> Option<usize> {
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    Some(input.checked_add(padding)?.checked_sub(reach)? / stride + 1)
}

/// The extents of x after the batch, and those of w, as numbers.
fn operands(x: &TensorType, w: &TensorType, group: usize) -> Checked<(Vec<usize>, Vec<usize>)> {
    if !(3..=2 + MAX_AXES).contains(&x.rank()) || w.rank() != x.rank() {
        return Err(format!(
            "x and w must have the same rank of 3 to {}, got x {x}, w {w}",
            2 + MAX_AXES
        ));
    }
    if group == 0 {
        return Err("group must be at least 1".into());
    }
    let extents = numbers(&x.shape[1..])
        .ok_or_else(|| format!("only the first dimension of x may be a symbol, got {x}"))?;
    let weights =
        numbers(&w.shape).ok_or_else(|| format!("the dimensions of w must be numbers, got {w}"))?;
    Ok((extents, weights))
}

/// Dimensions as numbers that 31 bits hold.
pub(crate) fn numbers(dims: &[Dim]) -> Option<Vec<usize>> {
    let number = |dim: &Dim| dim.as_const().filter(|&n| n < 1 << 31).map(|n| n as usize);
    dims.iter().map(number).collect()
}
