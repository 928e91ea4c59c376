//! Memory of weights, and models on two backends.

use super::build::*;
use super::support::backends::Named;
use super::{close, softmax, values};
use libtest_mimic::Failed;
use wginfer::gpu::Purpose;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, DType, ErrorKind, Tensor};

/// Rows of a table, and of the same table turned, which is folded.
pub fn weights_are_shared(backend: &Named) -> Result<(), Failed> {
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(()) };
    // Other tests hold memory of the shared device.
    let gpu = pollster::block_on(gpu.reopen())?;
    let nodes = vec![
        with(node("Transpose", &["table"], &["turned"]), vec![ints("perm", &[1, 0])]),
        node("Gather", &["table", "at"], &["y"]),
        node("Gather", &["turned", "at"], &["z"]),
    ];
    let table = values(64 * 64);
    let graph = net(
        nodes,
        vec![info("at", INT64, &[D::S("n")])],
        &["y", "z"],
        vec![floats("table", &[64, 64], &table)],
    );
    let model = Model::from_bytes("test.onnx", bytes(graph))?;
    let mut session = OnnxSession::new(model, &Backend::Gpu(gpu.clone()), OnnxOptions::default())?;
    let mut run = |count: usize| -> Result<u64, Failed> {
        let at: Vec<u8> = (0..count as i64).flat_map(|at| (at * 3).to_le_bytes()).collect();
        let outputs = session.run_blocking(&[("at", &Tensor::new(DType::I64, &[count], at)?)])?;
        let expected: Vec<f32> =
            (0..count).flat_map(|at| table[at * 3 * 64..][..64].to_vec()).collect();
        close(&outputs[0].1.to_f32()?, &expected);
        let turned: Vec<f32> = (0..count)
            .flat_map(|at| (0..64).map(|i| table[i * 64 + at * 3]).collect::<Vec<_>>())
            .collect();
        close(&outputs[1].1.to_f32()?, &turned);
        Ok(gpu.memory().current(Purpose::Weights))
    };
    let first = run(3)?;
    assert_eq!(first, 2 * 64 * 64 * 4);
    for count in [5, 1, 3] {
        assert_eq!(run(count)?, first);
    }
    drop(session);
    assert_eq!(gpu.memory().current(Purpose::Weights), 0);
    Ok(())
}

pub fn forced_nodes(backend: &Named) -> Result<(), Failed> {
    let turn = || vec![ints("perm", &[1, 0])];
    let nodes = vec![
        node("Softmax", &["x"], &["a"]),
        with(node("Transpose", &["a"], &["b"]), turn()),
        node("Softmax", &["b"], &["c"]),
        with(node("Transpose", &["x"], &["d"]), turn()),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(2), D::N(3)])];
    let graph = net(nodes, inputs, &["c", "d", "a"], vec![]);
    let x = values(6);
    let input = Tensor::from_f32(&[2, 3], &x)?;
    let turned = |x: &[f32]| [0, 3, 1, 4, 2, 5].iter().map(|&i| x[i]).collect::<Vec<_>>();
    let model = Model::from_bytes("test.onnx", bytes(graph))?;
    let options =
        OnnxOptions { force_cpu: ["Transpose_b".to_string()].into(), ..OnnxOptions::default() };
    let mut session = OnnxSession::new(model.clone(), &backend.backend, options.clone())?;
    let outputs = session.run_blocking(&[("x", &input)])?;
    let a = softmax(&x, 3);
    close(&outputs[0].1.to_f32()?, &softmax(&turned(&a), 2));
    close(&outputs[1].1.to_f32()?, &turned(&x));
    close(&outputs[2].1.to_f32()?, &a);
    let report = session.report().fallbacks;
    let options = OnnxOptions { gpu_only: true, ..options };
    let mut strict = OnnxSession::new(model, &backend.backend, options)?;
    if !backend.is_gpu() {
        assert!(report.is_empty());
        strict.run_blocking(&[("x", &input)])?;
        return Ok(());
    }
    let [fallback] = report.as_slice() else { panic!("{report:?}") };
    assert_eq!((fallback.node.as_str(), fallback.bytes), ("Transpose_b", 2 * 6 * 4));
    let error = strict.run_blocking(&[("x", &input)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("Transpose_b"), "{error}");
    Ok(())
}

/// A number of 64 bits stays one where it is a constant: the node that reads it goes
/// to the CPU, and says so.
pub fn wide_constants(backend: &Named) -> Result<(), Failed> {
    let nodes = vec![
        node("Cast", &["x"], &["which"]),
        node("Where", &["which", "most", "small"], &["y"]),
        node("Neg", &["x"], &["z"]),
    ];
    let mut nodes = nodes;
    nodes[0] = with(nodes[0].clone(), vec![int("to", BOOL.into())]);
    let inputs = vec![info("x", FLOAT, &[D::N(3)])];
    let constants = vec![wholes("most", &[], &[i64::MAX]), wholes("small", &[3], &[1, 2, 3])];
    let graph = net(nodes, inputs, &["y", "z"], constants);
    let model = Model::from_bytes("test.onnx", bytes(graph))?;
    let mut session = OnnxSession::new(model, &backend.backend, OnnxOptions::default())?;
    let x = Tensor::from_f32(&[3], &[0.0, 1.0, 0.0])?;
    let outputs = session.run_blocking(&[("x", &x)])?;
    let y: Vec<i64> = outputs[0]
        .1
        .bytes()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(y, [1, i64::MAX, 3]);
    close(&outputs[1].1.to_f32()?, &[0.0, -1.0, 0.0]);
    let fallbacks = session.report().fallbacks;
    let nodes: Vec<_> = fallbacks.iter().map(|fallback| fallback.node.as_str()).collect();
    assert_eq!(nodes, if backend.is_gpu() { vec!["Where_y"] } else { vec![] });
    Ok(())
}
