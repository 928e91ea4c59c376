//! What is known of one adapter under one version of its driver.

use super::known_bad::{KnownBad, known_bad};
use super::spot::Spot;
use crate::gpu::errors::lock;
use crate::gpu::{AdapterInfo, Gpu};
use crate::store::{Store, Trial};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What the keys of ledgers begin with.
const PREFIX: &str = "ledger-";
/// How trials end that had the device to themselves, and those that had not.
const ALONE: &str = "-alone";
const AMONG: &str = "-among";

/// A variant that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// `family/variant`.
    pub variant: String,
    /// What went wrong.
    pub why: String,
}

/// What was measured for a class of calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The fastest `family/variant`.
    pub fastest: String,
    /// Microseconds by `family/variant`.
    pub micros: BTreeMap<String, f64>,
}

/// What is known of one adapter under one version of its driver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// The adapter's name.
    pub adapter: String,
    /// The driver and its version.
    pub driver: String,
    /// Shaders, by fingerprint, that gave right answers, and their `family/variant`.
    pub right: BTreeMap<String, String>,
    /// Shaders, by fingerprint, that are not used.
    pub rejected: BTreeMap<String, Rejection>,
    /// Shaders that were among several when a process or its device ended: to be
    /// tried alone.
    pub suspects: BTreeSet<String>,
    /// By class of call.
    pub measured: BTreeMap<String, Measured>,
}

impl Findings {
    /// Takes in what another process found. What is rejected stays so.
    fn add(&mut self, other: &Findings) {
        let pairs = |map: &BTreeMap<String, String>| map.clone().into_iter();
        (self.adapter, self.driver) = (other.adapter.clone(), other.driver.clone());
        self.right.extend(pairs(&other.right));
        self.rejected.extend(other.rejected.clone());
        self.suspects.extend(other.suspects.iter().cloned());
        self.measured.extend(other.measured.clone());
        let (rejected, right) = (&self.rejected, &mut self.right);
        right.retain(|shader, _| !rejected.contains_key(shader));
        let right = &self.right;
        self.suspects
            .retain(|shader| !right.contains_key(shader) && !rejected.contains_key(shader));
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .map_err(|error| log::warn!("what was known of the adapter is not used: {error}"))
            .ok()
    }
}

/// What a shader is known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Right,
    Rejected(String),
    /// Not tried, or among others when something went wrong.
    Unknown {
        suspect: bool,
    },
}

/// The findings on a device's adapter, and what this process adds.
#[derive(Debug)]
pub(crate) struct Ledger {
    key: String,
    store: Option<Arc<dyn Store>>,
    adapter: String,
    barred: Vec<KnownBad>,
    findings: Mutex<(Findings, bool)>,
    /// What this process uses though it could not be tried.
    untried: Mutex<BTreeSet<String>>,
    spots: Mutex<Option<BTreeMap<String, Spot>>>,
}

impl Ledger {
    /// The ledger of a device.
    pub(crate) fn of(gpu: &Gpu) -> Arc<Ledger> {
        gpu.beside(&|| Ledger::open(gpu.info(), gpu.store().cloned()))
    }

    /// The ledger of an adapter, with what the store has.
    pub(super) fn open(info: &AdapterInfo, store: Option<Arc<dyn Store>>) -> Self {
        let rows = known_bad().unwrap_or_else(|error| {
            log::error!("{error}");
            Vec::new()
        });
        let key = format!("{PREFIX}{}", info.fingerprint());
        let (adapter, driver) = (info.name.clone(), info.driver_line());
        let barred = rows.into_iter().filter(|row| row.concerns(info)).collect();
        Ledger::with_key(key, store, (adapter, driver), barred)
    }

