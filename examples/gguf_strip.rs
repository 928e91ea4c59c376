//! Writes a copy of a GGUF file that holds its tokenizer and nothing else.
//!
//! `cargo run --example gguf_strip -- model.gguf tokenizer.gguf`
//!
//! `tests/data/smollm2/tokenizer.gguf` was made by it.

use wginfer::formats::gguf::{self, GgufWriter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (paths.next(), paths.next()) else {
        return Err("usage: gguf_strip MODEL.gguf TOKENIZER.gguf".into());
    };
    let file = gguf::open(from)?;
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata().iter() {
        if key.starts_with("tokenizer.") || key.starts_with("general.") {
            writer.copy(key, value)?;
        }
    }
    writer.save(to)?;
    Ok(())
}
