//! Variants that end or hold up the process they are tried in.

use crate::triple::{ALL, FAMILY, HANGING, Triple};
use crate::{Test, check, names, open};
use libtest_mimic::Failed;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;
use wginfer::gpu::Adapter;
use wginfer::store::{Folder, Store};
use wginfer::tune::{self, Report, Supervision};

pub(crate) const TESTS: &[Test] = &[
    ("tuning_survives_every_bad_variant_and_remembers_it", tuned),
    (TWO_AT_ONCE, two_at_once),
    ("a_process_that_was_stuck_and_killed_costs_the_variant", stuck),
];

pub(crate) const TWO_AT_ONCE: &str = "two_processes_tune_at_once";

/// How long a variant may be silent. Trials take a few milliseconds, and a process that
/// crashes while others are at work took more than six seconds to end.
const SILENCE: Duration = Duration::from_secs(10);

/// The program and the arguments with which this program is started once more.
fn itself(what: &str, adapter: &Adapter, store: &Path) -> (PathBuf, Vec<std::ffi::OsString>) {
    // The modern lavapipe needs the dynamic loader that started this process.
    let runner = std::env::var("WGINFER_RUNNER").unwrap_or_default();
    let own = std::env::args_os().next().expect("a program has a name");
    let mut command: Vec<std::ffi::OsString> = runner.split_whitespace().map(Into::into).collect();
    command.extend([own, what.into(), names::name(&adapter.info).into(), store.into()]);
    let program = PathBuf::from(command.remove(0));
    (program, command)
}

fn named(name: &str) -> Adapter {
    let all = names::all();
    let found = all.into_iter().find(|adapter| names::name(&adapter.info) == name);
    found.unwrap_or_else(|| panic!("there is no adapter '{name}'"))
}

/// The process that tries variants.
pub(crate) fn work(adapter: &str, store: &Path) -> ExitCode {
    let gpu = open(&named(adapter), store).expect("the adapter opens");
    tune::record(&gpu);
    Triple::new(ALL).run(&gpu).expect("the model runs");
    match tune::serve(&gpu, &[FAMILY], BufReader::new(std::io::stdin()), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A process that runs a model whose first variant hangs.
pub(crate) fn get_stuck(adapter: &str, store: &Path) -> ExitCode {
    let gpu = open(&named(adapter), store).expect("the adapter opens");
    let ran = Triple::new(HANGING).run(&gpu).expect("the model runs");
    eprintln!("it did not hang: {:?}", ran.1);
    ExitCode::SUCCESS
}

fn tune_once(adapter: &Adapter, store: &Path) -> Result<Report, Failed> {
    let (program, arguments) = itself("worker", adapter, store);
    let start = Duration::from_secs(120);
    let supervision = Supervision { program, arguments, start, silence: SILENCE };
    let kept: Arc<dyn Store> = Arc::new(Folder::new(store));
    Ok(tune::supervised(&supervision, Some(kept), &mut |_| {})?)
}

/// Everything bad is out, and of the two good ones the faster is kept.
fn judged(report: &Report) -> Result<(), Failed> {
    check(report.rows.len() == 1, format!("{report:?}"))?;
    let row = &report.rows[0];
    let why = |name: &str| {
        let found = row.rejected.iter().find(|(other, _)| other == name);
        found.map(|(_, why)| why.as_str()).ok_or_else(|| format!("{name} is not out: {row:?}"))
    };
    for (name, word) in [
        ("triple/wrong", "want"),
        ("triple/broken", "nothing_of_this_name"),
        ("triple/hangs", "hangs"),
        ("triple/crashes", "ended with"),
        ("triple/loses", "lost"),
        ("triple/stalls", "hangs"),
    ] {
        check(why(name)?.contains(word), why(name)?)?;
    }
    check(row.micros.len() == 2 && row.default == "triple/slow", format!("{row:?}"))?;
    let fastest = row.fastest().map(|(name, _)| name);
    check(fastest == Some("triple/plain"), format!("{row:?}"))
}

fn tuned(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let report = tune_once(adapter, dir.path())?;
    judged(&report)?;
    check(report.restarts == 4, format!("{} restarts", report.restarts))?;
    // What was measured is used, and what is bad is known.
    let gpu = open(adapter, dir.path())?;
    let (_, variants) = Triple::new(ALL).run(&gpu)?;
    check(variants == ["triple/plain"], format!("{variants:?}"))?;
    let found = tune::known(&gpu);
    check(found.rejected.len() == 6, format!("{found:?}"))?;
    // The second time nothing has to end.
    let again = tune_once(adapter, dir.path())?;
    check(again.restarts == 0 && again.rows[0].rejected.len() == 6, format!("{again:?}"))
}

fn two_at_once(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let reports: Vec<_> = std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| tune_once(adapter, dir.path())));
        both.map(|one| one.join().expect("it does not panic")).into()
    });
    for report in reports {
        judged(&report?)?;
    }
    let known = tune::findings(&Folder::new(dir.path()));
    check(known.len() == 1, format!("{known:?}"))?;
    let (rejected, measured) = (known[0].rejected.len(), known[0].measured.len());
    check((rejected, measured) == (6, 1), format!("{known:?}"))
}

fn stuck(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let (program, arguments) = itself("stuck", adapter, dir.path());
    let mut child = Command::new(program).args(arguments).spawn()?;
    std::thread::sleep(SILENCE);
    let ended = child.try_wait()?;
    child.kill()?;
    child.wait()?;
    check(ended.is_none(), "the process that should be stuck has ended")?;
    let gpu = open(adapter, dir.path())?;
    let (_, variants) = Triple::new(HANGING).run(&gpu)?;
    check(variants == ["triple/plain"], format!("{variants:?}"))?;
    let found = tune::known(&gpu);
    let hung = found.rejected.values().find(|r| r.variant == "triple/hangs");
    check(hung.is_some_and(|r| r.why.contains("process ended")), format!("{found:?}"))
}
