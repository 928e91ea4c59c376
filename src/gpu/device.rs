//! Opening a device.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use super::adapters::{Adapter, AdapterChoice, AdapterInfo, Picked, adapters, pick};
use super::caps::DeviceCaps;
use super::errors::{Faults, LateAnswers, lock, one_line};
use super::memory::{Counts, Memory};
use super::pipeline::Pipeline;
use super::program::{Linked, Once, Program};
use super::readback::ReadPool;
use super::shader::ShaderRequest;
use crate::error::{Error, Result};
use crate::store::{Store, StoreChoice};

/// How to open a device; the default asks for all the adapter offers.
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    /// Features to leave out even if the adapter has them.
    pub mask_features: wgpu::Features,
    /// Lower limits than the adapter's, for instance `wgpu::Limits::defaults()`.
    pub limits: Option<wgpu::Limits>,
    /// An artificial cap on one storage binding in bytes (see [`DeviceCaps::max_binding`]).
    pub max_binding: Option<u64>,
    /// The most device memory to use, in bytes, pooled buffers included.
    pub memory_budget: Option<u64>,
    /// How many bytes of freed buffers to keep for reuse; 32 MiB by default.
    pub pool_bytes: Option<u64>,
    /// Keep all runtime checks, also in shaders that need none
    /// ([`ShaderRequest::in_bounds`]).
    pub runtime_checks: bool,
    /// Widen halves with integer operations, also where the device was found to do it
    /// right by itself.
    pub portable_halves: bool,
    /// Where what is learned of the adapter outlives the process: which kernels are
    /// right and fast there, compiled pipelines, linked shaders.
    pub store: StoreChoice,
}

impl DeviceOptions {
    /// The options of a device with WebGPU's default limits and no optional feature, that
    /// may flush halves.
    pub fn webgpu_minimum() -> Self {
        DeviceOptions {
            mask_features: wgpu::Features::all(),
            limits: Some(wgpu::Limits::defaults()),
            runtime_checks: true,
            portable_halves: true,
            ..Self::default()
        }
    }
}

/// A feature that a device is opened with where the adapter has it.
#[derive(Debug, Clone, Copy)]
pub struct OptionalFeature {
    /// Its short name, for options and lists.
    pub name: &'static str,
    /// What a device that has it has.
    pub bits: wgpu::Features,
    /// What is asked for, and masked, together with it.
    pub more: wgpu::Features,
}

const fn feature(name: &'static str, bits: wgpu::Features) -> OptionalFeature {
    OptionalFeature { name, bits, more: wgpu::Features::empty() }
}

/// The optional features a device is opened with, in the order of lists.
///
/// Kernels of this crate use f16, subgroups and cooperative matrices, where a
/// variant's needs say so. Immediates and timestamps are used by none: they are
/// there for shaders that an application brings ([`super::ShaderRequest`]), and
/// to time passes on [`Gpu::device`]. The pipeline cache is kept in the device's store.
pub const FEATURES: &[OptionalFeature] = &[
    feature("f16", wgpu::Features::SHADER_F16),
    OptionalFeature {
        more: wgpu::Features::SUBGROUP_BARRIER,
        ..feature("subgroups", wgpu::Features::SUBGROUP)
    },
    feature("immediates", wgpu::Features::IMMEDIATES),
    OptionalFeature {
        more: wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
            .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES),
        ..feature("timestamps", wgpu::Features::TIMESTAMP_QUERY)
    },
    feature("pipeline-cache", wgpu::Features::PIPELINE_CACHE),
    feature("int64", wgpu::Features::SHADER_INT64),
    feature("coop", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

impl OptionalFeature {
    /// All that is asked for with it.
    fn all(&self) -> wgpu::Features {
        self.bits | self.more
    }
}

/// Reads a list such as `f16,subgroups` (or `all`) of features to mask.
///
/// # Errors
/// `Input` naming the unknown feature and the known ones.
pub fn parse_features(list: &str) -> Result<wgpu::Features> {
    let mut features = wgpu::Features::empty();
    for name in list.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        features |= match FEATURES.iter().find(|known| known.name == name) {
            Some(feature) => feature.all(),
            None if name == "all" => wgpu::Features::all(),
            None => {
                let known: Vec<_> = FEATURES.iter().map(|known| known.name).collect();
                return Err(Error::input("feature", format!("all, {}", known.join(", ")), name));
            }
        };
    }
    Ok(features)
}

