//! Transpositions move and cancel: a network whose channels come last keeps the
//! one that its input needs.

use super::support::backends::Named;
use super::{compare_on_cpu as compare, names, operators_of, values};
use libtest_mimic::Failed;
use wginfer::graph::{Dim, Graph, GraphBuilder, ValueId};
use wginfer::ops::conv::Conv;
use wginfer::ops::elementwise::Unary;
use wginfer::ops::matmul::MatMul;
use wginfer::ops::movement::{Concat, Pad, PadMode, Reshape, Transpose};
use wginfer::ops::reduce::{Reduce, Reduction};
use wginfer::ops::softmax::Softmax;
use wginfer::{DType, Session, SessionOptions, Tensor};

/// Every test here that needs no device, by name.
pub(super) const TESTS: &[(&str, fn())] = &[
    ("channels_last_keeps_one_transposition", channels_last_keeps_one_transposition),
    ("two_in_a_row_are_one_or_none", two_in_a_row_are_one_or_none),
    ("products_take_them_as_flags", products_take_them_as_flags),
    ("operators_along_axes_let_them_pass", operators_along_axes_let_them_pass),
    ("nothing_moves_where_nothing_is_gained", nothing_moves_where_nothing_is_gained),
];

const EXTENTS: [usize; 4] = [1, 5, 4, 3];

pub(super) fn input() -> Tensor {
    let count = EXTENTS.iter().product();
    Tensor::from_f32(&EXTENTS, &values(count, 2)).unwrap()
}

fn constant(g: &mut GraphBuilder, extents: &[usize], salt: usize) -> ValueId {
    let tensor = Tensor::from_f32(extents, &values(extents.iter().product(), salt)).unwrap();
    g.constant("c", tensor).unwrap()
}

fn dims(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|&n| n.into()).collect()
}

fn transposed(g: &mut GraphBuilder, x: ValueId, permutation: &[usize]) -> ValueId {
    g.op1(Transpose { permutation: permutation.to_vec() }, &[x]).unwrap()
}

/// A convolution as tf2onnx writes it: transpositions around it, and the bias
/// added with channels last.
fn conv(g: &mut GraphBuilder, x: ValueId, channels: [usize; 2], size: usize) -> ValueId {
    let before = transposed(g, x, &[0, 3, 1, 2]);
    let w = constant(g, &[channels[1], channels[0], size, size], size);
    let op = Conv { pads: vec![size / 2; 4], ..Conv::default() };
    let y = g.conv(op, before, w, None).unwrap();
    let after = transposed(g, y, &[0, 2, 3, 1]);
    let bias = constant(g, &[channels[1]], channels[0]);
    g.add(after, bias).unwrap()
}

/// Input `[N, H, W, C]`, two blocks with residuals, one that squeezes and
/// excites, the mean over the picture, a layer and softmax.
pub(super) fn network() -> Graph {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, EXTENTS.map(Into::into)).unwrap();
    let g = &mut g;
    let y = conv(g, x, [3, 4], 3);
    let stem = g.unary(Unary::Relu, y).unwrap();
    let y = conv(g, stem, [4, 4], 3);
    let y = g.unary(Unary::Silu, y).unwrap();
    let y = conv(g, y, [4, 4], 1);
    let y = g.add(y, stem).unwrap();
    let mean = Reduce { reduction: Reduction::Mean, axes: vec![1, 2], keepdims: true };
    let squeezed = g.op1(mean.clone(), &[y]).unwrap();
    let squeezed = conv(g, squeezed, [4, 4], 1);
    let gate = g.unary(Unary::Sigmoid, squeezed).unwrap();
    let y = g.mul(y, gate).unwrap();
    let both = g.op1(Concat { axis: -1 }, &[y, stem]).unwrap();
    let y = g.op1(Reduce { keepdims: false, ..mean }, &[both]).unwrap();
    let w = constant(g, &[8, 5], 7);
    let y = g.op1(MatMul::default(), &[y, w]).unwrap();
    let y = g.op1(Softmax { axis: -1 }, &[y]).unwrap();
    g.output("y", y).unwrap();
    std::mem::take(g).finish().unwrap()
}

fn transposes(graph: Graph, disabled: &[&str]) -> usize {
    operators_of(graph, disabled).iter().filter(|name| *name == "Transpose").count()
}

fn channels_last_keeps_one_transposition() {
    assert_eq!(transposes(network(), &["transposes"]), 8);
    assert_eq!(transposes(network(), &[]), 1);
    let left = operators_of(network(), &[]);
    // Bias, activation and residual are in the convolutions.
    assert!(!left.iter().any(|name| name == "Add" || name == "Relu"), "{left:?}");
    compare(&network(), &input());
}

