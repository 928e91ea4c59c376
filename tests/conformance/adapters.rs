//! The adapters of this machine, each opened once per configuration.

use crate::names;
use libtest_mimic::Failed;
use std::sync::{Arc, Mutex, PoisonError};
use wginfer::gpu::{Adapter, DeviceOptions, Gpu};
use wginfer::store::StoreChoice;
use wginfer::validate::Proven;

/// The largest binding of [`Config::Minimum`] in bytes.
pub(crate) const MINIMUM_BINDING: u64 = 1 << 20;

/// How often a device is used before it is opened anew: the pipelines of all
/// trials together take gigabytes.
const USES: usize = 256;

/// How a device is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Config {
    /// With all the adapter offers.
    Full,
    /// With WebGPU's default limits, no optional feature, bindings of 1 MiB, all runtime
    /// checks, and halves widened by integer operations.
    Minimum,
    /// With the adapter's limits, no optional feature and all runtime checks.
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

    /// Nothing is kept: these tests are what finds out which kernels are right.
    fn options(self) -> DeviceOptions {
        let store = StoreChoice::Nowhere;
        DeviceOptions { store, ..self.limits() }
    }

    fn limits(self) -> DeviceOptions {
        match self {
            Config::Full => DeviceOptions::default(),
            Config::Minimum => {
                let max_binding = Some(MINIMUM_BINDING);
                DeviceOptions { max_binding, ..DeviceOptions::webgpu_minimum() }
            }
            Config::Plain => DeviceOptions {
                mask_features: wgpu::Features::all(),
                runtime_checks: true,
                ..DeviceOptions::default()
            },
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
    /// What it was found to do right, in whatever configuration.
    pub(crate) proven: Arc<Proven>,
    adapter: Adapter,
    devices: [Mutex<Option<Opened>>; Config::ALL.len()],
}

/// A device and how often it was used.
#[derive(Debug)]
struct Opened {
    gpu: Arc<Gpu>,
    uses: usize,
}

impl Tested {
    fn new(adapter: Adapter) -> Self {
        let (known, name) = (names::known(&adapter.info), names::name(&adapter.info));
        let (proven, devices) = (Arc::default(), Default::default());
        Tested { name, known, proven, adapter, devices }
    }

    /// The device of a configuration, opened at its first use and from time to
    /// time again. Trials share it, as threads of an application do.
    pub(crate) fn open(&self, config: Config) -> Result<Arc<Gpu>, Failed> {
        let device = &self.devices[config as usize];
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        let fit = |opened: &&mut Opened| opened.uses < USES && !opened.gpu.is_lost();
        if let Some(opened) = device.as_mut().filter(fit) {
            opened.uses += 1;
            return Ok(opened.gpu.clone());
        }
        *device = None;
        let gpu = Gpu::open_blocking(&self.adapter, config.options())?;
        Ok(device.insert(Opened { gpu, uses: 1 }).gpu.clone())
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
