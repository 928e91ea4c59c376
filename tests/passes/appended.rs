//! Rotation, caches and projections of an attention as one node and one product.

use super::support::backends::Named;
use super::{operators_of, values};
use libtest_mimic::Failed;
use wginfer::exec::Reference;
use wginfer::graph::{Bindings, Dim, Graph, GraphBuilder, ValueId};
use wginfer::ops::attention::Attention;
use wginfer::ops::elementwise::Unary;
use wginfer::ops::rotary::RotaryEmbedding;
use wginfer::{DType, Session, SessionOptions, Tensor};

pub(super) const TESTS: &[(&str, fn())] = &[
    ("projections_and_caches_become_two_nodes", two_nodes),
    ("weights_of_other_types_stay_apart", other_types),
    ("what_others_read_or_does_not_fit_stays", what_stays),
];

const WIDTH: usize = 32;
const HEADS: usize = 4;
const GROUPS: usize = 2;
const CAPACITY: u64 = 6;

/// What an attention is built of.
#[derive(Clone, Copy)]
struct How {
    /// Types of the weights of queries, keys and values.
    types: [DType; 3],
    biased: [bool; 3],
    /// The size of a head.
    size: usize,
    /// The keys are turned by other positions.
    apart: bool,
    /// The turned queries are a result.
    shown: bool,
    /// Heads of queries and keys are normalised.
    normed: bool,
    /// Tokens of all sequences are in one row, from which they are taken.
    gathered: bool,
    cache: DType,
}

const PLAIN: How = How {
    types: [DType::F32; 3],
    biased: [false; 3],
    size: 8,
    apart: false,
    shown: false,
    normed: false,
    gathered: false,
    cache: DType::F16,
};

fn tensor(dtype: DType, extents: &[usize], salt: usize) -> Tensor {
    let all = values(extents.iter().product(), salt);
    match dtype {
        DType::F16 => Tensor::from_f16(extents, &all).unwrap(),
        _ => Tensor::from_f32(extents, &all).unwrap(),
    }
}

/// One head size per part: queries, keys, values.
fn heads(g: &mut GraphBuilder, how: &How, x: ValueId, part: usize) -> ValueId {
    let count = [HEADS, GROUPS, GROUPS][part];
    let rows = count * how.size;
    let weight = tensor(how.types[part], &[rows, WIDTH], part + 1);
    let weight = g.constant(&format!("w{part}"), weight).unwrap();
    let bias = how.biased[part].then(|| tensor(DType::F32, &[rows], part + 5));
    let bias = bias.map(|bias| g.constant(&format!("b{part}"), bias).unwrap());
    let y = g.linear(x, weight, bias).unwrap();
    let shape = g.ty(x).shape.clone();
    let shape = [shape[0].clone(), shape[1].clone(), Dim::from(count), Dim::from(how.size)];
    g.reshape(y, &shape).unwrap()
}

/// Heads `[1, T, heads, size]` at rows `[2, Q]`.
fn at_rows(g: &mut GraphBuilder, x: ValueId, rows: ValueId) -> ValueId {
    let shape = g.ty(x).shape.clone();
    let joined = g.reshape(x, &[shape[1].clone(), Dim::product(&shape[2..])]).unwrap();
    let taken = g.gather(joined, rows, 0).unwrap();
    let index = g.ty(rows).shape.clone();
    let heads = [index[0].clone(), index[1].clone(), shape[2].clone(), shape[3].clone()];
    g.reshape(taken, &heads).unwrap()
}

