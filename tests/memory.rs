//! What a language model costs in memory: on the device, by the accounting and
//! by the process's resident size, and on the heap while it is loaded.
//!
//! The program measures itself, so its parts run one after another and share
//! it with nothing else. The model is the demonstration model in the user's
//! cache; `scripts/fetch_demo_model.sh` puts it there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use support::backends::{self, Named};
use support::{demo_model, heap, live, resident};
use wginfer::Backend;
use wginfer::formats::gguf::{self, GgufFile};
use wginfer::gpu::{MemoryReport, Purpose};
use wginfer::graph::Bindings;
use wginfer::lm::decoder::names;
use wginfer::lm::heads::Heads;
use wginfer::lm::{LanguageModel, ModelOptions};
use wginfer::plan::Plan;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// The context asked for, and what the caches have room for in the end.
const CONTEXT: usize = 8192;
/// What they have room for before that.
const BEFORE: usize = 4096;
/// The bytes of an element of a cache: F16, the default.
const CACHE_BYTES: u64 = 2;
/// The allocator below wgpu keeps its last block, which has at most so many bytes.
const KEPT: f64 = (32 << 20) as f64;
/// Tokens of a prompt: enough for the plan of a whole chunk.
const TOKENS: usize = 40;
/// What loading may take on the heap: this and a fifth of the file.
const HEAP_BYTES: u64 = 64_000_000;
const MB: f64 = 1e6;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    let mut backends = backends::all();
    // Where the resident size is judged, nothing has freed pages before.
    backends.sort_by_key(|backend| !is_resident(backend));
    for backend in backends {
        let measured = Arc::new(OnceLock::new());
        let mut add = |what: &str, check: fn(&Measured) -> Result<(), Failed>| {
            let (backend, measured) = (backend.clone(), measured.clone());
            trials.push(Trial::test(format!("memory::{}::{what}", backend.name), move || {
                let result = measured.get_or_init(|| measure(&backend).map_err(text));
                check(result.as_ref().map_err(String::clone)?)
            }));
        };
        add("heap_while_loading", heap_while_loading);
        if backend.is_gpu() {
            add("peak_is_what_the_model_needs", peak);
            add("growing_takes_little_more", growing);
            add("nothing_is_left", nothing_is_left);
        }
        if is_resident(&backend) {
            add("the_process_agrees", the_process_agrees);
            add("the_process_agrees_on_growing", the_process_agrees_on_growing);
        }
    }
    backends::conclude(&arguments, trials);
}

/// Whether the device's memory is the process's, and the process can tell.
fn is_resident(backend: &Named) -> bool {
    cfg!(target_os = "linux") && backend.name.starts_with("lavapipe")
}

fn text(failed: Failed) -> String {
    failed.message().unwrap_or("failed").to_string()
}

/// What one model did on one backend, in bytes.
#[derive(Debug)]
struct Measured {
    file_bytes: u64,
    needed: Needed,
    /// How far the heap grew at most while loading.
    heap_peak: u64,
    /// How much of that is still there after loading.
    heap_loaded: u64,
    device: Option<Device>,
}

/// What the device's books said, and the process's resident size beside them.
#[derive(Debug)]
struct Device {
    loaded: MemoryReport,
    grown: MemoryReport,
    used: MemoryReport,
    dropped: MemoryReport,
    trimmed: MemoryReport,
    /// Resident before loading, after it, after use, and after the drop.
    resident: [u64; 4],
    heap: [u64; 4],
    /// How far the resident size grew at most while the caches grew from
    /// [`BEFORE`] to [`CONTEXT`].
    resident_growth: u64,
}

impl Device {
    /// By how many MB the process has grown since the start without its heap,
    /// at one of the four times.
    fn beside_the_heap(&self, at: usize) -> f64 {
        let grown = |sizes: &[u64; 4]| sizes[at] as f64 - sizes[0] as f64;
        (grown(&self.resident) - grown(&self.heap)) / MB
    }
}

/// What the model needs, from its file, its sizes and its plans.
#[derive(Debug, Clone, Copy)]
struct Needed {
    /// The file's tensors.
    weights: u64,
    /// The rotary tables, which no file has.
    tables: u64,
    state: u64,
    /// The largest set of computed values alive at one time.
    live: u64,
}

impl Needed {
    fn total(&self) -> u64 {
        self.weights + self.tables + self.state + self.live
    }
}

