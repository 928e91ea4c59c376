//! Every backend found, and the rule that a missing one is a failure.

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use wginfer::Backend;
use wginfer::gpu::{DeviceOptions, Gpu};

/// A backend under a short name for tests.
#[derive(Debug, Clone)]
pub struct Named {
    pub name: String,
    pub backend: Backend,
}

impl Named {
    /// Whether whole models take too long here.
    pub fn is_slow(&self) -> bool {
        self.name == "swiftshader" || self.name == "lavapipe-old"
    }

    pub fn is_gpu(&self) -> bool {
        matches!(self.backend, Backend::Gpu(_))
    }
}

/// The CPU backend and every adapter, opened with all it offers.
pub fn all() -> Vec<Named> {
    let mut backends = vec![Named { name: "cpu".into(), backend: Backend::Cpu }];
    backends.extend(gpus(&DeviceOptions::default()));
    backends
}

/// Every adapter, opened with the given options.
pub fn gpus(options: &DeviceOptions) -> Vec<Named> {
    let adapters = pollster::block_on(wginfer::gpu::adapters()).expect("adapters are listed");
    let open = |adapter: &wginfer::gpu::Adapter| {
        let gpu = Gpu::open_blocking(adapter, options.clone());
        let gpu = gpu.unwrap_or_else(|e| panic!("{}: {e}", adapter.info.name));
        Named { name: short_name(&adapter.info), backend: Backend::Gpu(gpu) }
    };
    adapters.iter().map(open).collect()
}

/// `lavapipe`, `lavapipe-old`, `swiftshader`, or the adapter's own name.
pub fn short_name(info: &wginfer::gpu::AdapterInfo) -> String {
    let name = info.name.to_lowercase();
    if name.contains("swiftshader") {
        return "swiftshader".into();
    }
    if name.contains("llvmpipe") {
        let version = info.driver_info.split("Mesa ").nth(1).unwrap_or_default();
        let major: u32 = version.split('.').next().and_then(|v| v.parse().ok()).unwrap_or(0);
        return if major >= 24 { "lavapipe".into() } else { "lavapipe-old".into() };
    }
    let part = |c: char| if c.is_alphanumeric() { c } else { '-' };
    name.chars().map(part).collect()
}

/// Runs trials, plus one that fails if an adapter that must be there is not:
/// the ones `WGINFER_EXPECT_ADAPTERS` names, or any at all.
pub fn conclude(arguments: &Arguments, mut trials: Vec<Trial>) -> ! {
    trials.push(Trial::test("adapters_expected_are_here", expected));
    let passed = libtest_mimic::run(arguments, trials).exit_code();
    std::process::exit(if passed == ExitCode::SUCCESS { 0 } else { 101 })
}

fn expected() -> Result<(), Failed> {
    let adapters = pollster::block_on(wginfer::gpu::adapters())?;
    let names: Vec<String> =
        adapters.iter().map(|a| format!("{} ({})", a.info.name, a.info.driver_info)).collect();
    let wanted = std::env::var("WGINFER_EXPECT_ADAPTERS").unwrap_or_default();
    for wanted in wanted.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let found = names.iter().any(|name| name.to_lowercase().contains(&wanted.to_lowercase()));
        if !found {
            return Err(format!("no adapter '{wanted}' among {names:?}").into());
        }
    }
    if names.is_empty() && std::env::var_os("WGINFER_ALLOW_NO_GPU").is_none() {
        return Err("no adapter; scripts/adapters.sh installs software ones".into());
    }
    Ok(())
}
