//! Elementwise operators become chains, where nobody else reads what is between
//! them.

use super::support::backends::Named;
use super::{compare_on, compare_on_cpu as compare, operators_of, results, values};
use libtest_mimic::Failed;
use wginfer::exec::Reference;
use wginfer::graph::{Bindings, Graph, GraphBuilder, ValueId};
use wginfer::ops::elementwise::{Binary, Chain, Test, Unary};
use wginfer::{DType, Session, SessionOptions, Tensor};

/// Every test here that needs no device, by name.
pub(super) const TESTS: &[(&str, fn())] = &[
    ("a_tree_becomes_one_node", a_tree_becomes_one_node),
    ("what_others_read_stays", what_others_read_stays),
    ("what_is_broadcast_later_is_computed_once", what_is_broadcast_later_is_computed_once),
    ("questions_look_at_memory", questions_look_at_memory),
    ("inputs_are_as_many_as_a_device_binds", inputs_are_as_many_as_a_device_binds),
    ("a_state_is_read_where_it_was", a_state_is_read_where_it_was),
];

const ROWS: usize = 5;
const N: usize = 7;

fn constant(g: &mut GraphBuilder, extents: &[usize], salt: usize) -> ValueId {
    let tensor = Tensor::from_f32(extents, &values(extents.iter().product(), salt)).unwrap();
    g.constant("c", tensor).unwrap()
}

fn graph(build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Graph {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [ROWS.into(), N.into()]).unwrap();
    let y = build(&mut g, x);
    g.output("y", y).unwrap();
    g.finish().unwrap()
}

fn input() -> Tensor {
    Tensor::from_f32(&[ROWS, N], &values(ROWS * N, 3)).unwrap()
}

/// Numbers that are whole when they are multiplied by 100.
fn eighths() -> Tensor {
    let eighths: Vec<f32> = (0..ROWS * N).map(|i| ((i * 31) % 24) as f32 / 4.0 - 1.25).collect();
    Tensor::from_f32(&[ROWS, N], &eighths).unwrap()
}

/// `where(t > 0, min(t, 1), x row)` with `t = tanh(x row + column) / 2`, which is
/// read twice, as F16 and back.
fn tree() -> Graph {
    graph(|g, x| {
        let (row, column) = (constant(g, &[N], 1), constant(g, &[ROWS, 1], 2));
        let scaled = g.mul(x, row).unwrap();
        let moved = g.add(scaled, column).unwrap();
        let t = g.unary(Unary::Tanh, moved).unwrap();
        let two = g.constant("two", Tensor::from_f32(&[], &[2.0]).unwrap()).unwrap();
        let t = g.div(t, two).unwrap();
        let zero = g.constant("zero", Tensor::from_f32(&[1], &[0.0]).unwrap()).unwrap();
        let above = g.binary(Binary::Greater, t, zero).unwrap();
        let least = g.unary(Unary::Clip { min: -1.0, max: 0.25 }, t).unwrap();
        let y = g.select(above, least, scaled).unwrap();
        let y = g.cast(y, DType::F16).unwrap();
        g.cast(y, DType::F32).unwrap()
    })
}

fn a_tree_becomes_one_node() {
    assert_eq!(tree().nodes().len(), 9);
    assert_eq!(operators_of(tree(), &[]), ["Chain"]);
    assert_eq!(operators_of(tree(), &["chain"]).len(), 9);
    compare(&tree(), &input());
}

fn what_others_read_stays() {
    let build = |shared: bool| {
        let mut g = GraphBuilder::new();
        let x = g.input("x", DType::F32, [N.into()]).unwrap();
        let a = g.unary(Unary::Exp, x).unwrap();
        let b = g.unary(Unary::Tanh, a).unwrap();
        let c = g.unary(Unary::Abs, b).unwrap();
        if shared {
            g.output("b", b).unwrap();
        }
        g.output("c", c).unwrap();
        g.finish().unwrap()
    };
    assert_eq!(operators_of(build(false), &[]), ["Chain"]);
    assert_eq!(operators_of(build(true), &[]), ["Chain", "Abs"]);
    // A product that reads it is no part of a chain.
    let product = graph(|g, x| {
        let w = constant(g, &[N, N], 4);
        let a = g.unary(Unary::Exp, x).unwrap();
        let product = g.linear(a, w, None).unwrap();
        let sum = g.sub(product, a).unwrap();
        g.unary(Unary::Abs, sum).unwrap()
    });
    assert_eq!(operators_of(product.clone(), &[]), ["Exp", "MatMul", "Chain"]);
    compare(&product, &input());
}

