//! Each pass does what it should, changes no result, and can be off.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod appended;
mod chains;
mod layouts;
mod spelled;
#[path = "../support/mod.rs"]
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::{BTreeSet, HashMap};
use support::backends::{self, Named};
use wginfer::exec::Reference;
use wginfer::graph::{Bindings, Dim, Graph, GraphBuilder, ValueId};
use wginfer::ops::conv::{Conv, ConvTranspose};
use wginfer::ops::elementwise::Unary;
use wginfer::ops::movement::Reshape;
use wginfer::ops::{Arithmetic, BoundCx, RefData, RefTensor};
use wginfer::passes::{MEMORY, PASSES, run};
use wginfer::validate::compare;
use wginfer::validate::error_model::storage_rounding;
use wginfer::{Backend, DType, ErrorKind, Result, Session, SessionOptions, Tensor};

/// A test on a backend.
type Body = fn(&Named) -> Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("passes::every_pattern_is_fused", every_pattern_is_fused),
        Trial::test("passes::every_pass_can_be_left_out_by_name", every_pass_can_be_left_out),
    ];
    for (room, tests) in [
        ("spelled", spelled::TESTS),
        ("chains", chains::TESTS),
        ("layouts", layouts::TESTS),
        ("appended", appended::TESTS),
    ] {
        for (name, body) in tests {
            trials.push(Trial::test(format!("passes::{room}::{name}"), move || {
                body();
                Ok(())
            }));
        }
    }
    for backend in backends::all() {
        let bodies: [(&str, Body); 6] = [
            ("no_pass_changes_the_result", no_pass_changes_the_result),
            ("memory_is_shared_unless_left_out", memory_is_shared),
            ("chains_are_one_dispatch_and_right", chains::one_dispatch),
            ("chains_of_many_types_are_right", chains::of_many_types),
            ("caches_are_as_without_their_fusion", appended::same_with_caches),
            ("channels_last_is_right_with_fewer_dispatches", layouts::fewer_dispatches),
        ];
        for (name, body) in bodies {
            let backend = backend.clone();
            let name = format!("passes::{}::{name}", backend.name);
            trials.push(Trial::test(name, move || body(&backend)));
        }
    }
    backends::conclude(&arguments, trials);
}

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

/// A graph after all passes but some.
fn without(mut graph: Graph, disabled: &[&str]) -> Graph {
    run(&mut graph, &names(disabled)).unwrap();
    graph
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| name.to_string()).collect()
}

fn operators(disabled: &[&str]) -> Vec<String> {
    operators_of(network(), disabled)
}

/// The operators that are left of a graph without some of the passes.
fn operators_of(graph: Graph, disabled: &[&str]) -> Vec<String> {
    without(graph, disabled).nodes().iter().map(|node| node.op.name().to_string()).collect()
}

fn every_pattern_is_fused() -> Result<(), Failed> {
    let skip = "SkipSimplifiedLayerNormalization";
    let mut fused = vec!["MatMul", skip, "GatedMatMul", "MatMul", "Chain"];
    fused.extend(["Reshape", "Conv", "Conv", "ConvTranspose"]);
    assert_eq!(operators(&[]), fused);
    Ok(())
}

