//! Finding a key or a tensor by name, without copying the names.

use std::hash::{BuildHasher, RandomState};

/// Positions of names, sorted by a keyed hash.
///
/// Sixteen bytes a name, whatever its length; building is `n log n` in the
/// number of names and linear in their bytes, also for names chosen to be
/// slow to compare.
pub(super) struct NameIndex {
    state: RandomState,
    sorted: Vec<(u64, u32)>,
}

impl NameIndex {
    /// Indexes `n` names; `Err` holds two positions with the same name.
    pub(super) fn new<'a>(n: u32, name: impl Fn(u32) -> &'a [u8]) -> Result<Self, (u32, u32)> {
        let state = RandomState::new();
        let mut sorted: Vec<(u64, u32)> = (0..n).map(|i| (state.hash_one(name(i)), i)).collect();
        sorted.sort_unstable();
        // Equal names have equal hashes, so they stand in one run; runs longer
        // than one entry are as good as always duplicates.
        for run in sorted.chunk_by(|a, b| a.0 == b.0) {
            for (k, &(_, a)) in run.iter().enumerate() {
                if let Some(&(_, b)) = run[k + 1..].iter().find(|&&(_, b)| name(a) == name(b)) {
                    return Err((a, b));
                }
            }
        }
        Ok(NameIndex { state, sorted })
    }

    /// The position of `wanted`, if it is there.
    pub(super) fn find<'a>(&self, wanted: &[u8], name: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        let hash = self.state.hash_one(wanted);
        let from = self.sorted.partition_point(|e| e.0 < hash);
        self.sorted[from..]
            .iter()
            .take_while(|e| e.0 == hash)
            .map(|e| e.1)
            .find(|&i| name(i) == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_name_and_nothing_else() {
        let names: Vec<String> = (0..1000).map(|i| format!("blk.{i}.weight")).collect();
        let name = |i: u32| names[i as usize].as_bytes();
        let index = NameIndex::new(1000, name).unwrap();
        for (i, n) in names.iter().enumerate() {
            assert_eq!(index.find(n.as_bytes(), name), Some(i as u32));
        }
        assert_eq!(index.find(b"blk.1000.weight", name), None);
        assert_eq!(index.find(b"", name), None);
    }

    #[test]
    fn names_the_two_positions_of_a_duplicate() {
        let names = ["a", "b", "c", "b"];
        let found = NameIndex::new(4, |i| names[i as usize].as_bytes()).err();
        assert_eq!(found, Some((1, 3)));
    }
}
