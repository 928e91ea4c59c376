//! Cutting a convolution into parts whose operands fit a binding and whose sums
//! fit an invocation's loops.
//!
//! What does not fit is halved: samples, groups, output channels or input
//! channels, whichever are furthest apart in the operand that is too large.
//! Parts that divide input channels add up, one dispatch after the other.

use crate::error::{Error, Result};
use crate::kernels::parts::too_large;
use crate::kernels::{Place, View};
use crate::ops::conv::geometry::Geometry;

/// Samples, groups, output channels of a group, input channels of a group.
pub(super) const SAMPLES: usize = 0;
pub(super) const GROUPS: usize = 1;
pub(super) const OUTPUTS: usize = 2;
pub(super) const INPUTS: usize = 3;

/// How an F32 operand lies: the distance between neighbours in each of the four
/// directions, 0 where it does not have one, and the elements at one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lie {
    name: &'static str,
    pub(super) strides: [u64; 4],
    run: u64,
}

/// The operands of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lies {
    pub(super) x: Lie,
    pub(super) w: Lie,
    pub(super) y: Lie,
    pub(super) bias: Lie,
}

impl Lies {
    pub(super) fn new(g: &Geometry) -> Self {
        let [groups, c, m] = [g.groups, g.c, g.m].map(|n| n as u64);
        let [plane, out, taps] = [g.plane_in(), g.plane_out(), g.taps()].map(|n| n as u64);
        let (w_m, w_c) = if g.transposed { (taps, m * taps) } else { (c * taps, taps) };
        Lies {
            x: Lie {
                name: "the input of a convolution",
                strides: [groups * c * plane, c * plane, 0, plane],
                run: plane,
            },
            w: Lie {
                name: "the weights of a convolution",
                strides: [0, m * c * taps, w_m, w_c],
                run: taps,
            },
            y: Lie {
                name: "the result of a convolution",
                strides: [groups * m * out, m * out, out, 0],
                run: out,
            },
            bias: Lie { name: "the bias of a convolution", strides: [0, m, 1, 0], run: 1 },
        }
    }
}

/// The window of an operand that a part uses, and the elements before it.
pub(super) struct Window {
    pub(super) view: View,
    pub(super) base: u64,
}

impl Lie {
    /// The first element of a part, and how many there are up to its last.
    fn span(&self, part: &Part) -> (u64, u64) {
        let along = part.ranges.iter().zip(self.strides);
        let start = along.clone().map(|(range, stride)| range.start * stride).sum();
        let reach: u64 = along.map(|(range, stride)| range.count.saturating_sub(1) * stride).sum();
        let empty = part.ranges.iter().zip(self.strides).any(|(r, s)| r.count == 0 && s > 0);
        (start, if empty { 0 } else { reach + self.run })
    }

    /// The bytes of the binding, which begins on the alignment.
    fn bytes(&self, part: &Part, align: u64) -> u64 {
        let (start, len) = self.span(part);
        start * 4 % align + len * 4
    }

    pub(super) fn window(&self, part: &Part, place: Place, align: u64) -> Window {
        if part.whole {
            return Window { view: View::all(place), base: 0 };
        }
        let (start, len) = self.span(part);
        let before = start * 4 % align;
        Window { view: View::range(place, start * 4 - before, before + len * 4), base: before / 4 }
    }
}

/// A range in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) count: u64,
}

/// What one dispatch computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) ranges: [Range; 4],
    /// Whether this is all there is, so that whole buffers can be bound.
    pub(super) whole: bool,
}

/// What a part must fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of a binding.
    pub(super) binding: u64,
    /// The alignment of its offset.
    pub(super) align: u64,
    /// Input channels of an invocation.
    pub(super) channels: u64,
}

/// The parts of a convolution of so many samples, in the order they must run.
///
/// # Errors
/// [`Error::Limit`] if a single plane, or a window's weights, are over the limit.
pub(super) fn parts(g: &Geometry, lies: &Lies, samples: u64, limits: Limits) -> Result<Vec<Part>> {
    let all = [samples, g.groups as u64, g.m as u64, g.c as u64];
    let whole = Part { ranges: all.map(|count| Range { start: 0, count }), whole: true };
    let mut parts = Vec::new();
    cut(whole, lies, limits, &mut parts)?;
    Ok(parts)
}

fn cut(part: Part, lies: &Lies, limits: Limits, parts: &mut Vec<Part>) -> Result<()> {
    let over = [&lies.x, &lies.w, &lies.y, &lies.bias]
        .into_iter()
        .find(|lie| lie.bytes(&part, limits.align) > limits.binding);
    let direction = match over {
        None if part.ranges[INPUTS].count <= limits.channels => {
            parts.push(part);
            return Ok(());
        }
        None => INPUTS,
        Some(lie) => widest(lie, &part)
            .ok_or_else(|| too_large(lie.name, lie.bytes(&part, limits.align), limits.binding))?,
    };
    for half in halves(part, direction)? {
        cut(half, lies, limits, parts)?;
    }
    Ok(())
}

/// The direction with the largest distances in which a part can be halved.
fn widest(lie: &Lie, part: &Part) -> Option<usize> {
    let divisible = |&i: &usize| lie.strides[i] > 0 && part.ranges[i].count > 1;
    (0..4).filter(divisible).max_by_key(|&i| lie.strides[i])
}

fn halves(part: Part, direction: usize) -> Result<[Part; 2]> {
    let Range { start, count } = part.ranges[direction];
    let first = count.div_ceil(2);
    if first == count {
        return Err(Error::internal("halving a convolution that is as small as can be"));
    }
    let ranges =
        [Range { start, count: first }, Range { start: start + first, count: count - first }];
    Ok(ranges.map(|range| {
        let mut half = Part { whole: false, ..part };
        half.ranges[direction] = range;
        half
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv::geometry::Axis;

    fn geometry(groups: usize, c: usize, m: usize, size: usize) -> Geometry {
        let axis = Axis { input: size, output: size, kernel: 3, begin: 1, ..Axis::ONE };
        Geometry { batch: 5u64.into(), groups, c, m, axes: vec![axis; 2], transposed: false }
    }

    #[test]
    fn parts_fit_and_cover_every_product_once() {
        let limits = Limits { binding: 4096, align: 256, channels: 7 };
        for (groups, c, m, size) in [(1, 3, 4, 20), (1, 40, 9, 7), (6, 2, 3, 15), (1, 1, 300, 3)] {
            let g = geometry(groups, c, m, size);
            let lies = Lies::new(&g);
            let parts = parts(&g, &lies, 5, limits).unwrap();
            let mut products = 0;
            for part in &parts {
                for lie in [&lies.x, &lies.w, &lies.y, &lies.bias] {
                    assert!(lie.bytes(part, 256) <= 4096, "{part:?}");
                }
                assert!(part.ranges[INPUTS].count <= 7);
                products += part.ranges.iter().map(|range| range.count).product::<u64>();
            }
            assert_eq!(products, 5 * (groups * c * m) as u64);
        }
    }

    #[test]
    fn a_plane_over_the_limit_is_named() {
        let g = geometry(1, 2, 2, 40);
        let limits = Limits { binding: 4096, align: 256, channels: 9 };
        let error = parts(&g, &Lies::new(&g), 5, limits).unwrap_err();
        assert!(matches!(&error, Error::Limit { what, .. } if what.contains("input")), "{error}");
    }
}