fn every_pass_can_be_left_out() -> Result<(), Failed> {
    let all = |disabled: &[&str]| {
        let graphs = [network(), spelled::network(), layouts::network(), appended::network()];
        graphs.map(|graph| operators_of(graph, disabled)).concat()
    };
    // A chain would hide what the pass has left in pieces.
    let fused = all(&["chain"]);
    assert!(all(&[]).len() < fused.len());
    for pass in PASSES.iter().filter(|pass| pass.rewrites() && pass.name != "chain") {
        let without = all(&[pass.name, "chain"]);
        // Where one pass leaves something, another may make one node of it.
        assert!(without.len() >= fused.len() && without != fused, "{}", pass.name);
    }
    let all: Vec<_> = PASSES.iter().map(|pass| pass.name).collect();
    assert_eq!(operators(&all).len(), network().nodes().len());
    let error = run(&mut network(), &names(&["nonsense"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains(MEMORY), "{error}");
    Ok(())
}

const ROWS: usize = 3;

fn input() -> Tensor {
    Tensor::from_f32(&[ROWS, N], &values(ROWS * N, 5)).unwrap()
}

type Results = Vec<(String, Tensor)>;

/// The results without the named passes, and the bytes of working memory.
fn results(
    backend: &Backend,
    graph: &Graph,
    input: &Tensor,
    disabled: &[&str],
) -> Result<(Results, u64), Failed> {
    let options = SessionOptions {
        disabled_passes: names(disabled),
        poison: true,
        ..SessionOptions::default()
    };
    let mut session = Session::new_blocking(graph.clone(), backend, options)?;
    let results = session.run_blocking(&[("x", input)])?;
    Ok((results, session.memory().slots))
}

fn no_pass_changes_the_result(backend: &Named) -> Result<(), Failed> {
    compare_on(&backend.backend, &network(), &input())?;
    compare_on(&backend.backend, &layouts::network(), &layouts::input())?;
    compare_on(&backend.backend, &spelled::network(), &spelled::input())
}

fn compare_on_cpu(graph: &Graph, input: &Tensor) {
    compare_on(&Backend::Cpu, graph, input).unwrap_or_else(|failed| panic!("{failed:?}"));
}

/// Runs a graph of input x without each pass, with all of them and with none.
fn compare_on(backend: &Backend, graph: &Graph, input: &Tensor) -> Result<(), Failed> {
    let want = Reference::new(graph, Bindings::default())?.run(&[("x", input)])?;
    let mut sets: Vec<Vec<&str>> = PASSES.iter().map(|pass| vec![pass.name]).collect();
    sets.push(Vec::new());
    sets.push(PASSES.iter().map(|pass| pass.name).collect());
    for disabled in sets {
        let (got, _) = results(backend, graph, input, &disabled)?;
        let bounds = carried_bounds(&without(graph.clone(), &disabled), input)?;
        for (((name, got), (_, want)), bound) in got.iter().zip(&want).zip(&bounds) {
            let report = compare(name, got, want, bound)?;
            println!("{name} without {disabled:?}: {:.3} of the bound", report.worst_ratio);
            if !report.passed() {
                return Err(format!("without {disabled:?}: {report}").into());
            }
        }
    }
    Ok(())
}

fn memory_is_shared(backend: &Named) -> Result<(), Failed> {
    let (shared, bytes) = results(&backend.backend, &network(), &input(), &[])?;
    let (apart, more) = results(&backend.backend, &network(), &input(), &[MEMORY])?;
    for ((_, apart), (_, shared)) in apart.iter().zip(&shared) {
        assert_eq!(apart.to_f32()?, shared.to_f32()?);
    }
    assert!(more > bytes, "{more} bytes apart, {bytes} shared");
    Ok(())
}

type Values = HashMap<ValueId, RefTensor>;

/// How far the results of a graph in f32 may be from that in f64, to first order:
/// what each node may do wrong by itself (its operator's bound, and the rounding
/// to storage), carried to the results by the rest of the graph. Each element is
/// moved that far, the rest computed anew in f64, and the movements of the
/// results are added up.
fn carried_bounds(graph: &Graph, input: &Tensor) -> Result<Vec<Vec<f64>>> {
    let exact = evaluate(graph, input, None)?;
    let ids: Vec<_> = graph.outputs().iter().map(|(_, id)| *id).collect();
    let mut bounds: Vec<_> = ids.iter().map(|id| vec![0.0; exact[id].len()]).collect();
    for node in graph.nodes() {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(|id| &exact[&id])).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|id| exact[id].clone()).collect();
        let cx = BoundCx { inputs: &inputs, outputs: &outputs, arithmetic: Arithmetic::F32 };
        for (id, own) in node.outputs.iter().zip(node.op.bound(&cx)?) {
            let RefTensor { dtype, data: RefData::Real(values), .. } = &exact[id] else { continue };
            for (at, (own, value)) in own.iter().zip(values).enumerate() {
                let off = own + storage_rounding(*dtype, value.abs() + own);
                let moved = evaluate(graph, input, Some((*id, at, off)))?;
                for (id, bound) in ids.iter().zip(&mut bounds) {
                    let pairs = moved[id].reals()?.iter().zip(exact[id].reals()?);
                    for (bound, (moved, exact)) in bound.iter_mut().zip(pairs) {
                        *bound += (moved - exact).abs();
                    }
                }
            }
        }
    }
    Ok(bounds)
}

/// All values of a graph in f64, one element of one of them moved.
fn evaluate(graph: &Graph, input: &Tensor, moved: Option<(ValueId, usize, f64)>) -> Result<Values> {
    let mut values = Values::new();
    values.insert(graph.inputs()[0], RefTensor::from_tensor(input)?);
    let mut bindings = Bindings::default();
    if let Some(rows) = graph.symbol("rows") {
        bindings.set(rows, input.extents()[0] as u64);
    }
    for node in graph.nodes() {
        for &id in node.inputs.iter().flatten() {
            if let Some(constant) = graph.constant(id) {
                values.insert(id, RefTensor::from_tensor(constant)?);
            }
        }
        let operands: Vec<_> = node.inputs.iter().map(|id| id.map(|id| &values[&id])).collect();
        let extents = node.outputs.iter().map(|id| graph.ty(*id).extents(&bindings));
        let extents = extents.collect::<Result<Vec<_>>>()?;
        let results = node.op.reference_sized(&operands, &extents)?;
        for (&id, mut result) in node.outputs.iter().zip(results) {
            if let Some((other, at, off)) = moved
                && other == id
            {
                let mut reals = result.reals()?.to_vec();
                reals[at] += off;
                result = RefTensor::real(result.dtype, &result.extents, reals);
            }
            values.insert(id, result);
        }
    }
    Ok(values)
}
