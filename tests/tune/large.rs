//! Calls as large as those of models of billions of weights.

use crate::{Test, check, open};
use libtest_mimic::Failed;
use wginfer::gpu::Adapter;
use wginfer::graph::{Graph, GraphBuilder};
use wginfer::ops::matmul::MatMul;
use wginfer::{Backend, DType, Result, Session, SessionOptions, Tensor, tune};

pub(crate) const TESTS: &[Test] =
    &[("a_vocabulary_of_sixty_million_weights_is_measured", vocabulary)];

/// Of a model of some billions of weights: more elements than a trial could be judged on.
const VOCABULARY: usize = 16_400;
const WIDTH: usize = 4096;

fn graph() -> Result<Graph> {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [1.into(), WIDTH.into()])?;
    let extents = [VOCABULARY, WIDTH];
    let weights = Tensor::new(DType::Q4_0, &extents, vec![0; DType::Q4_0.bytes(&extents)?])?;
    let w = g.constant("w", weights)?;
    let y = g.op1(MatMul { trans_b: true, ..MatMul::default() }, &[x, w])?;
    g.output("y", y)?;
    g.finish()
}

fn vocabulary(adapter: &Adapter) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let gpu = open(adapter, dir.path())?;
    tune::record(&gpu);
    let backend = Backend::Gpu(gpu.clone());
    let mut session = Session::new_blocking(graph()?, &backend, SessionOptions::default())?;
    session.run_blocking(&[("x", &Tensor::from_f32(&[1, WIDTH], &vec![1.0; WIDTH])?)])?;
    let report = gpu.block_on(tune::in_process(&gpu, &[], &mut |_| {}))?;
    check(report.rows.len() == 1, format!("{report:?}"))?;
    let row = &report.rows[0];
    check(row.refused.is_none() && row.micros.contains_key(&row.default), format!("{row:?}"))
}
