//! Linked shaders, and what a device leaves in its store for the next process.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Gpu;
use super::adapters::AdapterInfo;
use super::errors::lock;
use super::shader::{ShaderProgram, ShaderRequest, compile};
use crate::error::Result;
use crate::store::{Store, fingerprint};

/// A linked shader with its name for good.
#[derive(Debug)]
pub struct Program {
    shader: ShaderProgram,
    /// The fingerprint of everything a driver is given: the final WGSL, and whether
    /// workgroup memory starts as zeros.
    pub fingerprint: String,
}

impl Deref for Program {
    type Target = ShaderProgram;

    fn deref(&self) -> &ShaderProgram {
        &self.shader
    }
}

impl Program {
    fn new(shader: ShaderProgram, zero_workgroup: bool) -> Self {
        let fingerprint = fingerprint(&[shader.wgsl.as_bytes(), &[u8::from(zero_workgroup)]]);
        Program { shader, fingerprint }
    }
}

impl Gpu {
    /// The linked shader of a request; nothing is compiled by the driver.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn program(&self, request: &ShaderRequest) -> Result<Arc<Program>> {
        if let Some(program) = lock(&self.programs).get(request) {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::new(compile(request)?, request.zero_workgroup));
        Ok(lock(&self.programs).entry(request.clone()).or_insert(program).clone())
    }

    /// Puts compiled pipelines into the store, if there are new ones and the driver
    /// gives them out.
    pub fn keep(&self) {
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
