//! Places of operands in buffers of a device: several beside each other in one, which
//! takes less memory than a slot for each.
//!
//! `wgpu` tracks usage per whole buffer, so where a call writes into a buffer, what
//! it reads there has to be bound as writable too. That costs a shader of its own and
//! may cost speed: it is done where memory would else be well above what is alive.

mod tries;

use super::memory::Lifetime;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use tries::Tries;

/// Where offsets may be: what every device can bind (WebGPU's default
/// `minStorageBufferOffsetAlignment`).
const ALIGN: u64 = 256;

/// Bytes that a buffer may have on any device (WebGPU's default `maxBufferSize` is
/// twice that). One that has a larger operand is as large as that.
const MOST: u64 = 128 << 20;

/// What reading and writing in one buffer has to save, in bytes: less is not worth a
/// shader. The steps of a language model that make one token have no more than this.
const WORTH: u64 = 128 << 10;

/// Bytes above what is alive that nobody looks for a better packing for.
const SMALL: u64 = 32 << 10;

/// Both are at most about this share of weights and what is alive: a small network has
/// to be small as well.
const SHARE: u64 = 32;

/// What is known of the operands beside their lifetimes.
#[derive(Debug, Default, Clone)]
pub(super) struct Rules {
    /// Operands that must not be in one buffer, as one call writes both. Each pair both
    /// ways.
    pub(super) apart: Vec<BTreeSet<usize>>,
    /// Operands that had better not be in one buffer, as a call writes one of them and
    /// reads the other. Each pair both ways.
    pub(super) wary: Vec<BTreeSet<usize>>,
    /// Operands that have their buffer to themselves while they live, from its first
    /// byte on: results, which others may keep.
    pub(super) alone: Vec<bool>,
    /// Operands that are alone in a buffer that is there already, of their size, until
    /// they have been read last: inputs. Others may be there after that.
    pub(super) given: Vec<bool>,
    /// Bytes of the weights: what is little beside them is little.
    pub(super) weights: u64,
}

/// Which operand is where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packing {
    /// Bytes of each buffer.
    pub(super) buffers: Vec<u64>,
    /// Buffer and offset of each operand that has a place.
    pub(super) places: Vec<Option<(usize, u64)>>,
}

/// Gives every operand a place. Several orders of choosing are tried, with none that
/// read and write in one buffer first.
pub(super) fn pack(lifetimes: &[Option<Lifetime>], rules: &Rules) -> Packing {
    let load = Load::new(lifetimes, rules);
    let best = load.search();
    let mut buffers = vec![0; best.shelves.len()];
    let mut places = vec![None; lifetimes.len()];
    for (item, &(shelf, start)) in load.items.iter().zip(&best.places) {
        places[item.operand] = Some((shelf, start));
        // The last one in a buffer needs no padding behind it.
        buffers[shelf] = buffers[shelf].max(start + item.life.device_bytes.max(LEAST));
    }
    Packing { buffers, places }
}

/// The smallest binding, in bytes.
const LEAST: u64 = 4;

/// An operand that needs a place.
struct Item {
    operand: usize,
    /// Bytes, padded.
    size: u64,
    life: Lifetime,
    alone: bool,
    given: bool,
    /// Items as in [`Rules`].
    apart: Vec<usize>,
    wary: Vec<usize>,
}

impl Item {
    fn meets(&self, other: &Item) -> bool {
        self.life.first <= other.life.last && other.life.first <= self.life.last
    }
}

/// What is to be packed.
struct Load {
    items: Vec<Item>,
    /// Bytes alive at one time, at most: no packing takes less.
    least: u64,
    /// Bytes of a buffer, at most.
    most: u64,
    /// Bytes that nobody looks for, as they are little beside all others.
    little: u64,
}

#[derive(Default, Clone)]
struct Shelf {
    bytes: u64,
    /// Bytes that it cannot have more of, where it is a buffer that is there already.
    most: Option<u64>,
    /// Items, by where they start.
    residents: Vec<(u64, usize)>,
}

/// What came of one order.
#[derive(Clone)]
struct Layout {
    shelves: Vec<Shelf>,
    /// Shelf and start of each item.
    places: Vec<(usize, u64)>,
    /// Pairs in one buffer that had better not be.
    clashes: u64,
    bytes: u64,
}

/// A place that an item could have.
struct Offer {
    shelf: usize,
    start: u64,
    /// How much larger the shelf gets, and what clashes cost.
    cost: u64,
    clashes: u64,
    /// Bytes of the gap that stay free.
    left: u64,
}