fn measure(backend: &Named) -> Result<Measured, Failed> {
    let path = demo_model::path()?;
    let gpu = match &backend.backend {
        Backend::Gpu(gpu) => Some(gpu.clone()),
        Backend::Cpu => None,
    };
    let books = || gpu.as_ref().map(|gpu| gpu.memory()).unwrap_or_default();
    let mut sizes = Sizes::default();
    let tokens = if backend.is_slow() { 5 } else { TOKENS };
    if is_resident(backend) {
        warm_up(&path, &backend.backend, tokens)?;
    }
    if let Some(gpu) = &gpu {
        gpu.trim();
        gpu.reset_peaks();
    }
    sizes.note()?;
    let before = heap::start();
    let (mut model, file_bytes, weights) = load(&path, &backend.backend)?;
    let (heap_peak, heap_loaded) = (heap::peak() - before, heap::current() - before);
    let loaded = books();
    sizes.note()?;

    let (grown, resident_growth) = use_and_grow(&mut model, tokens, &books)?;
    let needed = needed(&model, weights, tokens)?;
    let used = books();
    sizes.note()?;

    drop(model);
    let dropped = books();
    if let Some(gpu) = &gpu {
        gpu.trim();
        // Destroys what was freed.
        gpu.tick();
    }
    let trimmed = books();
    sizes.note()?;
    let (resident, heap) = (sizes.resident.try_into(), sizes.heap.try_into());
    let (Ok(resident), Ok(heap)) = (resident, heap) else { return Err("four sizes".into()) };
    let device = gpu.map(|_| Device {
        loaded,
        grown,
        used,
        dropped,
        trimmed,
        resident,
        heap,
        resident_growth,
    });
    Ok(Measured { file_bytes, needed, heap_peak, heap_loaded, device })
}

/// Does all that is measured once before: it then finds every kernel compiled, the
/// ones for larger caches too. What the driver keeps of pipelines, and of compiling
/// them, is no memory of the model.
fn warm_up(path: &PathBuf, backend: &Backend, tokens: usize) -> Result<(), Failed> {
    let (mut model, ..) = load(path, backend)?;
    use_and_grow(&mut model, tokens, &MemoryReport::default)?;
    drop(model);
    if let Backend::Gpu(gpu) = backend {
        gpu.trim();
        gpu.tick();
    }
    Ok(())
}

/// Uses the model before and after its caches grow; what [`grow`] gives.
fn use_and_grow(
    model: &mut LanguageModel,
    tokens: usize,
    books: &dyn Fn() -> MemoryReport,
) -> Result<(MemoryReport, u64), Failed> {
    use_it(model, tokens)?;
    let grown = grow(model, books)?;
    use_it(model, tokens)?;
    Ok(grown)
}

/// Grows the caches to [`BEFORE`], then to [`CONTEXT`]: what the books say after
/// that, and how far the process's resident size rose meanwhile.
fn grow(
    model: &mut LanguageModel,
    books: &dyn Fn() -> MemoryReport,
) -> Result<(MemoryReport, u64), Failed> {
    let backend = model.backend().clone();
    backend.block_on(model.reserve(BEFORE))?;
    // Written to, so that all of them are resident: a read initialises a buffer.
    let names: Vec<String> =
        model.session().graph().states().iter().map(|state| state.name.clone()).collect();
    for name in &names {
        model.session().state_blocking(name)?;
    }
    let before = if cfg!(target_os = "linux") { resident::start_of_peak()? } else { 0 };
    backend.block_on(model.reserve(CONTEXT))?;
    let peak = if cfg!(target_os = "linux") { resident::peak()? } else { 0 };
    Ok((books(), peak.saturating_sub(before)))
}

/// Sizes of the process from time to time.
#[derive(Debug, Default)]
struct Sizes {
    resident: Vec<u64>,
    heap: Vec<u64>,
}

impl Sizes {
    fn note(&mut self) -> Result<(), Failed> {
        self.resident.push(if cfg!(target_os = "linux") { resident::without_files()? } else { 0 });
        self.heap.push(heap::current());
        Ok(())
    }
}

/// The model, the bytes of its file and of the file's tensors.
fn load(path: &PathBuf, backend: &Backend) -> Result<(LanguageModel, u64, u64), Failed> {
    let file = gguf::open(path)?;
    let (file_bytes, weights) = (file.file_bytes(), tensor_bytes(&file)?);
    let options = ModelOptions { context: Some(CONTEXT), ..ModelOptions::default() };
    let model = backend.block_on(LanguageModel::load(file, backend, &options, &mut |_, _| {}))?;
    Ok((model, file_bytes, weights))
}

