//! Every backend found, and the rule that a missing one is a failure.

use super::adapters;
use libtest_mimic::{Arguments, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use wginfer::Backend;
use wginfer::gpu::{DeviceOptions, Gpu};
use wginfer::store::{Folder, StoreChoice};

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

    /// Whether entry `i` of a list of alike trials is run here: in a quick run one in
    /// `of` on a software adapter, and not the same ones on all of them.
    pub fn takes(&self, i: usize, of: usize) -> bool {
        let place = ["lavapipe", "swiftshader"].iter().position(|name| self.name == *name);
        match place {
            Some(place) if quick() => i % of == place * of / 2,
            _ => true,
        }
    }

    pub fn is_gpu(&self) -> bool {
        matches!(self.backend, Backend::Gpu(_))
    }
}

/// Whether a part of long lists will do (`WGINFER_TEST_QUICK=1`).
pub fn quick() -> bool {
    std::env::var("WGINFER_TEST_QUICK").is_ok_and(|v| !v.is_empty() && v != "0")
}

/// The CPU backend and every adapter, opened with all it offers.
pub fn all() -> Vec<Named> {
    let mut backends = vec![Named { name: "cpu".into(), backend: Backend::Cpu }];
    backends.extend(gpus(&DeviceOptions::default()));
    backends
}

/// Every adapter, opened with the given options. What is learned of it is kept beside
/// the tests: what was measured for whoever runs them must not change their kernels.
pub fn gpus(options: &DeviceOptions) -> Vec<Named> {
    let store = Folder::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("devices"));
    let store = StoreChoice::Own(Arc::new(store));
    let options = &DeviceOptions { store, ..options.clone() };
    let open = |adapter: &wginfer::gpu::Adapter| {
        let gpu = Gpu::open_blocking(adapter, options.clone());
        let gpu = gpu.unwrap_or_else(|e| panic!("{}: {e}", adapter.info.name));
        Named { name: adapters::name(&adapter.info), backend: Backend::Gpu(gpu) }
    };
    adapters::all().iter().map(open).collect()
}

/// Runs trials, plus one that fails if an adapter that must be there is not.
pub fn conclude(arguments: &Arguments, mut trials: Vec<Trial>) -> ! {
    trials.push(Trial::test("adapters::expected", || Ok(adapters::expected()?)));
    let passed = libtest_mimic::run(arguments, trials).exit_code();
    std::process::exit(if passed == ExitCode::SUCCESS { 0 } else { 101 })
}
