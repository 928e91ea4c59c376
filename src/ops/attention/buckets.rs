//! Buckets of relative positions (C. Raffel et al., 2020, "Exploring the Limits of Transfer
//! Learning with a Unified Text-to-Text Transformer").

/// How distances between a query and a key become buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// How many there are.
    pub(crate) count: usize,
    /// The distance from which on all keys are as far.
    pub(crate) furthest: usize,
    /// Whether keys before a query and behind it have buckets of their own, half of them
    /// each; else those behind are as near as can be.
    pub(crate) both: bool,
}

impl Buckets {
    /// The bucket of a key so many places behind its query; negative before it. Of each
    /// direction's buckets the first half are for one distance each, the others for
    /// distances that grow as powers. Below `count` whatever that is, if it is not 0.
    pub(crate) fn of(self, place: i64) -> usize {
        let half = self.count / 2;
        let (count, first, far) = match self.both {
            true => (half, if place > 0 { half } else { 0 }, place.unsigned_abs()),
            false => (self.count, 0, place.min(0).unsigned_abs()),
        };
        let (far, exact) = (far as usize, count / 2);
        if far < exact {
            return first + far;
        }
        // In f32 and in this order, as published: it decides at whole powers.
        let near = exact.max(1) as f32;
        let share = (far as f32 / near).ln() / (self.furthest as f32 / near).ln();
        // No number where there is no bucket to share.
        let beyond = (share * (count - exact) as f32).max(0.0) as usize;
        first + exact.saturating_add(beyond).min(count.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets that transformers' `_relative_position_bucket` gives.
    #[test]
    fn buckets_are_those_published() {
        let both = Buckets { count: 32, furthest: 128, both: true };
        let places = [0, -1, 1, -7, -8, 11, -12, 16, -31, 32, -64, 90, -91, 127, -500, 399];
        let wanted = [0, 1, 17, 7, 8, 24, 9, 26, 11, 28, 14, 30, 15, 31, 15, 31];
        assert_eq!(places.map(|place| both.of(place)), wanted);
        let before = Buckets { both: false, ..both };
        let places = [0, 5, -1, -15, -16, -20, -31, -32, -64, -112, -113, -128, -9999];
        let wanted = [0, 0, 1, 15, 16, 17, 21, 21, 26, 30, 31, 31, 31];
        assert_eq!(places.map(|place| before.of(place)), wanted);
    }

    #[test]
    fn every_distance_has_a_bucket_and_further_ones_no_lower_one() {
        for count in 1..300 {
            for both in [false, true] {
                let buckets = Buckets { count, furthest: 128, both };
                let before: Vec<usize> = (0..400).map(|far| buckets.of(-far)).collect();
                assert!(before.windows(2).all(|pair| pair[0] <= pair[1]));
                let behind = (0..400).map(|far| buckets.of(far));
                assert!(before.iter().copied().chain(behind).all(|bucket| bucket < count));
            }
        }
    }
}
