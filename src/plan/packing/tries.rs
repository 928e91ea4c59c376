//! The search for a small packing: one order after another.

use super::{Layout, Load};

/// Placing goes on while it takes no more steps than this: comparisons of an operand
/// with another one.
const WORK: usize = 12_000_000;

/// Placements in one order after another.
pub(super) struct Tries<'a> {
    load: &'a Load,
    /// Work that is left.
    left: usize,
    seed: u64,
}

/// Changes of an order that are tried, for each operand.
const TRIES: usize = 16;

impl<'a> Tries<'a> {
    pub(super) fn new(load: &'a Load) -> Self {
        Tries { load, left: WORK, seed: 1 }
    }

    /// The smallest layout of these orders and of what small changes make of the best.
    /// Ends early with one of at most `good` bytes.
    pub(super) fn best(&mut self, orders: &[Vec<usize>], clash: Option<u64>, good: u64) -> Layout {
        let cost = |layout: &Layout| (layout.bytes, layout.clashes);
        let first =
            |tries: &mut Self, order: &Vec<usize>| (tries.place(order, clash), order.clone());
        let mut best = first(self, &orders[0]);
        for order in &orders[1..] {
            if best.0.bytes <= good {
                break;
            }
            let other = first(self, order);
            if cost(&other.0) < cost(&best.0) {
                best = other;
            }
        }
        // A share of the work for each kind of try, and little for few operands.
        let enough = self.left / 2;
        for _ in 0..TRIES * orders[0].len() {
            if best.0.bytes <= good || self.left <= enough {
                break;
            }
            let order = self.changed(&best.1, &best.0);
            let layout = self.place(&order, clash);
            if cost(&layout) <= cost(&best.0) {
                best = (layout, order);
            }
        }
        best.0
    }

    fn place(&mut self, order: &[usize], clash: Option<u64>) -> Layout {
        let items = order.len();
        self.left = self.left.saturating_sub(items * items / 2 + 64);
        self.load.place(order, clash)
    }

    /// The order with an item that made a shelf as large as it is chosen earlier.
    fn changed(&mut self, order: &[usize], layout: &Layout) -> Vec<usize> {
        let items = &self.load.items;
        let tops: Vec<usize> = (0..order.len())
            .filter(|&at| {
                let (shelf, start) = layout.places[order[at]];
                start > 0 && start + items[order[at]].size == layout.shelves[shelf].bytes
            })
            .collect();
        let mut order = order.to_vec();
        let from = match tops.is_empty() || self.random(4) == 0 {
            true => self.random(order.len()),
            false => tops[self.random(tops.len())],
        };
        let to = self.random(from + 1);
        order[to..=from].rotate_right(1);
        order
    }

    /// A number below `end`, always the same in a run of the same plan.
    fn random(&mut self, end: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 33) as usize % end.max(1)
    }
}
