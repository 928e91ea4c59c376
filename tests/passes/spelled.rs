//! What exporters spell out is recognised, whatever the order of operands, and
//! left alone where someone else reads a part of it.

use super::{compare_on_cpu as compare, operators_of, values};
use wginfer::graph::{Graph, GraphBuilder, ValueId};
use wginfer::ops::elementwise::{Binary, Test, Unary, Where};
use wginfer::ops::movement::Transpose;
use wginfer::ops::reduce::{Reduce, Reduction};
use wginfer::{DType, Tensor};

/// Every test here, by name.
pub(super) const TESTS: &[(&str, fn())] = &[
    (
        "the_network_is_recognised_and_keeps_its_result",
        the_network_is_recognised_and_keeps_its_result,
    ),
    ("activations_are_recognised_in_every_order", activations_are_recognised_in_every_order),
    (
        "other_constants_and_other_readers_keep_the_primitives",
        other_constants_and_other_readers_keep_the_primitives,
    ),
    ("attention_is_recognised_in_every_spelling", attention_is_recognised_in_every_spelling),
    ("normalisations_are_recognised_in_every_spelling", normalisations_are_recognised),
    ("normalisations_with_other_readers_stay", normalisations_with_other_readers_stay),
    (
        "attention_whose_scores_are_read_stays_as_it_is",
        attention_whose_scores_are_read_stays_as_it_is,
    ),
];

const N: usize = 8;
const ROWS: usize = 6;

/// Builds a graph of one input x `[6, 8]` and one result.
fn graph(build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Graph {
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [ROWS.into(), N.into()]).unwrap();
    let y = build(&mut g, x);
    g.output("y", y).unwrap();
    g.finish().unwrap()
}

pub(super) fn input() -> Tensor {
    Tensor::from_f32(&[ROWS, N], &values(ROWS * N, 3)).unwrap()
}

fn number(g: &mut GraphBuilder, value: f64) -> ValueId {
    g.constant("number", Tensor::from_f32(&[], &[value as f32]).unwrap()).unwrap()
}

fn with(g: &mut GraphBuilder, op: Binary, x: ValueId, value: f64) -> ValueId {
    let number = number(g, value);
    g.binary(op, x, number).unwrap()
}

/// Everything one after another.
pub(super) fn network() -> Graph {
    graph(|g, x| {
        let y = norm(g, x, &Norm { centred: true, bias: true, ..Norm::default() });
        let y = gelu_erf(g, y, 0);
        let y = norm(g, y, &Norm::default());
        let y = silu(g, y);
        let y = hard_swish(g, y, true);
        attention(g, y, &Spelling::default())
    })
}

fn the_network_is_recognised_and_keeps_its_result() {
    let got = operators_of(network(), &["chain"]);
    let want =
        ["LayerNormalization", "Gelu", "RMSNormalization", "Swish", "HardSwish", "Attention"];
    let found: Vec<_> = got.iter().filter(|name| want.contains(&name.as_str())).collect();
    assert_eq!(found, want, "{got:?}");
    assert!(!got.iter().any(|name| name == "Softmax" || name == "Erf"), "{got:?}");
    compare(&network(), &input());
}

/// `x * (1 + erf(x / √2)) * 0.5` in the orders that exporters use.
fn gelu_erf(g: &mut GraphBuilder, x: ValueId, order: usize) -> ValueId {
    let scaled = match order {
        0 => with(g, Binary::Div, x, 2f64.sqrt()),
        _ => with(g, Binary::Mul, x, 0.5f64.sqrt()),
    };
    let erf = g.unary(Unary::Erf, scaled).unwrap();
    let one = with(g, Binary::Add, erf, 1.0);
    if order == 2 {
        let half = with(g, Binary::Mul, x, 0.5);
        return g.mul(half, one).unwrap();
    }
    let whole = g.mul(x, one).unwrap();
    with(g, Binary::Mul, whole, 0.5)
}

fn gelu_tanh(g: &mut GraphBuilder, x: ValueId, order: usize) -> ValueId {
    let cube = match order {
        0 => with(g, Binary::Pow, x, 3.0),
        _ => {
            let square = g.mul(x, x).unwrap();
            if order == 2 { square } else { g.mul(square, x).unwrap() }
        }
    };
    let small = with(g, Binary::Mul, cube, 0.044_715);
    let scale = (2.0 / std::f64::consts::PI).sqrt();
    let inner = if order == 2 {
        let bracket = with(g, Binary::Add, small, 1.0);
        let scaled = with(g, Binary::Mul, x, scale);
        g.mul(scaled, bracket).unwrap()
    } else {
        let sum = g.add(x, small).unwrap();
        with(g, Binary::Mul, sum, scale)
    };
    let tanh = g.unary(Unary::Tanh, inner).unwrap();
    let one = with(g, Binary::Add, tanh, 1.0);
    let half = with(g, Binary::Mul, x, 0.5);
    g.mul(half, one).unwrap()
}

fn silu(g: &mut GraphBuilder, x: ValueId) -> ValueId {
    let gate = g.unary(Unary::Sigmoid, x).unwrap();
    g.mul(x, gate).unwrap()
}