impl Load {
    fn new(lifetimes: &[Option<Lifetime>], rules: &Rules) -> Self {
        let mut number = vec![usize::MAX; lifetimes.len()];
        let alive = lifetimes.iter().enumerate().filter(|(_, life)| life.is_some());
        alive.enumerate().for_each(|(item, (operand, _))| number[operand] = item);
        let pairs = |of: Option<&BTreeSet<usize>>| -> Vec<usize> {
            let others = of.into_iter().flatten().filter_map(|&other| number.get(other).copied());
            others.filter(|&item| item != usize::MAX).collect()
        };
        let item = |(operand, life): (usize, &Option<Lifetime>)| {
            life.map(|life| Item {
                operand,
                // What is empty is bound too, and must not be where something is written.
                size: life.device_bytes.max(1).next_multiple_of(ALIGN),
                life,
                alone: rules.alone.get(operand).copied().unwrap_or(false),
                given: rules.given.get(operand).copied().unwrap_or(false),
                apart: pairs(rules.apart.get(operand)),
                wary: pairs(rules.wary.get(operand)),
            })
        };
        let items: Vec<Item> = lifetimes.iter().enumerate().filter_map(item).collect();
        let largest = items.iter().map(|item| item.size).max().unwrap_or(0);
        let least = least(&items);
        let little = least.saturating_add(rules.weights) / SHARE;
        Load { least, most: largest.max(MOST), little, items }
    }

    /// The smallest packing found within the work allowed: with nothing read and
    /// written in one buffer if that takes little more than what is alive.
    fn search(&self) -> Layout {
        let orders = self.orders();
        let mut tries = Tries::new(self);
        let good = self.least + (self.least / 16).max(SMALL.min(self.little));
        let worth = WORTH.min(2 * self.little).max(self.least / 64);
        let mut best = tries.best(&orders, None, good);
        // What a clash counts as, in shares of what is alive.
        for share in [8, 32, 128] {
            if best.bytes <= good {
                break;
            }
            let other = tries.best(&orders, Some(self.least / share), good);
            if other.bytes + worth < best.bytes {
                best = other;
            }
        }
        best
    }

    /// In what orders operands may choose: large or long-lived ones first, or those of
    /// the calls that have most alive.
    fn orders(&self) -> Vec<Vec<usize>> {
        let by = |key: &dyn Fn(&Item) -> (Reverse<u64>, usize)| {
            let mut order: Vec<usize> = (0..self.items.len()).collect();
            order.sort_by_key(|&item| key(&self.items[item]));
            order
        };
        let span = |item: &Item| (item.life.last - item.life.first + 1) as u64;
        vec![
            by(&|item| (Reverse(item.size), item.life.first)),
            by(&|item| (Reverse(item.size.saturating_mul(span(item))), item.life.first)),
            by(&|item| (Reverse(span(item)), item.life.first)),
            self.by_breadth(),
            by(&|item| (Reverse(0), item.life.first)),
        ]
    }

    /// Call by call, those with most alive first; of each the largest first.
    fn by_breadth(&self) -> Vec<usize> {
        let live = live(&self.items);
        let mut calls: Vec<usize> = (0..live.len()).collect();
        calls.sort_by_key(|&call| Reverse(live[call]));
        let mut rank = vec![usize::MAX; self.items.len()];
        let mut at = vec![0; live.len()];
        calls.iter().enumerate().for_each(|(place, &call)| at[call] = place);
        for (item, rank) in self.items.iter().zip(&mut rank) {
            let calls = at[item.life.first..=item.life.last].iter();
            *rank = calls.copied().min().unwrap_or(usize::MAX);
        }
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.sort_by_key(|&item| (rank[item], Reverse(self.items[item].size)));
        order
    }

    /// Places items in this order: where what is added costs least, and in the
    /// tightest gap. `clash` is what a pair in one buffer that had better not be
    /// counts as, in bytes; without it there are none.
    fn place(&self, order: &[usize], clash: Option<u64>) -> Layout {
        let mut layout = Layout {
            shelves: Vec::new(),
            places: vec![(usize::MAX, 0); self.items.len()],
            clashes: 0,
            bytes: 0,
        };
        for (number, item) in self.items.iter().enumerate().filter(|(_, item)| item.given) {
            let (bytes, most) = (item.size, Some(item.size));
            layout.places[number] = (layout.shelves.len(), 0);
            layout.shelves.push(Shelf { bytes, most, residents: vec![(0, number)] });
        }
        for &number in order.iter().filter(|&&number| !self.items[number].given) {
            let item = &self.items[number];
            let offers = (0..layout.shelves.len())
                .filter_map(|shelf| self.offer(&layout, shelf, item, clash));
            let best = offers.min_by_key(|offer| (offer.cost, offer.left));
            let (shelf, start) = match best.filter(|best| best.cost < item.size || item.size == 0) {
                Some(best) => {
                    layout.clashes += best.clashes;
                    (best.shelf, best.start)
                }
                None => {
                    layout.shelves.push(Shelf::default());
                    (layout.shelves.len() - 1, 0)
                }
            };
            layout.places[number] = (shelf, start);
            let shelf = &mut layout.shelves[shelf];
            shelf.bytes = shelf.bytes.max(start + item.size);
            let at = shelf.residents.partition_point(|&(other, _)| other <= start);
            shelf.residents.insert(at, (start, number));
        }
        layout.bytes = layout.shelves.iter().map(|shelf| shelf.bytes).sum();
        layout
    }