fn graph(how: How) -> Graph {
    let mut g = GraphBuilder::new();
    let (batch, query) = (Dim::from(2usize), Dim::from(g.symbol("query")));
    let tokens = match how.gathered {
        true => [Dim::from(1usize), Dim::from(g.symbol("tokens"))],
        false => [batch.clone(), query.clone()],
    };
    let input = [tokens[0].clone(), tokens[1].clone(), WIDTH.into()];
    let x = g.input("x", DType::F32, input).unwrap();
    let positions = g.input("positions", DType::I32, tokens).unwrap();
    let past = g.input("past", DType::I32, [batch.clone()]).unwrap();
    let mut rows = None;
    if how.gathered {
        let shape = [batch.clone(), query];
        let queries = g.input("queries", DType::I32, shape.clone()).unwrap();
        rows = Some((queries, g.input("new", DType::I32, shape).unwrap()));
    }
    let [mut q, mut k, mut v] = [0, 1, 2].map(|part| heads(&mut g, &how, x, part));
    if how.normed {
        let norm = |g: &mut GraphBuilder, name: &str, x, salt| {
            let scale = g.constant(name, tensor(DType::F32, &[how.size], salt)).unwrap();
            g.rms_normalization(x, scale, 1e-5).unwrap()
        };
        (q, k) = (norm(&mut g, "q norm", q, 14), norm(&mut g, "k norm", k, 15));
    }
    let table = |g: &mut GraphBuilder, name: &str, salt| {
        g.constant(name, tensor(DType::F32, &[9, how.size / 2], salt)).unwrap()
    };
    let (cos, sin) = (table(&mut g, "cos", 11), table(&mut g, "sin", 12));
    let op = RotaryEmbedding { interleaved: false, rotary_dim: how.size };
    q = g.rotary_embedding(op, q, cos, sin, positions).unwrap();
    let others = match how.apart {
        true => g.unary(Unary::Abs, positions).unwrap(),
        false => positions,
    };
    k = g.rotary_embedding(op, k, cos, sin, others).unwrap();
    if let Some((queries, new)) = rows {
        (k, v) = (at_rows(&mut g, k, new), at_rows(&mut g, v, new));
        q = at_rows(&mut g, q, queries);
    }
    let shape = [batch, Dim::from(GROUPS), CAPACITY.into(), Dim::from(how.size)];
    let keys = g.state("keys", how.cache, shape.clone(), Some(2)).unwrap();
    let keys = g.tensor_scatter_inside(keys, k, past).unwrap();
    let cache = g.state("values", how.cache, shape, Some(2)).unwrap();
    let cache = g.tensor_scatter_inside(cache, v, past).unwrap();
    let mixed = g.attention(Attention::default(), (q, keys, cache), past, [None, None]).unwrap();
    g.output("mixed", mixed).unwrap();
    if how.shown {
        g.output("turned", q).unwrap();
    }
    g.finish().unwrap()
}

/// One with all that is fused.
pub(super) fn network() -> Graph {
    graph(PLAIN)
}

fn two_nodes() {
    assert_eq!(operators_of(graph(PLAIN), &[]), ["MatMul", "RotaryScatter", "Attention"]);
    let biased = How { biased: [true; 3], ..PLAIN };
    assert_eq!(operators_of(graph(biased), &[]), ["MatMul", "RotaryScatter", "Attention"]);
    for more in [
        How { normed: true, ..PLAIN },
        How { gathered: true, ..PLAIN },
        How { normed: true, gathered: true, ..PLAIN },
    ] {
        assert_eq!(operators_of(graph(more), &[]), ["MatMul", "RotaryScatter", "Attention"]);
    }
    // Heads that are too large to be normalised there are so before.
    let large = How { normed: true, size: 260, ..PLAIN };
    let left = ["MatMul", "MatMul", "MatMul", "RMSNormalization", "RMSNormalization"];
    let left: Vec<_> = left.into_iter().chain(["RotaryScatter", "Attention"]).collect();
    let mut got = operators_of(graph(large), &[]);
    got.retain(|name| name != "Reshape");
    got.sort_by_key(|name| left.iter().position(|other| other == name));
    assert_eq!(got, left);
    let apart = operators_of(graph(PLAIN), &["projections"]);
    assert_eq!(apart, ["MatMul", "MatMul", "MatMul", "RotaryScatter", "Attention"]);
    assert!(!operators_of(graph(PLAIN), &["append"]).contains(&"RotaryScatter".to_string()));
}

fn other_types() {
    for (types, products) in [
        ([DType::F32, DType::F32, DType::F16], 2),
        ([DType::F16, DType::F32, DType::F32], 2),
        ([DType::F32, DType::F16, DType::F32], 3),
    ] {
        let left = operators_of(graph(How { types, ..PLAIN }), &[]);
        assert_eq!(left.iter().filter(|name| *name == "MatMul").count(), products, "{types:?}");
        assert!(left.contains(&"RotaryScatter".to_string()));
    }
    let one_biased = operators_of(graph(How { biased: [true, true, false], ..PLAIN }), &[]);
    assert_eq!(one_biased.iter().filter(|name| *name == "MatMul").count(), 2);
}

