//! From a failing shape to the smallest one that still fails.

/// Extents tried first: where kernels tend to break, and whole blocks of the
/// quantised types.
const SMALL: &[usize] = &[0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 32, 33, 64, 96, 128, 256, 512];

/// Up to this extent every smaller one is tried.
const EXHAUSTIVE: usize = 64;

/// Reduces a failing shape, dimension by dimension, until no dimension can be
/// reduced on its own. `fails` is called at most `budget` times; it must not
/// fail on shapes that make no sense.
///
/// Returns `shape` itself if nothing smaller fails.
pub fn shrink(
    shape: &[usize],
    budget: usize,
    mut fails: impl FnMut(&[usize]) -> bool,
) -> Vec<usize> {
    let mut smallest = shape.to_vec();
    let mut left = budget;
    loop {
        let before = smallest.clone();
        for axis in 0..smallest.len() {
            let found = candidates(smallest[axis]).into_iter().find(|&extent| {
                let mut tried = smallest.clone();
                tried[axis] = extent;
                left > 0 && {
                    left -= 1;
                    fails(&tried)
                }
            });
            if let Some(extent) = found {
                smallest[axis] = extent;
            }
        }
        if smallest == before || left == 0 {
            return smallest;
        }
    }
}

/// Smaller extents, smallest first.
fn candidates(extent: usize) -> Vec<usize> {
    let mut list: Vec<usize> = SMALL.to_vec();
    list.extend(0..extent.min(EXHAUSTIVE));
    let less = [1, 8, 16, 32, 64, 128, 256].map(|step| extent.saturating_sub(step));
    list.extend(less.into_iter().chain([extent / 2, extent / 4 * 3]));
    list.retain(|&other| other < extent);
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_failing_shape_is_found() {
        // Fails where a tile of 8 has a remainder and there are two rows.
        let fails = |s: &[usize]| s[0] >= 2 && s[1] > 8 && !s[1].is_multiple_of(8);
        assert_eq!(shrink(&[97, 1003, 5], 1000, |s| fails(s)), [2, 9, 0]);
    }

    #[test]
    fn whole_blocks_stay_whole() {
        let fails = |s: &[usize]| s[0].is_multiple_of(256) && s[0] >= 512;
        assert_eq!(shrink(&[4096], 1000, |s| fails(s)), [512]);
    }

    #[test]
    fn dimensions_that_depend_on_each_other_shrink_in_rounds() {
        let fails = |s: &[usize]| s[0] + 1 >= s[1] && s[1] + 1 >= s[0] && s[1] >= 3;
        let found = shrink(&[20, 20], 1000, |s| fails(s));
        assert!(fails(&found) && found.iter().all(|&n| n <= 4), "{found:?}");
    }

    #[test]
    fn the_budget_is_kept() {
        let mut calls = 0;
        let found = shrink(&[1000, 1000], 17, |_| {
            calls += 1;
            false
        });
        assert_eq!((calls, found), (17, vec![1000, 1000]));
    }
}
