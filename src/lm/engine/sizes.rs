//! How large the steps of an engine are.

use crate::backend::Backend;
use crate::lm::decoder::{Layout, names};
use crate::lm::file::{Sizes, chunk_for};
use std::collections::BTreeMap;

/// The most queries of a step, padding included: what attention works on lies in
/// memory with it.
const MOST_QUERIES: usize = 8192;

/// The most tokens of prompts in a step that all logits are wanted after: each has a
/// whole vocabulary.
pub(super) const MOST_ROWS: usize = 128;

/// The most tokens of a step.
pub(super) fn chunk_of(backend: &Backend, slots: usize) -> usize {
    chunk_for(backend).min((MOST_QUERIES / slots).max(32))
}

/// A step of many tokens is rounded up to a few lengths, one of single tokens to
/// a power of two of sequences, of which each may have logits after `each` tokens.
pub(super) fn sizes(
    context: usize,
    capacity: usize,
    chunk: usize,
    slots: usize,
    each: usize,
) -> Sizes {
    let up_to = |most: usize| {
        let powers = (0..).map(|shift| 1u64 << shift);
        let mut bounds: Vec<u64> = powers.take_while(|&n| n < most as u64).collect();
        bounds.push(most as u64);
        bounds
    };
    // The choice that is mostly asked for is in every plan.
    let from_none = |most: usize| [0].into_iter().chain(up_to(most)).collect::<Vec<u64>>();
    let steps = [1u64, 8, 32, 128, 512].into_iter().filter(|&n| n <= chunk as u64);
    let steps: Vec<u64> = steps.collect();
    let mut rows: Vec<u64> = from_none((slots * each).min(chunk.max(slots)));
    let most = rows.last().copied().unwrap_or(0);
    rows.extend(steps.iter().filter(|&&n| n > most && n <= MOST_ROWS as u64));
    let mut tokens = up_to(slots);
    tokens.extend(steps.iter().filter(|&&n| n > slots as u64));
    let buckets = BTreeMap::from([
        (names::QUERY.into(), tokens),
        (names::PADDED.into(), steps.clone()),
        (names::ROW_COUNT.into(), rows),
        (names::BEST_COUNT.into(), up_to(slots)),
        (names::TOP_COUNT.into(), from_none(slots)),
        (names::STATE_COUNT.into(), steps),
    ]);
    Sizes { context, capacity, batch: slots, layout: Layout::Slots, buckets }
}