fn hard_swish(g: &mut GraphBuilder, x: ValueId, last: bool) -> ValueId {
    let shifted = with(g, Binary::Add, x, 3.0);
    let clipped = g.unary(Unary::Clip { min: 0.0, max: 6.0 }, shifted).unwrap();
    if last {
        let whole = g.mul(x, clipped).unwrap();
        return with(g, Binary::Div, whole, 6.0);
    }
    let part = with(g, Binary::Div, clipped, 6.0);
    g.mul(part, x).unwrap()
}

fn becomes(graph: &Graph, name: &str) {
    assert_eq!(operators_of(graph.clone(), &[]), [name]);
    compare(graph, &input());
}

fn activations_are_recognised_in_every_order() {
    for order in 0..3 {
        becomes(&graph(|g, x| gelu_erf(g, x, order)), "Gelu");
        becomes(&graph(|g, x| gelu_tanh(g, x, order)), "GeluTanh");
    }
    becomes(&graph(silu), "Swish");
    for last in [true, false] {
        becomes(&graph(|g, x| hard_swish(g, x, last)), "HardSwish");
    }
    let hard = graph(|g, x| {
        let gate = Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };
        let gate = g.unary(gate, x).unwrap();
        g.mul(gate, x).unwrap()
    });
    becomes(&hard, "HardSwish");
    let mish = graph(|g, x| {
        let soft = g.unary(Unary::Softplus, x).unwrap();
        let gate = g.unary(Unary::Tanh, soft).unwrap();
        g.mul(x, gate).unwrap()
    });
    becomes(&mish, "Mish");
}

fn other_constants_and_other_readers_keep_the_primitives() {
    let other = graph(|g, x| {
        let erf = g.unary(Unary::Erf, x).unwrap();
        let one = with(g, Binary::Add, erf, 1.0);
        let whole = g.mul(x, one).unwrap();
        with(g, Binary::Mul, whole, 0.5)
    });
    assert!(!operators_of(other.clone(), &[]).contains(&"Gelu".to_string()));
    compare(&other, &input());
    let mut g = GraphBuilder::new();
    let x = g.input("x", DType::F32, [ROWS.into(), N.into()]).unwrap();
    let gate = g.unary(Unary::Sigmoid, x).unwrap();
    let y = g.mul(x, gate).unwrap();
    g.output("y", y).unwrap();
    g.output("gate", gate).unwrap();
    let read = g.finish().unwrap();
    assert_eq!(operators_of(read, &[]), ["Sigmoid", "Mul"]);
}

/// How attention is written down.
#[derive(Debug, Clone, Copy, Default)]
struct Spelling {
    /// Heads of three dimensions instead of four.
    flat: bool,
    /// Q and K are scaled, not the scores.
    early: bool,
    mask: bool,
    /// K is transposed by the product.
    by_product: bool,
    /// The heads of the result stay in front.
    heads_first: bool,
    /// What is not a number among the weights becomes 0, as PyTorch writes it.
    guarded: bool,
    /// The scores are a result, too.
    read: bool,
}

/// Two heads of four over six tokens.
fn attention(g: &mut GraphBuilder, x: ValueId, how: &Spelling) -> ValueId {
    let mut projected = |salt: usize| {
        let w = Tensor::from_f32(&[N, N], &values(N * N, salt)).unwrap();
        let w = g.constant("w", w).unwrap();
        let y = g.linear(x, w, None).unwrap();
        let y = with(g, Binary::Mul, y, 0.2);
        if how.flat {
            g.reshape(y, &[1.into(), ROWS.into(), N.into()]).unwrap()
        } else {
            g.reshape(y, &[1.into(), ROWS.into(), 2.into(), 4.into()]).unwrap()
        }
    };
    let (q, k, v) = (projected(1), projected(2), projected(4));
    let turn = |g: &mut GraphBuilder, x: ValueId, order: &[usize]| {
        g.op1(Transpose { permutation: order.to_vec() }, &[x]).unwrap()
    };
    let (mut q, mut k, v) = if how.flat {
        let k = if how.by_product { k } else { turn(g, k, &[0, 2, 1]) };
        (q, k, v)
    } else {
        let order = if how.by_product { [0, 2, 1, 3] } else { [0, 2, 3, 1] };
        (turn(g, q, &[0, 2, 1, 3]), turn(g, k, &order), turn(g, v, &[0, 2, 1, 3]))
    };
    if how.early {
        q = with(g, Binary::Mul, q, 0.7);
        k = with(g, Binary::Mul, k, 0.7);
    }
    let product = wginfer::ops::matmul::MatMul { trans_b: how.by_product, ..Default::default() };
    let mut scores = g.matmul_with(product, q, k, None).unwrap();
    if !how.early {
        scores = with(g, Binary::Div, scores, 2.0);
    }
    if how.mask {
        let mask = Tensor::from_f32(&[ROWS, ROWS], &values(ROWS * ROWS, 7)).unwrap();
        let mask = g.constant("mask", mask).unwrap();
        scores = g.add(scores, mask).unwrap();
    }
    if how.read {
        g.output("scores", scores).unwrap();
    }
    let mut weights = g.softmax(scores, -1).unwrap();
    if how.guarded {
        let which = g.op1(Test::IsNaN, &[weights]).unwrap();
        let zero = g.constant("zero", Tensor::from_f32(&[], &[0.0]).unwrap()).unwrap();
        weights = g.op1(Where, &[which, zero, weights]).unwrap();
    }
    let mut y = g.matmul(weights, v).unwrap();
    if !how.flat && !how.heads_first {
        y = turn(g, y, &[0, 2, 1, 3]);
    }
    g.reshape(y, &[ROWS.into(), N.into()]).unwrap()
}

