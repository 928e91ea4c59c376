//! `wginfer inspect` and `wginfer visualize` on ONNX models.

use crate::assert_fits;
use crate::build::{D, FLOAT, bytes, info, ints, net, node, with};
use crate::start::{Run, wginfer};
use std::path::{Path, PathBuf};

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_models").join(name)
}

/// The picture that a model is given has other extents than 1.
const SIZE: [&str; 4] = ["--dim", "height=12", "--dim", "width=20"];

fn on(command: &str, path: &Path, options: &[&str]) -> Run {
    let mut arguments = vec![command, path.to_str().unwrap()];
    arguments.extend(options);
    wginfer(&arguments).run()
}

#[test]
fn a_network_is_described() {
    let path = model("mobilenet_block.onnx");
    let run = on("inspect", &path, &["--tensors", "--metadata"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for word in ["ONNX, IR version", "ai.onnx 17", "Inputs", "Operators", "Conv", "GPU", "F32["] {
        assert!(run.stdout.contains(word), "no {word}: {}", run.stdout);
    }
    assert!(run.stdout.contains("This model can be run."), "{run:?}");
    assert_fits(run.stdout.split_once('\n').unwrap().1);
}

#[test]
fn the_description_of_a_network_adds_up() {
    let path = model("mobilenet_block.onnx");
    let report = on("inspect", &path, &["--json", "--tensors"]).json();
    assert_eq!(report["format"]["name"], "onnx");
    assert_eq!(report["bytes"], std::fs::metadata(&path).unwrap().len());
    assert_eq!(report["runnable"], true);
    let sum = |list: &str, key: &str| -> u64 {
        let rows = report[list].as_array().unwrap().iter();
        rows.map(|row| row[key].as_u64().unwrap()).sum()
    };
    assert_eq!(report["parameters"], sum("types", "parameters"));
    assert_eq!(report["parameter_bytes"], sum("tensors", "bytes"));
    assert_eq!(report["nodes"], sum("operators", "nodes"));
    let fates = ["gpu", "cpu", "gone", "open", "refused"];
    let all: u64 = fates.iter().map(|fate| sum("operators", fate)).sum();
    assert_eq!(report["nodes"], all);
    assert!(sum("operators", "gpu") > 0 && sum("operators", "refused") == 0);
}

#[test]
fn what_a_network_needs_and_nobody_has_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // Named neither .onnx nor .gguf: its content decides.
    let path = folder.path().join("model.bin");
    let nodes = vec![node("Neg", &["x"], &["minus"]), node("Wonder", &["minus"], &["y"])];
    let inputs = vec![info("x", FLOAT, &[D::S("batch"), D::N(3)])];
    std::fs::write(&path, bytes(net(nodes, inputs, &["y"], vec![]))).unwrap();
    let run = on("inspect", &path, &[]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("F32[batch, 3]") && run.stdout.contains("refused"), "{run:?}");
    let says = |text: &str| text.contains("cannot be run");
    assert!(says(&run.stdout) && says(&run.stderr), "{run:?}");
    let report = on("inspect", &path, &["--json", "--dim", "batch=5"]).json_with(1);
    assert_eq!(report["runnable"], false);
    assert_eq!(report["tried_with"][0], "x = F32[5, 3]");
    assert!(report["problems"][0].as_str().unwrap().contains("Wonder"), "{report}");
    let operators = report["operators"].as_array().unwrap();
    let wonder = operators.iter().find(|row| row["operator"] == "Wonder").unwrap();
    assert_eq!(wonder["refused"], 1);
}

#[test]
fn a_broken_network_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(model("mobilenet_block.onnx")).unwrap();
    for length in [1, 100, whole.len() / 2, whole.len() - 1] {
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, &whole[..length]).unwrap();
        for command in ["inspect", "visualize"] {
            let run = on(command, &path, &[]);
            assert!(run.error().contains("model.onnx"), "{length}: {run:?}");
        }
    }
}

#[test]
fn layers_become_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("layers.png");
    let options = ["--adapter", "cpu", "--json", "--output", picture.to_str().unwrap()];
    let options = [&options[..], &SIZE].concat();
    let report = on("visualize", &model("mobilenet_block.onnx"), &options).json();
    let drawn = image::open(&picture).unwrap();
    assert_eq!(report["width"], drawn.width());
    assert_eq!(report["height"], drawn.height());
    let layers = report["layers"].as_array().unwrap();
    assert_eq!(layers[0]["operator"], "input");
    assert!(layers.len() > 1 && layers[1..].iter().all(|layer| layer["operator"] == "Conv"));
}

