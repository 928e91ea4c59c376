//! Small exports with random weights (`scripts/make_onnx_models.py`), and models of
//! ONNX Runtime's own operators (`scripts/make_contrib_models.py`), on every
//! backend, compared with what ONNX Runtime makes of the same inputs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

#[path = "../support/mod.rs"]
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use support::backends::{self, Named};
use support::spared;
use wginfer::Backend;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::ops::RefTensor;
use wginfer::passes::PASSES;
use wginfer::{DType, Tensor};

/// The largest distance from the expected result, relative to its length.
const LARGEST: f64 = 1e-4;

/// A model of the table.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    model: String,
    inputs: Vec<Given>,
    outputs: Vec<Given>,
}

/// A tensor of the table; its elements are in the model's file of numbers.
#[derive(Debug, Clone, Deserialize)]
struct Given {
    name: String,
    dtype: String,
    extents: Vec<usize>,
}

/// The folders with tables.
const FOLDERS: [&str; 2] = ["onnx_models", "onnx_contrib"];

fn file(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder).join(name)
}

/// The entries of both tables, each with its folder.
fn entries() -> Vec<(&'static str, Entry)> {
    let read = |folder: &'static str| {
        let text = std::fs::read_to_string(file(folder, "models.json")).unwrap();
        let entries: Vec<Entry> = serde_json::from_str(&text).unwrap();
        entries.into_iter().map(move |entry| (folder, entry))
    };
    FOLDERS.into_iter().flat_map(read).collect()
}

fn main() {
    let arguments = Arguments::from_args();
    let entries = entries();
    let mut trials = Vec::new();
    for backend in backends::all() {
        for (folder, entry) in &entries {
            for fused in [true, false] {
                let (backend, folder, entry) = (backend.clone(), *folder, entry.clone());
                let passes = if fused { "" } else { ", no passes" };
                let title = format!("onnx_models::{}::{}{passes}", backend.name, entry.model);
                trials.push(Trial::test(title, move || run(&backend, folder, &entry, fused)));
            }
        }
    }
    for backend in backends::all().into_iter().filter(Named::is_gpu) {
        let title = format!("onnx_models::{}::memory", backend.name);
        trials.push(Trial::test(title, move || memory(&backend)));
    }
    backends::conclude(&arguments, trials);
}

/// No model takes more than its weights, what is alive at one time, and a little.
fn memory(backend: &Named) -> Result<(), Failed> {
    let Backend::Gpu(gpu) = &backend.backend else { return Err("no GPU".into()) };
    let mut over = Vec::new();
    for (folder, entry) in &entries() {
        let read = |ending: &str| std::fs::read(file(folder, &format!("{}.{ending}", entry.model)));
        let model = Model::from_bytes(&entry.model, read("onnx")?)?;
        let numbers = read("bin")?;
        let mut rest = &numbers[..];
        let given = entry.inputs.iter();
        let inputs: Vec<(&str, Tensor)> =
            given.map(|given| (given.name.as_str(), tensor(given, &mut rest))).collect();
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, t)| (*name, t)).collect();
        over.extend(spared::run(&entry.model, &model, gpu, &inputs)?.over);
    }
    spared::conclude(&over)
}

fn tensor(given: &Given, bytes: &mut &[u8]) -> Tensor {
    let dtype = match given.dtype.as_str() {
        "F32" => DType::F32,
        "I32" => DType::I32,
        "I64" => DType::I64,
        other => panic!("dtype {other}"),
    };
    let (own, rest) = bytes.split_at(dtype.bytes(&given.extents).unwrap());
    *bytes = rest;
    Tensor::new(dtype, &given.extents, own.to_vec()).unwrap()
}

fn run(backend: &Named, folder: &str, entry: &Entry, fused: bool) -> Result<(), Failed> {
    let read = |ending: &str| std::fs::read(file(folder, &format!("{}.{ending}", entry.model)));
    let model = Model::from_bytes(&entry.model, read("onnx")?)?;
    let mut options = OnnxOptions { gpu_only: backend.is_gpu(), ..OnnxOptions::default() };
    options.session.poison = true;
    if !fused {
        options.session.disabled_passes = PASSES.iter().map(|pass| pass.name.into()).collect();
    }
    let mut session = OnnxSession::new(model, &backend.backend, options)?;
    let numbers = read("bin")?;
    let mut rest = &numbers[..];
    let inputs: Vec<Tensor> = entry.inputs.iter().map(|given| tensor(given, &mut rest)).collect();
    let named: Vec<(&str, &Tensor)> =
        entry.inputs.iter().map(|given| given.name.as_str()).zip(&inputs).collect();
    let outputs = session.run_blocking(&named)?;
    assert_eq!(outputs.len(), entry.outputs.len());
    for ((name, got), given) in outputs.iter().zip(&entry.outputs) {
        let want = tensor(given, &mut rest);
        assert_eq!((name, got.extents()), (&given.name, want.extents()));
        if want.dtype() != DType::F32 {
            // Whole numbers and codes are the same, every one.
            if got.dtype() != want.dtype() || got.bytes()[..] != want.bytes()[..] {
                let (got, want) = (RefTensor::from_tensor(got)?, RefTensor::from_tensor(&want)?);
                return Err(format!("{name} is {got:?}, not {want:?}").into());
            }
            continue;
        }
        let distance = distance(&got.to_f32()?, &want.to_f32()?);
        if distance.is_nan() || distance > LARGEST {
            return Err(format!("{name} is {distance:e} from ONNX Runtime's").into());
        }
    }
    assert!(rest.is_empty(), "numbers are left");
    assert_eq!(session.counters().dispatches > 0, backend.is_gpu());
    Ok(())
}

/// The length of the difference relative to that of what is wanted.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w));
    length(&mut { pairs }) / length(&mut want.iter().map(|&w| f64::from(w)))
}
