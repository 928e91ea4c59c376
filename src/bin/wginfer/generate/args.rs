//! The options of `wginfer generate`.

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use std::path::PathBuf;
use wginfer::gpu::{DeviceOptions, parse_features};
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
    pub(super) device: Device,
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

/// What the device is asked for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Device")]
pub(super) struct Device {
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

    /// Features to leave out though the adapter has them: all, or a list of
    /// f16, subgroups, immediates, timestamps, pipeline-cache, coop
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    #[arg(value_parser = parse_features)]
    mask_features: wgpu::Features,

    /// The limits to open the device with: the adapter's own, or those that
    /// every WebGPU device has, for a driver that promises too much
    #[arg(long, value_enum, value_name = "WHOSE", default_value_t = Limits::Adapter)]
    limits: Limits,

    /// The most bytes of one binding, as on a weaker adapter (128M, 1G)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_binding: Option<u64>,

    /// The most memory of a device to use (500M, 4G)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<u64>,

    /// Leave out a pass over the graph; may be given several times
    #[arg(long, value_name = "NAME", value_parser = passes())]
    no_pass: Vec<String>,
}

/// The element type of a cache.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Cache {
    F16,
    F32,
}

/// The limits of a device.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Limits {
    Adapter,
    Webgpu,
}

fn passes() -> PossibleValuesParser {
    PossibleValuesParser::new(wginfer::passes::PASSES.iter().map(|pass| pass.name))
}

/// A number of bytes with an optional binary unit.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        unit => return Err(format!("'{unit}' is not one of K, M, G")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a whole number of bytes".to_string())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("at least one byte is needed".into()),
        Some(bytes) => Ok(bytes),
        None => Err("more than 64 bits".into()),
    }
}

impl Args {
    pub(super) fn model_options(&self) -> ModelOptions {
        let device = &self.device;
        ModelOptions {
            backend: self.adapter.clone(),
            device: DeviceOptions {
                mask_features: device.mask_features,
                limits: match device.limits {
                    Limits::Adapter => None,
                    Limits::Webgpu => Some(wgpu::Limits::defaults()),
                },
                max_binding: device.max_binding,
                memory_budget: device.memory,
                ..DeviceOptions::default()
            },
            cache: match device.cache {
                Cache::F16 => DType::F16,
                Cache::F32 => DType::F32,
            },
            context: device.context,
            policy: Policy { allow_f16: device.f16, ..Policy::default() },
            disabled_passes: device.no_pass.iter().cloned().collect(),
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

    #[test]
    fn byte_counts_have_units() {
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("128M"), Ok(128 << 20));
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        for wrong in ["", "M", "-1", "0", "1x", "1.5M", "99999999999999G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
