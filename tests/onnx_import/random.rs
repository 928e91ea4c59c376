//! Nodes that draw at random.

use super::build::*;
use super::support::backends::Named;
use libtest_mimic::Failed;
use wginfer::formats::onnx::proto::GraphProto;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, DType, Tensor};

fn seeded(backend: &Backend, graph: GraphProto, seed: Option<u64>) -> OnnxSession {
    let model = Model::from_bytes("test.onnx", bytes(graph)).unwrap();
    let options = OnnxOptions { seed, ..OnnxOptions::default() };
    OnnxSession::new(model, backend, options).unwrap()
}

fn run(session: &mut OnnxSession, inputs: &[(&str, &Tensor)]) -> Vec<Vec<f32>> {
    let outputs = session.run_blocking(inputs).unwrap();
    outputs.iter().map(|(_, tensor)| tensor.to_f32().unwrap()).collect()
}

/// `y` is `x` with noise, `z` the noise of another node.
fn noisy(attributes: Vec<wginfer::formats::onnx::proto::AttributeProto>) -> GraphProto {
    let nodes = vec![
        with(node("RandomNormalLike", &["x"], &["noise"]), attributes),
        node("Add", &["x", "noise"], &["y"]),
        with(node("RandomUniform", &[], &["other"]), vec![ints("shape", &[64])]),
        node("Add", &["other", "x"], &["z"]),
    ];
    net(nodes, vec![info("x", FLOAT, &[D::Any])], &["y", "z"], vec![])
}

pub fn runs(backend: &Named) -> Result<(), Failed> {
    let x = Tensor::from_f32(&[64], &[0.0; 64])?;
    let mut session = seeded(&backend.backend, noisy(vec![float("scale", 2.0)]), None);
    let first = run(&mut session, &[("x", &x)]);
    let second = run(&mut session, &[("x", &x)]);
    assert_eq!((session.counters().stages, session.counters().plans), (1, 1));
    assert!(first[0] != second[0] && first[1] != second[1]);
    assert_ne!(first[0], first[1]);
    // A node's own seed makes that node alike, and no other one.
    let graph = || noisy(vec![float("seed", 3.5)]);
    let first = run(&mut seeded(&backend.backend, graph(), None), &[("x", &x)]);
    let second = run(&mut seeded(&backend.backend, graph(), None), &[("x", &x)]);
    assert!(first[0] == second[0] && first[1] != second[1]);
    Ok(())
}

pub fn seeds(backend: &Named) -> Result<(), Failed> {
    let x = Tensor::from_f32(&[64], &super::values(64))?;
    let mut here = seeded(&backend.backend, noisy(vec![]), Some(9));
    let mut cpu = seeded(&Backend::Cpu, noisy(vec![]), Some(9));
    let first = run(&mut here, &[("x", &x)]);
    assert_eq!(first, run(&mut here, &[("x", &x)]));
    assert_eq!(first, run(&mut cpu, &[("x", &x)]));
    let other = run(&mut seeded(&backend.backend, noisy(vec![]), Some(10)), &[("x", &x)]);
    assert_ne!(first, other);
    Ok(())
}

/// A loop whose iterations each give what a node draws: in one graph, or each a
/// stage of its own because its end is computed.
fn drawing(known: bool) -> GraphProto {
    let body = vec![
        with(node("RandomUniform", &[], &["drawn"]), vec![ints("shape", &[4])]),
        node("Add", &["drawn", "zero"], &["given"]),
        node("Identity", &["go"], &["on"]),
        node("Add", &["state", "given"], &["sum"]),
    ];
    let body = net(
        body,
        vec![info("i", INT64, &[]), info("go", BOOL, &[]), info("state", FLOAT, &[D::N(4)])],
        &["on", "sum", "given"],
        vec![],
    );
    let mut nodes = vec![
        node("Less", &["small", "large"], &["start"]),
        with(
            node("Loop", &["trip", if known { "" } else { "start" }, "zero"], &["all", "each"]),
            vec![graph("body", body)],
        ),
    ];
    if known {
        nodes.remove(0);
    }
    let constants = vec![wholes("trip", &[], &[6]), floats("zero", &[4], &[0.0; 4])];
    let inputs = vec![info("small", FLOAT, &[]), info("large", FLOAT, &[])];
    net(nodes, inputs, &["all", "each"], constants)
}

pub fn loops(backend: &Named) -> Result<(), Failed> {
    let (small, large) = (Tensor::from_f32(&[], &[1.0])?, Tensor::from_f32(&[], &[2.0])?);
    let inputs = [("small", &small), ("large", &large)];
    for known in [true, false] {
        let mut session = seeded(&backend.backend, drawing(known), Some(1));
        let outputs = run(&mut session, &inputs);
        let rows: Vec<&[f32]> = outputs[1].chunks(4).collect();
        assert_eq!(rows.len(), 6);
        for (at, row) in rows.iter().enumerate() {
            assert!(!rows[..at].contains(row), "{rows:?}");
        }
        let sum: Vec<f32> = (0..4).map(|i| rows.iter().map(|row| row[i]).sum()).collect();
        super::close(&outputs[0], &sum);
        assert_eq!(outputs, run(&mut session, &inputs));
        // The iterations draw the same, whichever way they are run.
        let other = run(&mut seeded(&Backend::Cpu, drawing(!known), Some(1)), &inputs);
        super::close(&outputs[1], &other[1]);
    }
    Ok(())
}

