//! Chains of whole numbers that leave the 32 bits of a device for some of the values
//! that a trial draws, or that are made of what is not a number.

use crate::{Test, check, open};
use libtest_mimic::Failed;
use wginfer::gpu::Adapter;
use wginfer::graph::{Graph, GraphBuilder};
use wginfer::ops::elementwise::Unary;
use wginfer::{Backend, DType, Session, SessionOptions, Tensor, tune};

pub(crate) const TESTS: &[Test] = &[
    ("values_that_overflow_are_drawn_anew", drawn_anew),
    ("a_chain_that_takes_no_drawn_value_is_used_untried", taken_untried),
    ("roots_of_what_is_below_zero_are_drawn_anew", drawn_above_zero),
];

/// What is added to numbers and taken away again.
const AWAY: i64 = i32::MAX as i64;

/// `(x + AWAY + more) - AWAY - more` over one vector, `more` where there is any.
fn there_and_back(more: Option<i64>, count: usize) -> wginfer::Result<Graph> {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::I64, [count.into()])?;
    let steps: Vec<i64> = std::iter::once(AWAY).chain(more).collect();
    let mut y = x;
    for (i, &step) in steps.iter().enumerate() {
        let step = g.constant(&format!("plus{i}"), Tensor::from_i64(&[], &[step])?)?;
        y = g.add(y, step)?;
    }
    for (i, &step) in steps.iter().enumerate() {
        let step = g.constant(&format!("minus{i}"), Tensor::from_i64(&[], &[step])?)?;
        y = g.sub(y, step)?;
    }
    g.output("y", y)?;
    g.finish()
}

/// The chain on an adapter of which nothing is known yet, over values that it takes:
/// the findings then.
fn run(adapter: &Adapter, more: Option<i64>, x: &[i64]) -> Result<tune::Findings, Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    let graph = there_and_back(more, x.len())?;
    let mut session =
        Session::new_blocking(graph, &Backend::Gpu(gpu.clone()), SessionOptions::default())?;
    let results = session.run_blocking(&[("x", &Tensor::from_i64(&[x.len()], x)?)])?;
    let (y, variants) = (results[0].1.to_i64()?, session.executed_variants());
    check(y == x, format!("{y:?}"))?;
    check(!variants.is_empty(), "nothing ran")?;
    Ok(tune::known(&gpu))
}

/// Trials first draw 0 and 1, of which 1 overflows and 0 does not.
fn drawn_anew(adapter: &Adapter) -> Result<(), Failed> {
    let found = run(adapter, None, &[0, -1, -7, -2_000_000_000])?;
    check(found.rejected.is_empty(), format!("{found:?}"))?;
    check(!found.right.is_empty(), format!("the chain was not tried: {found:?}"))
}

/// All that is drawn overflows: nothing is known of the chain, for or against it. One
/// addition by itself would be right for 0.
fn taken_untried(adapter: &Adapter) -> Result<(), Failed> {
    let found = run(adapter, Some(50), &[-50, -51, -2_000_000_000])?;
    let none = found.rejected.is_empty() && found.right.is_empty();
    check(none, format!("{found:?}"))
}

/// The level of a box in a pyramid of feature maps, as detectors compute it:
/// `i64(clip(floor(log(sqrt(right - left)) + 4), 2, 5)) - 2`.
fn level(count: usize) -> wginfer::Result<Graph> {
    let mut g = GraphBuilder::new();
    let right = g.input("right", DType::F32, [count.into()])?;
    let left = g.input("left", DType::F32, [count.into()])?;
    let up = g.constant("up", Tensor::from_f32(&[], &[4.0])?)?;
    let first = g.constant("first", Tensor::from_i64(&[], &[2])?)?;
    let width = g.sub(right, left)?;
    let root = g.unary(Unary::Sqrt, width)?;
    let power = g.unary(Unary::Log, root)?;
    let power = g.add(power, up)?;
    let power = g.unary(Unary::Floor, power)?;
    let clipped = g.unary(Unary::Clip { min: 2.0, max: 5.0 }, power)?;
    let level = g.cast(clipped, DType::I64)?;
    let level = g.sub(level, first)?;
    g.output("level", level)?;
    g.finish()
}

/// The root of a number below zero is none. SwiftShader clips the logarithm of that to
/// the larger end, others keep it, and no whole number shows where it came from.
fn drawn_above_zero(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    let (right, left) = ([5.5, 1.25, 1.01, 1.5, 1.002], [1.0, 1.0, 1.0, 1.0, 1.0]);
    let backend = Backend::Gpu(gpu.clone());
    let mut session =
        Session::new_blocking(level(right.len())?, &backend, SessionOptions::default())?;
    let [right, left] = [right, left].map(|values| Tensor::from_f32(&[values.len()], &values));
    let results = session.run_blocking(&[("right", &right?), ("left", &left?)])?;
    let levels = results[0].1.to_i64()?;
    check(levels == [2, 1, 0, 1, 0], format!("{levels:?}"))?;
    let found = tune::known(&gpu);
    check(found.rejected.is_empty(), format!("{found:?}"))?;
    check(!found.right.is_empty(), format!("the chain was not tried: {found:?}"))
}
