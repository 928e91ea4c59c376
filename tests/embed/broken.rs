//! Folders that are not what they should be: typed errors that name the file
//! and what is wrong in it.

use crate::oracle::folder;
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::path::Path;
use wginfer::embed::{EmbedOptions, Embedder, Weights};
use wginfer::{Backend, Error, ErrorKind};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("embed::broken::settings", settings),
        Trial::test("embed::broken::weights", weights),
        Trial::test("embed::broken::tokenizers", tokenizers),
        Trial::test("embed::broken::nothing_there", nothing_there),
    ]
}

/// A copy of a small model's folder, to be broken.
pub(crate) struct Copy(tempfile::TempDir);

impl Copy {
    pub(crate) fn of(model: &str) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_all(&folder(model), copy.path());
        Copy(copy)
    }

    pub(crate) fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.path().join(file), bytes).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.0.path().join(file)).unwrap();
    }

    fn change(&self, file: &str, change: impl Fn(&mut Value)) {
        let path = self.0.path().join(file);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }

    fn open(&self) -> Result<Embedder, Error> {
        Embedder::open(self.0.path(), &Backend::Cpu)
    }

    /// The error must be of the kind, and name all of the words.
    fn refused(&self, kind: ErrorKind, words: &[&str]) {
        let error = match self.open() {
            // Some faults can only be met with a text.
            Ok(mut embedder) => embedder.embed_blocking(&["a cat sleeps"]).unwrap_err(),
            Err(error) => error,
        };
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        for word in words {
            assert!(text.contains(word), "no '{word}' in: {text}");
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn settings() -> Result<(), Failed> {
    let bert = || Copy::of("bert");
    bert().open()?;

    let copy = bert();
    copy.write("config.json", "{\"model_type\": ");
    copy.refused(ErrorKind::Format, &["config.json", "JSON"]);
    copy.write("config.json", "[]");
    copy.refused(ErrorKind::Format, &["config.json", "model_type"]);
    copy.write("config.json", vec![b' '; 3 << 20]);
    copy.refused(ErrorKind::Limit, &["config.json"]);
    copy.write("config.json", [0xff, 0xfe]);
    copy.refused(ErrorKind::Format, &["config.json", "UTF-8"]);

    let cases: [(&str, Value, ErrorKind); 5] = [
        ("model_type", json!("gpt2"), ErrorKind::Unsupported),
        ("hidden_act", json!("softer"), ErrorKind::Unsupported),
        ("num_attention_heads", json!(3), ErrorKind::Format),
        ("vocab_size", json!(-4), ErrorKind::Format),
        ("num_hidden_layers", json!("two"), ErrorKind::Format),
    ];
    for (key, value, kind) in cases {
        let copy = bert();
        copy.change("config.json", |config| config[key] = value.clone());
        copy.refused(kind, &["config.json", key]);
    }

    let copy = bert();
    copy.change("modules.json", |modules| modules[1]["type"] = json!("models.Dense"));
    copy.refused(ErrorKind::Unsupported, &["modules.json", "Dense"]);
    copy.change("modules.json", |modules| {
        modules[1] = json!({"type": "models.Pooling", "path": "../elsewhere"});
    });
    copy.refused(ErrorKind::Format, &["modules.json", "../elsewhere", "inside"]);
    copy.write("modules.json", "[]");
    copy.refused(ErrorKind::Format, &["modules.json", "Pooling"]);

    let copy = bert();
    copy.write("1_Pooling/config.json", "{\"pooling_mode\": \"average\"}");
    copy.refused(ErrorKind::Format, &["1_Pooling/config.json", "average"]);
    copy.write("1_Pooling/config.json", "{}");
    copy.refused(ErrorKind::Format, &["1_Pooling/config.json", "pooling_mode_mean_tokens"]);
    copy.write("1_Pooling/config.json", "{\"pooling_mode\": \"cls\"}");
    assert_eq!(copy.open()?.head().pooling, [wginfer::embed::Pooling::Cls]);
    Ok(())
}

fn weights() -> Result<(), Failed> {
    let copy = Copy::of("bert");
    copy.change("config.json", |config| config["num_hidden_layers"] = json!(3));
    let missing = "encoder.layer.2.attention.self.query.weight";
    copy.refused(ErrorKind::Format, &["model.safetensors", missing, "missing"]);
    copy.change("config.json", |config| config["num_hidden_layers"] = json!(2));
    copy.change("config.json", |config| config["intermediate_size"] = json!(25));
    let narrow = "encoder.layer.0.intermediate.dense.weight";
    copy.refused(ErrorKind::Format, &["model.safetensors", narrow, "[24, 16]", "[25, 16]"]);

    let copy = Copy::of("bert");
    let path = copy.0.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    // As long as before, so that nothing else changes.
    let at = bytes.windows(5).position(|part| part == b"\"F32\"").unwrap();
    let mut changed = bytes.clone();
    changed[at + 1..at + 4].copy_from_slice(b"I32");
    copy.write("model.safetensors", &changed);
    copy.refused(ErrorKind::Unsupported, &["model.safetensors", "tensor '", "I32"]);
    changed[at + 1..at + 4].copy_from_slice(b"X32");
    copy.write("model.safetensors", &changed);
    copy.refused(ErrorKind::Format, &["model.safetensors", "tensor '", "X32"]);
    copy.write("model.safetensors", &bytes[..bytes.len() - 1]);
    copy.refused(ErrorKind::Format, &["model.safetensors", "tensor '"]);
    Ok(())
}

fn tokenizers() -> Result<(), Failed> {
    let copy = Copy::of("bert");
    copy.write("tokenizer.json", "{}");
    copy.refused(ErrorKind::Format, &["tokenizer.json"]);
    copy.remove("tokenizer.json");
    copy.refused(ErrorKind::Io, &["tokenizer.json"]);
    copy.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\ncat\n");
    copy.refused(ErrorKind::Format, &["vocab.txt", "[SEP]"]);
    let many: String = (0..500).map(|n| format!("[{n}]\n")).collect();
    copy.write("vocab.txt", format!("{many}[PAD]\n[UNK]\n[CLS]\n[SEP]\n"));
    copy.refused(ErrorKind::Format, &["vocab.txt", "token 50"]);

    let copy = Copy::of("bert");
    copy.change("sentence_bert_config.json", |settings| settings["max_seq_length"] = json!(2));
    copy.refused(ErrorKind::Format, &["tokenizer.json", "special tokens"]);
    let copy = Copy::of("bert");
    copy.change("tokenizer_config.json", |settings| settings["model_max_length"] = json!("no"));
    copy.refused(ErrorKind::Format, &["tokenizer_config.json", "model_max_length"]);
    copy.change("tokenizer_config.json", |settings| settings["model_max_length"] = json!(1e30));
    assert_eq!(copy.open()?.most_tokens(), 32);
    Ok(())
}

fn nothing_there() -> Result<(), Failed> {
    let empty = tempfile::tempdir()?;
    let open = |weights| {
        let options = EmbedOptions { weights, ..EmbedOptions::default() };
        Embedder::open_with(empty.path(), &Backend::Cpu, &options).unwrap_err()
    };
    let error = open(Weights::Auto);
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("config.json"), "{error}");
    let error = open(Weights::Onnx);
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("model.onnx"), "{error}");
    let copy = Copy::of("bert");
    copy.remove("model.safetensors");
    // What is left is the ONNX model.
    assert!(copy.open()?.spec().is_none());
    copy.remove("model.onnx");
    copy.refused(ErrorKind::Io, &["model.safetensors"]);
    Ok(())
}
