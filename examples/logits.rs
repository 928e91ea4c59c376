//! Writes what a language model expects after each token of a text: for whoever
//! wants to judge it by another runtime (`scripts/compare_llama.mjs`).
//!
//! `cargo run --release --example logits -- model.gguf TEXT logits.bin [DEVICE]`
//!
//! TEXT is a file with text, or a `.json` file with tokens, `{"tokens": [1, 2]}`.
//!
//! The file is little-endian: the number of tokens and the size of the vocabulary
//! (u32), the tokens (u32), then for each token the logits of the next one (f32).
//! DEVICE is `cpu`, `auto` or an adapter's name. Caches are F32. A text gets BOS if the model's file asks
//! for it.

use std::io::Write;
use wginfer::DType;
use wginfer::backend::BackendChoice;
use wginfer::lm::tokenizer::EncodeOptions;
use wginfer::lm::{LanguageModel, ModelOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (model, text, out, device) = match args.as_slice() {
        [model, text, out] => (model, text, out, "auto"),
        [model, text, out, device] => (model, text, out, device.as_str()),
        _ => return Err("usage: logits MODEL.gguf TEXT OUT.bin [DEVICE]".into()),
    };
    let backend: BackendChoice = device.parse()?;
    let options = ModelOptions { cache: DType::F32, backend, ..ModelOptions::default() };
    let mut model = LanguageModel::open(model, &options)?;
    eprintln!("{}", model.why());
    let tokens = tokens(&model, text)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(out)?);
    for number in [tokens.len(), model.spec().vocabulary] {
        file.write_all(&u32::try_from(number)?.to_le_bytes())?;
    }
    for token in &tokens {
        file.write_all(&token.to_le_bytes())?;
    }
    let backend = model.backend().clone();
    for (past, token) in tokens.iter().enumerate() {
        for logit in backend.block_on(model.forward(&[*token], past))? {
            file.write_all(&logit.to_le_bytes())?;
        }
    }
    Ok(file.flush()?)
}

#[derive(serde::Deserialize)]
struct Given {
    tokens: Vec<u32>,
}

fn tokens(model: &LanguageModel, file: &str) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(file)?;
    if file.ends_with(".json") {
        return Ok(serde_json::from_str::<Given>(&text)?.tokens);
    }
    let options = EncodeOptions { eos: Some(false), ..EncodeOptions::PROMPT };
    Ok(model.tokenizer().encode(&text, options)?)
}