fn tensor_bytes(file: &GgufFile) -> Result<u64, Failed> {
    let sizes: Option<Vec<u64>> = file.tensors().map(|tensor| tensor.bytes()).collect();
    Ok(sizes.ok_or("a tensor of an unknown type")?.iter().sum())
}

/// A prompt and a few steps after it.
fn use_it(model: &mut LanguageModel, tokens: usize) -> Result<(), Failed> {
    let backend = model.backend().clone();
    let prompt: Vec<u32> = (0..tokens as u32).map(|i| 1000 + 37 * i).collect();
    let mut logits = backend.block_on(model.forward(&prompt, 0))?;
    for past in tokens..tokens + 3 {
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let (token, _) = best.ok_or("no logits")?;
        logits = backend.block_on(model.forward(&[token as u32], past))?;
    }
    Ok(())
}

fn needed(model: &LanguageModel, weights: u64, tokens: usize) -> Result<Needed, Failed> {
    let spec = model.spec();
    let row = |heads: &Heads| heads.kv_count * (heads.key_size + heads.value_size);
    let rows: usize = spec.layers.iter().map(|layer| row(&layer.heads)).sum();
    let state = rows as u64 * CACHE_BYTES * CONTEXT as u64;
    // A cosine and a sine in F32 for each rotated pair of each position.
    let tables = (CONTEXT * spec.rope.rotary_dim * 4) as u64;
    let bucket = if tokens <= 8 { 8 } else { 128 };
    let mut live = 0;
    for query in [1, bucket] {
        live = live.max(live::largest(&plan(model, query)?)?);
    }
    let planned = model.session().memory().live_peak;
    if planned != live {
        return Err(format!("the largest live set is {live}, the session says {planned}").into());
    }
    Ok(Needed { weights, tables, state, live })
}

/// The plan for so many tokens of which one gets logits.
fn plan(model: &LanguageModel, query: u64) -> Result<Plan, Failed> {
    let graph = model.session().graph();
    let mut bounds = Bindings::new(graph.symbols().len());
    let values = [
        (names::BATCH, 1),
        (names::QUERY, query),
        (names::CAPACITY, CONTEXT as u64),
        (names::ROW_COUNT, 1),
        // Planned for in any case, and never.
        (names::BEST_COUNT, 1),
        (names::TOP_COUNT, 0),
    ];
    for (name, value) in values {
        bounds.set(graph.symbol(name).ok_or("a symbol")?, value);
    }
    Ok(Plan::new(graph, &bounds)?)
}

fn heap_while_loading(m: &Measured) -> Result<(), Failed> {
    let most = m.file_bytes / 5 + HEAP_BYTES;
    println!(
        "heap while loading: {:.1} MB at most, {:.1} MB after it; limit {:.1} MB",
        m.heap_peak as f64 / MB,
        m.heap_loaded as f64 / MB,
        most as f64 / MB
    );
    // The vocabulary alone is more than this: the counting must count.
    if m.heap_peak < 1_000_000 {
        return Err(format!("only {} bytes of heap were counted", m.heap_peak).into());
    }
    if m.heap_peak > most {
        return Err(format!("{} bytes of heap, limit {most}", m.heap_peak).into());
    }
    Ok(())
}

fn device(m: &Measured) -> Result<&Device, Failed> {
    m.device.as_ref().ok_or_else(|| "no device".into())
}

/// At most a tenth above what the model needs, over loading and use. Below
/// there is nothing to spare: all of it is alive at one time.
fn peak(m: &Measured) -> Result<(), Failed> {
    let (report, needed) = (&device(m)?.used, m.needed.total());
    println!("needed: {:?}, in all {:.1} MB", m.needed, needed as f64 / MB);
    println!(
        "accounted: {:.1} MB at most, {:.1} MB at most while loading",
        report.total_peak as f64 / MB,
        device(m)?.loaded.total_peak as f64 / MB
    );
    for purpose in Purpose::ALL {
        println!("  {purpose:?}: {:.2} MB at most", report.peak(purpose) as f64 / MB);
    }
    let ratio = report.total_peak as f64 / needed as f64;
    if !(1.0..=1.1).contains(&ratio) {
        return Err(format!("the peak is {ratio:.3} of what is needed").into());
    }
    let constants = m.needed.weights + m.needed.tables;
    for (purpose, needed) in [
        (Purpose::Weights, constants),
        (Purpose::State, m.needed.state),
        (Purpose::Activations, m.needed.live),
    ] {
        let peak = report.peak(purpose);
        if peak < needed {
            return Err(format!("{purpose:?}: {peak} bytes accounted, {needed} needed").into());
        }
    }
    Ok(())
}

