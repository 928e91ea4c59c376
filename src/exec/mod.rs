//! Executors: the f64 reference (the judge), the CPU and the GPU.

pub mod cpu;
pub mod gpu;
pub mod profile;
pub mod reference;
pub(crate) mod resize;

pub use profile::{Profile, TimeSource, Timing};
pub use reference::Reference;

use crate::kernels::Policy;
use std::sync::Arc;

/// Told how many bytes of weights are on the device, and how many in all.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// How an executor is made.
#[derive(Debug, Clone)]
pub(crate) struct EngineOptions {
    pub(crate) policy: Policy,
    /// Says which kernels may be used; without one all may.
    pub(crate) judge: Option<Arc<dyn gpu::Judge>>,
    /// Whether memory is filled with NaN patterns before it is written.
    pub(crate) poison: bool,
    /// How long one submission may keep a GPU busy, in milliseconds.
    pub(crate) submission_ms: f64,
    /// Where constants are shared with other executors.
    pub(crate) weights: Option<gpu::SharedWeights>,
    /// Where working memory is shared with other executors.
    pub(crate) memory: Option<gpu::SharedMemory>,
}

/// Memory of an executor beside its weights, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkingMemory {
    /// States.
    pub states: u64,
    /// Working memory of all plans.
    pub slots: u64,
    /// The most bytes of computed values alive at one time in any plan, with those that
    /// stay on a device from one plan to the next.
    pub live_peak: u64,
}

impl WorkingMemory {
    /// What two executors have that run one after another, each in memory of its own.
    pub(crate) fn beside(self, other: Self) -> Self {
        WorkingMemory {
            states: self.states + other.states,
            slots: self.slots + other.slots,
            live_peak: self.live_peak.max(other.live_peak),
        }
    }

    /// What two executors have that run one after another in the same memory.
    pub(crate) fn larger(self, other: Self) -> Self {
        WorkingMemory {
            states: self.states.max(other.states),
            slots: self.slots.max(other.slots),
            live_peak: self.live_peak.max(other.live_peak),
        }
    }
}
