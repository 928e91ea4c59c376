//! What device memory an ONNX model may take beside what it needs.

use libtest_mimic::Failed;
use std::sync::Arc;
use wginfer::exec::WorkingMemory;
use wginfer::gpu::{Gpu, MemoryReport, Purpose};
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, Tensor};

/// The share of weights and the largest live set that there may be above them, whatever
/// it is for.
const SHARE: f64 = 0.15;

/// The bytes that there may be in any case: the smallest staging buffers (two to write
/// and one to read, 8 KiB each), 8 KiB of scratch memory, and what buffers of few bytes
/// and the parameters of dispatches are rounded up to, at most 256 bytes each.
const BYTES: f64 = 48.0 * 1024.0;

/// A run on a device of its own, whose kernels had been tried.
#[derive(Debug)]
pub struct Spared {
    pub results: Vec<(String, Tensor)>,
    /// What is more than it may be.
    pub over: Vec<String>,
}

/// What a trial of a kernel has of its own: 64 KiB of patterns that memory is filled with
/// before it is written, as many to upload them, and small buffers.
const TRIAL: f64 = 160.0 * 1024.0;

/// Runs a model on a device that nobody else uses, and judges what its second session
/// took at most, over two runs. What the first takes, while kernels are tried, may be
/// more by as much as is alive: a trial has the operands of one node.
pub fn run(
    what: &str,
    model: &Arc<Model>,
    gpu: &Arc<Gpu>,
    inputs: &[(&str, &Tensor)],
) -> Result<Spared, Failed> {
    let gpu = pollster::block_on(gpu.reopen())?;
    let backend = Backend::Gpu(gpu.clone());
    let options = OnnxOptions { gpu_only: true, ..OnnxOptions::default() };
    let mut first = OnnxSession::new(model.clone(), &backend, options.clone())?;
    first.run_blocking(inputs)?;
    drop(first);
    let tried = gpu.memory().total_peak as f64;
    gpu.trim();
    gpu.tick();
    gpu.reset_peaks();
    let mut session = OnnxSession::new(model.clone(), &backend, options)?;
    let results = session.run_blocking(inputs)?;
    session.run_blocking(inputs)?;
    let (memory, books) = (session.memory(), gpu.memory());
    let mut over = judged(what, &memory, &books);
    let most = most(&memory, &books) + memory.live_peak as f64 + TRIAL;
    println!("  {:.3} of what it may be while kernels were tried", tried / most);
    if tried > most {
        over.push(format!("{what}: {tried} bytes while kernels were tried"));
    }
    Ok(Spared { results, over })
}

/// The most bytes that a device may have had for a model with these weights and this
/// working memory.
fn most(memory: &WorkingMemory, books: &MemoryReport) -> f64 {
    let needed = books.asked(Purpose::Weights) + memory.live_peak;
    needed as f64 * (1.0 + SHARE) + BYTES
}

/// What is more than it may be on a device that has nothing but this model.
pub fn judged(what: &str, memory: &WorkingMemory, books: &MemoryReport) -> Vec<String> {
    let (weights, live) = (books.asked(Purpose::Weights), memory.live_peak);
    let (peak, most) = (books.total_peak as f64, most(memory, books));
    let needed = (weights + live) as f64;
    println!(
        "{what}: {:.3} of {weights} + {live} bytes, {:.3} with the bytes that there may be in any case",
        peak / needed,
        peak / most * (1.0 + SHARE)
    );
    for purpose in Purpose::ALL.into_iter().filter(|purpose| books.peak(*purpose) > 0) {
        println!("  {purpose:?}: {} bytes at most", books.peak(purpose));
    }
    let mut over = Vec::new();
    let mut check = |wrong: bool, why: &str| {
        if wrong {
            over.push(format!("{what}: {why}: {memory:?}, {books:?}"));
        }
    };
    // Weights and the live set are there at one time, or the books are wrong.
    check(live == 0 || peak < needed, "less than it needs");
    check(peak > most, "more than it may be");
    check(memory.slots as f64 > live as f64 * (1.0 + SHARE) + BYTES, "working memory");
    over
}

/// Fails if anything is more than it may be.
pub fn conclude(over: &[String]) -> Result<(), Failed> {
    if over.is_empty() { Ok(()) } else { Err(over.join("\n").into()) }
}
