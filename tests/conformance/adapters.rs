//! The adapters of this machine, each opened once per configuration.

use libtest_mimic::{Failed, Trial};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use wginfer::gpu::{self, Adapter, AdapterInfo, DeviceOptions, Gpu};

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
        let known = known(&adapter.info);
        let name = known.map_or_else(|| slug(&adapter.info), str::to_string);
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

/// The software adapters that `scripts/adapters.sh` installs.
fn known(info: &AdapterInfo) -> Option<&'static str> {
    if info.name.contains("SwiftShader") {
        return Some("swiftshader");
    }
    if !info.name.contains("llvmpipe") {
        return None;
    }
    let version = info.driver_info.strip_prefix("Mesa ")?;
    let major: u32 = version.split('.').next()?.parse().ok()?;
    Some(if major >= 24 { "lavapipe" } else { "lavapipe-old" })
}

/// A name without spaces.
fn slug(info: &AdapterInfo) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = info.name.chars().map(plain).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// Every adapter that can run the kernels, by Vulkan or whatever else
/// `WGPU_BACKEND` names.
pub(crate) fn find() -> Vec<Arc<Tested>> {
    let mut found: Vec<Tested> = Vec::new();
    for adapter in pollster::block_on(gpu::adapters()).unwrap_or_default() {
        // The same GPU through another interface is the interface's matter.
        let chosen = std::env::var_os("WGPU_BACKEND").is_some();
        if !chosen && adapter.info.backend == wgpu::Backend::Gl {
            continue;
        }
        let mut tested = Tested::new(adapter);
        if found.iter().any(|other| other.name == tested.name) {
            tested.name = format!("{}-{}", tested.name, tested.adapter.info.index);
        }
        found.push(tested);
    }
    found.into_iter().map(Arc::new).collect()
}

/// Trials that fail if adapters that must be there are not.
pub(crate) fn expectations(found: &[Arc<Tested>]) -> Vec<Trial> {
    let names: Vec<String> = found.iter().map(|tested| tested.adapter.info.title()).collect();
    let expected = std::env::var("WGINFER_EXPECT_ADAPTERS").unwrap_or_default();
    let expected: Vec<String> =
        expected.split(',').map(str::trim).filter(|e| !e.is_empty()).map(Into::into).collect();
    if expected.is_empty() {
        let complaint = none_expected(found.is_empty());
        return vec![Trial::test("adapters::expected", move || {
            complaint.map_or(Ok(()), |complaint| Err(complaint.into()))
        })];
    }
    let trial = |part: String| {
        let names = names.clone();
        Trial::test(format!("adapters::{}", part.replace(' ', "-")), move || {
            let wanted = part.to_lowercase();
            match names.iter().any(|name| name.to_lowercase().contains(&wanted)) {
                true => Ok(()),
                false => Err(format!("no adapter's name contains '{part}': {names:?}").into()),
            }
        })
    };
    expected.into_iter().map(trial).collect()
}

/// What is wrong when no adapter is named as expected.
fn none_expected(none_found: bool) -> Option<&'static str> {
    let set =
        |name: &str| std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0" && v != "false");
    if set("CI") {
        return Some("WGINFER_EXPECT_ADAPTERS must name the adapters in continuous integration");
    }
    if none_found && !set("WGINFER_ALLOW_NO_GPU") {
        return Some(
            "there is no adapter: scripts/adapters.sh installs software ones; \
             WGINFER_ALLOW_NO_GPU=1 accepts that only the CPU backend is tested",
        );
    }
    None
}
