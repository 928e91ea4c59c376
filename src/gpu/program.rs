//! Linked shaders, and what a device leaves in its store for the next process.

use std::collections::HashMap;
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

/// Linked shaders by the fingerprint of their request: those of the store, and new ones.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    known: HashMap<String, ShaderProgram>,
    fresh: bool,
}

/// The most that is kept of linked shaders, in bytes of WGSL.
const MOST_LINKED: usize = 8 << 20;

impl Linked {
    fn load(store: Option<&dyn Store>) -> Self {
        let bytes = store.and_then(|store| store.load(&linked_key()));
        let known = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Linked { known: known.unwrap_or_default(), fresh: false }
    }
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
        if self.store.is_none() {
            return compile(request);
        }
        let name = fingerprint(&[format!("{request:?}").as_bytes()]);
        let load = || Linked::load(self.store.as_deref());
        if let Some(known) = lock(&self.linked).get_or_insert_with(load).known.get(&name) {
            return Ok(known.clone());
        }
        let program = compile(request)?;
        let mut linked = lock(&self.linked);
        let linked = linked.get_or_insert_with(load);
        linked.known.insert(name, program.clone());
        linked.fresh = true;
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
        }
    }

    pub(super) fn keep_all(&self) {
        self.keep_linked();
        self.keep_pipelines();
    }

    fn keep_linked(&self) {
        let Some(store) = &self.store else { return };
        let mut linked = lock(&self.linked);
        let Some(linked) = linked.as_mut().filter(|linked| linked.fresh) else { return };
        linked.fresh = false;
        let own = linked_key();
        for other in store.keys(LINKED).iter().filter(|key| **key != own) {
            store.update(other, &mut |_| None);
        }
        store.update(&own, &mut |old| {
            let old = old.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let mut all: HashMap<String, ShaderProgram> = old.unwrap_or_default();
            all.extend(linked.known.iter().map(|(name, program)| (name.clone(), program.clone())));
            let bytes: usize = all.values().map(|program| program.wgsl.len()).sum();
            // What grew too large begins anew with what this process needs.
            let kept = if bytes > MOST_LINKED { &linked.known } else { &all };
            serde_json::to_vec(kept).ok()
        });
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
