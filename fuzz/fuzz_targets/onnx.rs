//! Bytes as an ONNX file: read, imported and, where it is small, run.
//!
//! An input that does not begin like a file becomes a small valid one, so no
//! corpus is needed to get beyond the first bytes.
#![no_main]

#[allow(dead_code, reason = "made for tests, which use all of it")]
#[path = "../../tests/onnx_import/build.rs"]
mod build;

use build::*;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::sync::LazyLock;
use wginfer::onnx::{Dimension, Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, ErrorKind, Result, Tensor};

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let body = net(
        vec![node("Gather", &["v", "order"], &["w"]), node("Identity", &["k"], &["go"])],
        vec![info("i", INT64, &[]), info("k", BOOL, &[]), info("v", FLOAT, &[D::N(3)])],
        &["go", "w", "w"],
        vec![wholes("order", &[3], &[1, 2, 0])],
    );
    let nodes = vec![
        with(node("Constant", &[], &["m"]), vec![tensor("value", wholes("", &[], &[3]))]),
        with(node("Loop", &["m", "yes", "x"], &["end", "all"]), vec![graph("body", body)]),
        with(node("Softmax", &["all"], &["p"]), vec![int("axis", 1)]),
        node("Shape", &["p"], &["s"]),
        node("Reshape", &["p", "s"], &["y"]),
    ];
    let inputs = vec![info("x", FLOAT, &[D::N(3)])];
    bytes(net(nodes, inputs, &["y", "end"], vec![truth("yes", true)]))
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    if !data[..size].starts_with(&VALID[..2]) && VALID.len() <= max_size {
        data[..VALID.len()].copy_from_slice(&VALID);
        return VALID.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|data: &[u8]| {
    if let Err(error) = read(data) {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    }
});

fn read(data: &[u8]) -> Result<()> {
    let model = Model::from_bytes("fuzzed.onnx", data.to_vec())?;
    let options = OnnxOptions { most_steps: 20, ..OnnxOptions::default() };
    let mut inputs = Vec::new();
    for info in model.inputs() {
        let extent = |dim: &Dimension| match dim {
            Dimension::Number(number) => (*number).min(4),
            _ => 2,
        };
        let extents: Vec<_> = info.dims.iter().flatten().map(extent).collect();
        if let Some(dtype) = info.dtype {
            let bytes = vec![0; dtype.bytes(&extents)?];
            inputs.push((info.name.clone(), Tensor::new(dtype, &extents, bytes)?));
        }
    }
    let given: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    OnnxSession::new(model, &Backend::Cpu, options)?.run_blocking(&given).map(|_| ())
}
