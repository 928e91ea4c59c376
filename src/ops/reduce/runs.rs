//! Which elements are reduced together.

use crate::error::{Error, Result};
use crate::ops::rules::front_axis;
use std::ops::Range;

/// For each dimension, whether it is one of the axes.
pub(super) fn flags(op: &str, axes: &[i64], rank: usize) -> Result<Vec<bool>> {
    let mut flags = vec![false; rank];
    for &axis in axes {
        let front = front_axis(op, axis, rank)?;
        if std::mem::replace(&mut flags[front], true) {
            return Err(Error::rule(op, format!("axis {axis} is named twice")));
        }
    }
    Ok(flags)
}

/// The reduced dimensions as runs of neighbours, in order; dimensions that are
/// `single` (of one element) belong to either side. At least one run, which may
/// be of no dimensions.
pub(super) fn runs(reduced: &[bool], single: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut apart = true;
    for (axis, &reduced) in reduced.iter().enumerate() {
        if single(axis) {
            continue;
        }
        match runs.last_mut().filter(|_| reduced && !apart) {
            Some(run) => run.end = axis + 1,
            None if reduced => runs.push(axis..axis + 1),
            None => {}
        }
        apart = !reduced;
    }
    if runs.is_empty() {
        let end = reduced.len();
        runs.push(end..end);
    }
    runs
}

/// Where each element's result is.
pub(super) struct Layout {
    extents: Vec<usize>,
    /// What a step along a dimension means for the result; 0 along the reduced.
    steps: Vec<usize>,
    results: usize,
}

impl Layout {
    pub(super) fn new(extents: &[usize], reduced: &[bool]) -> Self {
        let (mut steps, mut results) = (vec![0; extents.len()], 1);
        for axis in (0..extents.len()).rev() {
            if !reduced[axis] {
                steps[axis] = results;
                results *= extents[axis];
            }
        }
        Layout { extents: extents.to_vec(), steps, results }
    }

    /// The elements behind each result.
    pub(super) fn groups<T: Copy>(&self, data: &[T]) -> Vec<Vec<T>> {
        let mut groups = vec![Vec::new(); self.results];
        let mut index = vec![0; self.extents.len()];
        for &value in data {
            let at: usize = index.iter().zip(&self.steps).map(|(i, step)| i * step).sum();
            groups[at].push(value);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.extents[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(range: Range<usize>) -> Vec<Range<usize>> {
        vec![range]
    }

    #[test]
    fn neighbours_are_one_run_and_single_elements_belong_to_either_side() {
        let none = |_| false;
        assert_eq!(runs(&[true, true, false, true], none), [0..2, 3..4]);
        assert_eq!(runs(&[false, false], none), only(2..2));
        assert_eq!(runs(&[], none), only(0..0));
        assert_eq!(runs(&[true, false, true], |axis| axis == 1), only(0..3));
        assert_eq!(runs(&[true, true, false], |axis| axis == 0), only(1..2));
    }

    #[test]
    fn groups_are_the_elements_behind_a_result() {
        let layout = Layout::new(&[2, 3, 2], &[true, false, true]);
        let data: Vec<i32> = (0..12).collect();
        assert_eq!(layout.groups(&data), [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]);
        assert_eq!(Layout::new(&[2, 0], &[false, true]).groups::<i32>(&[]).len(), 2);
        assert!(flags("X", &[0, -2], 2).is_err() && flags("X", &[2], 2).is_err());
    }
}