fn attention_is_recognised_in_every_spelling() {
    for bits in 0..64usize {
        let on = |bit: usize| bits >> bit & 1 == 1;
        let how = Spelling {
            flat: on(0),
            early: on(1),
            mask: on(2),
            by_product: on(3),
            heads_first: on(4),
            guarded: on(5),
            read: false,
        };
        let graph = graph(|g, x| attention(g, x, &how));
        let names = operators_of(graph.clone(), &[]);
        let count = |name: &str| names.iter().filter(|other| *other == name).count();
        assert_eq!((count("Attention"), count("Softmax")), (1, 0), "{how:?}: {names:?}");
        if !how.flat && !how.heads_first {
            // K and V still have their heads brought to the front, Q does not.
            assert_eq!(count("Transpose"), 2, "{how:?}: {names:?}");
        }
        compare(&graph, &input());
    }
}

fn attention_whose_scores_are_read_stays_as_it_is() {
    let how = Spelling { read: true, mask: true, ..Spelling::default() };
    let names = operators_of(graph(|g, x| attention(g, x, &how)), &[]);
    assert!(names.iter().any(|name| name == "Softmax"), "{names:?}");
    assert!(!names.iter().any(|name| name == "Attention"), "{names:?}");
}

/// How a normalisation is written down.
#[derive(Debug, Clone, Copy, Default)]
struct Norm {
    centred: bool,
    bias: bool,
    /// The square is a product.
    product: bool,
    /// 0: divided by the root; 1: times its reciprocal; 2: times 1 / root; 3: times
    /// the power -1/2.
    inverse: usize,
    /// The mean square is a result, too.
    read: bool,
}

fn norm(g: &mut GraphBuilder, x: ValueId, how: &Norm) -> ValueId {
    let mean = |g: &mut GraphBuilder, x: ValueId| {
        let op = Reduce { reduction: Reduction::Mean, axes: vec![-1], keepdims: true };
        g.op1(op, &[x]).unwrap()
    };
    let vector = |g: &mut GraphBuilder, salt: usize| {
        g.constant("vector", Tensor::from_f32(&[N], &values(N, salt)).unwrap()).unwrap()
    };
    let d = if how.centred {
        let mean = mean(g, x);
        g.sub(x, mean).unwrap()
    } else {
        x
    };
    let square = if how.product { g.mul(d, d).unwrap() } else { with(g, Binary::Pow, d, 2.0) };
    let square = mean(g, square);
    if how.read {
        g.output("square", square).unwrap();
    }
    let under = with(g, Binary::Add, square, 1e-3);
    let root = |g: &mut GraphBuilder| g.unary(Unary::Sqrt, under).unwrap();
    let normed = match how.inverse {
        0 => {
            let root = root(g);
            g.div(d, root).unwrap()
        }
        1 => {
            let root = root(g);
            let inverse = g.unary(Unary::Reciprocal, root).unwrap();
            g.mul(d, inverse).unwrap()
        }
        2 => {
            let (one, root) = (number(g, 1.0), root(g));
            let inverse = g.div(one, root).unwrap();
            g.mul(inverse, d).unwrap()
        }
        _ => {
            let inverse = with(g, Binary::Pow, under, -0.5);
            g.mul(d, inverse).unwrap()
        }
    };
    let scale = vector(g, 11);
    let scaled = g.mul(scale, normed).unwrap();
    if !how.bias {
        return scaled;
    }
    let bias = vector(g, 12);
    g.add(scaled, bias).unwrap()
}

fn normalisations_are_recognised() {
    for bits in 0..32usize {
        let on = |bit: usize| bits >> bit & 1 == 1;
        let how = Norm {
            centred: on(0),
            bias: on(0) && on(1),
            product: on(2),
            inverse: bits >> 3 & 3,
            read: false,
        };
        let name = if how.centred { "LayerNormalization" } else { "RMSNormalization" };
        becomes(&graph(|g, x| norm(g, x, &how)), name);
    }
}

fn normalisations_with_other_readers_stay() {
    for centred in [true, false] {
        let how = Norm { centred, read: true, ..Norm::default() };
        let names = operators_of(graph(|g, x| norm(g, x, &how)), &["chain"]);
        assert!(names.iter().any(|name| name == "Sqrt"), "{names:?}");
        assert!(!names.iter().any(|name| name.ends_with("Normalization")), "{names:?}");
    }
}