/// A layer that is also an output has the values that a run gives.
#[test]
fn what_is_shown_is_what_is_computed() {
    let path = model("mobilenet_block.onnx");
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("layers.png");
    let same = [&["--adapter", "cpu", "--json", "--seed", "7"][..], &SIZE].concat();
    let run = on("run", &path, &same).json();
    let output = &run["outputs"][0];
    let name = output["name"].as_str().unwrap();
    let options = [&same[..], &["--layers", name, "--output", picture.to_str().unwrap()]].concat();
    let shown = on("visualize", &path, &options).json();
    let layer = shown["layers"].as_array().unwrap().iter().find(|l| l["value"] == name).unwrap();
    assert_eq!(layer["extents"], output["extents"]);
    for end in ["min", "max"] {
        let [a, b] = [layer, output].map(|value| value[end].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1e-3), "{end}: {a} and {b}");
    }
}

#[test]
fn layers_are_listed_and_named() {
    let path = model("mobilenet_block.onnx");
    let list = on("visualize", &path, &["--list", "--json"]).json();
    let layers = list["layers"].as_array().unwrap();
    assert!(layers.len() > 10, "{list}");
    let run = on("visualize", &path, &["--list"]);
    for layer in layers {
        assert!(run.stdout.contains(layer["value"].as_str().unwrap()), "{run:?}");
    }
    let run = on("visualize", &path, &["--layers", "nobody*"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("nobody*") && run.stderr.contains("--list"), "{run:?}");
}

#[test]
fn what_a_model_draws_follows_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.onnx");
    let nodes = vec![with(node("RandomNormal", &[], &["y"]), vec![ints("shape", &[6])])];
    std::fs::write(&path, bytes(net(nodes, vec![], &["y"], vec![]))).unwrap();
    let drawn = |options: &[&str]| {
        let options = [&["--adapter", "cpu", "--json"][..], options].concat();
        on("run", &path, &options).json()["outputs"][0]["first"].clone()
    };
    assert_eq!(drawn(&["--seed", "5"]), drawn(&["--seed", "5"]));
    assert_ne!(drawn(&["--seed", "5"]), drawn(&["--seed", "6"]));
    assert_ne!(drawn(&[]), drawn(&[]));
}

/// ONNX's number of the type.
const STRING: i32 = 8;

#[test]
fn strings_are_given_shown_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.onnx");
    let nodes = vec![node("Identity", &["x"], &["y"])];
    let inputs = vec![info("x", STRING, &[D::Any])];
    std::fs::write(&path, bytes(net(nodes, inputs, &["y"], vec![]))).unwrap();
    let words = folder.path().join("words.npz");
    let words = words.to_str().unwrap();
    let given = ["--text", "x=two words", "--text", "x=\u{e4}", "--output", words];
    let run = on("run", &path, &[&["--adapter", "cpu"][..], &given].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("STRING[2]") && run.stdout.contains("\"two words\""), "{run:?}");
    let archive = format!("x={words}:y");
    let read = on("run", &path, &["--adapter", "cpu", "--json", "--input", &archive]).json();
    assert_eq!(read["outputs"][0]["first"], serde_json::json!(["two words", "\u{e4}"]));
    let run = on("run", &path, &["--adapter", "cpu"]);
    assert!(run.code == Some(1) && run.stderr.contains("--text"), "{run:?}");
}

/// A model that takes a sequence says how its elements are named.
#[test]
fn elements_of_a_sequence_are_inputs() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_values/sequence_mapped.onnx");
    let run = on("run", &path, &["--adapter", "cpu"]);
    assert!(run.code == Some(1) && run.stderr.contains("s[0]"), "{run:?}");
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("in.npz");
    let saved = saved.to_str().unwrap();
    let block = model("mobilenet_block.onnx");
    let made = on("run", &block, &["--adapter", "cpu", "--save-inputs", saved, "--json"]).json();
    assert!(made["outputs"].is_array());
    let input = inputs_of(&block);
    let [first, second] = [0, 1].map(|at| format!("s[{at}]={saved}:{input}"));
    let given = ["--adapter", "cpu", "--json", "--input", &first, "--input", &second];
    let report = on("run", &path, &given).json();
    let names: Vec<_> =
        report["outputs"].as_array().unwrap().iter().map(|o| o["name"].clone()).collect();
    assert_eq!(names, ["t[0]", "t[1]", "count"]);
}

/// The name of a model's only input.
fn inputs_of(path: &Path) -> String {
    let report = on("inspect", path, &["--json"]).json();
    report["inputs"][0]["name"].as_str().unwrap().to_string()
}
