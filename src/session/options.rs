//! How sessions and their runs are made.

use super::{SharedMemory, SharedWeights};
use crate::exec::EngineOptions;
use crate::gpu::Gpu;
use crate::kernels::Policy;
use crate::tune;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a session is made.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Values of the symbols that no input carries (a capacity, say).
    pub symbols: BTreeMap<String, u64>,
    /// For a symbol, the bounds plans are made for, ascending: a run-time value
    /// is rounded up to the next one. Past the last, and for symbols without
    /// buckets, the bound is the value itself.
    pub buckets: BTreeMap<String, Vec<u64>>,
    /// The choice of kernel variants.
    pub policy: Policy,
    /// Names of passes to leave out; see [`PASSES`](crate::passes::PASSES).
    pub disabled_passes: BTreeSet<String>,
    /// Fill memory with NaN patterns before it is written, to catch kernels
    /// that leave something unwritten. For tests.
    pub poison: bool,
    /// How long one submission may keep a GPU busy, in milliseconds, so that no
    /// watchdog fires. Work is cut by measured speed.
    pub submission_ms: f64,
    /// Where constants on devices are shared with other sessions.
    pub weights: Option<SharedWeights>,
    /// Where working memory on devices is shared with other sessions, which must
    /// not run at the same time.
    pub memory: Option<SharedMemory>,
    /// Values of symbols for which kernels are compiled while weights are uploaded,
    /// so that the first runs need not wait for it.
    pub ahead: Vec<BTreeMap<String, u64>>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            symbols: BTreeMap::new(),
            buckets: BTreeMap::new(),
            policy: Policy::default(),
            disabled_passes: BTreeSet::new(),
            poison: false,
            submission_ms: 250.0,
            weights: None,
            memory: None,
            ahead: Vec::new(),
        }
    }
}

impl SessionOptions {
    /// What an executor on a device needs to know.
    pub(super) fn engine(&self, gpu: &Arc<Gpu>) -> EngineOptions {
        EngineOptions {
            policy: self.policy.clone(),
            judge: (!self.policy.unproven).then(|| tune::judge(gpu)),
            poison: self.poison,
            submission_ms: self.submission_ms,
            weights: self.weights.clone(),
            memory: self.memory.clone(),
        }
    }
}

/// How one run is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Submit all work at once, whatever its size: right for short steps such
    /// as decoding one token.
    pub one_submission: bool,
}