fn what_is_broadcast_later_is_computed_once() {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [N.into()]).unwrap();
    let a = g.unary(Unary::Exp, x).unwrap();
    let a = g.unary(Unary::Tanh, a).unwrap();
    let table = constant(&mut g, &[ROWS, N], 1);
    let y = g.sub(a, table).unwrap();
    let y = g.unary(Unary::Abs, y).unwrap();
    g.output("y", y).unwrap();
    assert_eq!(operators_of(g.finish().unwrap(), &[]), ["Chain", "Chain"]);
}

fn questions_look_at_memory() {
    let asked = graph(|g, x| {
        let a = g.unary(Unary::Exp, x).unwrap();
        let a = g.unary(Unary::Neg, a).unwrap();
        let nan = g.op1(Test::IsNaN, &[a]).unwrap();
        g.cast(nan, DType::F32).unwrap()
    });
    assert_eq!(operators_of(asked, &[]), ["Chain", "Chain"]);
}

fn inputs_are_as_many_as_a_device_binds() {
    let sum = graph(|g, x| {
        let others: Vec<_> = (0..10).map(|i| constant(g, &[ROWS, N], i)).collect();
        others.into_iter().fold(x, |sum, other| g.sub(sum, other).unwrap())
    });
    let got = operators_of(sum.clone(), &[]);
    let inputs = 11usize;
    assert_eq!(got, vec!["Chain"; (inputs - 1).div_ceil(Chain::MOST_INPUTS - 1)]);
    compare(&sum, &input());
}

fn a_state_is_read_where_it_was() {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [1usize.into(), 1usize.into(), 1usize.into(), N.into()]);
    let (x, past) = (x.unwrap(), g.input("past", DType::I32, [1usize.into()]).unwrap());
    let shape = [1usize.into(), 1usize.into(), ROWS.into(), N.into()];
    let state = g.state("state", DType::F32, shape, None).unwrap();
    let before = g.unary(Unary::Exp, state).unwrap();
    let before = g.unary(Unary::Neg, before).unwrap();
    let after = g.tensor_scatter(state, x, past).unwrap();
    let y = g.unary(Unary::Abs, before).unwrap();
    g.output("y", y).unwrap();
    g.output("after", after).unwrap();
    let graph = g.finish().unwrap();
    assert_eq!(operators_of(graph, &[]), ["Exp", "TensorScatter", "Chain"]);
}

/// One dispatch where there were nine, with the same result as unfused.
pub(super) fn one_dispatch(backend: &Named) -> Result<(), Failed> {
    compare_on(&backend.backend, &tree(), &input())?;
    for (disabled, dispatches) in [(vec![], 1), (vec!["chain".to_string()], 9)] {
        let options = SessionOptions {
            disabled_passes: disabled.into_iter().collect(),
            ..SessionOptions::default()
        };
        let mut session = Session::new_blocking(tree(), &backend.backend, options)?;
        session.run_blocking(&[("x", &input())])?;
        assert_eq!(session.counters().dispatches, dispatches);
    }
    Ok(())
}

/// Whole numbers of every width wrap between steps, and conversions round.
pub(super) fn of_many_types(backend: &Named) -> Result<(), Failed> {
    for dtype in [DType::U8, DType::I8, DType::I16, DType::U16, DType::I32, DType::I64] {
        for back in [DType::F32, DType::F16, DType::I64] {
            let graph = graph(|g, x| {
                let hundred = g.constant("c", Tensor::from_f32(&[], &[100.0]).unwrap()).unwrap();
                let x = g.mul(x, hundred).unwrap();
                let whole = g.cast(x, dtype).unwrap();
                let double = g.add(whole, whole).unwrap();
                let more = g.binary(Binary::Max, double, whole).unwrap();
                let y = g.cast(more, back).unwrap();
                g.cast(y, DType::F32).unwrap()
            });
            assert_eq!(operators_of(graph.clone(), &[]), ["Chain"]);
            let input = eighths();
            let want = Reference::new(&graph, Bindings::default())?.run(&[("x", &input)])?;
            let (got, _) = results(&backend.backend, &graph, &input, &[])?;
            let (apart, _) = results(&backend.backend, &graph, &input, &["chain"])?;
            assert_eq!(got[0].1.to_f32()?, apart[0].1.to_f32()?, "{dtype} {back}");
            let want: Vec<f32> = want[0].1.reals()?.iter().map(|&v| v as f32).collect();
            assert_eq!(got[0].1.to_f32()?, want, "{dtype} {back}");
        }
    }
    Ok(())
}
