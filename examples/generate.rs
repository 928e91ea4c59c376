//! Streams the answer of a language model.
//!
//! `cargo run --release --example generate -- model.gguf "Why is the sky blue?"`

use std::io::Write;
use wginfer::lm::{GenerateOptions, LanguageModel, ModelOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(prompt)) = (args.next(), args.next()) else {
        return Err("usage: generate MODEL.gguf PROMPT".into());
    };
    let mut model = LanguageModel::open(path, &ModelOptions::default())?;
    eprintln!("{}", model.why());
    for piece in model.generate(prompt.as_str(), &GenerateOptions::default())? {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
