//! Every operator, on every backend, in every way a kernel can be chosen,
//! against the f64 reference.
//!
//! Trials are called `<adapter>::<operator>::<label>`. An adapter is opened
//! with all it offers, as `<adapter>+minimum` (WebGPU's default limits, no
//! optional feature, bindings of 1 MiB), as `<adapter>+plain` (no optional
//! feature), and once more for every variant of every kernel family:
//! `<adapter>+<family>/<variant>::<operator>`. The CPU backend runs products once more as
//! `cpu+int8`, where it may round operands to eight bits.
//!
//! Where a configuration or a forced variant leads to the very dispatches that an
//! adapter has passed with the same values (see [`wginfer::validate::Proven`]), they are
//! not run again: the device has to accept the shaders, and the run is counted as the
//! same as an earlier one. `flawed.rs` shows that this hides nothing.
//!
//! Environment:
//!
//! | Variable | Meaning |
//! |---|---|
//! | `WGINFER_SEED` | reproduces the values of another run, which prints it |
//! | `WGINFER_TEST_QUICK=1` | a few shapes of each family only; with `+minimum` and `+plain`, and on slow adapters, half of many families |
//! | `WGINFER_EXPECT_ADAPTERS` | parts of names, with commas; each must be there |
//! | `WGINFER_ALLOW_NO_GPU=1` | no adapter at all is no failure |

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: what is wrong should stop it"
)]

mod adapters;
mod coverage;
mod drawn;
mod failures;
mod flawed;
#[path = "../support/adapters.rs"]
mod names;
mod shapes;
mod suite;

use libtest_mimic::Arguments;
use std::process::ExitCode;
use suite::{Settings, Suite};

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Trials wait for their device's own thread.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    args.test_threads.get_or_insert(processors + 1);
    let settings = Settings::from_env();
    if !args.list {
        println!("WGINFER_SEED={}", settings.seed);
    }
    let suite = Suite::new(settings);
    let everything = args.filter.is_none() && args.skip.is_empty() && !args.list && !args.ignored;
    let failed = libtest_mimic::run(&args, suite.trials()).has_failed();
    // What was executed is known only now, and only if nothing was left out.
    let complete = !everything || suite.finish();
    suite.name_failures();
    if failed || !complete { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
