//! Each fusion happens where it should, changes no result, and can be off.

use super::{PASSES, run};
use crate::backend::Backend;
use crate::exec::Reference;
use crate::graph::{Bindings, Dim, Graph, GraphBuilder, ValueId};
use crate::ops::conv::{Conv, ConvTranspose};
use crate::ops::elementwise::Unary;
use crate::ops::movement::Reshape;
use crate::session::{Session, SessionOptions};
use crate::tensor::{DType, Tensor};
use std::collections::BTreeSet;

const N: usize = 8;

fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 31 + salt * 17) % 23) as f32 / 8.0 - 1.3).collect()
}

fn weight(salt: usize) -> Tensor {
    Tensor::from_f32(&[N, N], &values(N * N, salt)).unwrap()
}

/// A residual block with every pattern: bias, activation, gate, skip, folding.
fn network() -> Graph {
    let mut g = GraphBuilder::new();
    let rows = g.symbol("rows");
    let x = g.input("x", DType::F32, [rows.into(), N.into()]).unwrap();
    let w: Vec<_> = (0..4).map(|i| g.constant(&format!("w{i}"), weight(i)).unwrap()).collect();
    let vector = Tensor::from_f32(&[N], &values(N, 9)).unwrap();
    let vector = g.constant("vector", vector).unwrap();
    let doubled = g.add(vector, vector).unwrap();
    let y = g.linear(x, w[0], None).unwrap();
    let y = g.add(y, doubled).unwrap();
    let y = g.unary(Unary::Relu, y).unwrap();
    let sum = g.add(y, x).unwrap();
    let normed = g.rms_normalization(sum, vector, 1e-5).unwrap();
    let gate = g.linear(normed, w[1], None).unwrap();
    let gate = g.unary(Unary::Silu, gate).unwrap();
    let up = g.linear(normed, w[2], None).unwrap();
    let gated = g.mul(gate, up).unwrap();
    let y = g.linear(gated, w[3], None).unwrap();
    let y = g.add(sum, y).unwrap();
    let act = g.unary(Unary::Tanh, y).unwrap();
    let z = g.mul(act, x).unwrap();
    let _unread = g.unary(Unary::Exp, z).unwrap();
    g.output("z", z).unwrap();
    let image = vec![rows.into(), Dim::Const(1), Dim::Const(N as u64)];
    let image = g.op1(Reshape { shape: image }, &[x]).unwrap();
    let image = convolutions(&mut g, image);
    g.output("image", image).unwrap();
    g.finish().unwrap()
}

/// A convolution with a normalisation of constants, a residual, an activation;
/// and a transposed one in groups with a factor for each channel.
fn convolutions(g: &mut GraphBuilder, x: ValueId) -> ValueId {
    let constant = |g: &mut GraphBuilder, extents: &[usize], salt| {
        let tensor = Tensor::from_f32(extents, &values(extents.iter().product(), salt)).unwrap();
        g.constant("c", tensor).unwrap()
    };
    let padded = Conv { pads: vec![1, 1], ..Conv::default() };
    let (w, bias) = (constant(g, &[4, 1, 3], 3), constant(g, &[4], 4));
    let y = g.conv(padded.clone(), x, w, Some(bias)).unwrap();
    let (mean, scale) = (constant(g, &[1, 4, 1], 5), constant(g, &[4, 1], 6));
    let y = g.sub(y, mean).unwrap();
    let y = g.mul(scale, y).unwrap();
    let w = constant(g, &[4, 4, 3], 8);
    let z = g.conv(padded, y, w, None).unwrap();
    let z = g.add(y, z).unwrap();
    let z = g.unary(Unary::Relu, z).unwrap();
    let op = ConvTranspose { strides: vec![2], group: 2, ..ConvTranspose::default() };
    let w = constant(g, &[4, 3, 2], 9);
    let y = g.conv_transpose(op, z, w, None).unwrap();
    let divisor = Tensor::from_f32(&[6, 1], &[1.0, -2.0, 0.5, 3.0, 1.5, -0.7]).unwrap();
    let divisor = g.constant("divisor", divisor).unwrap();
    g.div(y, divisor).unwrap()
}

fn operators(disabled: &[&str]) -> Vec<String> {
    let mut graph = network();
    let disabled = disabled.iter().map(|name| name.to_string()).collect();
    run(&mut graph, &disabled).unwrap();
    graph.nodes().iter().map(|node| node.op.name().to_string()).collect()
}

#[test]
fn every_pattern_is_fused() {
    let skip = "SkipSimplifiedLayerNormalization";
    let mut fused = vec!["MatMul", skip, "GatedMatMul", "MatMul", "Add", "GatedActivation"];
    fused.extend(["Reshape", "Conv", "Conv", "ConvTranspose"]);
    assert_eq!(operators(&[]), fused);
}

#[test]
fn every_pass_can_be_left_out_by_name() {
    let fused = operators(&[]).len();
    for pass in PASSES {
        assert!(operators(&[pass.name]).len() > fused, "{}", pass.name);
    }
    let all: Vec<_> = PASSES.iter().map(|pass| pass.name).collect();
    assert_eq!(operators(&all).len(), network().nodes().len());
    let unknown = BTreeSet::from(["nonsense".to_string()]);
    assert!(run(&mut network(), &unknown).is_err());
}

#[test]
fn no_pass_changes_the_result() {
    let graph = network();
    let x = Tensor::from_f32(&[3, N], &values(3 * N, 5)).unwrap();
    let mut reference = Reference::new(&graph, Bindings::default()).unwrap();
    let want = reference.run(&[("x", &x)]).unwrap();
    let mut sets: Vec<Vec<&str>> = PASSES.iter().map(|pass| vec![pass.name]).collect();
    sets.push(Vec::new());
    for disabled in sets {
        let options = SessionOptions {
            disabled_passes: disabled.iter().map(|name| name.to_string()).collect(),
            poison: true,
            ..SessionOptions::default()
        };
        let mut session = Session::new_blocking(graph.clone(), &Backend::Cpu, options).unwrap();
        let got = session.run_blocking(&[("x", &x)]).unwrap();
        assert_eq!(got.len(), want.len());
        for ((_, got), (_, want)) in got.iter().zip(&want) {
            for (got, want) in got.to_f32().unwrap().iter().zip(want.reals().unwrap()) {
                // Three products of length 8 and values of order 100.
                let allowed = 1e-4 * (1.0 + want.abs());
                assert!((f64::from(*got) - want).abs() < allowed, "{disabled:?}");
            }
        }
    }
}