fn graph(build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Graph {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, EXTENTS.map(Into::into)).unwrap();
    let y = build(&mut g, x);
    g.output("y", y).unwrap();
    g.finish().unwrap()
}

fn two_in_a_row_are_one_or_none() {
    let twice = |second: [usize; 4]| {
        graph(move |g, x| {
            let y = transposed(g, x, &[0, 3, 1, 2]);
            let y = g.unary(Unary::Tanh, y).unwrap();
            transposed(g, y, &second)
        })
    };
    assert_eq!(operators_of(twice([0, 2, 3, 1]), &[]), ["Tanh"]);
    assert_eq!(operators_of(twice([0, 2, 3, 1]), &["transposes"]).len(), 3);
    assert_eq!(operators_of(twice([0, 1, 3, 2]), &[]), ["Tanh", "Transpose"]);
    // Only a dimension of one element moves in the end.
    assert_eq!(operators_of(twice([2, 0, 3, 1]), &[]), ["Tanh", "Reshape"]);
    for second in [[0, 2, 3, 1], [0, 1, 3, 2], [2, 0, 3, 1]] {
        compare(&twice(second), &input());
    }
}

fn products_take_them_as_flags() {
    let product = graph(|g, x| {
        let y = g.op1(Reshape { shape: dims(&[12, 5]) }, &[x]).unwrap();
        let z = g.unary(Unary::Tanh, y).unwrap();
        let (a, b) = (transposed(g, y, &[1, 0]), transposed(g, z, &[1, 0]));
        let left = g.op1(MatMul::default(), &[a, y]).unwrap();
        let right = g.op1(MatMul::default(), &[z, b]).unwrap();
        let right = g.op1(MatMul { trans_a: true, ..MatMul::default() }, &[y, right]).unwrap();
        let right = g.op1(MatMul::default(), &[right, y]).unwrap();
        g.add(left, right).unwrap()
    });
    assert_eq!(transposes(product.clone(), &["transposes"]), 2);
    assert_eq!(transposes(product.clone(), &[]), 0);
    compare(&product, &input());
}

fn operators_along_axes_let_them_pass() {
    let along = graph(|g, x| {
        let y = transposed(g, x, &[0, 3, 1, 2]);
        let pads = vec![[0, 0], [1, 0], [0, 2], [0, 0]];
        let y = g.op1(Pad { mode: PadMode::Constant, pads }, &[y]).unwrap();
        let y = g.op1(Softmax { axis: 2 }, &[y]).unwrap();
        let both = g.op1(Concat { axis: -1 }, &[y, y]).unwrap();
        let most = Reduce { reduction: Reduction::Max, axes: vec![-2], keepdims: false };
        let y = g.op1(most, &[both]).unwrap();
        transposed(g, y, &[0, 2, 1])
    });
    assert_eq!(transposes(along.clone(), &["transposes"]), 2);
    assert_eq!(transposes(along.clone(), &[]), 0);
    compare(&along, &input());
}

fn nothing_moves_where_nothing_is_gained() {
    let kept = graph(|g, x| {
        let y = transposed(g, x, &[0, 3, 1, 2]);
        let z = g.unary(Unary::Exp, y).unwrap();
        let other = g.unary(Unary::Abs, x).unwrap();
        let other = g.op1(Reshape { shape: dims(&[1, 3, 5, 4]) }, &[other]);
        g.sub(z, other.unwrap()).unwrap()
    });
    let names = operators_of(kept.clone(), &["chain"]);
    assert_eq!(names, ["Transpose", "Exp", "Abs", "Reshape", "Sub"]);
    compare(&kept, &input());
}

/// What is not there takes no dispatch.
pub(super) fn fewer_dispatches(backend: &Named) -> Result<(), Failed> {
    let dispatches = |disabled: &[&str]| -> Result<u64, Failed> {
        let options =
            SessionOptions { disabled_passes: names(disabled), ..SessionOptions::default() };
        let mut session = Session::new_blocking(network(), &backend.backend, options)?;
        session.run_blocking(&[("x", &input())])?;
        Ok(session.counters().dispatches)
    };
    let (fused, apart) = (dispatches(&[])?, dispatches(&["transposes"])?);
    println!("{fused} dispatches, {apart} with transpositions in place");
    // Seven transpositions of eight, and what they kept out of the convolutions.
    assert!(fused + 7 + 4 <= apart, "{fused} dispatches, {apart}");
    Ok(())
}
