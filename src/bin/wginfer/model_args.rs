//! A language model on the command line: which, on what, how long and how exact.

use crate::cache;
use crate::device_args::DeviceArgs;
use crate::failure::Failure;
use crate::fetch;
use crate::lora_args::LoraArgs;
use crate::output::{self, note, safe, wrapped};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};
use wginfer::formats::gguf::{self, GgufFile};
use wginfer::kernels::Policy;
use wginfer::lm::chat::ChatOptions;
use wginfer::lm::{LanguageModel, ModelOptions};
use wginfer::session::Progress;
use wginfer::{Backend, BackendChoice, DType, Result};

/// What every command with a language model has.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// The GGUF file, or hf:OWNER/REPOSITORY/FILE on the Hugging Face hub
    /// [default: the demonstration model, once it was fetched]
    #[arg(env = "WGINFER_MODEL")]
    pub(crate) model: Option<PathBuf>,

    /// What computes: an adapter's index or a part of its name (see `wginfer
    /// devices`), `cpu`, or `auto`
    #[arg(short, long, value_name = "ADAPTER", default_value = "auto", env = "WGINFER_ADAPTER")]
    pub(crate) adapter: BackendChoice,

    /// Print nothing but what was asked for, and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    precision: Precision,

    #[command(flatten)]
    pub(crate) lora: LoraArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// How long and how exact.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Length and precision")]
pub(crate) struct Precision {
    /// The longest sequence in tokens [default: the model's, at most 8192]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    context: Option<usize>,

    /// The element type of the key and value caches
    #[arg(long, value_enum, default_value_t = Cache::F16)]
    cache: Cache,

    /// Let matrix products and attention round to f16 where the adapter computes with
    /// it: faster, and a little less exact
    #[arg(long)]
    f16: bool,

    /// Let products of quantised weights round their other operand to whole numbers of
    /// eight bits, on a GPU or, for single tokens, on a processor with AVX2: less exact
    #[arg(long)]
    int8: bool,
}

/// The element type of a cache.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Cache {
    F16,
    F32,
}

impl Precision {
    pub(crate) fn model_options(
        &self,
        adapter: &BackendChoice,
        device: &DeviceArgs,
    ) -> ModelOptions {
        ModelOptions {
            backend: adapter.clone(),
            device: device.options(),
            cache: match self.cache {
                Cache::F16 => DType::F16,
                Cache::F32 => DType::F32,
            },
            context: self.context,
            policy: Policy { allow_f16: self.f16, allow_int8: self.int8, ..Policy::default() },
            disabled_passes: device.disabled_passes(),
            ..ModelOptions::default()
        }
    }
}

impl ModelArgs {
    pub(crate) fn options(&self) -> ModelOptions {
        self.precision.model_options(&self.adapter, &self.device)
    }

    /// The file that was named, fetched from the hub if it is there, or the
    /// demonstration model.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.model {
            Some(path) => fetch::local(path, self.quiet),
            None => demo_model(),
        }
    }

    /// Loads one sequence's model.
    pub(crate) fn load(&self, chat: ChatOptions) -> Result<LanguageModel, Failure> {
        let loras = self.lora.open(self.quiet)?;
        let options = ModelOptions { chat, loras, ..self.options() };
        load(&self.path()?, &options, self.quiet, &mut |file, backend, told| {
            backend.block_on(LanguageModel::load(file, backend, &options, told))
        })
        .map(|(model, _)| model)
    }
}

/// How a file is made into what computes, telling of its progress.
pub(crate) type Load<'a, T> = &'a mut dyn FnMut(GgufFile, &Backend, Progress<'_>) -> Result<T>;

/// Opens a file and a backend, and loads one onto the other; the text says why
/// this backend was picked.
pub(crate) fn load<T>(
    path: &Path,
    options: &ModelOptions,
    quiet: bool,
    load: Load<'_, T>,
) -> Result<(T, String), Failure> {
    let file = gguf::open(path)?;
    let (backend, why) = Backend::open_blocking(&options.backend, options.device.clone())?;
    if !quiet {
        note(wrapped(&safe(&format!("Adapter: {why}")), output::WIDTH).join("\n"));
    }
    let bar = progress_bar(quiet);
    let mut told = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let loaded = load(file, &backend, &mut told);
    bar.finish_and_clear();
    Ok((loaded?, why))
}

/// Drawn on standard error, and only where that is a terminal.
fn progress_bar(quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let style = ProgressStyle::with_template("loading {bar:40} {bytes}/{total_bytes}");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The demonstration model, where `scripts/fetch_demo_model.sh` puts it.
pub(crate) fn demo_model() -> Result<PathBuf, Failure> {
    let place = match cache::demo_model() {
        Some(path) if path.is_file() => return Ok(path),
        Some(path) => path.display().to_string(),
        None => "the cache (HOME is not set)".into(),
    };
    Err(Failure::Usage(format!(
        "no model: name a GGUF file, or fetch the demonstration model with \
         `make demo` or scripts/fetch_demo_model.sh (it is not at {place})"
    )))
}
