//! The options of `wginfer generate`.

use crate::device_args::DeviceArgs;
use clap::builder::NonEmptyStringValueParser;
use std::path::PathBuf;
use wginfer::kernels::Policy;
use wginfer::lm::sampler::SamplerOptions;
use wginfer::lm::{GenerateOptions, ModelOptions};
use wginfer::{BackendChoice, DType};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The GGUF file [default: the demonstration model, once it was fetched]
    #[arg(env = "WGINFER_MODEL")]
    pub(super) model: Option<PathBuf>,

    /// The text to answer; without it and --prompt-file, what is piped in
    #[arg(short, long, value_name = "TEXT", conflicts_with = "prompt_file")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) prompt: Option<String>,

    /// A file with the text to answer; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(super) prompt_file: Option<PathBuf>,

    /// What the model is told about its role before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub(super) system: Option<String>,

    /// Continue the prompt as it stands, without the model's chat template
    #[arg(long)]
    pub(super) raw: bool,

    /// What computes: an adapter's index or a part of its name (see `wginfer
    /// devices`), `cpu`, or `auto`
    #[arg(short, long, value_name = "ADAPTER", default_value = "auto", env = "WGINFER_ADAPTER")]
    pub(super) adapter: BackendChoice,

    /// Print one JSON object at the end instead of the text
    #[arg(long)]
    pub(super) json: bool,

    /// Print nothing but the text (or JSON) and errors
    #[arg(short, long)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) sampling: Sampling,

    #[command(flatten)]
    pub(super) precision: Precision,

    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

/// How tokens are chosen.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Choice of tokens")]
pub(super) struct Sampling {
    /// Stop after so many tokens
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    max_tokens: usize,

    /// 0 always takes the most likely token; higher values are more varied
    #[arg(long, value_name = "T", default_value_t = SamplerOptions::default().temperature)]
    temperature: f32,

    /// Consider only the K most likely tokens; 0 considers all
    #[arg(long, value_name = "K", default_value_t = SamplerOptions::default().top_k)]
    top_k: usize,

    /// Consider only the most likely tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().top_p)]
    top_p: f32,

    /// Consider only tokens this fraction as likely as the most likely one
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().min_p)]
    min_p: f32,

    /// Make tokens seen lately less likely (above 1)
    #[arg(long, value_name = "R")]
    #[arg(default_value_t = SamplerOptions::default().repetition_penalty)]
    repetition_penalty: f32,

    /// Where the random numbers start: the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = SamplerOptions::default().seed)]
    seed: u64,

    /// Go on after the model ends its text
    #[arg(long)]
    ignore_end: bool,
}

/// How long and how exact.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Length and precision")]
pub(super) struct Precision {
    /// The longest sequence in tokens [default: the model's, at most 8192]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    context: Option<usize>,

    /// The element type of the key and value caches
    #[arg(long, value_enum, default_value_t = Cache::F16)]
    cache: Cache,

    /// Let matrix products round to f16 where the adapter computes with it:
    /// faster, and a little less exact
    #[arg(long)]
    f16: bool,
}

/// The element type of a cache.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Cache {
    F16,
    F32,
}

impl Args {
    pub(super) fn model_options(&self) -> ModelOptions {
        let precision = &self.precision;
        ModelOptions {
            backend: self.adapter.clone(),
            device: self.device.options(),
            cache: match precision.cache {
                Cache::F16 => DType::F16,
                Cache::F32 => DType::F32,
            },
            context: precision.context,
            policy: Policy { allow_f16: precision.f16, ..Policy::default() },
            disabled_passes: self.device.disabled_passes(),
            ..ModelOptions::default()
        }
    }

    pub(super) fn generate_options(&self) -> GenerateOptions {
        let sampling = &self.sampling;
        GenerateOptions {
            max_tokens: sampling.max_tokens,
            sampler: SamplerOptions {
                temperature: sampling.temperature,
                top_k: sampling.top_k,
                top_p: sampling.top_p,
                min_p: sampling.min_p,
                repetition_penalty: sampling.repetition_penalty,
                seed: sampling.seed,
                ..SamplerOptions::default()
            },
            ignore_end: sampling.ignore_end,
        }
    }
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

    fn options(line: &[&str]) -> ModelOptions {
        let line = ["generate", "m.gguf"].iter().chain(line);
        Line::try_parse_from(line).unwrap().args.model_options()
    }

    #[test]
    fn what_a_device_is_asked_for_reaches_the_options() {
        let plain = options(&[]);
        assert!(!plain.policy.allow_f16 && plain.device.limits.is_none());
        assert!(options(&["--f16"]).policy.allow_f16);
        let limits = options(&["--limits", "webgpu"]).device.limits;
        assert_eq!(limits, Some(wgpu::Limits::defaults()));
        assert_eq!(options(&["--limits", "adapter"]).device.limits, None);
    }
}
