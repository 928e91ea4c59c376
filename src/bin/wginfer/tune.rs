//! `wginfer tune`: which kernels are the fastest here, and what is known of adapters.

mod known;
mod table;

use crate::device_args::DeviceArgs;
use crate::failure::Failure;
use crate::inspect::is_onnx;
use crate::output::{self, note, safe, wrapped};
use crate::run::{InputArgs, inputs};
use std::ffi::OsString;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wginfer::gpu::Gpu;
use wginfer::kernels::Policy;
use wginfer::lm::{LanguageModel, ModelOptions, Prompt};
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::tune::{self, Supervision};
use wginfer::{Backend, BackendChoice, Error, Tensor};

/// How long a process may take until its model has run once, in seconds.
const START: u64 = 900;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model whose calls are measured: GGUF or ONNX [default: calls that many
    /// models have]
    model: Option<PathBuf>,

    /// The adapter: its index or a part of its name (see `wginfer devices`)
    #[arg(short, long, value_name = "ADAPTER", default_value = "auto", env = "WGINFER_ADAPTER")]
    adapter: BackendChoice,

    /// Measure for matrix products and attention that may round to f16, as `--f16` of
    /// the other commands allows
    #[arg(long)]
    f16: bool,

    /// Measure for products that may round to eight bits, as `--int8` of the other
    /// commands allows
    #[arg(long)]
    int8: bool,

    /// How long one variant may be silent before it counts as one that hangs, in
    /// seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,

    /// Start no process of its own: only variants that are known to be right are
    /// measured
    #[arg(long, conflicts_with_all = ["list", "clear"])]
    in_process: bool,

    /// Print what is known of adapters, and measure nothing
    #[arg(long)]
    list: bool,

    /// Forget what is known of adapters
    #[arg(long, conflicts_with = "list")]
    clear: bool,

    /// The process that tries variants
    #[arg(long, hide = true)]
    worker: bool,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,

    /// Print no notes about adapter and progress
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    given: InputArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.list || args.clear {
        return known::run(args.clear, args.json);
    }
    if args.worker {
        return work(args);
    }
    let mut told = |row: &tune::Row| {
        if !args.quiet {
            note(safe(&table::progress(row)));
        }
    };
    let report = if args.in_process {
        let gpu = open(args)?;
        observe(args, &gpu)?;
        gpu.block_on(tune::in_process(&gpu, &[], &mut told))?
    } else {
        let store = args.device.options().store.open();
        tune::supervised(&supervision(args)?, store, &mut told)?
    };
    let mut out = io::stdout().lock();
    if args.json {
        output::json(&mut out, &table::json(&report))?;
    } else {
        write!(out, "{}", table::text(&report))?;
    }
    Ok(out.flush()?)
}

/// This program once more, with the same arguments, as the process that tries variants.
fn supervision(args: &Args) -> Result<Supervision, Failure> {
    // Under a dynamic loader of its own, which tests use, that is the program that runs.
    let runner = std::env::var("WGINFER_RUNNER").unwrap_or_default();
    let mut command: Vec<OsString> = runner.split_whitespace().map(OsString::from).collect();
    let mut given = std::env::args_os();
    let own = given.next().unwrap_or_default();
    let io = |source| Error::Io { path: own.clone().into(), source };
    match command.is_empty() {
        true => command.push(std::env::current_exe().map_err(io)?.into_os_string()),
        false => command.push(own),
    }
    command.extend(given.chain(["--worker".into()]));
    let program = PathBuf::from(command.remove(0));
    let silence = Duration::from_secs(args.timeout);
    Ok(Supervision { program, arguments: command, start: Duration::from_secs(START), silence })
}

fn work(args: &Args) -> Result<(), Failure> {
    let gpu = open(args)?;
    observe(args, &gpu)?;
    Ok(tune::serve(&gpu, &[], BufReader::new(io::stdin()), io::stdout())?)
}

fn open(args: &Args) -> Result<Arc<Gpu>, Failure> {
    let (backend, why) = Backend::open_blocking(&args.adapter, args.device.options())?;
    if !args.quiet && !args.worker {
        note(wrapped(&safe(&format!("Adapter: {why}")), output::WIDTH).join("\n"));
    }
    match backend {
        Backend::Gpu(gpu) => Ok(gpu),
        Backend::Cpu => Err(Error::Input {
            name: "--adapter".into(),
            expected: "a GPU, or a software adapter by its name (wginfer devices lists them)"
                .into(),
            got: why,
        }
        .into()),
    }
}

/// Runs the model once for each kind of step that it has, and notes its calls.
fn observe(args: &Args, gpu: &Arc<Gpu>) -> Result<(), Failure> {
    tune::record(gpu);
    let policy = Policy { allow_f16: args.f16, allow_int8: args.int8, ..Policy::default() };
    match &args.model {
        None => Ok(gpu.block_on(tune::run_standard(gpu, &policy))?),
        Some(path) if is_onnx(path) => observe_onnx(args, path, gpu, policy),
        Some(path) => observe_language(args, path, gpu, policy),
    }
}

fn observe_language(
    args: &Args,
    path: &Path,
    gpu: &Arc<Gpu>,
    policy: Policy,
) -> Result<(), Failure> {
    let disabled_passes = args.device.disabled_passes();
    let options = ModelOptions { policy, disabled_passes, ..ModelOptions::default() };
    let (file, backend) = (wginfer::formats::gguf::open(path)?, Backend::Gpu(gpu.clone()));
    let mut untold = |_: u64, _: u64| {};
    let loading = LanguageModel::load(file, &backend, &options, &mut untold);
    let mut model = backend.block_on(loading)?;
    // Prompts of every length that has a plan, and one token after the longest.
    let mut past = 0;
    // What a part of a model reads gets an end and a start.
    let beside = if model.spec().source.is_some() { 3 } else { 1 };
    for step in model.steps() {
        let tokens = vec![0; step.min(model.context().saturating_sub(beside).max(1))];
        let tokens = model.prompt_tokens(&Prompt::Tokens(tokens))?;
        past = tokens.len();
        backend.block_on(model.forward(&tokens, 0))?;
    }
    backend.block_on(model.forward(&[0], past))?;
    Ok(())
}

fn observe_onnx(args: &Args, path: &Path, gpu: &Arc<Gpu>, policy: Policy) -> Result<(), Failure> {
    let model = Model::open(path)?;
    let given = inputs::gather(&args.given, &model, args.quiet || args.worker)?;
    let given: Vec<(&str, &Tensor)> = given.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let mut options = OnnxOptions { seed: args.given.seed, ..OnnxOptions::default() };
    options.session.disabled_passes = args.device.disabled_passes();
    options.session.policy = policy;
    OnnxSession::new(model, &Backend::Gpu(gpu.clone()), options)?.run_blocking(&given)?;
    Ok(())
}
