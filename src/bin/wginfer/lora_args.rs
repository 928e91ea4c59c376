//! LoRA adapters on the command line.

use crate::failure::Failure;
use crate::fetch;
use std::path::PathBuf;
use wginfer::formats::gguf;
use wginfer::lm::Lora;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "LoRA adapters")]
pub(crate) struct LoraArgs {
    /// A GGUF file with a LoRA adapter for the model, here or on the hub, and how much of it
    /// is added, 1 if nothing is said; may be given several times
    #[arg(long, value_name = "FILE[=SCALE]", value_parser = file_and_scale)]
    lora: Vec<(PathBuf, f32)>,
}

impl LoraArgs {
    /// Reads the files, fetched from the hub if they are there.
    pub(crate) fn open(&self, quiet: bool) -> Result<Vec<Lora>, Failure> {
        let open = |(path, scale): &(PathBuf, f32)| {
            let file = gguf::open(fetch::local(path, quiet)?)?;
            Ok(Lora::new(file, *scale)?)
        };
        self.lora.iter().map(open).collect()
    }
}

/// A file's name may have such a sign of its own: only a number behind it is a scale.
#[expect(clippy::unnecessary_wraps, reason = "what clap's parsers give")]
fn file_and_scale(text: &str) -> Result<(PathBuf, f32), String> {
    let scaled = text.rsplit_once('=').and_then(|(file, scale)| {
        let scale = scale.trim().parse().ok().filter(|_| !file.is_empty())?;
        Some((file.into(), scale))
    });
    Ok(scaled.unwrap_or_else(|| (text.into(), 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_behind_the_sign_is_a_scale() {
        let read = |text: &str| file_and_scale(text).unwrap();
        assert_eq!(read("a.gguf"), ("a.gguf".into(), 1.0));
        assert_eq!(read("a.gguf=0.5"), ("a.gguf".into(), 0.5));
        assert_eq!(read("a=b.gguf"), ("a=b.gguf".into(), 1.0));
        assert_eq!(read("a=b.gguf=-2"), ("a=b.gguf".into(), -2.0));
        assert_eq!(read("=3"), ("=3".into(), 1.0));
    }
}
