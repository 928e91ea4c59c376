//! ONNX's own node tests through the importer, on every backend found.
//!
//! A trial is called `<backend>::<case>`. On a GPU every compute node must run
//! there. A case is *passed*, *refused* (a typed `Unsupported`, which names the
//! node or type) or *wrong*; wrong fails, and so does too few passed.
//!
//! Environment:
//!
//! | Variable | Meaning |
//! |---|---|
//! | `WGINFER_TEST_QUICK=1` | on GPUs, every tenth case |
//! | `WGINFER_COVERAGE=FILE` | writes what each operator's cases came to |

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod cases;
mod report;
#[path = "../support/mod.rs"]
mod support;

use cases::{Case, Cases};
use libtest_mimic::{Arguments, Failed, Trial};
use report::{Report, Verdict};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use support::adapters;
use support::backends::{self, Named};
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Error, ErrorKind};

/// Of ten cases a quick run takes one on GPUs.
const QUICK: usize = 10;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = Arc::new(Cases::load());
    let quick = std::env::var("WGINFER_TEST_QUICK").is_ok_and(|v| !v.is_empty() && v != "0");
    let report = Arc::new(Mutex::new(Report::new(cases.version.clone())));
    let mut trials = Vec::new();
    for backend in backends::all() {
        let step = if quick && backend.is_gpu() { QUICK } else { 1 };
        for index in (0..cases.cases.len()).step_by(step) {
            let (cases, backend, report) = (cases.clone(), backend.clone(), report.clone());
            let name = format!("{}::{}", backend.name, cases.cases[index].name);
            trials.push(Trial::test(name, move || {
                let case = &cases.cases[index];
                let verdict = judge(&cases, case, &backend);
                let failed = match &verdict {
                    Verdict::Wrong(what) => Err(Failed::from(what.clone())),
                    _ => Ok(()),
                };
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.add(&backend.name, case, verdict);
                failed
            }));
        }
    }
    trials.push(Trial::test("adapters::expected", || Ok(adapters::expected()?)));
    let all = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let failed = libtest_mimic::run(&arguments, trials).has_failed();
    let report = report.lock().unwrap_or_else(PoisonError::into_inner);
    if arguments.list {
        return ExitCode::SUCCESS;
    }
    println!("{}", report.summary());
    let enough = !all || report.enough(quick);
    if all && let Some(path) = std::env::var_os("WGINFER_COVERAGE") {
        std::fs::write(&path, report.markdown()).expect("the coverage is written");
    }
    if failed || !enough { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn judge(cases: &Cases, case: &Case, backend: &Named) -> Verdict {
    match run(cases, case, backend) {
        Ok(verdict) => verdict,
        Err(error) if error.kind() == ErrorKind::Unsupported => Verdict::Refused(error.to_string()),
        Err(error) => Verdict::Wrong(error.to_string()),
    }
}

fn run(cases: &Cases, case: &Case, backend: &Named) -> Result<Verdict, Error> {
    let model = Model::from_bytes(&case.name, cases.bytes(&case.model).to_vec())?;
    let mut inputs = Vec::new();
    for input in &case.inputs {
        match cases.value(input)? {
            Some(value) => inputs.push((input.name.clone(), value)),
            None => return Ok(Verdict::Refused(format!("{} {}", input.dtype, input.name))),
        }
    }
    let options = OnnxOptions { gpu_only: backend.is_gpu(), ..OnnxOptions::default() };
    let mut session = OnnxSession::new(model, &backend.backend, options)?;
    let results = session.run_values_blocking(inputs)?;
    for expected in &case.outputs {
        let Some(wanted) = cases.value(expected)? else {
            return Ok(Verdict::Refused(format!("{} {}", expected.dtype, expected.name)));
        };
        let got = results.iter().find(|(name, _)| *name == expected.name);
        let Some((_, got)) = got else {
            return Ok(Verdict::Wrong(format!("there is no output '{}'", expected.name)));
        };
        if let Err(what) = cases::alike(got, &wanted, case.random()) {
            return Ok(Verdict::Wrong(format!("output '{}': {what}", expected.name)));
        }
    }
    // What takes no dispatch shows nothing of the device: the host knew the result
    // while importing, or had to look at all it was computed from.
    let on_host = backend.is_gpu() && session.counters().dispatches == 0;
    Ok(if on_host { Verdict::PassedOnHost } else { Verdict::Passed })
}
