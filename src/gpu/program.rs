//! Linked shaders, and what a device leaves in its store for the next process.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::Gpu;
use super::adapters::AdapterInfo;
use super::errors::lock;
use super::shader::{ShaderProgram, ShaderRequest, compile, library_fingerprint};
use crate::error::Result;
use crate::store::{Store, fingerprint};

/// A linked shader with its name for good.
#[derive(Debug)]
pub struct Program {
    shader: ShaderProgram,
    /// The fingerprint of everything that decides what a driver is given: the final
    /// WGSL, whether workgroup memory starts as zeros, whether indices and loops are
    /// checked, and the version of this crate, which fixes that of the compiler.
    pub fingerprint: String,
}

impl Deref for Program {
    type Target = ShaderProgram;

    fn deref(&self) -> &ShaderProgram {
        &self.shader
    }
}

impl Program {
    fn new(shader: ShaderProgram, zero_workgroup: bool, unchecked: bool) -> Self {
        let how = [u8::from(zero_workgroup), u8::from(unchecked)];
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let fingerprint = fingerprint(&[shader.wgsl.as_bytes(), &how, version]);
        Program { shader, fingerprint }
    }
}

/// Something that is made once for a key, while others who want it wait.
pub(crate) type Once<T> = Arc<Mutex<Option<Arc<T>>>>;

/// The value of a key, made by the first who asks. What fails is tried again.
pub(super) fn once<T>(
    all: &Mutex<HashMap<ShaderRequest, Once<T>>>,
    request: &ShaderRequest,
    make: &dyn Fn() -> Result<T>,
) -> Result<Arc<T>> {
    let place = lock(all).entry(request.clone()).or_default().clone();
    let mut place = lock(&place);
    if let Some(made) = &*place {
        return Ok(made.clone());
    }
    Ok(place.insert(Arc::new(make()?)).clone())
}

/// Linked shaders by the fingerprint of their request.
type Shaders = HashMap<String, ShaderProgram>;

/// What this process and earlier ones have linked.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// What the store has, read when something of it is wanted and let go when it was kept.
    known: Option<Shaders>,
    /// The names of that, once it was read: what is not there needs no reading.
    names: Option<HashSet<String>>,
    /// What this process asked for.
    used: HashSet<String>,
    /// What of that the store has not.
    fresh: Shaders,
}

/// The most that is kept of linked shaders, in bytes of WGSL.
const MOST_LINKED: usize = 8 << 20;

impl Linked {
    /// The shader of this name, if the store has it, or it was linked since it was last kept.
    fn take(&mut self, store: &dyn Store, name: &str) -> Option<ShaderProgram> {
        if let Some(fresh) = self.fresh.get(name) {
            return Some(fresh.clone());
        }
        if self.names.as_ref().is_some_and(|names| !names.contains(name)) {
            return None;
        }
        let known = self.known.get_or_insert_with(|| read(store.load(&linked_key())));
        self.names.get_or_insert_with(|| known.keys().cloned().collect());
        let program = known.get(name)?.clone();
        self.used.insert(name.into());
        Some(program)
    }

    fn add(&mut self, name: String, program: &ShaderProgram) {
        self.used.insert(name.clone());
        self.fresh.insert(name, program.clone());
    }

    /// Puts what is new into the store.
    fn keep(&mut self, store: &dyn Store) {
        if self.fresh.is_empty() {
            return;
        }
        let own = linked_key();
        for other in store.keys(LINKED).iter().filter(|key| **key != own) {
            store.update(other, &mut |_| None);
        }
        let mut kept = None;
        store.update(&own, &mut |old| {
            let all = self.merged(read(old), MOST_LINKED);
            let bytes = serde_json::to_vec(&all).ok()?;
            kept = Some(all);
            Some(bytes)
        });
        // A store that cannot be written is tried again.
        if let Some(all) = kept {
            self.names = Some(all.into_keys().collect());
            self.fresh.clear();
        }
    }

    /// What the store should have then, of what it has: what grew too large begins anew with
    /// what is there of what this process asked for, or some of it.
    fn merged(&self, mut all: Shaders, most: usize) -> Shaders {
        all.extend(self.fresh.iter().map(|(name, program)| (name.clone(), program.clone())));
        if size(&all) > most {
            all.retain(|name, _| self.used.contains(name));
        }
        let mut left = size(&all);
        all.retain(|_, program| {
            let stays = left <= most;
            left -= if stays { 0 } else { program.wgsl.len() };
            stays
        });
        all
    }
}

/// What a store has kept; nothing if that cannot be read or is more than is ever kept.
fn read(bytes: Option<Vec<u8>>) -> Shaders {
    let all: Option<Shaders> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    all.filter(|all| size(all) <= MOST_LINKED).unwrap_or_default()
}

/// Bytes of WGSL.
fn size(shaders: &Shaders) -> usize {
    shaders.values().map(|program| program.wgsl.len()).sum()
}

/// Under another key for other shader files: no request has the same result for sure.
fn linked_key() -> String {
    format!("{LINKED}{}", library_fingerprint())
}

const LINKED: &str = "linked-";

