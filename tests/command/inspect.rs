//! `wginfer inspect`, on good files and hostile ones.

use crate::assert_fits;
use crate::start::{Run, wginfer};
use crate::tiny_model::TinyModel;
use std::path::Path;
use wginfer::formats::gguf::GgufWriter;
use wginfer::{DType, Tensor};

fn inspect(bytes: &[u8], options: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    inspect_path(&path, options)
}

fn inspect_path(path: &Path, options: &[&str]) -> Run {
    let mut arguments = vec!["inspect", path.to_str().unwrap()];
    arguments.extend(options);
    wginfer(&arguments).run()
}

#[test]
fn a_model_is_described() {
    let model = TinyModel { weights: DType::Q8_0, ..TinyModel::default() };
    let bytes = model.bytes().unwrap();
    let run = inspect(&bytes, &["--tensors", "--metadata"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for word in ["llama", "Q8_0", "F32", "256 tokens", "gpt2 (gpt-2)", "blk.1.ffn_down.weight"] {
        assert!(run.stdout.contains(word), "no {word}: {}", run.stdout);
    }
    assert!(run.stdout.contains("This model can be run."), "{run:?}");
    // The first line is the path, which is as long as it is.
    assert_fits(run.stdout.split_once('\n').unwrap().1);
}

#[test]
fn json_adds_up() {
    let model = TinyModel { weights: DType::Q4_0, ..TinyModel::default() };
    let bytes = model.bytes().unwrap();
    let report = inspect(&bytes, &["--json", "--tensors", "--metadata"]).json();
    assert_eq!(report["bytes"], bytes.len());
    assert_eq!(report["blocks"], model.blocks);
    assert_eq!(report["runnable"], true);
    let sum = |list: &str, key: &str| -> u64 {
        let rows = report[list].as_array().unwrap().iter();
        rows.map(|row| row[key].as_u64().unwrap()).sum()
    };
    assert_eq!(sum("types", "bytes"), sum("tensors", "bytes"));
    assert_eq!(report["parameters"], sum("types", "parameters"));
    let count = report["tensors"].as_array().unwrap().len();
    assert_eq!(count as u64, sum("types", "tensors"));
    assert_eq!(count, 9 * model.blocks + 3);
    let head = model.width / model.heads;
    let cache = model.blocks * model.kv_heads * 2 * head;
    assert_eq!(report["memory"]["cache_elements_per_token"], cache);
    // Two regions of each matrix are aligned, nothing is expanded.
    let device = report["memory"]["weights_bytes"].as_u64().unwrap();
    let stored = sum("tensors", "bytes");
    assert!(device >= stored && device <= stored + 512 * count as u64, "{device} of {stored}");
    let tokens = report["metadata"].as_array().unwrap().iter();
    let tokens = tokens.clone().find(|entry| entry["key"] == "tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens["length"], report["tokenizer"]["tokens"]);
    assert!(tokens["first"].as_array().unwrap().len() < 10);
}

#[test]
fn states_are_told_apart_from_what_grows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders/jamba.gguf");
    let report = inspect_path(&path, &["--json"]).json();
    // Of three blocks one has attention: two heads of 4 for keys, as many for values.
    assert_eq!(report["memory"]["cache_elements_per_token"], 2 * (4 + 4));
    // The others have 32 channels with a state of 16 each, and a convolution of 4 taps.
    assert_eq!(report["memory"]["state_bytes"], 2 * 4 * 32 * (16 + 3));
    assert!(report["kv_heads"].is_null(), "each block has a number of its own");
}

#[test]
fn what_cannot_be_run_is_said() {
    // The type's number in the description of the first tensor: Q1_0.
    let mut writer = GgufWriter::new();
    writer.metadata("general.architecture", "llama").unwrap();
    writer.tensor("odd.weight", Tensor::from_f32(&[256], &[0.0; 256]).unwrap()).unwrap();
    let mut bytes = writer.to_bytes().unwrap();
    let name = bytes.windows(10).position(|w| w == b"odd.weight").unwrap();
    let at = name + 10 + 4 + 8;
    assert_eq!(bytes[at..at + 4], [0; 4]);
    bytes[at] = 41;
    let run = inspect(&bytes, &[]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("Q1_0 *") && run.stdout.contains("'odd.weight'"), "{run:?}");
    let says = |text: &str| text.contains("cannot be run");
    assert!(says(&run.stdout) && says(&run.stderr), "{run:?}");
    let report = inspect(&bytes, &["--json"]).json_with(1);
    assert_eq!(report["runnable"], false);
    assert_eq!(report["types"][0]["supported"], false);

    let mut writer = GgufWriter::new();
    writer.metadata("general.architecture", "fancy-new-one").unwrap();
    let run = inspect(&writer.to_bytes().unwrap(), &[]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("architecture 'fancy-new-one'"), "{run:?}");
}

#[test]
fn terminal_codes_in_a_file_stay_harmless() {
    let mut writer = GgufWriter::new();
    let evil = "x\u{1b}]0;title\u{7}\u{1b}[2J\n\r\u{9b}31m";
    writer.metadata("general.architecture", evil).unwrap();
    writer.metadata("general.name", evil).unwrap();
    writer.metadata(evil, vec![evil]).unwrap();
    writer.tensor(evil, Tensor::from_f32(&[1], &[0.0]).unwrap()).unwrap();
    let bytes = writer.to_bytes().unwrap();
    for options in [&["--tensors", "--metadata"][..], &["--json", "--tensors", "--metadata"]] {
        let run = inspect(&bytes, options);
        // The architecture is unknown, so that it cannot be run.
        assert_eq!(run.code, Some(1), "{run:?}");
        let harmless = |c: char| c == '\n' || !c.is_control() || (options.len() == 3 && c > '~');
        assert!(run.stdout.chars().all(harmless), "{:?}", run.stdout);
        let harmless = |c: char| c == '\n' || !c.is_control();
        assert!(run.stderr.chars().all(harmless), "{:?}", run.stderr);
    }
}

#[test]
fn broken_files_are_errors_and_nothing_worse() {
    let whole = TinyModel::default().bytes().unwrap();
    for length in [0, 3, 4, 7, 8, 23, 24, 40, 1000, whole.len() / 2, whole.len() - 1] {
        let run = inspect(&whole[..length], &["--tensors"]);
        assert!(run.error().contains("model.gguf"), "{length}: {run:?}");
    }
    // Counts that no file can hold.
    for at in [8, 16] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(inspect(&bytes, &[]).error().contains("count"));
    }
    assert!(inspect(b"not a model at all, but a text", &[]).error().contains("GGUF"));
    // Whatever else is wrong: an answer or an error, never a crash.
    for at in (24..4000).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x81;
        let run = inspect(&bytes, &["--json", "--tensors", "--metadata"]);
        assert!(matches!(run.code, Some(0 | 1)), "byte {at}: {run:?}");
    }
}

#[test]
fn what_is_no_file_is_named() {
    let run = inspect_path(Path::new("/nonexistent/model.gguf"), &[]);
    assert!(run.error().starts_with("/nonexistent/model.gguf: "), "{run:?}");
    let dir = tempfile::tempdir().unwrap();
    assert!(inspect_path(dir.path(), &[]).error().contains("not a regular file"));
}
