//! Variants that are wrong, do not compile, hang, crash or lose the device cost
//! themselves and nothing else, and are remembered.
//!
//! The bad ones are those of an operator that this program brings, as an application
//! would: nothing in the library knows of them. The program starts itself as the
//! process that tries variants (`worker`), and as one that gets stuck (`stuck`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: what is wrong should stop it"
)]

mod accepted;
mod barred;
mod children;
mod large;
#[path = "../support/adapters.rs"]
mod names;
mod overflow;
mod triple;
mod untuned;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use wginfer::gpu::{Adapter, DeviceOptions, Gpu};
use wginfer::store::{Folder, StoreChoice};

fn main() -> ExitCode {
    // How a child process is started: what it is to be, the adapter, the store.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", adapter, store] => return children::work(adapter, Path::new(store)),
        ["stuck", adapter, store] => return children::get_stuck(adapter, Path::new(store)),
        _ => {}
    }
    let mut trials = vec![Trial::test("adapters::expected", || Ok(names::expected()?))];
    let quick = std::env::var("WGINFER_TEST_QUICK").is_ok_and(|v| !v.is_empty() && v != "0");
    for (place, adapter) in names::all().into_iter().enumerate() {
        let (name, adapter) = (names::name(&adapter.info), Arc::new(adapter));
        let tests = [
            untuned::TESTS,
            barred::TESTS,
            children::TESTS,
            overflow::TESTS,
            accepted::TESTS,
            large::TESTS,
        ];
        for (what, test) in tests.concat() {
            // What two processes do with a store does not depend on the adapter.
            if quick && place > 0 && what == children::TWO_AT_ONCE {
                continue;
            }
            let adapter = adapter.clone();
            trials.push(Trial::test(format!("{name}::{what}"), move || test(&adapter)));
        }
    }
    let passed = libtest_mimic::run(&Arguments::from_args(), trials);
    if passed.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A test on an adapter.
type Test = (&'static str, fn(&Adapter) -> Result<(), Failed>);

/// The adapter, opened with a store in a folder.
fn open(adapter: &Adapter, store: &Path) -> Result<Arc<Gpu>, Failed> {
    let store = StoreChoice::Own(Arc::new(Folder::new(store)));
    Ok(Gpu::open_blocking(adapter, DeviceOptions { store, ..DeviceOptions::default() })?)
}

/// Fails with `what` unless `holds`.
fn check(holds: bool, what: impl std::fmt::Display) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(what.to_string().into()) }
}