impl Gpu {
    /// The linked shader of a request; nothing is compiled by the driver.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn program(&self, request: &ShaderRequest) -> Result<Arc<Program>> {
        once(&self.programs, request, &|| {
            Ok(Program::new(
                self.linked(request)?,
                request.zero_workgroup,
                self.leaves_checks_out(request),
            ))
        })
    }

    fn linked(&self, request: &ShaderRequest) -> Result<ShaderProgram> {
        let request = &*self.adapted(request);
        let Some(store) = &self.store else { return compile(request) };
        let name = fingerprint(&[format!("{request:?}").as_bytes()]);
        if let Some(known) = lock(&self.linked).take(store.as_ref(), &name) {
            return Ok(known);
        }
        let program = compile(request)?;
        lock(&self.linked).add(name, &program);
        Ok(program)
    }

    /// Puts what was linked and compiled into the store, as far as it is new. Not more
    /// often than every two seconds; what is left is kept when the device is dropped.
    pub fn keep(&self) {
        let now = web_time::Instant::now();
        let mut kept = lock(&self.kept);
        if kept.is_none_or(|kept| (now - kept).as_secs() >= 2) {
            *kept = Some(now);
            drop(kept);
            self.keep_all();
            // A process seldom needs most of it; what it does is read again.
            lock(&self.linked).known = None;
        }
    }

    pub(super) fn keep_all(&self) {
        self.keep_linked();
        self.keep_pipelines();
    }

    fn keep_linked(&self) {
        if let Some(store) = &self.store {
            lock(&self.linked).keep(store.as_ref());
        }
    }

    fn keep_pipelines(&self) {
        let (Some(store), Some(cache)) = (&self.store, &self.pipeline_cache) else { return };
        let made = self.counts.pipelines.load(Ordering::Relaxed);
        if std::mem::replace(&mut *lock(&self.kept_pipelines), made) == made {
            return;
        }
        if let Some(data) = cache.get_data() {
            store.update(&cache_key(&self.info), &mut |_| Some(data.clone()));
        }
    }
}

fn cache_key(info: &AdapterInfo) -> String {
    format!("pipelines-{}", info.fingerprint())
}

/// A pipeline cache with what an earlier process left in the store.
pub(super) fn pipeline_cache(
    device: &wgpu::Device,
    info: &AdapterInfo,
    store: Option<&dyn Store>,
) -> wgpu::PipelineCache {
    let data = store.and_then(|store| store.load(&cache_key(info)));
    // SAFETY: data must be what `get_data` gave for the same driver. The store checks
    // that it is what was written there, only `keep` writes under this key, and the
    // key names the adapter and the version of its driver.
    unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: Some("wginfer"),
            data: data.as_deref(),
            // Data that the driver refuses counts as none.
            fallback: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::ConstValue;
    use crate::store::InMemory;

    fn shaders(names: &[&str], wgsl: &str) -> Shaders {
        let program = ShaderProgram { wgsl: wgsl.into(), ..compile(&request()).unwrap() };
        names.iter().map(|name| (name.to_string(), program.clone())).collect()
    }

    fn request() -> ShaderRequest {
        let word = [("BITS", 32), ("LANES", 1)];
        let request = ShaderRequest::new("movement/trilu");
        word.into_iter()
            .fold(request, |request, (name, value)| request.with(name, ConstValue::U32(value)))
    }

    #[test]
    fn what_is_kept_of_linked_shaders_is_bounded() {
        let store = InMemory::default();
        let old = serde_json::to_vec(&shaders(&["asked for", "not"], "12345678")).unwrap();
        store.update(&linked_key(), &mut |_| Some(old.clone()));
        let mut linked = Linked::default();
        assert!(linked.take(&store, "unknown").is_none());
        assert_eq!(linked.take(&store, "asked for").map(|p| p.wgsl), Some("12345678".into()));
        linked.add("new".into(), &shaders(&["new"], "1234")["new"]);
        assert_eq!(linked.take(&store, "new").map(|p| p.wgsl), Some("1234".into()));
        let names = |most| {
            let mut names: Vec<_> =
                linked.merged(read(store.load(&linked_key())), most).into_keys().collect();
            names.sort();
            names
        };
        assert_eq!(names(20), ["asked for", "new", "not"]);
        assert_eq!(names(19), ["asked for", "new"]);
        assert_eq!(names(12), ["asked for", "new"]);
        assert!(matches!(names(11).as_slice(), [one] if one != "not"));
        assert_eq!(names(3).len(), 0);
    }

    /// A store that can be read and not written.
    #[derive(Debug)]
    struct Full(InMemory);

    impl Store for Full {
        fn load(&self, key: &str) -> Option<Vec<u8>> {
            self.0.load(key)
        }

        fn update(&self, _: &str, _: &mut dyn FnMut(Option<Vec<u8>>) -> Option<Vec<u8>>) {}

        fn begin(&self, key: &str) -> Box<dyn crate::store::Trial> {
            self.0.begin(key)
        }

        fn broken_off(&self, prefix: &str) -> Vec<String> {
            self.0.broken_off(prefix)
        }

        fn keys(&self, prefix: &str) -> Vec<String> {
            self.0.keys(prefix)
        }

        fn clear(&self, prefix: &str) -> usize {
            self.0.clear(prefix)
        }
    }

    #[test]
    fn what_is_new_is_kept_once_it_can_be() {
        let store = InMemory::default();
        let mut linked = Linked::default();
        let add = |linked: &mut Linked, name: &str| {
            linked.add(name.into(), &shaders(&[name], name)[name]);
        };
        add(&mut linked, "first");
        linked.keep(&Full(InMemory::default()));
        assert_eq!(linked.fresh.len(), 1);
        linked.keep(&store);
        add(&mut linked, "second");
        linked.keep(&store);
        assert!(linked.fresh.is_empty());
        let mut other = Linked::default();
        for name in ["first", "second", "first"] {
            let found = other.take(&store, name).map(|program| program.wgsl);
            assert_eq!(found.as_deref(), Some(name));
        }
        // What the store has not, is not looked for there again.
        other.known = None;
        assert!(other.take(&store, "third").is_none() && other.known.is_none());
    }
}
