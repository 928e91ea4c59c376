//! Slots by lifetime, for the CPU; on a device operands are packed more tightly
//! ([`super::packing`]).

use super::packing::{Packing, Rules};

/// When an operand is alive, in positions of calls, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) bytes: u64,
    /// Bytes on a device, which are fewer for 64-bit integers.
    pub(super) device_bytes: u64,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Which operand is in which slot.
#[derive(Debug, Default)]
pub struct MemoryPlan {
    /// Bytes of each slot.
    pub slots: Vec<u64>,
    /// The slot of each operand that has one.
    pub slot_of: Vec<Option<usize>>,
    /// The most bytes alive at one time.
    pub live_peak: u64,
}

/// Gives every operand a slot such that no two operands alive together share
/// one. Large operands choose first; each takes the smallest slot it fits in,
/// since slots never grow once the larger operands have made them.
pub(super) fn plan(lifetimes: &[Option<Lifetime>]) -> MemoryPlan {
    let mut order: Vec<usize> = (0..lifetimes.len()).filter(|&i| lifetimes[i].is_some()).collect();
    order.sort_by_key(|&i| lifetimes[i].map(|life| (std::cmp::Reverse(life.bytes), life.first)));
    let mut slots: Vec<(u64, Vec<Lifetime>)> = Vec::new();
    let mut slot_of = vec![None; lifetimes.len()];
    for i in order {
        let Some(life) = lifetimes[i] else { continue };
        let free = |(_, residents): &&(u64, Vec<Lifetime>)| {
            residents.iter().all(|other| other.last < life.first || life.last < other.first)
        };
        // Every slot is at least as large as this operand, so the newest free
        // one is the smallest that fits.
        let position = slots.iter().rposition(|slot| free(&slot));
        let position = position.unwrap_or_else(|| {
            slots.push((life.bytes, Vec::new()));
            slots.len() - 1
        });
        slots[position].1.push(life);
        slot_of[i] = Some(position);
    }
    laid_out(slots, slot_of, lifetimes)
}

/// Gives every operand a slot of its own.
pub(super) fn apart(lifetimes: &[Option<Lifetime>]) -> MemoryPlan {
    let mut slots: Vec<(u64, Vec<Lifetime>)> = Vec::new();
    let own = |life: &Option<Lifetime>| {
        life.map(|life| {
            slots.push((life.bytes, vec![life]));
            slots.len() - 1
        })
    };
    let slot_of = lifetimes.iter().map(own).collect();
    laid_out(slots, slot_of, lifetimes)
}

/// Every operand in a buffer of its own on a device.
pub(super) fn unpacked(lifetimes: &[Option<Lifetime>], _: &Rules) -> Packing {
    let mut buffers = Vec::new();
    let own = |life: &Option<Lifetime>| {
        life.map(|life| {
            buffers.push(life.device_bytes);
            (buffers.len() - 1, 0)
        })
    };
    let places = lifetimes.iter().map(own).collect();
    Packing { buffers, places }
}

fn laid_out(
    slots: Vec<(u64, Vec<Lifetime>)>,
    slot_of: Vec<Option<usize>>,
    lifetimes: &[Option<Lifetime>],
) -> MemoryPlan {
    MemoryPlan {
        slots: slots.into_iter().map(|(bytes, _)| bytes).collect(),
        slot_of,
        live_peak: live_peak(lifetimes, &|life| life.bytes),
    }
}

/// The most bytes alive at one time.
pub(super) fn live_peak(lifetimes: &[Option<Lifetime>], bytes: &dyn Fn(&Lifetime) -> u64) -> u64 {
    let end = lifetimes.iter().flatten().map(|life| life.last).max().unwrap_or(0);
    let mut change = vec![0i128; end + 2];
    for life in lifetimes.iter().flatten() {
        change[life.first] += i128::from(bytes(life));
        change[life.last + 1] -= i128::from(bytes(life));
    }
    let mut live = 0;
    let peak = change.into_iter().map(|delta| {
        live += delta;
        live
    });
    peak.max().unwrap_or(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(bytes: u64, first: usize, last: usize) -> Option<Lifetime> {
        Some(Lifetime { bytes, device_bytes: bytes / 2, first, last })
    }

    #[test]
    fn operands_alive_together_never_share() {
        let lives = [life(100, 0, 2), life(50, 1, 3), None, life(80, 3, 5), life(40, 4, 6)];
        let plan = plan(&lives);
        for (i, a) in lives.iter().enumerate() {
            for (j, b) in lives.iter().enumerate().skip(i + 1) {
                if let (Some(a), Some(b)) = (a, b)
                    && a.first <= b.last
                    && b.first <= a.last
                {
                    assert_ne!(plan.slot_of[i], plan.slot_of[j], "{i} and {j}");
                }
            }
        }
        assert_eq!(plan.slot_of[2], None);
        assert_eq!(plan.live_peak, 150);
        assert_eq!(plan.slots.iter().sum::<u64>(), 150);
        assert_eq!(live_peak(&lives, &|life| life.device_bytes), 75);
    }

    #[test]
    fn apart_nothing_is_shared() {
        let lives = [life(100, 0, 2), None, life(50, 4, 5)];
        let plan = apart(&lives);
        assert_eq!((plan.slots, plan.slot_of), (vec![100, 50], vec![Some(0), None, Some(1)]));
        assert_eq!(plan.live_peak, 100);
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let lives: Vec<_> = (0..10).map(|i| life(64, i, i + 1)).collect();
        assert_eq!(plan(&lives).slots, [64, 64]);
    }
}
