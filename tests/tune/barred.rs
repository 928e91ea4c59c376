//! What the list of known-bad variants does to a choice.

use crate::triple::{SLOW, Triple};
use crate::{Test, check, open};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wginfer::gpu::{Adapter, Gpu};
use wginfer::graph::GraphBuilder;
use wginfer::ops::matmul::MatMul;
use wginfer::tune::{self, KnownBad};
use wginfer::{Backend, DType, Session, SessionOptions, Tensor};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_barred_is_neither_used_nor_tried", not_used),
    ("a_barred_product_is_computed_by_another_variant", another),
    ("where_all_is_barred_the_error_says_why", all_barred),
    ("what_is_barred_stays_so_when_the_device_is_opened_again", lasts),
];

/// A row for this adapter with its driver.
fn row(gpu: &Gpu, variants: &[&str]) -> KnownBad {
    let info = gpu.info();
    // What stands in brackets in a pattern means something else.
    let literal = |text: &str| glob::Pattern::escape(text);
    KnownBad {
        adapter: literal(&info.name),
        driver: literal(&info.driver_line()),
        versions: literal(&info.driver_info),
        variants: variants.iter().map(|&name| name.into()).collect(),
        reason: "tests say so".into(),
        source: "https://example.org/1".into(),
    }
}

fn not_used(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    // Rows for others change nothing.
    let other = KnownBad { adapter: "Another One".into(), ..row(&gpu, &["triple/*"]) };
    let older = KnownBad { versions: "0.0.1".into(), ..row(&gpu, &["triple/*"]) };
    tune::add_known_bad(&gpu, [other, older])?;
    let (_, variants) = Triple::new(SLOW).run(&gpu)?;
    check(variants == ["triple/slow"], format!("{variants:?}"))?;
    // Known to be right, and barred all the same.
    tune::add_known_bad(&gpu, [row(&gpu, &["triple/sl?w"])])?;
    let triple = Triple::new(SLOW);
    let (y, variants) = triple.run(&gpu)?;
    let right = y.iter().enumerate().all(|(i, y)| *y == 3.0 * i as f32);
    check(right && variants == ["triple/plain"], format!("{variants:?}"))?;
    let tried = triple.watch.references.load(Ordering::Relaxed);
    check(tried == 1, format!("{tried} trials of one variant"))?;
    let rejected = tune::known(&gpu).rejected;
    check(rejected.is_empty(), format!("{rejected:?}"))
}

fn another(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    let first = product(&gpu)?;
    let names: Vec<&str> = first.iter().map(String::as_str).collect();
    check(!names.is_empty(), "nothing was executed")?;
    tune::add_known_bad(&gpu, [row(&gpu, &names)])?;
    let second = product(&gpu)?;
    let none_of_them = !second.is_empty() && second.is_disjoint(&first);
    check(none_of_them, format!("{first:?} was barred, {second:?} took part"))
}

/// Multiplies small whole numbers and checks the results: the variants that took part.
fn product(gpu: &Arc<Gpu>) -> Result<BTreeSet<String>, Failed> {
    let (m, k, n) = (20, 24, 12);
    let mut g = GraphBuilder::new();
    let shape = |a: usize, b: usize| [a.into(), b.into()];
    let (a, b) = (g.input("a", DType::F32, shape(m, k))?, g.input("b", DType::F32, shape(k, n))?);
    let c = g.op1(MatMul::default(), &[a, b])?;
    g.output("c", c)?;
    let backend = Backend::Gpu(gpu.clone());
    let mut session = Session::new_blocking(g.finish()?, &backend, SessionOptions::default())?;
    let number = |i: usize| (i * 7 % 11) as f32 - 5.0;
    let a: Vec<f32> = (0..m * k).map(number).collect();
    let b: Vec<f32> = (0..k * n).map(|i| number(i + 3)).collect();
    let inputs = [("a", &Tensor::from_f32(&[m, k], &a)?), ("b", &Tensor::from_f32(&[k, n], &b)?)];
    let results = session.run_blocking(&inputs)?;
    for (at, got) in results[0].1.to_f32()?.into_iter().enumerate() {
        let want: f32 = (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum();
        check(got == want, format!("element {at}: {got}, not {want}"))?;
    }
    Ok(session.executed_variants())
}

fn all_barred(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    tune::add_known_bad(&gpu, [row(&gpu, &["triple/*"])])?;
    let error = Triple::new(SLOW).run(&gpu).map(|_| ()).unwrap_err().to_string();
    let told = error.contains("tests say so") && error.contains("https://example.org/1");
    check(told && error.contains("Triple"), error)
}

fn lasts(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    // A row that cannot be read bars nothing, and says so.
    let unread = row(&gpu, &["triple/[plain"]);
    let error = tune::add_known_bad(&gpu, [row(&gpu, &["triple/*"]), unread]).unwrap_err();
    check(error.to_string().contains("triple/[plain"), &error)?;
    tune::add_known_bad(&gpu, [row(&gpu, &["triple/slow"])])?;
    gpu.lose_for_test();
    let again = pollster::block_on(gpu.reopen())?;
    let (_, variants) = Triple::new(SLOW).run(&again)?;
    check(variants == ["triple/plain"], format!("{variants:?}"))
}
