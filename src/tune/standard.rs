//! What is measured where no model is named: calls that many models have.

use crate::backend::Backend;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Graph, GraphBuilder};
use crate::kernels::Policy;
use crate::ops::attention::Attention;
use crate::ops::conv::Conv;
use crate::ops::norm::Normalization;
use crate::ops::softmax::Softmax;
use crate::ops::{Operator, movement};
use crate::session::{Session, SessionOptions};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// Rows, inner and columns of products with weights: one row, as for one token, and
/// many, as for a prompt.
const PRODUCTS: [[usize; 3]; 4] =
    [[1, 576, 1536], [1, 1536, 576], [128, 576, 1536], [128, 1536, 576]];
/// Where a GPU computes, larger models too.
const LARGE: [[usize; 3]; 2] = [[1, 4096, 4096], [512, 4096, 4096]];
/// The types of weights.
const WEIGHTS: [DType; 7] =
    [DType::F32, DType::F16, DType::Q4_0, DType::Q4_1, DType::Q8_0, DType::Q4_K, DType::Q6_K];
/// Channels, size and output channels, kernel, stride and groups.
const CONVOLUTIONS: [[usize; 6]; 4] = [
    [3, 224, 64, 7, 2, 1],
    [64, 56, 64, 3, 1, 1],
    [256, 14, 1024, 1, 1, 1],
    [32, 112, 32, 3, 1, 32],
];

/// Plans one of each of the calls that many models have, on a device whose calls are
/// noted ([`record`](super::record)).
///
/// # Errors
/// What happens to the device.
pub async fn run_standard(gpu: &Arc<Gpu>, policy: &Policy) -> Result<()> {
    let backend = Backend::Gpu(gpu.clone());
    for graph in graphs(gpu.caps().is_software())? {
        let options = SessionOptions { policy: policy.clone(), ..SessionOptions::default() };
        let mut session = Session::new(graph, &backend, options).await?;
        session.prepare(&[]).await?;
    }
    Ok(())
}

fn graphs(software: bool) -> Result<Vec<Graph>> {
    let mut graphs = Vec::new();
    let large = if software { &[][..] } else { &LARGE[..] };
    for &[rows, inner, columns] in PRODUCTS.iter().chain(large) {
        for dtype in WEIGHTS.iter().filter(|dtype| inner.is_multiple_of(dtype.block_len())) {
            let bytes = vec![0; dtype.bytes(&[columns, inner])?];
            let mut g = GraphBuilder::new();
            let x = g.input("x", DType::F32, [rows.into(), inner.into()])?;
            let w = g.constant("w", Tensor::new(*dtype, &[columns, inner], bytes)?)?;
            let y = g.linear(x, w, None)?;
            graphs.push(finished(g, y)?);
        }
    }
    for [c, size, m, kernel, stride, group] in CONVOLUTIONS {
        let pads = vec![kernel / 2; 4];
        let op = Conv { strides: vec![stride; 2], pads, group, ..Conv::default() };
        graphs.push(of(op, &[&[1, c, size, size], &[m, c / group, kernel, kernel]])?);
    }
    let wide = [512, 1024];
    graphs.push(of(Softmax { axis: -1 }, &[&wide])?);
    graphs.push(of(Normalization::rms(1e-5), &[&wide, &wide[1..]])?);
    graphs.push(of(Normalization::layer(1e-5), &[&wide, &wide[1..], &wide[1..]])?);
    graphs.push(of(movement::Transpose { permutation: vec![1, 0] }, &[&[1024, 1024]])?);
    for [queries, keys] in [[128, 256], [1, 512]] {
        graphs.push(attention(queries, keys)?);
    }
    Ok(graphs)
}

/// A graph of one operator over F32 inputs.
fn of(op: impl Operator, extents: &[&[usize]]) -> Result<Graph> {
    let mut g = GraphBuilder::new();
    let mut inputs = Vec::new();
    for (i, extents) in extents.iter().enumerate() {
        let shape: crate::graph::Shape = extents.iter().map(|&n| n.into()).collect();
        inputs.push(g.input(&format!("x{i}"), DType::F32, shape)?);
    }
    let y = g.op1(op, &inputs)?;
    finished(g, y)
}

/// Nine heads of 64 that share three of a cache of F16.
fn attention(queries: usize, keys: usize) -> Result<Graph> {
    let mut g = GraphBuilder::new();
    let q = g.input("q", DType::F32, [1.into(), queries.into(), 9.into(), 64.into()])?;
    let cache = [1.into(), 3.into(), keys.into(), 64.into()];
    let k = g.input("k", DType::F16, cache.clone())?;
    let v = g.input("v", DType::F16, cache)?;
    let past = g.input("past", DType::I32, [1.into()])?;
    let y = g.op1(Attention::default(), &[q, k, v, past])?;
    finished(g, y)
}

fn finished(mut g: GraphBuilder, y: crate::graph::ValueId) -> Result<Graph> {
    g.output("y", y)?;
    g.finish()
}
