//! Places on a device: of the values that a plan computes, and of the scratch memory
//! that its calls have. How much scratch memory that is only kernels know, and those
//! know the device; so places are made when they are asked for.

use super::build::Packer;
use super::memory::{Lifetime, live_peak};
use super::packing::Rules;
use super::{Home, OperandId, Plan};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The share of a plan's weights and largest live set that scratch memory may add to
/// it, and the bytes that it may add in any case.
const SHARE: u64 = 32;
const LITTLE: u64 = 8 << 10;

/// How much of what seems to be free is given to scratch memory: pieces do not always
/// fit where there is room in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room(u64);

impl Room {
    /// In the order to try them. With the last one only those calls have scratch
    /// memory that cannot do without.
    pub(crate) const ALL: [Room; 4] = [Room(1), Room(4), Room(16), Room(u64::MAX)];
}

/// What places are made of.
#[derive(Debug)]
pub(super) struct Needs {
    /// Of operands with working memory, and of inputs that are with it.
    pub(super) lifetimes: Vec<Option<Lifetime>>,
    pub(super) rules: Rules,
    pub(super) pack: Packer,
}

/// Where a plan has everything in its working memory on a device.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Bytes of each buffer.
    pub(crate) buffers: Vec<u64>,
    operands: Vec<Option<(usize, u64)>>,
    /// By call and number.
    scratch: BTreeMap<(usize, usize), Scratch>,
}

/// A piece of scratch memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scratch {
    pub(crate) buffer: usize,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Places {
    /// The buffer of an operand that is nobody's other name, and the offset in it.
    pub(crate) fn of(&self, root: OperandId) -> Option<(usize, u64)> {
        self.operands.get(root.index()).copied().flatten()
    }

    /// The scratch memory of a call with this number.
    pub(crate) fn scratch(&self, call: usize, number: usize) -> Option<Scratch> {
        self.scratch.get(&(call, number)).copied()
    }
}

impl Plan {
    /// How many bytes of scratch memory a call can have with little more memory in
    /// all: what is not alive then, and a small share of what there is.
    pub(crate) fn room(&self, call: usize, room: Room) -> u64 {
        let alive = |life: &&Lifetime| life.first <= call && call <= life.last;
        let live = self.needs.lifetimes.iter().flatten().filter(alive);
        let live: u64 = live.map(|life| life.device_bytes).sum();
        (self.device_live_peak.saturating_sub(live) + self.little()) / room.0
    }

    /// The most bytes alive at one time where inputs are on the device outside of the
    /// plan's places, and needed until they are read last: `given` has the bytes of
    /// those, and 0 for others.
    pub(crate) fn live_with(&self, given: &[u64]) -> u64 {
        let mut lifetimes = self.needs.lifetimes.clone();
        let mut touch = |id: &OperandId, last: usize| {
            let root = self.operands[id.index()].root.index();
            let Home::Input(number) = self.operands[root].home else { return };
            let device_bytes = given.get(number).copied().unwrap_or(0);
            if device_bytes > 0 {
                let life = Lifetime { bytes: device_bytes, device_bytes, first: 0, last };
                lifetimes[root] = Some(life);
            }
        };
        for (at, call) in self.calls.iter().enumerate() {
            call.inputs.iter().flatten().for_each(|id| touch(id, at));
        }
        self.outputs.iter().for_each(|(_, id)| touch(id, self.calls.len()));
        live_peak(&lifetimes, &|life| life.device_bytes)
    }

    /// Bytes that scratch memory may add.
    fn little(&self) -> u64 {
        self.device_live_peak.saturating_add(self.needs.rules.weights) / SHARE + LITTLE
    }

    /// Whether places take little more than what is alive, or than they would without
    /// scratch memory.
    pub(crate) fn is_tight(&self, places: &Places) -> bool {
        let bytes = |buffers: &[u64]| buffers.iter().sum::<u64>();
        let (all, little) = (bytes(&places.buffers), self.little());
        let alone = || (self.needs.pack)(&self.needs.lifetimes, &self.needs.rules).buffers;
        places.scratch.is_empty()
            || all <= self.device_live_peak + little
            || all <= bytes(&alone()) + little
    }

    /// Places for operands, and for the scratch memory of each call: bytes by number.
    ///
    /// # Errors
    /// If there is scratch memory for other calls than the plan has.
    pub(crate) fn places(&self, scratch: &[Vec<u64>]) -> Result<Places> {
        let needs = &self.needs;
        if scratch.len() != self.calls.len() {
            return Err(Error::internal("scratch memory of other calls"));
        }
        let operands = needs.lifetimes.len();
        let mut lifetimes = needs.lifetimes.clone();
        let mut rules = needs.rules.clone();
        let mut pieces = Vec::new();
        for (call, sizes) in scratch.iter().enumerate() {
            let first = lifetimes.len();
            for (number, &bytes) in sizes.iter().enumerate().filter(|(_, bytes)| **bytes > 0) {
                let life = Lifetime { bytes, device_bytes: bytes, first: call, last: call };
                lifetimes.push(Some(life));
                pieces.push(((call, number), bytes));
            }
            self.keep_apart(&mut rules, call, first..lifetimes.len());
        }
        let packing = (needs.pack)(&lifetimes, &rules);
        let mut places = packing.places;
        let taken = places.split_off(operands);
        let scratch = pieces.into_iter().zip(taken).filter_map(|((key, bytes), place)| {
            let (buffer, offset) = place?;
            Some((key, Scratch { buffer, offset, bytes }))
        });
        let scratch = scratch.collect();
        Ok(Places { buffers: packing.buffers, operands: places, scratch })
    }

    /// Scratch memory is in other buffers than what its call reads and writes, and than
    /// its other pieces: dispatches write some of it while they read the rest.
    fn keep_apart(&self, rules: &mut Rules, call: usize, pieces: std::ops::Range<usize>) {
        let call = &self.calls[call];
        let operands = call.inputs.iter().flatten().chain(&call.outputs);
        let roots: Vec<usize> = operands.map(|id| self.operands[id.index()].root.index()).collect();
        for set in [&mut rules.apart, &mut rules.wary] {
            set.resize_with(set.len().max(pieces.end), Default::default);
        }
        for piece in pieces.clone() {
            let others = pieces.clone().filter(|&other| other != piece);
            for other in others.chain(roots.iter().copied()) {
                rules.apart[piece].insert(other);
                rules.apart[other].insert(piece);
            }
        }
    }
}
