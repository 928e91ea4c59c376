//! Places of operands in buffers of a device: several beside each other in one, which
//! takes less memory than a slot for each. `wgpu` tracks usage per whole buffer, so
//! what a kernel writes is never in a buffer with anything else it touches.

use super::memory::Lifetime;
use std::collections::HashSet;

/// Where offsets may be: what every device can bind (WebGPU's default
/// `minStorageBufferOffsetAlignment`).
const ALIGN: u64 = 256;

/// What is known of the operands beside their lifetimes.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Operands that must not be in one buffer, each pair both ways.
    pub(super) apart: Vec<HashSet<usize>>,
    /// Operands that have their buffer to themselves while they live, from its first
    /// byte on: results, which others may keep.
    pub(super) alone: Vec<bool>,
}

/// Which operand is where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packing {
    /// Bytes of each buffer.
    pub(super) buffers: Vec<u64>,
    /// Buffer and offset of each operand that has a place.
    pub(super) places: Vec<Option<(usize, u64)>>,
}

#[derive(Debug)]
struct Resident {
    operand: usize,
    start: u64,
    end: u64,
    life: Lifetime,
}

impl Resident {
    fn lives_with(&self, life: &Lifetime) -> bool {
        self.life.first <= life.last && life.first <= self.life.last
    }
}

#[derive(Debug, Default)]
struct Shelf {
    bytes: u64,
    residents: Vec<Resident>,
}

/// A place that an operand could have, and how much larger the buffer gets by it.
struct Offer {
    shelf: usize,
    start: u64,
    growth: u64,
    /// Bytes of the gap that stay free.
    left: u64,
}

/// Gives every operand a place. Large operands choose first: the tightest gap, else
/// what adds the fewest bytes. No buffer gets larger than the largest operand, so that
/// a device that can have that can have them all.
pub(super) fn pack(lifetimes: &[Option<Lifetime>], rules: &Rules) -> Packing {
    let mut order: Vec<usize> = (0..lifetimes.len()).filter(|&i| lifetimes[i].is_some()).collect();
    let key = |life: Lifetime| (std::cmp::Reverse(life.device_bytes), life.first);
    order.sort_by_key(|&i| lifetimes[i].map(key));
    let largest = lifetimes.iter().flatten().map(|life| padded(life.device_bytes)).max();
    let mut shelves: Vec<Shelf> = Vec::new();
    let mut places = vec![None; lifetimes.len()];
    for operand in order {
        let Some(life) = lifetimes[operand] else { continue };
        let size = padded(life.device_bytes);
        let offers = shelves.iter().enumerate().filter_map(|(number, shelf)| {
            let offer = shelf.offer(number, operand, &life, rules)?;
            (shelf.bytes + offer.growth <= largest.unwrap_or(0)).then_some(offer)
        });
        let best = offers.min_by_key(|offer| (offer.growth, offer.left));
        let (number, start) = match best.filter(|offer| offer.growth < size || size == 0) {
            Some(offer) => (offer.shelf, offer.start),
            None => {
                shelves.push(Shelf::default());
                (shelves.len() - 1, 0)
            }
        };
        let shelf = &mut shelves[number];
        shelf.bytes = shelf.bytes.max(start + size);
        shelf.residents.push(Resident { operand, start, end: start + size, life });
        places[operand] = Some((number, start));
    }
    let mut buffers: Vec<u64> = vec![0; shelves.len()];
    for (operand, place) in places.iter().enumerate() {
        // The last one in a buffer needs no padding behind it.
        if let (Some((number, start)), Some(life)) = (place, lifetimes[operand]) {
            buffers[*number] = buffers[*number].max(start + life.device_bytes);
        }
    }
    Packing { buffers, places }
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN)
}

impl Shelf {
    fn offer(
        &self,
        number: usize,
        operand: usize,
        life: &Lifetime,
        rules: &Rules,
    ) -> Option<Offer> {
        let apart = rules.apart.get(operand);
        let is_apart = |other: usize| apart.is_some_and(|apart| apart.contains(&other));
        if self.residents.iter().any(|resident| is_apart(resident.operand)) {
            return None;
        }
        let mut with: Vec<&Resident> =
            self.residents.iter().filter(|resident| resident.lives_with(life)).collect();
        let alone = |operand: usize| rules.alone.get(operand).copied().unwrap_or(false);
        let exclusive = alone(operand) || with.iter().any(|resident| alone(resident.operand));
        if exclusive && !with.is_empty() {
            return None;
        }
        with.sort_by_key(|resident| resident.start);
        let size = padded(life.device_bytes);
        let (mut start, mut best) = (0u64, None::<(u64, u64)>);
        let ends = with.iter().map(|resident| (resident.start, resident.end));
        for (next, end) in ends.chain([(self.bytes, self.bytes)]) {
            let gap = next.saturating_sub(start);
            if gap >= size && best.is_none_or(|(_, left)| gap - size < left) {
                best = Some((start, gap - size));
            }
            start = start.max(end);
        }
        let top = with.iter().map(|resident| resident.end).max().unwrap_or(0);
        Some(match best {
            Some((start, left)) => Offer { shelf: number, start, growth: 0, left },
            None => {
                let growth = (top + size).saturating_sub(self.bytes);
                Offer { shelf: number, start: top, growth, left: 0 }
            }
        })
    }
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
            assert!(start + own.device_bytes <= packing.buffers[buffer]);
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

    #[test]
    fn what_a_kernel_writes_is_in_another_buffer() {
        let lives = [life(10, 0, 1), life(10, 1, 2), life(10, 2, 3)];
        let apart = vec![HashSet::from([1]), HashSet::from([0, 2]), HashSet::from([1])];
        let packing = check(&lives, &Rules { apart, alone: vec![] });
        assert_eq!(packing.buffers, [10 * 1024; 2]);
    }

    #[test]
    fn results_have_a_buffer_to_themselves() {
        let lives = [life(100, 0, 1), life(10, 2, 9), life(10, 3, 9)];
        let packing = check(&lives, &Rules { apart: vec![], alone: vec![false, true, false] });
        assert_eq!(packing.places[1], Some((0, 0)));
        assert_eq!(packing.places[2], Some((1, 0)));
    }

    proptest! {
        #[test]
        fn nothing_overlaps(
            lives in prop::collection::vec((0u64..50, 0usize..20, 0usize..6), 1..30),
            pairs in prop::collection::vec((0usize..30, 0usize..30), 0..20),
            alone in prop::collection::vec(prop::bool::weighted(0.1), 30),
        ) {
            let count = lives.len();
            let lives: Vec<_> = lives.into_iter().map(|(kib, first, more)| life(kib, first, first + more)).collect();
            let mut apart = vec![HashSet::new(); count];
            for (a, b) in pairs.into_iter().filter(|(a, b)| a != b && *a < count && *b < count) {
                apart[a].insert(b);
                apart[b].insert(a);
            }
            let packing = check(&lives, &Rules { apart, alone });
            let most = lives.iter().flatten().map(|life| life.device_bytes).max().unwrap_or(0);
            prop_assert!(packing.buffers.iter().all(|&bytes| bytes <= most));
        }
    }
}
