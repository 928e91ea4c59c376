//! The tokens that a text begins with.

use super::vocab::Vocab;

/// Tokens by their bytes.
pub(super) struct Prefixes {
    order: Vec<u32>,
}

impl Prefixes {
    /// Of some tokens of a vocabulary.
    pub(super) fn new(vocab: &Vocab, tokens: impl Iterator<Item = u32>) -> Self {
        let mut order: Vec<u32> = tokens.collect();
        order.sort_by_key(|&id| vocab.bytes(id));
        Prefixes { order }
    }

    /// Calls `found` with every token that a text begins with, and its length, the shortest
    /// first.
    pub(super) fn each(&self, vocab: &Vocab, text: &[u8], found: &mut dyn FnMut(usize, u32)) {
        // All that begin as the text does are neighbours.
        let mut range = &self.order[..];
        for (depth, byte) in text.iter().enumerate() {
            let at = |id: &u32| vocab.bytes(*id).and_then(|bytes| bytes.get(depth));
            let low = range.partition_point(|id| at(id) < Some(byte));
            let high = range.partition_point(|id| at(id) <= Some(byte));
            range = &range[low..high];
            let Some(&first) = range.first() else { return };
            if vocab.bytes(first).is_some_and(|bytes| bytes.len() == depth + 1) {
                found(depth + 1, first);
            }
        }
    }
}