/// An open device with its memory, its pipelines and its errors.
///
/// Shared through an `Arc`; every method takes `&self`.
#[derive(Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) info: AdapterInfo,
    pub(crate) caps: DeviceCaps,
    pub(crate) options: DeviceOptions,
    pub(crate) faults: Arc<Faults>,
    pub(crate) late: LateAnswers,
    pub(crate) memory: Arc<Memory>,
    pub(crate) counts: Counts,
    pub(crate) reads: ReadPool,
    pub(crate) programs: Mutex<HashMap<ShaderRequest, Once<Program>>>,
    pub(crate) linked: Mutex<Linked>,
    pub(crate) pipelines: Mutex<HashMap<ShaderRequest, Once<Pipeline>>>,
    pub(crate) pipeline_cache: Option<wgpu::PipelineCache>,
    pub(crate) store: Option<Arc<dyn Store>>,
    /// Whether `unpack2x16float` is right for every half.
    pub(crate) exact_unpack: bool,
    /// When the store was last written.
    pub(crate) kept: Mutex<Option<web_time::Instant>>,
    /// Pipelines that the stored cache knows of.
    pub(crate) kept_pipelines: Mutex<u64>,
    beside: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    /// The same for this device and those that are opened in its place.
    lasting: Lasting,
    /// The submission a pending future waits for; a hint for [`Gpu::block_on`].
    pub(crate) awaited: Mutex<Option<wgpu::SubmissionIndex>>,
}

/// Values by their types, shared by a device and those that are opened in its place.
type Lasting = Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>;

/// An open device without books.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) info: AdapterInfo,
    pub(super) caps: DeviceCaps,
    pub(super) faults: Arc<Faults>,
}

impl Gpu {
    /// Opens a device with the adapter's real limits and every helpful
    /// feature it has, less what `options` takes away.
    ///
    /// # Errors
    /// `Limit` when `options.limits` asks for more than the adapter has,
    /// `Device` when the driver refuses.
    pub async fn open(adapter: &Adapter, options: DeviceOptions) -> Result<Arc<Gpu>> {
        Gpu::open_with(adapter, options, Lasting::default()).await
    }

