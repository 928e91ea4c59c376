//! Shapes that no list has.

use wginfer::validate::{CaseFamily, Extents, Setup, Yardstick, mix, shape_seed};

/// The largest extent drawn; what needs more stands in the lists.
const LARGEST: u64 = 45;
/// How many draws may make no sense.
const DRAWS: u64 = 8;

/// A shape between the least and the largest of the family's list that its
/// operator accepts; the same for the same seed.
pub(crate) fn shape(family: &CaseFamily, seed: u64) -> Option<Vec<usize>> {
    let rank = family.shapes.first()?.len();
    let label = family.label.bytes().fold(seed, |seed, byte| mix(seed, byte.into()));
    let ends = |axis: usize| {
        let extents = || family.shapes.iter().filter_map(move |shape| shape.get(axis));
        let (least, most) = (*extents().min()? as u64, *extents().max()? as u64);
        Some((least, most.min(LARGEST).max(least)))
    };
    let ends: Vec<(u64, u64)> = (0..rank).map(ends).collect::<Option<_>>()?;
    let draw = |n: u64| -> Vec<usize> {
        let random = |axis: usize| mix(mix(label, n), axis as u64);
        let extent = |(axis, (least, most)): (usize, &(u64, u64))| {
            (least + random(axis) % (most - least + 1)) as usize
        };
        ends.iter().enumerate().map(extent).collect()
    };
    (0..DRAWS).map(draw).find(|shape| !family.shapes.contains(shape) && accepted(family, shape))
}

/// Whether there is a case whose inputs the operator takes.
fn accepted(family: &CaseFamily, shape: &[usize]) -> bool {
    let Some(case) = (family.build)(shape) else { return false };
    Yardstick::operands(&case, shape_seed(0, shape))
        .and_then(|operands| Setup::new(&case, &operands, Extents::Fixed, |_| false))
        .is_ok()
}
