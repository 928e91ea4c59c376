//! Scores by how far a key is from its query (T5, arXiv 1910.10683): a table of a few
//! buckets of distances, which is made one of distances.

use super::keys::Keys;
use crate::error::Result;
use crate::ops::attention::Buckets;

/// The distance from which on all keys are as far.
pub(super) const FURTHEST: usize = 128;

/// Fewer buckets have no distance of their own.
const LEAST_BUCKETS: usize = 4;

/// More of them would have one for distances beyond the furthest.
const MOST_BUCKETS: u64 = 255;

/// Scores by distance, as a file describes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relative {
    /// Rows of the table.
    pub buckets: usize,
    /// Whether keys before a query and behind it have buckets of their own.
    pub both: bool,
}

impl Relative {
    /// From a file's keys.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is missing or
    /// impossible.
    pub(super) fn read(keys: &Keys<'_>, both: bool) -> Result<Self> {
        let name = "attention.relative_buckets_count";
        let buckets = keys.size(name, MOST_BUCKETS)?;
        match buckets >= LEAST_BUCKETS {
            true => Ok(Relative { buckets, both }),
            false => Err(keys.wrong(name, format!("{buckets} is below {LEAST_BUCKETS}"))),
        }
    }

    /// How many distances have a score of their own, see [`Self::by_distance`].
    pub(super) fn distances(self) -> usize {
        if self.both { 2 * FURTHEST + 1 } else { FURTHEST + 1 }
    }

    /// From a table `[buckets, heads]` to one `[heads, distances]`: with `both`, of keys
    /// 128 before their query up to 128 behind it; else of keys 0 to 128 before it.
    pub(super) fn by_distance(self, table: &[f32], heads: usize) -> Vec<f32> {
        let place = |at: usize| match self.both {
            true => at as i64 - FURTHEST as i64,
            false => -(at as i64),
        };
        let all = self.distances();
        let buckets = Buckets { count: self.buckets, furthest: FURTHEST, both: self.both };
        let score = |at: usize| table[buckets.of(place(at % all)) * heads + at / all];
        (0..heads * all).map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_buckets_has_a_bucket_for_every_distance() {
        for buckets in LEAST_BUCKETS..=MOST_BUCKETS as usize {
            for both in [false, true] {
                let relative = Relative { buckets, both };
                let table: Vec<f32> = (0..2 * buckets).map(|at| at as f32).collect();
                let scores = relative.by_distance(&table, 2);
                assert_eq!(scores.len(), 2 * relative.distances());
                assert!(scores.iter().all(|score| score.is_finite()));
            }
        }
    }
}
