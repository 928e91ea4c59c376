//! The options of `wginfer embed`.

use crate::device_args::DeviceArgs;
use crate::failure::Failure;
use crate::lora_args::LoraArgs;
use clap::builder::RangedU64ValueParser;
use std::path::{Path, PathBuf};
use wginfer::BackendChoice;
use wginfer::embed::{EmbedOptions, Pooling, Weights};
use wginfer::kernels::Policy;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model's folder or GGUF file, if the first word is one, and the texts
    /// [default model: all-MiniLM-L6-v2, once it was fetched]
    #[arg(value_name = "[MODEL] TEXT")]
    words: Vec<String>,

    /// The model's folder, its GGUF file, or hf:OWNER/REPOSITORY/FILE on the Hugging
    /// Face hub; all other words are texts then
    #[arg(short, long, value_name = "MODEL", env = "WGINFER_EMBED_MODEL")]
    model: Option<PathBuf>,

    /// A file with a text on each line; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Print how alike the texts are: the cosine of each with each
    #[arg(short, long)]
    pub(super) similarity: bool,

    /// Write the vectors to a .npy file: float32, one row for each text
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// How the vectors of a text's tokens become one, or several of these, with
    /// commas: cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken
    /// [default: what the model says, else mean]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pooling: Vec<Pooling>,

    /// Whether vectors are scaled to length 1 [default: what the folder says,
    /// else no; yes for a GGUF file]
    #[arg(long, value_enum, value_name = "YES|NO")]
    normalize: Option<YesNo>,

    /// What is put before each text [default: what the folder says, else
    /// nothing]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,

    /// Cut texts off at so many tokens [default: what the model says, and for a
    /// GGUF file at most 8192]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_tokens: Option<usize>,

    /// Which of a folder's files to take
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    weights: Source,

    /// What computes: an adapter's index or a part of its name (see `wginfer
    /// devices`), `cpu`, or `auto`
    #[arg(short, long, value_name = "ADAPTER", default_value = "auto", env = "WGINFER_ADAPTER")]
    pub(super) adapter: BackendChoice,

    /// Let matrix products and attention round to f16 where the adapter computes with
    /// it: faster, and a little less exact
    #[arg(long)]
    f16: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,

    /// Print no notes about adapter, model and texts that were cut off
    #[arg(short, long)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) lora: LoraArgs,

    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum YesNo {
    Yes,
    No,
}

/// Which of a folder's files has the encoder.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Source {
    Auto,
    Safetensors,
    Onnx,
}

impl Args {
    /// The model's folder or file, if one is named, and the texts.
    pub(super) fn words(&self) -> Result<(Option<&Path>, &[String]), Failure> {
        let Some((first, texts)) = self.words.split_first() else {
            return Ok((self.model.as_deref(), &[]));
        };
        if self.model.is_some() {
            return Ok((self.model.as_deref(), &self.words));
        }
        let path = Path::new(first);
        if path.is_dir() || is_gguf(first) {
            return Ok((Some(path), texts));
        }
        // A folder that is spelled wrong should not become a text unnoticed.
        let begins = ["/", "./", "../", "~/"].iter().any(|start| first.starts_with(start));
        if begins && !first.contains(char::is_whitespace) {
            return Err(Failure::Usage(format!(
                "there is no folder or GGUF file '{first}'; if it is a text, name the model with --model"
            )));
        }
        Ok((None, &self.words))
    }

    pub(super) fn options(&self) -> EmbedOptions {
        EmbedOptions {
            weights: match self.weights {
                Source::Auto => Weights::Auto,
                Source::Safetensors => Weights::Safetensors,
                Source::Onnx => Weights::Onnx,
            },
            pooling: self.pooling.clone(),
            normalise: self.normalize.map(|answer| matches!(answer, YesNo::Yes)),
            prompt: self.prompt.clone(),
            most_tokens: self.max_tokens,
            policy: Policy { allow_f16: self.f16, ..Policy::default() },
            disabled_passes: self.device.disabled_passes(),
            ..EmbedOptions::default()
        }
    }
}

/// Whether a word is the name of a GGUF file, here or on the hub. A name that ends as
/// one is meant as one, whether the file is there or not.
fn is_gguf(word: &str) -> bool {
    let ends = word.to_ascii_lowercase().ends_with(".gguf");
    ends && (Path::new(word).is_file() || !word.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::try_parse_from(["embed"].iter().chain(line)).unwrap().args
    }

    #[test]
    fn a_first_word_that_is_a_folder_is_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let with = args(&[path, "a text", "another"]);
        let (model, texts) = with.words().unwrap();
        assert_eq!((model, texts), (Some(folder.path()), &["a text".into(), "another".into()][..]));
        let without = args(&["a text", path]);
        let (model, texts) = without.words().unwrap();
        assert!(model.is_none() && texts.len() == 2);
        let named = args(&["--model", "m", path]);
        let (model, texts) = named.words().unwrap();
        assert_eq!((model, texts.len()), (Some(Path::new("m")), 1));
        assert!(args(&["./no such folder", "x"]).words().is_ok());
        for wrong in ["./nowhere", "/nowhere/at/all", "../x"] {
            assert!(matches!(args(&[wrong, "x"]).words(), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn options_reach_the_library() {
        let plain = args(&["x"]).options();
        assert!(plain.pooling.is_empty() && plain.normalise.is_none() && !plain.policy.allow_f16);
        let options = args(&["x", "--pooling", "max,cls", "--normalize", "no", "--f16"]).options();
        assert_eq!(options.pooling, [Pooling::Max, Pooling::Cls]);
        assert!(options.normalise == Some(false) && options.policy.allow_f16);
        assert!(Line::try_parse_from(["embed", "x", "--pooling", "average"]).is_err());
    }
}
