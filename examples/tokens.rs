//! Texts as the tokenizers of files have them, as JSON: for the name of each file a list
//! of the tokens of each text, or what is wrong with the file.
//!
//! ```text
//! cargo run --example tokens -- TEXTS.json FILE.gguf...
//! ```
//!
//! `TEXTS.json` is a list of texts. Those of control tokens are text in them, and no
//! token is added. `scripts/compare_tokens.py` compares this with llama.cpp.

use serde_json::{Map, Value, json};
use std::error::Error;
use std::path::Path;
use wginfer::formats::gguf;
use wginfer::lm::tokenizer::{EncodeOptions, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let texts = arguments.next().ok_or("usage: tokens TEXTS.json FILE.gguf...")?;
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(texts)?)?;
    let mut all = Map::new();
    for path in arguments {
        let name = Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let found = ids(&path, &texts).unwrap_or_else(|error| json!(error.to_string()));
        all.insert(name, found);
    }
    println!("{}", Value::Object(all));
    Ok(())
}

fn ids(path: &str, texts: &[String]) -> wginfer::Result<Value> {
    let tokenizer = Tokenizer::from_gguf(&gguf::open(path)?)?;
    let encode = |text: &String| tokenizer.encode(text, EncodeOptions::PART);
    texts.iter().map(encode).collect::<wginfer::Result<Vec<_>>>().map(|ids| json!(ids))
}
