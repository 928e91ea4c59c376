//! Kernels that are right are not taken for wrong ones.

use crate::{Test, check, open};
use libtest_mimic::Failed;
use wginfer::gpu::Adapter;
use wginfer::graph::{Graph, GraphBuilder};
use wginfer::ops::registry::OPERATORS;
use wginfer::ops::scatter::Reduction;
use wginfer::validate::{CaseFamily, Extents, Setup, Yardstick};
use wginfer::{Backend, DType, ErrorKind, Session, SessionOptions, tune};

pub(crate) const TESTS: &[Test] = &[
    ("kernels_that_are_right_are_accepted", accepted),
    ("a_scatter_whose_updates_meet_is_accepted", meeting),
];

/// Reproduces the operands.
const SEED: u64 = 3;
/// Ways to try an operator that take part, of those it lists.
const WAYS: usize = 3;
/// The most elements of a shape that takes part.
const MOST: usize = 1 << 14;

/// The first shape of some size.
fn setup(family: &CaseFamily) -> Option<Setup> {
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let fitting = family.shapes.iter().filter(|shape| (2..MOST).contains(&count(shape)));
    let case = fitting.filter_map(|shape| (family.build)(shape)).next()?;
    let operands = Yardstick::operands(&case, SEED).ok()?;
    Setup::new(&case, &operands, Extents::Fixed, |_| false).ok()
}

fn accepted(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    let backend = Backend::Gpu(gpu.clone());
    // It takes longer than others to compile what is tried.
    let ways = if gpu.info().name.contains("SwiftShader") { 1 } else { WAYS };
    let mut planned = 0;
    for operator in OPERATORS {
        let families = (operator.cases)();
        let families = families.iter().filter(|family| !family.heavy && !family.cpu_only);
        for (family, setup) in families.filter_map(|f| Some((f, setup(f)?))).take(ways) {
            let session = Session::new_blocking(setup.graph, &backend, SessionOptions::default());
            let mut session = match session {
                Ok(session) => session,
                Err(error) if error.kind() == ErrorKind::Unsupported => continue,
                Err(error) => return Err(format!("{}: {error}", family.label).into()),
            };
            match backend.block_on(session.prepare(&[])) {
                Ok(()) => planned += 1,
                // Not everything is for a GPU. What was rejected is looked at below.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(format!("{}: {error}", family.label).into()),
            }
        }
    }
    let known = tune::known(&gpu);
    check(known.rejected.is_empty(), format!("{:#?}", known.rejected))?;
    println!("{}: {planned} plans, {} shaders", known.adapter, known.right.len());
    check(known.right.len() > 60, format!("only {} shaders", known.right.len()))
}

/// A ScatterElements of feature maps along their first axis, as detectors have it.
fn scatter() -> wginfer::Result<Graph> {
    let extents = [20u64, 24, 14, 14];
    let shape = || extents.map(Into::into);
    let mut g = GraphBuilder::new();
    let data = g.input("data", DType::F32, shape())?;
    let indices = g.input("indices", DType::I32, shape())?;
    let updates = g.input("updates", DType::F32, shape())?;
    let y = g.scatter_elements([data, indices, updates], 0, Reduction::None)?;
    g.output("y", y)?;
    g.finish()
}

/// A trial draws the indices 0 and 1 only, so ten updates or so meet in every element,
/// and which of them stays is chance.
fn meeting(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    let backend = Backend::Gpu(gpu.clone());
    let mut session = Session::new_blocking(scatter()?, &backend, SessionOptions::default())?;
    backend.block_on(session.prepare(&[]))?;
    let known = tune::known(&gpu);
    check(known.rejected.is_empty(), format!("{:#?}", known.rejected))?;
    let shaders = known.right.len();
    check(shaders >= 2, format!("a copy and the scatter should be known, not {shaders} shaders"))
}
