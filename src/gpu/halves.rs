//! Whether a device widens halves right by itself.
//!
//! WGSL lets `unpack2x16float` flush subnormal halves to zero, where quantised weights
//! have scales. Integer operations are right everywhere and 13 for each half
//! (`shaders/common/f16.wgsl`), so each device is asked about all 65,536 halves.

use super::device::{DeviceOptions, Gpu, Raw};
use super::memory::{Buffer, Purpose};
use super::shader::{EXACT_UNPACK, ShaderRequest};
use crate::error::Result;
use crate::store::StoreChoice;
use std::borrow::Cow;
use std::sync::Arc;

/// Invocations of the probe, each of which answers for 256 halves.
const INVOCATIONS: u64 = 256;
const WORKGROUP: u64 = 64;

/// Whether `unpack2x16float` gives every half its value: from the store, or tried now.
pub(super) async fn unpacks_exactly(raw: &Raw, options: &DeviceOptions) -> bool {
    if options.portable_halves {
        return false;
    }
    let store = options.store.open();
    let key = format!("halves-{}", raw.info.fingerprint());
    let known = store.as_ref().and_then(|store| store.load(&key));
    if let Some([known @ (0 | 1)]) = known.as_deref() {
        return *known == 1;
    }
    // Books of its own, so that those of the device begin with the caller's own work.
    let nowhere = DeviceOptions { store: StoreChoice::Nowhere, ..DeviceOptions::default() };
    let probe = Arc::new(Gpu::over(raw.clone(), nowhere, false));
    // Only the browser drives a device by itself.
    #[cfg(target_arch = "wasm32")]
    let wrong = probe.wrong_halves().await;
    #[cfg(not(target_arch = "wasm32"))]
    let wrong = probe.block_on(probe.wrong_halves());
    match wrong {
        Ok(wrong) => {
            log::debug!("unpack2x16float is wrong for {wrong} halves");
            if let Some(store) = store {
                store.update(&key, &mut |_| Some(vec![u8::from(wrong == 0)]));
            }
            wrong == 0
        }
        Err(error) => {
            log::warn!("whether unpack2x16float is exact could not be found out: {error}");
            false
        }
    }
}

impl Gpu {
    /// For how many halves, in either place of a word, `unpack2x16float` is wrong.
    async fn wrong_halves(self: &Arc<Self>) -> Result<u64> {
        let pipeline = self.pipeline(&ShaderRequest::new("common/halves"))?;
        let purpose = Purpose::Scratch;
        let bytes = 4 * INVOCATIONS;
        let counts: Buffer = self.alloc(purpose, bytes, purpose.usage(), "wrong halves")?;
        // What no invocation wrote is wrong.
        self.upload(&counts, 0, &vec![0xff; bytes as usize]).await?;
        let group = self.bind(&pipeline, &[("wrong", (&counts).into())])?;
        let mut encoder = self.encoder("halves");
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.raw);
            pass.set_bind_group(0, group.raw(), &[]);
            pass.dispatch_workgroups((INVOCATIONS / WORKGROUP) as u32, 1, 1);
        }
        self.submit("trying halves", encoder)?;
        let counts = self.read(&counts, 0, bytes).await?;
        let counts: Vec<u32> = bytemuck::pod_collect_to_vec(&counts);
        Ok(counts.into_iter().map(u64::from).sum())
    }

    /// A request as this device is given it.
    pub(super) fn adapted<'a>(&self, request: &'a ShaderRequest) -> Cow<'a, ShaderRequest> {
        if !self.exact_unpack {
            return Cow::Borrowed(request);
        }
        let mut request = request.clone();
        request.features.push(EXACT_UNPACK.into());
        for instance in &mut request.instances {
            instance.features.push(EXACT_UNPACK.into());
        }
        Cow::Owned(request)
    }
}
