//! The options of `wginfer generate`.

use super::Guides;
use crate::device_args::DeviceArgs;
use crate::lora_args::LoraArgs;
use crate::model_args::Precision;
use crate::template_args::TemplateArgs;
use clap::builder::NonEmptyStringValueParser;
use std::path::PathBuf;
use wginfer::BackendChoice;
use wginfer::lm::sampler::SamplerOptions;
use wginfer::lm::{GenerateOptions, ModelOptions};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The GGUF file, or hf:OWNER/REPOSITORY/FILE on the Hugging Face hub
    /// [default: the demonstration model, once it was fetched]
    #[arg(env = "WGINFER_MODEL")]
    pub(super) model: Option<PathBuf>,

    /// The text to answer; without it and --prompt-file, what is piped in
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(conflicts_with_all = ["prompt", "prompt_file"])]
    text: Option<String>,

    /// The same, for where no model is named before it
    #[arg(short, long, value_name = "TEXT", conflicts_with = "prompt_file")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    prompt: Option<String>,

    /// A file with the text to answer; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(super) prompt_file: Option<PathBuf>,

    /// Keep what was computed of the text in this file, and begin with what it has: a prompt
    /// that begins as the last one did is computed from where it differs
    #[arg(long, value_name = "FILE")]
    pub(super) prompt_cache: Option<PathBuf>,

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

    /// How likely each token was, and the N most likely ones, in the JSON
    #[arg(long, value_name = "N", requires = "json")]
    pub(super) log_probabilities: Option<usize>,

    /// Say what each kind of operator takes of the step after the text
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    pub(super) profile: bool,

    /// Print nothing but the text (or JSON) and errors
    #[arg(short, long)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) sampling: Sampling,

    #[command(flatten)]
    pub(super) guides: Guides,

    #[command(flatten)]
    pub(super) template: TemplateArgs,

    #[command(flatten)]
    pub(super) precision: Precision,

    #[command(flatten)]
    pub(super) lora: LoraArgs,

    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

/// How tokens are chosen.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Choice of tokens")]
pub(crate) struct Sampling {
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

    /// Consider only tokens about as surprising as is to be expected that together
    /// have this probability
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().typical_p)]
    typical_p: f32,

    /// How likely a step is to leave out the most likely tokens, for variety (XTC)
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().xtc_probability)]
    xtc_probability: f32,

    /// Of tokens with at least this probability only the least likely stays then
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().xtc_threshold)]
    xtc_threshold: f32,

    /// Make tokens less likely that would go on with what was said before (DRY)
    #[arg(long, value_name = "X", default_value_t = SamplerOptions::default().dry_multiplier)]
    dry_multiplier: f32,

    /// How much less for each token more that was
    #[arg(long, value_name = "X", default_value_t = SamplerOptions::default().dry_base)]
    dry_base: f32,

    /// How many tokens may come again before it counts
    #[arg(long, value_name = "N", default_value_t = SamplerOptions::default().dry_allowed_length)]
    dry_allowed_length: usize,

    /// Make tokens seen lately less likely, the more the more often they were seen
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[arg(default_value_t = SamplerOptions::default().frequency_penalty)]
    frequency_penalty: f32,

    /// Make tokens seen lately less likely, however often they were seen
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[arg(default_value_t = SamplerOptions::default().presence_penalty)]
    presence_penalty: f32,

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

    /// Do not end before so many tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_tokens: usize,

    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,

    /// End before this token, by its number; may be given several times
    #[arg(long, value_name = "TOKEN")]
    stop_token: Vec<u32>,

    /// Make a token more or less likely: its number and what is added to its logit, such as
    /// 15043=+5 or 15043=-inf, which bars it; may be given several times
    #[arg(long, value_name = "TOKEN=X", value_parser = bias)]
    logit_bias: Vec<(u32, f32)>,
}

/// A token and what is added to its logit.
fn bias(text: &str) -> Result<(u32, f32), String> {
    let (token, bias) = text.split_once('=').ok_or("write TOKEN=X, such as 15043=-5")?;
    let token = token.trim().parse().map_err(|_| format!("'{token}' is no token's number"))?;
    match bias.trim().parse::<f32>() {
        Ok(bias) if !bias.is_nan() && bias != f32::INFINITY => Ok((token, bias)),
        _ => Err(format!("'{bias}' is neither a number nor -inf")),
    }
}

impl Args {
    pub(super) fn model_options(&self) -> ModelOptions {
        self.precision.model_options(&self.adapter, &self.device)
    }

    /// The text to answer, where one is given here.
    pub(super) fn prompt(&self) -> Option<&str> {
        self.text.as_deref().or(self.prompt.as_deref())
    }

    pub(super) fn generate_options(&self) -> GenerateOptions {
        GenerateOptions { log_probabilities: self.log_probabilities, ..self.sampling.options() }
    }
}

impl Sampling {
    pub(crate) fn options(&self) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            sampler: SamplerOptions {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                typical_p: self.typical_p,
                xtc_probability: self.xtc_probability,
                xtc_threshold: self.xtc_threshold,
                dry_multiplier: self.dry_multiplier,
                dry_base: self.dry_base,
                dry_allowed_length: self.dry_allowed_length,
                frequency_penalty: self.frequency_penalty,
                presence_penalty: self.presence_penalty,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
                ..SamplerOptions::default()
            },
            ignore_end: self.ignore_end,
            stop: self.stop.clone(),
            stop_tokens: self.stop_token.clone(),
            logit_bias: self.logit_bias.clone(),
            ..GenerateOptions::default()
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
        let rounded = options(&["--int8"]).policy;
        assert!(rounded.allow_int8 && !rounded.allow_f16 && !plain.policy.allow_int8);
        let limits = options(&["--limits", "webgpu"]).device.limits;
        assert_eq!(limits, Some(wgpu::Limits::defaults()));
        assert_eq!(options(&["--limits", "adapter"]).device.limits, None);
    }

    #[test]
    fn biases_are_of_tokens() {
        assert_eq!(bias("15043=+5"), Ok((15043, 5.0)));
        assert_eq!(bias("1 = -2.5"), Ok((1, -2.5)));
        assert_eq!(bias("1=-inf"), Ok((1, f32::NEG_INFINITY)));
        for wrong in ["1", "x=1", "-1=1", "1=x", "1=inf", "1=nan", "="] {
            assert!(bias(wrong).is_err(), "{wrong}");
        }
    }
}