    async fn open_with(
        adapter: &Adapter,
        options: DeviceOptions,
        lasting: Lasting,
    ) -> Result<Arc<Gpu>> {
        let info = adapter.info.clone();
        let doing = format!("opening {}", info.title());
        let wanted = FEATURES.iter().fold(wgpu::Features::empty(), |all, one| all | one.all());
        let features = (wanted & info.features) - options.mask_features;
        let limits = limits(&info, &options)?;
        let experimental = if features.intersects(wgpu::Features::all_experimental_mask()) {
            // SAFETY: the only experimental feature in FEATURES is cooperative
            // matrices. Shaders that use them come from this crate, load and
            // store whole tiles inside their bindings, and are compared with
            // the reference on the adapter before they are chosen.
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let request = wgpu::DeviceDescriptor {
            label: Some("wginfer"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: experimental,
            // Buffers are few and large, so small blocks cost no time, and what
            // the driver holds stays close to what the books say.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        };
        // The call itself opens the device, and not its future.
        let opened = unpanicked(async { adapter.raw.request_device(&request).await }).await;
        let opened = opened.and_then(|opened| opened.map_err(|e| e.to_string()));
        let (device, queue) = opened.map_err(|message| Error::Device {
            doing: doing.clone(),
            message: one_line(&message),
        })?;
        let faults = Faults::listen(&device);
        let caps = DeviceCaps::new(&info, features, limits, options.max_binding);
        let raw = Raw { device, queue, info, caps, faults };
        let exact_unpack = super::halves::unpacks_exactly(&raw, &options).await;
        let mut gpu = Gpu::over(raw, options, exact_unpack);
        gpu.lasting = lasting;
        gpu.check(doing)?;
        Ok(Arc::new(gpu))
    }

    /// Books of an open device.
    pub(super) fn over(raw: Raw, options: DeviceOptions, exact_unpack: bool) -> Gpu {
        let Raw { device, queue, info, caps, faults } = raw;
        let store = options.store.open();
        Gpu {
            pipeline_cache: caps
                .pipeline_cache
                .then(|| super::program::pipeline_cache(&device, &info, store.as_deref())),
            store,
            exact_unpack,
            kept: Mutex::default(),
            kept_pipelines: Mutex::default(),
            beside: Mutex::default(),
            lasting: Lasting::default(),
            programs: Mutex::default(),
            linked: Mutex::default(),
            device,
            queue,
            info,
            caps,
            faults,
            late: LateAnswers::default(),
            memory: Memory::new(&options),
            counts: Counts::default(),
            reads: ReadPool::default(),
            pipelines: Mutex::default(),
            awaited: Mutex::default(),
            options,
        }
    }

    /// [`Gpu::open`] for callers without an executor.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_blocking(adapter: &Adapter, options: DeviceOptions) -> Result<Arc<Gpu>> {
        pollster::block_on(Gpu::open(adapter, options))
    }

    /// Picks an adapter and opens it; `None` when the CPU backend is to be
    /// used. The text says why.
    ///
    /// # Errors
    /// As [`pick`] and [`Gpu::open`].
    pub async fn open_picked(
        choice: AdapterChoice,
        options: DeviceOptions,
    ) -> Result<(Option<Arc<Gpu>>, String)> {
        match pick(choice).await? {
            Picked::Gpu { adapter, why } => Ok((Some(Gpu::open(&adapter, options).await?), why)),
            Picked::Cpu { why } => Ok((None, why)),
        }
    }

    /// Opens the same adapter again with the same options, from a fresh
    /// instance: the way back after the device is lost.
    ///
    /// # Errors
    /// `NoAdapter` when the adapter is gone, else as [`Gpu::open`].
    pub async fn reopen(&self) -> Result<Arc<Gpu>> {
        let all = adapters().await?;
        let same = |a: &&Adapter| {
            let (a, b) = (&a.info, &self.info);
            (&a.name, a.backend, a.vendor, a.device) == (&b.name, b.backend, b.vendor, b.device)
        };
        // Twins differ only in their number, so that is tried first.
        let found = all
            .iter()
            .filter(|a| a.info.index == self.info.index)
            .find(same)
            .or_else(|| all.iter().find(same));
        match found {
            Some(adapter) => {
                Gpu::open_with(adapter, self.options.clone(), self.lasting.clone()).await
            }
            None => Err(Error::NoAdapter {
                what: format!("{} is gone", self.info.title()),
                available: all.iter().map(|a| a.info.title()).collect(),
            }),
        }
    }

    /// The adapter this device was opened on.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// Where what is learned of the adapter outlives the process, if anywhere.
    pub fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// What another room keeps beside this device, made at the first call. One value
    /// of each type.
    pub(crate) fn beside<T: Any + Send + Sync>(&self, make: &dyn Fn() -> T) -> Arc<T> {
        Gpu::kept_in(&self.beside, make)
    }

    /// As `beside`, but what is there stays when the device is lost and opened again.
    pub(crate) fn lasting<T: Any + Send + Sync>(&self, make: &dyn Fn() -> T) -> Arc<T> {
        Gpu::kept_in(&self.lasting, make)
    }

    fn kept_in<T: Any + Send + Sync>(
        place: &Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
        make: &dyn Fn() -> T,
    ) -> Arc<T> {
        let mut place = lock(place);
        let kept = place.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(make()));
        // The key is the type.
        kept.clone().downcast().unwrap_or_else(|_| Arc::new(make()))
    }

    /// What this device can do.
    pub fn caps(&self) -> &DeviceCaps {
        &self.caps
    }

    /// The `wgpu` device, for recording commands. Buffers, pipelines and bind
    /// groups are made by this room, so that they are accounted for.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The `wgpu` queue, for its timestamp period.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// A new command encoder.
    pub fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }

    /// Finishes and submits an encoder.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device` or `DeviceLost`, also for a loss that came
    /// with the submission.
    pub fn submit(
        &self,
        doing: impl std::fmt::Display,
        encoder: wgpu::CommandEncoder,
    ) -> Result<wgpu::SubmissionIndex> {
        self.submit_behind(doing, Vec::new(), encoder)
    }

    /// Finishes an encoder and submits it behind what is finished already.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub(crate) fn submit_behind(
        &self,
        doing: impl std::fmt::Display,
        finished: Vec<wgpu::CommandBuffer>,
        encoder: wgpu::CommandEncoder,
    ) -> Result<wgpu::SubmissionIndex> {
        let all = || finished.into_iter().chain([encoder.finish()]);
        let index = self.scope(&doing, 0, |_| self.queue.submit(all()))?;
        self.check(doing)?;
        Ok(index)
    }

    /// Finishes an encoder, to be submitted later.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub(crate) fn finish(
        &self,
        doing: impl std::fmt::Display,
        encoder: wgpu::CommandEncoder,
    ) -> Result<wgpu::CommandBuffer> {
        self.scope(&doing, 0, |_| encoder.finish())
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.keep_all();
    }
}

/// What a future gives, or what it panicked with: wgpu does where a driver refuses what it
/// lists.
async fn unpanicked<F: Future>(future: F) -> std::result::Result<F::Output, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        // Nothing that it left half done is used again: the future is never polled once
        // more, and no device came of it.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        polled.map_or_else(|panic| Poll::Ready(Err(told(panic.as_ref()))), |all| all.map(Ok))
    })
    .await
}

/// The text of a panic.
fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_string()
}

/// The limits to open with: the adapter's, or the lower ones asked for.
fn limits(info: &AdapterInfo, options: &DeviceOptions) -> Result<wgpu::Limits> {
    let Some(asked) = &options.limits else { return Ok(info.limits.clone()) };
    let mut over = None;
    asked.check_limits_with_fail_fn(&info.limits, true, |name, needed, limit| {
        over = Some(Error::Limit {
            what: format!("opening {}", info.title()),
            limit_name: name.into(),
            needed,
            limit,
        });
    });
    match over {
        Some(error) => Err(error),
        None => Ok(asked.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn what_panics_while_a_device_opens_is_an_error() {
        let opened = |how: u32| {
            let mut waited = false;
            let waits = std::future::poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
            });
            pollster::block_on(unpanicked(async move {
                waits.await;
                match how {
                    0 => 7,
                    1 => panic!("refused"),
                    2 => panic!("refused: {how}"),
                    _ => std::panic::panic_any(how),
                }
            }))
        };
        assert_eq!(opened(0), Ok(7));
        assert_eq!(opened(1), Err("refused".into()));
        assert_eq!(opened(2), Err("refused: 2".into()));
        assert_eq!(opened(3), Err("it panicked".into()));
    }

    #[test]
    fn feature_lists_are_parsed() {
        use wgpu::Features as F;
        assert_eq!(parse_features("").unwrap(), F::empty());
        assert_eq!(
            parse_features("f16, coop").unwrap(),
            F::SHADER_F16 | F::EXPERIMENTAL_COOPERATIVE_MATRIX
        );
        assert!(parse_features("subgroups").unwrap().contains(F::SUBGROUP));
        assert_eq!(parse_features("all").unwrap(), F::all());
        let error = parse_features("f16,f61").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("f61"), "{error}");
    }
}
