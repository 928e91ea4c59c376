//! The adapters of this machine, each opened once per configuration.

use crate::names;
use libtest_mimic::Failed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use wginfer::gpu::{Adapter, DeviceOptions, Gpu};

/// The largest binding of [`Config::Minimum`] in bytes.
pub(crate) const MINIMUM_BINDING: u64 = 1 << 20;

/// How a device is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Config {
    /// With all the adapter offers.
    Full,
    /// With WebGPU's default limits, no optional feature, bindings of 1 MiB.
    Minimum,
    /// With the adapter's limits and no optional feature.
    Plain,
}

impl Config {
    pub(crate) const ALL: [Config; 3] = [Config::Full, Config::Minimum, Config::Plain];

    /// What is added to the adapter's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Config::Full => "",
            Config::Minimum => "+minimum",
            Config::Plain => "+plain",
        }
    }

    fn options(self) -> DeviceOptions {
        match self {
            Config::Full => DeviceOptions::default(),
            Config::Minimum => {
                let max_binding = Some(MINIMUM_BINDING);
                DeviceOptions { max_binding, ..DeviceOptions::webgpu_minimum() }
            }
            Config::Plain => {
                DeviceOptions { mask_features: wgpu::Features::all(), ..DeviceOptions::default() }
            }
        }
    }
}

/// An adapter under test.
#[derive(Debug)]
pub(crate) struct Tested {
    /// Names it in trials: the known name, or the driver's.
    pub(crate) name: String,
    /// The name used in `Variant::executed_on`, for the adapters every
    /// developer can have.
    pub(crate) known: Option<&'static str>,
    adapter: Adapter,
    devices: [OnceLock<Result<Arc<Gpu>, String>>; 3],
    busy: Mutex<()>,
}

impl Tested {
    fn new(adapter: Adapter) -> Self {
        let (known, name) = (names::known(&adapter.info), names::name(&adapter.info));
        Tested { name, known, adapter, devices: Default::default(), busy: Mutex::default() }
    }

    /// The device of a configuration, opened at its first use.
    pub(crate) fn open(&self, config: Config) -> Result<Arc<Gpu>, Failed> {
        let device = &self.devices[config as usize];
        let opened = device.get_or_init(|| {
            Gpu::open_blocking(&self.adapter, config.options()).map_err(|e| e.to_string())
        });
        opened.clone().map_err(Failed::from)
    }

    /// One trial at a time has the adapter.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        // A panic in another trial says nothing about this one.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every adapter, under a name of its own.
pub(crate) fn find() -> Vec<Arc<Tested>> {
    let mut found: Vec<Tested> = Vec::new();
    for adapter in names::all() {
        let mut tested = Tested::new(adapter);
        if found.iter().any(|other| other.name == tested.name) {
            tested.name = format!("{}-{}", tested.name, tested.adapter.info.index);
        }
        found.push(tested);
    }
    found.into_iter().map(Arc::new).collect()
}