    /// A ledger by its key, for a process that has no device.
    pub(super) fn with_key(
        key: String,
        store: Option<Arc<dyn Store>>,
        (adapter, driver): (String, String),
        barred: Vec<KnownBad>,
    ) -> Self {
        let kept = store.as_ref().and_then(|store| store.load(&key));
        let mut findings = kept.and_then(|bytes| Findings::read(&bytes)).unwrap_or_default();
        (findings.adapter, findings.driver) = (adapter.clone(), driver);
        let ledger = Ledger {
            key,
            store,
            adapter,
            barred,
            findings: Mutex::new((findings, false)),
            untried: Mutex::default(),
            spots: Mutex::default(),
        };
        ledger.note_what_broke_off();
        ledger
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// All that is known.
    pub(crate) fn findings(&self) -> Findings {
        lock(&self.findings).0.clone()
    }

    /// What processes were trying when they ended.
    fn note_what_broke_off(&self) {
        let Some(store) = &self.store else { return };
        let prefix = format!("{}-", self.key);
        for trial in store.broken_off(&prefix) {
            let Some((shader, rest)) = trial.strip_prefix(&prefix).and_then(|t| t.split_once('-'))
            else {
                continue;
            };
            if let Some(variant) = rest.strip_suffix(ALONE) {
                let variant = variant.replace("--", "/");
                self.reject(shader, &variant, "the process ended while it was tried");
            } else if rest.ends_with(AMONG) {
                self.suspect(shader);
            }
        }
        self.save();
    }

    /// Notes that a shader is being tried, by itself or among others.
    pub(super) fn begin(&self, shader: &str, variant: &str, alone: bool) -> Option<Box<dyn Trial>> {
        let (end, variant) = (if alone { ALONE } else { AMONG }, variant.replace('/', "--"));
        let key = format!("{}-{shader}-{variant}{end}", self.key);
        self.store.as_ref().map(|store| store.begin(&key))
    }

    pub(super) fn known(&self, shader: &str) -> Known {
        let (findings, _) = &*lock(&self.findings);
        if let Some(rejection) = findings.rejected.get(shader) {
            Known::Rejected(rejection.why.clone())
        } else if findings.right.contains_key(shader) || lock(&self.untried).contains(shader) {
            Known::Right
        } else {
            Known::Unknown { suspect: findings.suspects.contains(shader) }
        }
    }

    /// Why a variant is never used with this driver.
    pub(super) fn barred(&self, variant: &str) -> Option<String> {
        let row = self.barred.iter().find(|row| row.bars(variant))?;
        Some(format!("{} ({})", row.reason, row.source))
    }

    /// Why a variant was not used: what was found, or is known.
    pub(super) fn reason(&self, variant: &str) -> Option<String> {
        let (findings, _) = &*lock(&self.findings);
        let rejected = findings.rejected.values().find(|rejection| rejection.variant == variant);
        rejected.map(|rejection| rejection.why.clone()).or_else(|| self.barred(variant))
    }

    /// Uses a shader in this process though nothing is known of it.
    pub(super) fn take_untried(&self, shader: &str) {
        lock(&self.untried).insert(shader.into());
    }

    pub(super) fn right(&self, shader: &str, variant: &str) {
        let (findings, fresh) = &mut *lock(&self.findings);
        findings.suspects.remove(shader);
        findings.right.insert(shader.into(), variant.into());
        *fresh = true;
    }

    pub(super) fn reject(&self, shader: &str, variant: &str, why: &str) {
        log::warn!("{variant} is not used on {}: {why}", self.adapter);
        let (findings, fresh) = &mut *lock(&self.findings);
        let rejection = Rejection { variant: variant.into(), why: why.into() };
        findings.right.remove(shader);
        findings.suspects.remove(shader);
        findings.rejected.insert(shader.into(), rejection);
        *fresh = true;
    }

    pub(super) fn suspect(&self, shader: &str) {
        let (findings, fresh) = &mut *lock(&self.findings);
        findings.suspects.insert(shader.into());
        *fresh = true;
    }

    pub(super) fn measure(&self, class: &str, measured: Measured) {
        let (findings, fresh) = &mut *lock(&self.findings);
        findings.measured.insert(class.into(), measured);
        *fresh = true;
    }

    /// The fastest variant for a class of calls.
    pub(super) fn fastest(&self, class: &str) -> Option<String> {
        let (findings, _) = &*lock(&self.findings);
        findings.measured.get(class).map(|measured| measured.fastest.clone())
    }

    /// Whether classes of calls need to be found out.
    pub(super) fn cares_for_classes(&self) -> bool {
        !lock(&self.findings).0.measured.is_empty() || lock(&self.spots).is_some()
    }

    /// From now on the classes of calls that plans have are noted.
    pub(super) fn record(&self) {
        lock(&self.spots).get_or_insert_default();
    }

    pub(super) fn spot(&self, class: &str, spot: &dyn Fn() -> Option<Spot>) {
        if let Some(spots) = &mut *lock(&self.spots)
            && !spots.contains_key(class)
            && let Some(spot) = spot()
        {
            spots.insert(class.into(), spot);
        }
    }

    /// What was noted since [`Ledger::record`].
    pub(super) fn spots(&self) -> Vec<Spot> {
        lock(&self.spots).iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Puts what is new into the store, together with what others put there.
    pub(super) fn save(&self) {
        let Some(store) = &self.store else { return };
        let mine = {
            let (findings, fresh) = &mut *lock(&self.findings);
            if !std::mem::take(fresh) {
                return;
            }
            findings.clone()
        };
        let mut all = mine.clone();
        store.update(&self.key, &mut |old| {
            let mut sum = old.and_then(|bytes| Findings::read(&bytes)).unwrap_or_default();
            sum.add(&mine);
            all = sum;
            serde_json::to_vec_pretty(&all).ok()
        });
        lock(&self.findings).0.add(&all);
    }
}

/// What a store knows of all adapters.
pub fn findings(store: &dyn Store) -> Vec<Findings> {
    let keys = store.keys(PREFIX);
    keys.iter().filter_map(|key| Findings::read(&store.load(key)?)).collect()
}

/// Forgets what a store knows of adapters: how many were known.
pub fn clear(store: &dyn Store) -> usize {
    store.clear("pipelines-");
    store.broken_off(PREFIX);
    store.clear(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::InMemory;

    fn ledger(store: &Arc<dyn Store>) -> Ledger {
        let names = ("adapter".into(), "driver 1".into());
        Ledger::with_key("ledger-x".into(), Some(store.clone()), names, Vec::new())
    }

    #[test]
    fn two_processes_keep_what_each_found() {
        let store: Arc<dyn Store> = Arc::new(InMemory::default());
        let (a, b) = (ledger(&store), ledger(&store));
        a.right("s1", "f/one");
        b.reject("s2", "f/two", "wrong");
        b.right("s3", "f/three");
        a.save();
        b.save();
        a.reject("s3", "f/three", "hangs");
        a.save();
        let c = ledger(&store);
        assert_eq!(c.known("s1"), Known::Right);
        assert_eq!(c.known("s2"), Known::Rejected("wrong".into()));
        assert_eq!(c.known("s3"), Known::Rejected("hangs".into()));
        assert_eq!(c.known("s4"), Known::Unknown { suspect: false });
        assert_eq!(c.reason("f/two"), Some("wrong".into()));
        assert_eq!((clear(store.as_ref()), findings(store.as_ref())), (1, Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_counts_as_nothing() {
        let store: Arc<dyn Store> = Arc::new(InMemory::default());
        store.update("ledger-x", &mut |_| Some(b"{\"right\": 3".to_vec()));
        let a = ledger(&store);
        assert_eq!(a.known("s1"), Known::Unknown { suspect: false });
        a.right("s1", "f/one");
        a.save();
        assert_eq!(ledger(&store).known("s1"), Known::Right);
    }
}
