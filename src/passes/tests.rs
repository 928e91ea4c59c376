//! Each fusion happens where it should, changes no result, and can be off.

use super::{PASSES, run, spelled};
use crate::backend::Backend;
use crate::exec::Reference;
use crate::graph::{Bindings, Graph, GraphBuilder};
use crate::ops::elementwise::Unary;
use crate::session::{Session, SessionOptions};
use crate::tensor::{DType, Tensor};
use std::collections::BTreeSet;

const N: usize = 8;

pub(super) fn values(count: usize, salt: usize) -> Vec<f32> {
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
    g.finish().unwrap()
}

fn operators(disabled: &[&str]) -> Vec<String> {
    operators_of(network(), disabled)
}

/// The operators that are left of a graph without some of the passes.
pub(super) fn operators_of(mut graph: Graph, disabled: &[&str]) -> Vec<String> {
    let disabled = disabled.iter().map(|name| name.to_string()).collect();
    run(&mut graph, &disabled).unwrap();
    graph.nodes().iter().map(|node| node.op.name().to_string()).collect()
}

#[test]
fn every_pattern_is_fused() {
    let skip = "SkipSimplifiedLayerNormalization";
    assert_eq!(operators(&[]), ["MatMul", skip, "GatedMatMul", "MatMul", "Add", "GatedActivation"]);
}

#[test]
fn every_pass_can_be_left_out_by_name() {
    let all = |disabled: &[&str]| {
        [operators(disabled), operators_of(spelled::network(), disabled)].concat()
    };
    let fused = all(&[]);
    for pass in PASSES {
        let without = all(&[pass.name]);
        // Where one pass leaves something, another may make one node of it.
        assert!(without.len() >= fused.len() && without != fused, "{}", pass.name);
    }
    let all: Vec<_> = PASSES.iter().map(|pass| pass.name).collect();
    assert_eq!(operators(&all).len(), network().nodes().len());
    let unknown = BTreeSet::from(["nonsense".to_string()]);
    assert!(run(&mut network(), &unknown).is_err());
}

#[test]
fn no_pass_changes_the_result() {
    compare(&network(), &Tensor::from_f32(&[3, N], &values(3 * N, 5)).unwrap());
}

/// Runs a graph of input x on the CPU without each pass and with all of them.
pub(super) fn compare(graph: &Graph, x: &Tensor) {
    let mut reference = Reference::new(graph, Bindings::default()).unwrap();
    let want = reference.run(&[("x", x)]).unwrap()[0].1.reals().unwrap().to_vec();
    let mut sets: Vec<Vec<&str>> = PASSES.iter().map(|pass| vec![pass.name]).collect();
    sets.push(Vec::new());
    for disabled in sets {
        let options = SessionOptions {
            disabled_passes: disabled.iter().map(|name| name.to_string()).collect(),
            poison: true,
            ..SessionOptions::default()
        };
        let mut session = Session::new_blocking(graph.clone(), &Backend::Cpu, options).unwrap();
        let got = session.run_blocking(&[("x", x)]).unwrap()[0].1.to_f32().unwrap();
        for (got, want) in got.iter().zip(&want) {
            // Three products of length 8 and values of order 100.
            assert!((f64::from(*got) - want).abs() < 1e-4 * (1.0 + want.abs()), "{disabled:?}");
        }
    }
}
