//! `wginfer run`: an ONNX model, once or many times over.

mod args;
mod arrays;
pub(crate) mod inputs;
pub(crate) mod picture;
mod report;

pub(crate) use args::{Args, InputArgs, InputShape, InputSource, NamedDim};

use crate::failure::Failure;
use crate::interrupt;
use crate::output::{self, note, safe, shortened, wrapped};
use crate::profile;
use report::{Summary, Times};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Instant;
use wginfer::exec::Profile;
use wginfer::gpu::MemoryReport;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, Tensor};

/// How much of a list of nodes is shown, in characters.
const NODES: usize = 200;

/// What was computed, and how long it took.
struct Outcome {
    why: String,
    outputs: Vec<(String, Tensor)>,
    times: Times,
    /// One for each backend that worked.
    profiles: Vec<Profile>,
    session: OnnxSession,
    /// What the device held at most.
    device: Option<MemoryReport>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if !inputs::is_model(&args.model) && args.model.exists() {
        note(format_args!("note: {} is not named .onnx", args.model.display()));
    }
    interrupt::listen();
    let begun = Instant::now();
    let model = Model::open(&args.model)?;
    let given = inputs::gather(&args.given, &model, args.quiet)?;
    let given: Vec<(&str, &Tensor)> = given.iter().map(|(name, t)| (name.as_str(), t)).collect();
    if let Some(path) = &args.save_inputs {
        arrays::write(path, &given)?;
    }
    let outcome = compute(args, model, &given, begun)?;
    if let Some(path) = &args.output {
        let outputs: Vec<_> =
            outcome.outputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        arrays::write(path, &outputs)?;
    }
    if let Some(path) = &args.trace {
        let text = profile::trace(&outcome.profiles).to_string();
        let io = |source| wginfer::Error::Io { path: path.clone(), source };
        std::fs::write(path, text).map_err(io)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        output::json(&mut out, &as_json(args, &outcome)?)?;
    } else {
        write!(out, "{}", as_text(args, &outcome)?)?;
    }
    Ok(out.flush()?)
}

fn compute(
    args: &Args,
    model: std::sync::Arc<Model>,
    given: &[(&str, &Tensor)],
    begun: Instant,
) -> Result<Outcome, Failure> {
    let (backend, why) = Backend::open_blocking(&args.adapter, args.device.options())?;
    if args.gpu_only && matches!(backend, Backend::Cpu) {
        let expected = "a GPU (wginfer devices lists them)".into();
        let error = wginfer::Error::Input { name: "--gpu-only".into(), expected, got: why };
        return Err(error.into());
    }
    if !args.quiet {
        note(wrapped(&safe(&format!("Adapter: {why}")), output::WIDTH).join("\n"));
    }
    let (gpu_only, seed) = (args.gpu_only, args.given.seed);
    let mut options = OnnxOptions { gpu_only, seed, ..OnnxOptions::default() };
    options.session.disabled_passes = args.device.disabled_passes();
    let mut session = OnnxSession::new(model, &backend, options)?;
    let load = begun.elapsed();
    let begun = Instant::now();
    let outputs = session.run_blocking(given)?;
    let first = begun.elapsed();
    let mut repeats = Vec::with_capacity(args.repeat);
    for _ in 0..args.repeat {
        let begun = Instant::now();
        session.run_blocking(given)?;
        repeats.push(begun.elapsed());
        if interrupt::asked() {
            return Err(Failure::Interrupted);
        }
    }
    let mut profiles = Vec::new();
    if args.profile || args.trace.is_some() {
        profiles = Profile::joined(backend.block_on(session.profile(given))?.1);
    }
    let device = match &backend {
        Backend::Gpu(gpu) => Some(gpu.memory()),
        Backend::Cpu => None,
    };
    let times = Times { load, first, repeats };
    Ok(Outcome { why, outputs, times, profiles, session, device })
}

fn as_text(args: &Args, outcome: &Outcome) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, tensor) in &outcome.outputs {
        text.push_str(&Summary::new(name, tensor)?.lines());
    }
    text.push_str(&format!("\n{}\n", outcome.times.lines()));
    if let Some(device) = &outcome.device {
        text.push_str(&report::memory_line(device));
    }
    let placed = outcome.session.report();
    if placed.stages > 1 {
        text.push_str(&format!(
            "{} stages; each run {} bytes go to the device and {} come back\n",
            placed.stages, placed.bytes_to_device, placed.bytes_to_host
        ));
    }
    if !placed.narrowed.is_empty() {
        let nodes = safe(&shortened(&placed.narrowed.join(", "), NODES));
        text.push_str(&format!("\ncomputed in F32, though it is F64: {nodes}\n"));
    }
    for fallback in placed.fallbacks {
        text.push_str(&format!("\non the CPU: {}\n", safe(&fallback.to_string())));
    }
    if args.profile {
        for profile in &outcome.profiles {
            text.push_str(&format!("\n{}", profile::lines(profile)));
        }
    }
    Ok(text)
}

fn as_json(args: &Args, outcome: &Outcome) -> Result<Value, Failure> {
    let outputs: Result<Vec<_>, wginfer::Error> = outcome
        .outputs
        .iter()
        .map(|(name, tensor)| Summary::new(name, tensor).map(|summary| summary.json()))
        .collect();
    let (counters, placed) = (outcome.session.counters(), outcome.session.report());
    Ok(json!({
        "schema": 1,
        "model": args.model.display().to_string(),
        "why": outcome.why,
        "outputs": outputs?,
        "times": outcome.times.json(),
        "profiles": outcome.profiles.iter().map(profile::json).collect::<Vec<_>>(),
        "narrowed": placed.narrowed,
        "on_the_cpu": placed.fallbacks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "counters": {
            "stages": counters.stages,
            "plans": counters.plans,
            "runs": counters.runs,
            "bytes_to_device": placed.bytes_to_device,
            "bytes_to_host": placed.bytes_to_host,
        },
        "memory": report::memory_json(&outcome.session.memory(), outcome.device.as_ref()),
    }))
}