/// A result that is drawn and nothing else, and one that decides a shape.
pub fn results(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        with(node("RandomNormal", &[], &["drawn"]), vec![ints("shape", &[3, 5])]),
        node("Greater", &["drawn", "zero"], &["above"]),
        node("NonZero", &["above"], &["places"]),
        node("Identity", &["drawn"], &["same"]),
    ];
    let constants = vec![floats("zero", &[], &[0.0])];
    let graph = net(nodes, vec![], &["drawn", "places", "same"], constants);
    let mut session = seeded(&backend.backend, graph, None);
    for _ in 0..4 {
        let outputs = session.run_blocking(&[])?;
        let drawn = outputs[0].1.to_f32()?;
        assert_eq!(outputs[0].1.extents(), [3, 5]);
        let above = drawn.iter().filter(|&&v| v > 0.0).count();
        assert_eq!(outputs[1].1.extents(), [2, above]);
        assert_eq!(outputs[2].1.to_f32()?, drawn);
    }
    Ok(())
}

/// How often each whole number occurs.
fn counts(tensor: &Tensor, classes: usize) -> Vec<f64> {
    let mut counts = vec![0.0; classes];
    for &bytes in tensor.bytes().as_chunks::<4>().0 {
        counts[i32::from_le_bytes(bytes) as usize] += 1.0;
    }
    counts
}

/// Pearson's statistic; above the limit once in a thousand times.
fn fits(counts: &[f64], chances: &[f64], limit: f64) {
    let total: f64 = counts.iter().sum();
    let off = counts.iter().zip(chances).map(|(n, p)| (n - p * total).powi(2) / (p * total));
    let chi: f64 = off.sum();
    assert!(chi < limit, "{counts:?} do not fit {chances:?}: {chi}");
}

pub fn chances(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        with(node("Bernoulli", &["p"], &["hits"]), vec![int("dtype", 6)]),
        with(node("Multinomial", &["logits"], &["classes"]), vec![int("sample_size", 20_000)]),
        node("Dropout", &["x", "ratio", "training"], &["dropped", "mask"]),
    ];
    let inputs = vec![
        info("p", FLOAT, &[D::Any]),
        info("logits", FLOAT, &[D::Any, D::Any]),
        info("x", FLOAT, &[D::Any]),
    ];
    let constants = vec![floats("ratio", &[], &[0.25]), truth("training", true)];
    let outputs = ["hits", "classes", "dropped", "mask"];
    let mut session = seeded(&backend.backend, net(nodes, inputs, &outputs, constants), Some(5));
    let p = [vec![0.0; 10], vec![0.3; 20_000], vec![1.0; 10]].concat();
    let p = Tensor::from_f32(&[p.len()], &p)?;
    let wanted = [0.1f64, 0.0, 0.6, 0.3];
    let logits: Vec<f32> = wanted.iter().map(|p| p.ln() as f32 + 2.0).collect();
    let logits = Tensor::from_f32(&[2, 4], &[&logits[..], &[0.0; 4]].concat())?;
    let x = Tensor::from_f32(&[20_000], &[3.0; 20_000])?;
    let outputs = session.run_blocking(&[("p", &p), ("logits", &logits), ("x", &x)])?;
    let hits = &outputs[0].1;
    assert_eq!(hits.dtype(), DType::I32);
    let bytes: &[u8] = hits.bytes();
    assert!(bytes[..40].iter().all(|&b| b == 0));
    assert!(bytes[bytes.len() - 40..].as_chunks::<4>().0.iter().all(|b| *b == [1, 0, 0, 0]));
    let middle = Tensor::new(DType::I32, &[20_000], bytes[40..bytes.len() - 40].to_vec())?;
    fits(&counts(&middle, 2), &[0.7, 0.3], 10.83);
    let classes = &outputs[1].1;
    assert_eq!(classes.extents(), [2, 20_000]);
    let (first, second) = classes.bytes().split_at(80_000);
    let row = |bytes: &[u8]| Tensor::new(DType::I32, &[20_000], bytes.to_vec());
    let found = counts(&row(first)?, 4);
    assert_eq!(found[1], 0.0);
    fits(&[found[0], found[2], found[3]], &[0.1, 0.6, 0.3], 13.82);
    fits(&counts(&row(second)?, 4), &[0.25; 4], 16.27);
    let (dropped, mask) = (outputs[2].1.to_f32()?, &outputs[3].1);
    let kept: Vec<bool> = mask.bytes().iter().map(|&b| b != 0).collect();
    for (value, kept) in dropped.iter().zip(&kept) {
        assert!(if *kept { (value - 4.0).abs() < 1e-5 } else { *value == 0.0 });
    }
    let kept = kept.iter().filter(|&&kept| kept).count() as f64;
    fits(&[20_000.0 - kept, kept], &[0.25, 0.75], 10.83);
    Ok(())
}
