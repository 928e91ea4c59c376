//! Bytes as a GGUF file: everything that is read before a model is loaded.
//!
//! An input that does not begin like a file becomes a small valid one, so no
//! corpus is needed to get beyond the first bytes.
#![no_main]

#[allow(dead_code, reason = "made for tests, which use all of it")]
#[path = "../../tests/support/tiny_model.rs"]
mod tiny_model;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::sync::LazyLock;
use tiny_model::TinyModel;
use wginfer::formats::gguf::{Array, GgufFile, Value};
use wginfer::lm::spec::DecoderSpec;
use wginfer::lm::tokenizer::{EncodeOptions, Tokenizer};
use wginfer::lm::{ChatMessage, ChatTemplate};
use wginfer::{Error, ErrorKind, Result};

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let sizes = TinyModel { width: 4, heads: 2, kv_heads: 1, ..TinyModel::default() };
    let model = TinyModel { feed_forward: 4, blocks: 1, tied: true, ..sizes };
    model.bytes().expect("the tiny model is valid")
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    if !data[..size].starts_with(b"GGUF") && VALID.len() <= max_size {
        data[..VALID.len()].copy_from_slice(&VALID);
        return VALID.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|data: &[u8]| {
    if let Err(error) = read(data) {
        let text = error.to_string();
        let named = ["fuzzed.gguf", "key '", "tensor '"].iter().any(|name| text.contains(name));
        assert!(named && error.kind() != ErrorKind::Internal, "{text}");
    }
});

fn read(data: &[u8]) -> Result<()> {
    let file = GgufFile::parse(data.to_vec(), "fuzzed.gguf")?;
    for (_, value) in file.metadata().iter() {
        if let Value::Array(array) = value {
            walk(&array);
        }
    }
    for info in file.tensors() {
        if let Ok(tensor) = file.tensor(info.name()) {
            assert_eq!(Some(tensor.bytes().len() as u64), info.bytes());
        }
    }
    let spec = DecoderSpec::from_gguf(&file).map(|_| ());
    let tokenizer = Tokenizer::from_gguf(&file)?;
    expressible(tokenizer.encode("in the end <|im_end|>\n naïve", EncodeOptions::PROMPT))?;
    for id in 0..tokenizer.vocab_len() as u32 {
        tokenizer.decode(&[id], true)?;
    }
    if file.metadata().get("tokenizer.chat_template").is_some() {
        let template = ChatTemplate::from_gguf(&file, &tokenizer)?;
        expressible(template.render(&[ChatMessage::new("user", "Hi")], true))?;
    }
    spec
}

fn walk(array: &Array<'_>) {
    for value in array.iter() {
        if let Value::Array(inner) = value {
            walk(&inner);
        }
    }
}

/// What the caller asked for and this file has not is no fault of the file.
fn expressible<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(Error::Input { .. }) => Ok(()),
        other => other.map(|_| ()),
    }
}