fn what_stays() {
    for how in [
        How { apart: true, ..PLAIN },
        How { shown: true, ..PLAIN },
        // Half a head is no whole number of pairs of cells.
        How { size: 6, ..PLAIN },
    ] {
        let left = operators_of(graph(how), &[]);
        assert!(!left.contains(&"RotaryScatter".to_string()), "{left:?}");
        assert_eq!(left.iter().filter(|name| *name == "MatMul").count(), 3);
    }
}

/// Texts of three, one and two tokens for two sequences, one behind the other: as the
/// unfused graph has them in f64.
pub(super) fn same_with_caches(backend: &Named) -> Result<(), Failed> {
    let types = [DType::F32, DType::F32, DType::F16];
    let wide = How { cache: DType::F32, ..PLAIN };
    for how in [
        PLAIN,
        wide,
        How { biased: [true; 3], ..wide },
        How { types, biased: [true, true, false], ..wide },
        How { types: [DType::F16, DType::F32, DType::F32], ..wide },
        How { normed: true, ..wide },
        How { gathered: true, ..wide },
        How { normed: true, gathered: true, cache: DType::F16, ..PLAIN },
    ] {
        let unfused = graph(how);
        let mut reference = Reference::new(&unfused, Bindings::new(2))?;
        let options = SessionOptions { poison: true, ..SessionOptions::default() };
        let mut session = Session::new_blocking(graph(how), &backend.backend, options)?;
        for (query, past) in [(3usize, [0, 1]), (1, [3, 4]), (2, [4, 2])] {
            // A text of each sequence, or some tokens more than one of them has.
            let tokens = if how.gathered { [1, query + 2] } else { [2, query] };
            let x = values(tokens[0] * tokens[1] * WIDTH, query + 20);
            let position = |at: usize| match how.gathered {
                true => (7 * at % 9) as i32,
                false => past[at / query] + (at % query) as i32,
            };
            let positions: Vec<i32> = (0..tokens[0] * tokens[1]).map(position).collect();
            let row = |at: usize| (at * 2 + query) as i32 % (query + 2) as i32;
            let rows: Vec<i32> = (0..2 * query).map(row).collect();
            let x = Tensor::from_f32(&[tokens[0], tokens[1], WIDTH], &x)?;
            let positions = Tensor::from_i32(&tokens, &positions)?;
            let past = Tensor::from_i32(&[2], &past)?;
            let queries = Tensor::from_i32(&[2, query], &rows)?;
            let new: Vec<i32> = rows.into_iter().rev().collect();
            let new = Tensor::from_i32(&[2, query], &new)?;
            let mut given = vec![("x", &x), ("positions", &positions), ("past", &past)];
            if how.gathered {
                given.extend([("queries", &queries), ("new", &new)]);
            }
            let want = reference.run(&given)?[0].1.reals()?.to_vec();
            let got = session.run_blocking(&given)?[0].1.to_f32()?;
            near(&got, &want, how.cache)?;
        }
    }
    Ok(())
}

/// Sums of `WIDTH` products and of keys by `size` of them go through a softmax whose
/// scores are below 100: that many roundings of a number near the largest result.
/// A cache of F16 rounds what goes in.
fn near(got: &[f32], want: &[f64], cache: DType) -> Result<(), Failed> {
    let most = want.iter().fold(0f64, |most, value| most.max(value.abs()));
    if most < 0.1 || got.len() != want.len() {
        return Err(format!("{} results of {}, the largest {most}", got.len(), want.len()).into());
    }
    let unit = match cache {
        DType::F16 => f64::powi(2.0, -11),
        _ => f64::powi(2.0, -24),
    };
    let tolerance = 100.0 * unit * most;
    for (got, want) in got.iter().zip(want) {
        if (f64::from(*got) - want).abs() > tolerance || got.is_nan() {
            return Err(format!("{got} for {want}, at most {tolerance} off").into());
        }
    }
    Ok(())
}
