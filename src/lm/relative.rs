//! Scores by how far a key is from its query (T5, arXiv 1910.10683): a table of a few
//! buckets of distances, which is made one of distances.
//!
//! The buckets are those of T5's published implementation, whose logarithms are taken in
//! f32: every distance up to a fourth of the buckets to either side (up to half of them
//! where no key behind a query is seen) has its own, and those beyond share the others by
//! logarithm up to the furthest.

use super::keys::Keys;
use crate::error::Result;

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

    /// The bucket of a key so many places behind its query; negative before it.
    fn bucket(self, place: i64) -> usize {
        let (count, first) = match self.both {
            true => (self.buckets / 2, if place > 0 { self.buckets / 2 } else { 0 }),
            false => (self.buckets, 0),
        };
        let far = place.unsigned_abs() as usize;
        let exact = count / 2;
        if far < exact {
            return first + far;
        }
        // In f32 and in this order, as published: it decides at whole powers.
        let share = (far as f32 / exact as f32).ln() / (FURTHEST as f32 / exact as f32).ln();
        let beyond = (share * (count - exact) as f32) as usize;
        first + (exact + beyond).min(count - 1)
    }

    /// From a table `[buckets, heads]` to one `[heads, distances]`: with `both`, of keys
    /// 128 before their query up to 128 behind it; else of keys 0 to 128 before it.
    pub(super) fn by_distance(self, table: &[f32], heads: usize) -> Vec<f32> {
        let place = |at: usize| match self.both {
            true => at as i64 - FURTHEST as i64,
            false => -(at as i64),
        };
        let all = self.distances();
        let score = |at: usize| table[self.bucket(place(at % all)) * heads + at / all];
        (0..heads * all).map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets that transformers' `_relative_position_bucket` gives.
    #[test]
    fn buckets_are_those_published() {
        let both = Relative { buckets: 32, both: true };
        let places = [0, -1, 1, -7, -8, 11, -12, 16, -31, 32, -64, 90, -91, 127, -500];
        let wanted = [0, 1, 17, 7, 8, 24, 9, 26, 11, 28, 14, 30, 15, 31, 15];
        assert_eq!(places.map(|place| both.bucket(place)), wanted);
        let before = Relative { buckets: 32, both: false };
        let places = [0, -1, -15, -16, -20, -31, -32, -64, -112, -113, -128, -9999];
        let wanted = [0, 1, 15, 16, 17, 21, 21, 26, 30, 31, 31, 31];
        assert_eq!(places.map(|place| before.bucket(place)), wanted);
    }

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
