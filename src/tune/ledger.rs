//! What is known of one adapter under one version of its driver.

use super::known_bad::{Added, KnownBad, known_bad};
use super::spot::Spot;
use crate::gpu::errors::lock;
use crate::gpu::{AdapterInfo, Gpu, library_fingerprint};
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
    /// Which kernels were measured: a fingerprint of all shaders and the version.
    #[serde(default)]
    pub kernels: String,
}

impl Measured {
    /// Whether it was measured with the kernels that this version has: what was measured
    /// with others says nothing of these.
    pub fn is_current(&self) -> bool {
        self.kernels == library_fingerprint()
    }
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

/// What this process found since it last put findings into the store. Only that is put
/// there: the rest may be old by now, or forgotten on purpose.
type Fresh = Option<Findings>;

/// The findings on a device's adapter, and what this process adds.
#[derive(Debug)]
pub(crate) struct Ledger {
    key: String,
    store: Option<Arc<dyn Store>>,
    adapter: String,
    barred: Vec<KnownBad>,
    /// What an application added to them.
    added: Arc<Added>,
    findings: Mutex<(Findings, Fresh)>,
    /// What this process uses though it could not be tried.
    untried: Mutex<BTreeSet<String>>,
    spots: Mutex<Option<BTreeMap<String, Spot>>>,
}

impl Ledger {
    /// The ledger of a device.
    pub(crate) fn of(gpu: &Gpu) -> Arc<Ledger> {
        gpu.beside(&|| {
            let ledger = Ledger::open(gpu.info(), gpu.store().cloned());
            Ledger { added: Added::to(gpu), ..ledger }
        })
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
            added: Arc::default(),
            findings: Mutex::new((findings, None)),
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
        let added = self.added.rows();
        let row = self.barred.iter().chain(&*added).find(|row| row.bars(variant))?;
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
        self.find(|findings| {
            findings.suspects.remove(shader);
            findings.right.insert(shader.into(), variant.into());
        });
    }

    pub(super) fn reject(&self, shader: &str, variant: &str, why: &str) {
        log::warn!("{variant} is not used on {}: {why}", self.adapter);
        let rejection = Rejection { variant: variant.into(), why: why.into() };
        self.find(|findings| {
            findings.right.remove(shader);
            findings.suspects.remove(shader);
            findings.rejected.insert(shader.into(), rejection.clone());
        });
    }

    pub(super) fn suspect(&self, shader: &str) {
        self.find(|findings| {
            findings.suspects.insert(shader.into());
        });
    }

    pub(super) fn measure(&self, class: &str, measured: Measured) {
        self.find(|findings| {
            findings.measured.insert(class.into(), measured.clone());
        });
    }

    /// Adds to what is known, and to what is not in the store yet.
    fn find(&self, add: impl Fn(&mut Findings)) {
        let (findings, fresh) = &mut *lock(&self.findings);
        add(findings);
        add(fresh.get_or_insert_default());
    }

    /// The fastest variant for a class of calls.
    pub(super) fn fastest(&self, class: &str) -> Option<String> {
        let (findings, _) = &*lock(&self.findings);
        let measured = findings.measured.get(class).filter(|measured| measured.is_current());
        measured.map(|measured| measured.fastest.clone())
    }

    /// Whether classes of calls need to be found out.
    pub(super) fn cares_for_classes(&self) -> bool {
        let measured = lock(&self.findings).0.measured.values().any(Measured::is_current);
        measured || lock(&self.spots).is_some()
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
        let Some(mut mine) = lock(&self.findings).1.take() else { return };
        {
            let known = &lock(&self.findings).0;
            (mine.adapter, mine.driver) = (known.adapter.clone(), known.driver.clone());
        }
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
    fn what_another_process_measured_later_stays() {
        let store: Arc<dyn Store> = Arc::new(InMemory::default());
        let measured = |name: &str, kernels: &str| Measured {
            fastest: name.into(),
            micros: BTreeMap::from([(name.to_string(), 1.0)]),
            kernels: kernels.into(),
        };
        let now = library_fingerprint();
        let first = ledger(&store);
        first.measure("class", measured("f/old", now));
        first.save();
        let server = ledger(&store);
        assert_eq!(server.fastest("class"), Some("f/old".into()));
        first.measure("class", measured("f/new", now));
        first.save();
        // A find of its own brings it what is new, and does not put back what is old.
        server.right("s1", "f/one");
        server.save();
        assert_eq!(server.fastest("class"), Some("f/new".into()));
        assert_eq!(ledger(&store).fastest("class"), Some("f/new".into()));
        // Nor what was forgotten on purpose.
        clear(store.as_ref());
        server.right("s2", "f/two");
        server.save();
        let after = ledger(&store);
        assert_eq!(after.fastest("class"), None);
        assert_eq!(after.known("s1"), Known::Unknown { suspect: false });
        assert_eq!(after.known("s2"), Known::Right);
        // Other kernels say nothing of these.
        after.measure("class", measured("f/new", "of another version"));
        assert_eq!((after.fastest("class"), after.cares_for_classes()), (None, false));
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