    fn offer(
        &self,
        layout: &Layout,
        number: usize,
        item: &Item,
        clash: Option<u64>,
    ) -> Option<Offer> {
        let here = |others: &[usize]| {
            others.iter().filter(|&&other| layout.places[other].0 == number).count() as u64
        };
        let clashes = here(&item.wary);
        if here(&item.apart) > 0 || (clashes > 0 && clash.is_none()) {
            return None;
        }
        let shelf = &layout.shelves[number];
        let (mut top, mut best) = (0u64, None::<(u64, u64)>);
        for &(start, other) in &shelf.residents {
            let other = &self.items[other];
            if !item.meets(other) {
                continue;
            }
            if item.alone || other.alone {
                return None;
            }
            let gap = start.saturating_sub(top);
            if gap >= item.size && best.is_none_or(|(_, left)| gap - item.size < left) {
                best = Some((top, gap - item.size));
            }
            top = top.max(start + other.size);
        }
        let rest = shelf.bytes.saturating_sub(top);
        if rest >= item.size && best.is_none_or(|(_, left)| rest - item.size < left) {
            best = Some((top, rest - item.size));
        }
        let (start, left) = best.unwrap_or((top, 0));
        let growth = (start + item.size).saturating_sub(shelf.bytes);
        let cost = growth + clashes * clash.unwrap_or(0);
        (start + item.size <= shelf.most.unwrap_or(self.most)).then_some(Offer {
            shelf: number,
            start,
            cost,
            clashes,
            left,
        })
    }
}

/// Bytes alive in each call.
fn live(items: &[Item]) -> Vec<u64> {
    let end = items.iter().map(|item| item.life.last + 1).max().unwrap_or(0);
    let mut change = vec![0i128; end + 1];
    for item in items {
        change[item.life.first] += i128::from(item.size);
        change[item.life.last + 1] -= i128::from(item.size);
    }
    let mut sum = 0;
    let add = |change: i128| {
        sum += change;
        sum as u64
    };
    change.into_iter().take(end).map(add).collect()
}