/// While caches grow, the books show the larger ones and, besides, few of the
/// smaller: the one being copied and the one to go back to.
fn growing(m: &Measured) -> Result<(), Failed> {
    let report = &device(m)?.grown;
    let (now, peak) = (report.current(Purpose::State), report.peak(Purpose::State));
    println!("states: {:.2} MB, {:.2} MB at most", now as f64 / MB, peak as f64 / MB);
    if now < m.needed.state {
        return Err(format!("{now} bytes of states, {} needed", m.needed.state).into());
    }
    // An old buffer must be in the books until its content is copied.
    if peak <= now || peak as f64 > 1.05 * now as f64 {
        return Err(format!("{peak} bytes at most for states of {now}").into());
    }
    Ok(())
}

/// On lavapipe the old caches go one by one, while the new ones are written as
/// far as content is copied (the rest takes no room yet). Were all old ones kept
/// to the end, the process would grow by all that is copied; it grows by a part,
/// since the allocator below wgpu does not give back blocks in which new buffers
/// have taken gaps.
fn the_process_agrees_on_growing(m: &Measured) -> Result<(), Failed> {
    let grown = device(m)?.resident_growth as f64;
    let copied = m.needed.state as f64 * BEFORE as f64 / CONTEXT as f64;
    println!("resident while growing: {:.1} MB more, {:.1} MB copied", grown / MB, copied / MB);
    if grown >= copied {
        return Err(format!("{:.1} MB more while {:.1} are copied", grown / MB, copied / MB).into());
    }
    Ok(())
}

/// Weights, state and all the rest go with the model; what the device keeps
/// for reuse goes when it is asked to.
fn nothing_is_left(m: &Measured) -> Result<(), Failed> {
    let Device { dropped, trimmed, .. } = device(m)?;
    for purpose in Purpose::ALL.into_iter().filter(|p| *p != Purpose::Staging) {
        if dropped.current(purpose) != 0 {
            return Err(format!("{purpose:?} after the drop: {dropped:?}").into());
        }
    }
    println!(
        "kept for reuse: {:.2} MB, staging {:.2} MB",
        dropped.pooled as f64 / MB,
        dropped.current(Purpose::Staging) as f64 / MB
    );
    if (trimmed.in_use(), trimmed.pooled, trimmed.total) != (0, 0, 0) {
        return Err(format!("after trimming: {trimmed:?}").into());
    }
    Ok(())
}

/// On lavapipe the device's memory is the process's. What Rust allocated is
/// taken off: the heap is counted apart.
fn the_process_agrees(m: &Measured) -> Result<(), Failed> {
    let device = device(m)?;
    let [_, loaded, used, dropped] = [0, 1, 2, 3].map(|at| device.beside_the_heap(at));
    println!(
        "resident beside the heap: {loaded:.1} MB after loading, {used:.1} MB after use, \
         {dropped:.1} MB after the drop"
    );
    // What was never written takes no room: the caches, at this point. Freed
    // staging memory may still be there. What the warm-up left is used again.
    let written = (m.needed.weights + m.needed.tables) as f64 / MB;
    let accounted = device.loaded.total_peak as f64 / MB;
    if !(0.98 * written - KEPT / MB..=1.1 * accounted).contains(&loaded) {
        let what = format!("{loaded:.1} MB, not {written:.1} written to {accounted:.1} accounted");
        return Err(format!("after loading the process has grown by {what}").into());
    }
    let most = 1.1 * device.used.total_peak as f64 / MB + KEPT / MB;
    if used > most {
        return Err(format!("in use the process has grown by {used:.1} MB, not {most:.1}").into());
    }
    let given_back = used - dropped;
    let least = device.used.in_use() as f64 / MB - KEPT / MB;
    if given_back < least {
        return Err(format!("the drop gave {given_back:.1} MB back, not {least:.1}").into());
    }
    Ok(())
}
