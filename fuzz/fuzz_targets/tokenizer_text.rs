//! Any text becomes tokens and the tokens the same text.
#![no_main]

#[allow(dead_code, reason = "made for tests, which use all of it")]
#[path = "../../tests/support/tiny_model.rs"]
mod tiny_model;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use wginfer::formats::gguf::GgufFile;
use wginfer::lm::stream::Utf8Stream;
use wginfer::lm::tokenizer::{EncodeOptions, Tokenizer};

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let bytes = tiny_model::TinyModel::default().bytes().expect("the tiny model is valid");
    let file = GgufFile::parse(bytes, "tiny.gguf").expect("the tiny model is valid");
    Tokenizer::from_gguf(&file).expect("the tiny model is valid")
});

fuzz_target!(|text: &str| {
    for options in [EncodeOptions::PART, EncodeOptions { special: true, ..EncodeOptions::PART }] {
        let ids = TOKENIZER.encode(text, options).expect("every byte has a token");
        assert_eq!(TOKENIZER.decode(&ids, true).expect("ids are tokens"), text);
        let mut stream = Utf8Stream::new();
        let mut streamed = String::new();
        for &id in &ids {
            streamed += &stream.push(TOKENIZER.token_bytes(id).expect("ids are tokens"));
        }
        streamed += &stream.finish();
        assert_eq!(streamed, text);
    }
});
