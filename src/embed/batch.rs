//! Which texts are computed together.

/// Bounds of the number of texts that plans are made for, ascending.
pub(crate) const COUNTS: [usize; 4] = [1, 4, 16, 64];
/// Bounds of the number of tokens of a text, ascending.
pub(super) const LENGTHS: [usize; 12] =
    [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768];

/// Texts that are computed together, padded to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Their numbers.
    pub(super) texts: Vec<usize>,
    /// Tokens of the longest.
    pub(super) length: usize,
}

/// The bound that a length is rounded up to, at most `most`.
pub(super) fn bound(length: usize, most: usize) -> usize {
    LENGTHS.into_iter().find(|&bound| bound >= length).unwrap_or(most).min(most).max(length)
}

/// The bounds of lengths for texts of at most `most` tokens.
pub(crate) fn bounds(most: usize) -> Vec<u64> {
    let below = LENGTHS.into_iter().filter(|&bound| bound < most);
    below.chain([most]).map(|bound| bound as u64).collect()
}

/// Cuts texts of the given lengths into batches: the longest first, and none
/// with one less than half as long as its longest, so that less than half of a
/// batch is padding. A batch has no more texts than the largest of [`COUNTS`]
/// that keeps it below `budget` tokens, and one at least.
pub(super) fn batches(lengths: &[usize], most: usize, budget: usize) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // Equal lengths keep their order, so that the same texts give the same batches.
    order.sort_by_key(|&text| std::cmp::Reverse(lengths[text]));
    let mut batches: Vec<Batch> = Vec::new();
    for text in order {
        let length = lengths[text];
        let room = batches.last_mut().filter(|batch| {
            batch.texts.len() < room(bound(batch.length, most), budget)
                && 2 * length >= batch.length
        });
        match room {
            Some(batch) => batch.texts.push(text),
            None => batches.push(Batch { texts: vec![text], length }),
        }
    }
    batches
}

/// How many texts of a length are computed together.
fn room(length: usize, budget: usize) -> usize {
    let fits = |count: &usize| count.saturating_mul(length) <= budget;
    COUNTS.into_iter().rev().find(fits).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_batch_and_little_is_padding() {
        let lengths: Vec<usize> = (0..500).map(|i| 1 + i * 7919 % 300).collect();
        let batches = batches(&lengths, 512, 4096);
        let mut seen = vec![0; lengths.len()];
        for batch in &batches {
            let longest = batch.texts.iter().map(|&text| lengths[text]).max();
            assert_eq!(longest, Some(batch.length));
            assert!(bound(batch.length, 512) * batch.texts.len() <= 4096);
            for &text in &batch.texts {
                seen[text] += 1;
                assert!(2 * lengths[text] >= batch.length);
            }
        }
        assert!(seen.iter().all(|&n| n == 1));
        // A batch ends where it is full, or where the next text is too short for it.
        for pair in batches.windows(2) {
            let full = pair[0].texts.len() == room(bound(pair[0].length, 512), 4096);
            assert!(full || 2 * pair[1].length < pair[0].length, "{pair:?}");
        }
    }

    #[test]
    fn bounds_cover_every_length() {
        for most in [1, 16, 17, 100, 512, 8192] {
            let bounds = bounds(most);
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            for length in [1, most / 2 + 1, most] {
                assert!(bounds.contains(&(bound(length, most) as u64)), "{length} of {most}");
            }
        }
    }

    #[test]
    fn a_text_longer_than_the_budget_is_alone() {
        assert_eq!(batches(&[9, 10, 0], 100, 5).len(), 3);
        assert_eq!(batches(&[], 100, 5), []);
    }
}