fn least(items: &[Item]) -> u64 {
    live(items).into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn life(kib: u64, first: usize, last: usize) -> Option<Lifetime> {
        let bytes = kib * 1024;
        Some(Lifetime { bytes, device_bytes: bytes, first, last })
    }

    /// Whatever lives at the same time is elsewhere, and the rules hold.
    fn check(lives: &[Option<Lifetime>], rules: &Rules) -> Packing {
        let packing = pack(lives, rules);
        let at = |i: usize| packing.places[i].zip(lives[i]);
        for i in 0..lives.len() {
            assert_eq!(packing.places[i].is_some(), lives[i].is_some());
            let Some(((buffer, start), own)) = at(i) else { continue };
            assert_eq!(start % ALIGN, 0);
            assert!(start == 0 || !rules.alone.get(i).copied().unwrap_or(false), "{i}");
            assert!(start + own.device_bytes <= packing.buffers[buffer]);
            if rules.given.get(i) == Some(&true) {
                let most = own.device_bytes.max(1).next_multiple_of(ALIGN);
                assert!(start == 0 && packing.buffers[buffer] <= most, "{i}: {packing:?}");
            }
            for j in i + 1..lives.len() {
                let Some(((other, place), life)) = at(j) else { continue };
                if buffer != other {
                    continue;
                }
                assert!(!rules.apart.get(i).is_some_and(|apart| apart.contains(&j)), "{i} {j}");
                if own.first <= life.last && life.first <= own.last {
                    let apart =
                        start + own.device_bytes <= place || place + life.device_bytes <= start;
                    assert!(apart, "{i} and {j}: {packing:?}");
                    let alone = |i: usize| rules.alone.get(i).copied().unwrap_or(false);
                    assert!(!alone(i) && !alone(j), "{i} {j}");
                }
            }
        }
        packing
    }

    #[test]
    fn small_ones_lie_beside_each_other_where_a_large_one_was() {
        let lives = [life(100, 0, 1), life(40, 2, 5), life(40, 3, 5), life(20, 4, 5)];
        assert_eq!(check(&lives, &Rules::default()).buffers, [100 * 1024]);
    }

    /// Pairs of neighbours of a chain of so many.
    fn chain(count: usize) -> Vec<BTreeSet<usize>> {
        let beside = |i: usize| i.checked_sub(1).into_iter().chain([i + 1]);
        (0..count).map(|i| beside(i).filter(|&other| other < count).collect()).collect()
    }

    #[test]
    fn what_a_kernel_writes_is_in_another_buffer() {
        let lives = [life(10, 0, 1), life(10, 1, 2), life(10, 2, 3)];
        let apart = Rules { apart: chain(3), ..Rules::default() };
        assert_eq!(check(&lives, &apart).buffers, [10 * 1024; 2]);
        let wary = Rules { wary: chain(3), ..Rules::default() };
        assert_eq!(check(&lives, &wary).buffers, [10 * 1024; 2]);
    }

    #[test]
    fn a_kernel_reads_where_it_writes_if_that_saves_much() {
        let sizes = |kib: u64| {
            let lives =
                [life(2 * kib, 0, 1), life(kib, 1, 2), life(kib, 2, 3), life(2 * kib, 3, 4)];
            let kib = |rules: &Rules| check(&lives, rules).buffers.iter().sum::<u64>() / 1024;
            let apart = Rules { apart: chain(4), ..Rules::default() };
            let wary = |weights| kib(&Rules { wary: chain(4), weights, ..Rules::default() });
            (kib(&apart), wary(1 << 30), wary(0))
        };
        assert_eq!(sizes(400), (1600, 1200, 1200));
        // Beside large weights it is not worth a shader.
        assert_eq!(sizes(40), (160, 160, 120));
    }

    /// Skips over several scales: what is kept at one is in nobody's way at another.
    #[test]
    fn long_skips_take_little_more_than_what_is_alive() {
        let mut lives = Vec::new();
        for depth in 0..6usize {
            let kib = 1024 >> depth;
            lives.push(life(kib, 3 * depth, 3 * depth + 1));
            lives.push(life(kib, 3 * depth + 1, 40 - 3 * depth));
            lives.push(life(kib / 2, 3 * depth + 2, 3 * depth + 3));
            lives.push(life(kib * 2, 39 - 3 * depth, 40 - 3 * depth));
            lives.push(life(kib, 40 - 3 * depth, 42 - 3 * depth));
        }
        let items = Load::new(&lives, &Rules::default()).items;
        let packing = check(&lives, &Rules { wary: chain(lives.len()), ..Rules::default() });
        let (bytes, least) = (packing.buffers.iter().sum::<u64>(), least(&items));
        assert!(bytes <= least + least / 16, "{bytes} {least}");
    }

    #[test]
    fn results_have_a_buffer_to_themselves() {
        let lives = [life(100, 0, 1), life(10, 2, 9), life(10, 3, 9)];
        let packing = check(&lives, &Rules { alone: vec![false, true, false], ..Rules::default() });
        assert_eq!(packing.buffers.iter().sum::<u64>(), 110 * 1024);
    }

    #[test]
    fn what_was_read_last_makes_room_for_others() {
        let lives = [life(100, 0, 1), life(60, 2, 3), life(30, 2, 3), life(10, 3, 4)];
        let given = vec![true, false, false, false];
        let packing = check(&lives, &Rules { alone: given.clone(), given, ..Rules::default() });
        assert_eq!(packing.buffers.iter().sum::<u64>(), 100 * 1024, "{packing:?}");
    }

    proptest! {
        #[test]
        fn nothing_overlaps(
            lives in prop::collection::vec((0u64..50, 0usize..20, 0usize..6), 1..30),
            pairs in prop::collection::vec((0usize..30, 0usize..30), 0..20),
            alone in prop::collection::vec(prop::bool::weighted(0.1), 30),
            inputs in prop::collection::vec(prop::bool::weighted(0.2), 30),
        ) {
            let count = lives.len();
            let lives: Vec<_> = lives.into_iter().map(|(kib, first, more)| life(kib, first, first + more)).collect();
            let mut apart = vec![BTreeSet::new(); count];
            for (a, b) in pairs.into_iter().filter(|(a, b)| a != b && *a < count && *b < count) {
                apart[a].insert(b);
                apart[b].insert(a);
            }
            let wary = chain(count);
            let at_first = |i: usize| lives[i].is_some_and(|life: Lifetime| life.first == 0);
            let given: Vec<bool> = (0..count).map(|i| inputs[i] && at_first(i)).collect();
            let alone = alone.iter().zip(given.iter().chain(&[false; 30]));
            let alone = alone.map(|(alone, given)| alone | given).collect();
            let packing = check(&lives, &Rules { apart, wary, alone, given, weights: 0 });
            let most = lives.iter().flatten().map(|life| life.device_bytes).max().unwrap_or(0);
            prop_assert!(packing.buffers.iter().all(|&bytes| bytes <= most.max(MOST)));
        }
    }
}
