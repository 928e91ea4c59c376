//! What becomes of bad variants where nobody tunes.

use crate::triple::{HOPELESS, LOSING, STUBBORN, Triple, UNTUNED};
use crate::{Test, check, open};
use libtest_mimic::Failed;
use std::sync::atomic::Ordering;
use wginfer::gpu::Adapter;
use wginfer::{ErrorKind, tune};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_wrong_or_does_not_compile_is_passed_over_and_remembered", passed_over),
    ("what_loses_the_device_is_remembered", loses),
    ("where_nothing_is_right_the_error_says_why", hopeless),
    ("a_damaged_store_is_ignored_and_replaced", damaged),
];

fn right(y: &[f32]) -> bool {
    y.len() == 1000 && y.iter().enumerate().all(|(i, y)| *y == 3.0 * i as f32)
}

fn passed_over(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let triple = Triple::new(UNTUNED);
    let gpu = open(adapter, dir.path())?;
    let (y, variants) = triple.run(&gpu)?;
    check(right(&y), format!("{y:?}"))?;
    check(variants == ["triple/plain"], format!("{variants:?}"))?;
    let found = tune::known(&gpu);
    let rejected: Vec<&str> = found.rejected.values().map(|r| r.variant.as_str()).collect();
    check(rejected.len() == 2, format!("{found:?}"))?;
    let why = |name: &str| found.rejected.values().find(|r| r.variant == name).map(|r| &r.why);
    let wrong = why("triple/wrong").ok_or("the wrong one is not rejected")?;
    check(wrong.contains("want"), wrong)?;
    let broken = why("triple/broken").ok_or("the broken one is not rejected")?;
    check(broken.contains("nothing_of_this_name"), broken)?;
    // A process that comes later tries nothing.
    let (gpu, later) = (open(adapter, dir.path())?, Triple::new(UNTUNED));
    let (y, variants) = later.run(&gpu)?;
    check(right(&y) && variants == ["triple/plain"], format!("{variants:?}"))?;
    let references = later.watch.references.load(Ordering::Relaxed);
    check(references == 0, format!("{references} trials though all was known"))
}

fn loses(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let triple = Triple::new(LOSING);
    let error = triple.run(&open(adapter, dir.path())?).map(|_| ()).unwrap_err();
    check(error.kind() == ErrorKind::DeviceLost, &error)?;
    let gpu = open(adapter, dir.path())?;
    let (y, variants) = triple.run(&gpu)?;
    check(right(&y) && variants == ["triple/plain"], format!("{variants:?}"))?;
    let found = tune::known(&gpu);
    let lost = found.rejected.values().any(|r| r.variant == "triple/loses");
    check(lost && !gpu.is_lost(), format!("{found:?}"))
}

fn hopeless(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let error = Triple::new(HOPELESS).run(&open(adapter, dir.path())?).map(|_| ()).unwrap_err();
    let text = error.to_string();
    check(error.kind() == ErrorKind::Unsupported, &text)?;
    check(text.contains("triple/wrong: ") && text.contains("triple/broken: "), &text)?;
    check(text.contains("Triple"), &text)?;
    let error = Triple::new(STUBBORN).run(&open(adapter, dir.path())?).map(|_| ()).unwrap_err();
    let text = error.to_string();
    check(text.contains("no other variant") && text.contains("triple/wrong: "), &text)
}

fn damaged(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    Triple::new(UNTUNED).run(&open(adapter, dir.path())?)?;
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir.path())? {
        let path = entry?.path();
        if path.is_file() && !path.ends_with(".lock") {
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
            bytes.truncate(middle + 1 + middle / 2);
            std::fs::write(&path, bytes)?;
            damaged += 1;
        }
    }
    check(damaged >= 1, "there is nothing in the store")?;
    let again = Triple::new(UNTUNED);
    let (y, variants) = again.run(&open(adapter, dir.path())?)?;
    check(right(&y) && variants == ["triple/plain"], format!("{variants:?}"))?;
    check(again.watch.references.load(Ordering::Relaxed) > 0, "nothing was tried again")?;
    let after = Triple::new(UNTUNED);
    after.run(&open(adapter, dir.path())?)?;
    check(after.watch.references.load(Ordering::Relaxed) == 0, "the store was not replaced")
}
