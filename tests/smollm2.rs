//! SmolLM2-135M-Instruct against reference outputs that llama.cpp computed in
//! f32 on the decoded weights (`tests/data/smollm2`).
//!
//! One body for every backend found. The model is the demonstration model in
//! the user's cache; `scripts/fetch_demo_model.sh` puts it there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use support::backends::{self, Named};
use support::demo_model;
use wginfer::exec::Reference;
use wginfer::gpu::{DeviceCaps, DeviceOptions};
use wginfer::graph::Bindings;
use wginfer::kernels::Policy;
use wginfer::kernels::registry::FAMILIES;
use wginfer::lm::decoder::{self, DecoderOptions, Layout, names};
use wginfer::lm::spec::DecoderSpec;
use wginfer::lm::{LanguageModel, ModelOptions, Perplexity};
use wginfer::{Backend, DType, Tensor};

/// Relative L2 of logits in the f32 path; see the acceptance in the README of
/// the data.
const F32_LOGITS: f64 = 1e-3;
/// The same with an f16 cache or f16 arithmetic.
const F16_LOGITS: f64 = 1e-2;
/// The same with rows of products rounded to eight bits. The largest of 32 normal numbers
/// is about 2.1 deviations, so a step is 2.1 / 127 of one and its rounding 0.48 % (a step
/// over the root of 12); four products after one another in 30 blocks, as if none of it
/// were lost in sums: 0.48 % times the root of 120.
const INT8_LOGITS: f64 = 5.3e-2;
/// Arg-max must agree where the best two logits are further apart.
const MARGIN: f64 = 0.05;
/// Relative difference of perplexity in the f32 path.
const PERPLEXITY: f64 = 1e-3;

/// Kernels that real GPUs choose and software adapters do not, and what their
/// arithmetic may lose. Where a row has several, they are of different families.
const FORCED: &[(&[(&str, &str)], f64)] = &[
    (&[("matmul", "tiled_64"), ("attention", "tiled"), ("elementwise", "wide")], F32_LOGITS),
    (&[("matmul", "tiled_32"), ("attention", "rows"), ("norm", "workgroup")], F32_LOGITS),
    (
        &[("matmul", "matvec_subgroup"), ("attention", "rows_subgroup"), ("norm", "subgroup")],
        F32_LOGITS,
    ),
    (&[("matmul", "matvec_workgroup")], F32_LOGITS),
    (&[("matmul", "tiled_64_f16")], F16_LOGITS),
    (&[("matmul", "coop_8")], F16_LOGITS),
    (&[("matmul", "tiled_128")], F32_LOGITS),
    (&[("matmul", "coop_wide_8"), ("attention", "coop_8")], F16_LOGITS),
    (&[("matmul", "int8_32")], INT8_LOGITS),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends::all() {
        let name = backend.name.clone();
        let model = Arc::new(Mutex::new(None));
        let mut add = |what: &str, body: fn(&mut LanguageModel, &Named) -> Result<(), Failed>| {
            let (backend, model) = (backend.clone(), model.clone());
            trials.push(Trial::test(format!("smollm2::{name}::{what}"), move || {
                let mut slot = model.lock().map_err(|_| "an earlier test panicked")?;
                if slot.is_none() {
                    *slot = Some(open(&backend.backend, DType::F32, Policy::default())?);
                }
                match slot.as_mut() {
                    Some(model) => body(model, &backend),
                    None => Err("no model".into()),
                }
            }));
        };
        add("logits", |model, backend| logits(model, F32_LOGITS, prompts(backend)));
        add("greedy", greedy);
        add("perplexity", perplexity);
        let half = backend.clone();
        trials.push(Trial::test(format!("smollm2::{name}::logits_f16_cache"), move || {
            let mut model = open(&half.backend, DType::F16, Policy::default())?;
            logits(&mut model, F16_LOGITS, prompts(&half))
        }));
        trials.extend(forced_trials(&backend));
    }
    trials.extend(minimum_trial());
    if whole_text() {
        trials.push(Trial::test("smollm2::reference::perplexity", reference));
    }
    backends::conclude(&arguments, trials);
}

/// On a current lavapipe, which can run all of them, and on real GPUs those
/// that they can run; there also whatever `allow_f16` makes of the choice.
fn forced_trials(backend: &Named) -> Vec<Trial> {
    let Backend::Gpu(gpu) = &backend.backend else { return Vec::new() };
    let (caps, must) = (gpu.caps(), backend.name == "lavapipe");
    if caps.is_software() && !must {
        return Vec::new();
    }
    let mut policies = Vec::new();
    for (forced, tolerance) in FORCED {
        if must || forced.iter().all(|(family, name)| lacking(family, name, caps).is_none()) {
            let pair = |&(family, name): &(&str, &str)| (family.into(), name.into());
            let force = forced.iter().map(pair).collect();
            let label = format!("forced_{}", forced[0].1);
            policies.push((label, Policy { force, ..Policy::default() }, *tolerance));
        }
    }
    if caps.f16 && !caps.is_software() {
        let policy = Policy { allow_f16: true, ..Policy::default() };
        policies.push(("f16_arithmetic".into(), policy, F16_LOGITS));
    }
    let trial = |(label, policy, tolerance): (String, Policy, f64)| {
        let backend = backend.clone();
        Trial::test(format!("smollm2::{}::logits_{label}", backend.name), move || {
            logits_under(&backend, policy, tolerance)
        })
    };
    policies.into_iter().map(trial).collect()
}

/// What a variant needs and the device has not.
fn lacking(family: &str, name: &str, caps: &DeviceCaps) -> Option<String> {
    let family = FAMILIES.iter().find(|known| known.name == family).expect("a known family");
    let variant = family.variants.iter().find(|known| known.name == name);
    variant.expect("a known variant").needs.lacking(caps)
}

/// With WebGPU's least limits and bindings of 1 MiB, which cut every large weight.
fn minimum_trial() -> Option<Trial> {
    let options = DeviceOptions { max_binding: Some(1 << 20), ..DeviceOptions::webgpu_minimum() };
    let backend =
        backends::gpus(&options).into_iter().find(|backend| backend.name == "lavapipe")?;
    Some(Trial::test("smollm2::lavapipe+minimum::logits", move || {
        let mut model = open(&backend.backend, DType::F32, Policy::default())?;
        logits(&mut model, F32_LOGITS, 1)
    }))
}

/// The logits of the first prompt, the shortest, computed by the variants asked
/// for.
fn logits_under(backend: &Named, policy: Policy, tolerance: f64) -> Result<(), Failed> {
    let forced: Vec<String> =
        policy.force.iter().map(|(family, name)| format!("{family}/{name}")).collect();
    let mut model = open(&backend.backend, DType::F32, policy)?;
    logits(&mut model, tolerance, 1)?;
    let executed = model.session().executed_variants();
    println!("{executed:?}");
    match forced.iter().find(|name| !executed.contains(*name)) {
        Some(name) => Err(format!("{name} did not run").into()),
        None => Ok(()),
    }
}

fn open(backend: &Backend, cache: DType, policy: Policy) -> Result<LanguageModel, Failed> {
    let file = wginfer::formats::gguf::open(demo_model::path()?)?;
    let options = ModelOptions { cache, policy, ..ModelOptions::default() };
    Ok(backend.block_on(LanguageModel::load(file, backend, &options, &mut |_, _| {}))?)
}

fn data(name: &str) -> Result<Vec<u8>, Failed> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/smollm2").join(name);
    Ok(std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?)
}

fn json(name: &str) -> Result<Value, Failed> {
    Ok(serde_json::from_slice(&data(name)?)?)
}

fn ids(value: &Value) -> Result<Vec<u32>, Failed> {
    let list = value.as_array().ok_or("a list of ids")?;
    list.iter().map(|id| Ok(id.as_u64().ok_or("an id")? as u32)).collect()
}

/// The F32 values of a `.npy` file of version 1.
fn npy(name: &str) -> Result<Vec<f32>, Failed> {
    let bytes = data(name)?;
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    Ok(bytes[header..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect())
}

/// How many of the three prompts; the last takes most of a minute on a slow
/// adapter.
fn prompts(backend: &Named) -> usize {
    if backend.is_slow() && !whole_text() { 2 } else { usize::MAX }
}

/// Last-position logits of the first so many prompts.
fn logits(model: &mut LanguageModel, tolerance: f64, prompts: usize) -> Result<(), Failed> {
    let cases = json("last_logits.json")?;
    for case in cases.as_array().ok_or("a list")?.iter().take(prompts) {
        let prompt = ids(&case["prompt_ids"])?;
        let want = npy(case["file"].as_str().ok_or("a file")?)?;
        let got = run(model, &prompt, 0)?;
        let error = relative_l2(&got, &want);
        println!("{}: relative L2 {error:.2e}", case["name"]);
        if error.is_nan() || error > tolerance {
            return Err(format!("{}: relative L2 {error:.3e} > {tolerance:e}", case["name"]).into());
        }
    }
    Ok(())
}

fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let square = |x: f64| x * x;
    let difference: f64 =
        got.iter().zip(want).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let norm: f64 = want.iter().map(|&b| square(f64::from(b))).sum();
    (difference / norm).sqrt()
}

/// Each step is given the reference's own prefix, so one different choice does
/// not change the rest.
fn greedy(model: &mut LanguageModel, backend: &Named) -> Result<(), Failed> {
    let cases = json("greedy.json")?;
    let (mut steps, mut close) = (0, 0);
    // Where a step takes long, the first steps of each prompt stand for all.
    let most = match backend.is_slow() {
        true if !whole_text() => 2,
        false if backends::quick() => 8,
        _ => usize::MAX,
    };
    for case in cases.as_array().ok_or("a list")? {
        let (mut prefix, mut want) = (ids(&case["prompt_ids"])?, ids(&case["ids"])?);
        want.truncate(most);
        let mut cached = 0;
        for (i, &token) in want.iter().enumerate() {
            let got = run(model, &prefix[cached..], cached)?;
            cached = prefix.len();
            let best =
                (0..got.len()).max_by(|&a, &b| got[a].total_cmp(&got[b])).unwrap_or(0) as u32;
            let margin = case["margin_top1_top2"][i].as_f64().ok_or("a margin")?;
            steps += 1;
            if best != token && margin > MARGIN {
                let name = &case["name"];
                return Err(
                    format!("{name}, step {i}: {best}, not {token} (margin {margin})").into()
                );
            }
            close += usize::from(best != token);
            prefix.push(token);
        }
    }
    println!("{steps} steps, {close} differ within the margin");
    Ok(())
}

/// Perplexity as `llama-perplexity` measures it: chunks of `n_ctx`, the second
/// half of each scored. The first tokens only where the whole would be slow.
fn perplexity(model: &mut LanguageModel, backend: &Named) -> Result<(), Failed> {
    let case = json("perplexity.json")?;
    let all = ids(&case["ids"])?;
    let context = case["n_ctx"].as_u64().ok_or("n_ctx")? as usize;
    if !whole_text() || backend.is_slow() {
        return quick_perplexity(model, backend, &case, &all);
    }
    let chunks = case["chunks"].as_u64().ok_or("chunks")? as usize;
    let want = case["perplexity_f32_weights_dequantised"].as_f64().ok_or("perplexity")?;
    let (got, count) = measure(model, &all[..chunks * context], context)?;
    println!("perplexity {got:.4} over {count} tokens, reference {want}");
    if !near(got, want, PERPLEXITY) {
        return Err(format!("perplexity {got}, reference {want}").into());
    }
    Ok(())
}

/// Whether `got` is within `tolerance` of `want`, relatively; NaN is not.
fn near(got: f64, want: f64, tolerance: f64) -> bool {
    (got / want - 1.0).abs() <= tolerance
}

/// Whether the slow parts run: `make test-all`.
fn whole_text() -> bool {
    std::env::var_os("WGINFER_TEST_ALL").is_some()
}

/// The text's first tokens, in one window and in two, as llama.cpp has them on the weights
/// that the file decodes to (`scripts/make_perplexity.py`). The first of them is judged
/// by the f64 reference as well, in `make test-all`.
#[derive(serde::Deserialize)]
struct Quick {
    tokens: usize,
    n_ctx: usize,
    n_scored: usize,
    perplexity_f32_weights_dequantised: f64,
}

fn quick(case: &Value) -> Result<Vec<Quick>, Failed> {
    Ok(serde_json::from_value(case["quick"].clone())?)
}

fn quick_perplexity(
    model: &mut LanguageModel,
    backend: &Named,
    case: &Value,
    all: &[u32],
) -> Result<(), Failed> {
    for wanted in quick(case)? {
        let Quick { tokens, n_ctx, perplexity_f32_weights_dequantised: want, .. } = wanted;
        let (got, count) = measure(model, &all[..tokens], n_ctx)?;
        println!("{}: perplexity of the first {tokens} tokens {got:.6}", backend.name);
        assert_eq!(count, wanted.n_scored);
        if !near(got, want, PERPLEXITY) {
            return Err(format!("perplexity {got}, llama.cpp has {want}").into());
        }
    }
    Ok(())
}

/// The yardstick on the same tokens: the unfused graph in f64.
fn reference() -> Result<(), Failed> {
    let case = json("perplexity.json")?;
    let first = quick(&case)?.into_iter().next().ok_or("no figure")?;
    assert_eq!(first.tokens, first.n_ctx, "one window");
    let prefix = first.tokens;
    let file = wginfer::formats::gguf::open(demo_model::path()?)?;
    let spec = DecoderSpec::from_gguf(&file)?;
    let weights = |name: &str| match file.tensor_info(name) {
        Some(_) => file.tensor(name).map(Some),
        None => Ok(None),
    };
    let options = DecoderOptions {
        cache: DType::F32,
        positions: prefix,
        layout: Layout::Sequences,
        chooses: false,
    };
    let graph = decoder::build(&spec, &weights, options)?;
    let mut fixed = Bindings::default();
    for (name, value) in [(names::CAPACITY, prefix as u64), (names::BATCH, 1)] {
        fixed.set(graph.symbol(name).ok_or("a symbol")?, value);
    }
    let tokens = ids(&case["ids"])?;
    let whole = |values: Vec<i32>, extents: &[usize]| Tensor::from_i32(extents, &values);
    let scored: Vec<i32> = (prefix as i32 / 2..prefix as i32 - 1).collect();
    let inputs = [
        (names::TOKENS, whole(tokens[..prefix].iter().map(|&t| t as i32).collect(), &[1, prefix])?),
        (names::POSITIONS, whole((0..prefix as i32).collect(), &[1, prefix])?),
        (names::PAST, whole(vec![0], &[1])?),
        (names::ROWS, whole(scored.clone(), &[scored.len()])?),
    ];
    let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let results = Reference::new(&graph, fixed)?.run(&inputs)?;
    let logits = results[0].1.reals()?;
    let mut sum = 0.0;
    for (row, logits) in scored.iter().zip(logits.chunks(spec.vocabulary)) {
        let peak = logits.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = logits.iter().map(|x| (x - peak).exp()).sum();
        sum += peak + total.ln() - logits[tokens[*row as usize + 1] as usize];
    }
    let got = (sum / scored.len() as f64).exp();
    let want = first.perplexity_f32_weights_dequantised;
    println!("reference: perplexity of the first {prefix} tokens {got:.6}, llama.cpp {want:.6}");
    if !near(got, want, 1e-5) {
        return Err(format!("perplexity {got}, llama.cpp has {want}").into());
    }
    Ok(())
}

/// The perplexity in windows of so many tokens, and how many of them counted.
fn measure(
    model: &mut LanguageModel,
    tokens: &[u32],
    window: usize,
) -> Result<(f64, usize), Failed> {
    let backend = model.backend().clone();
    let mut windows = 0;
    let mut told = |so_far: Perplexity| {
        windows = so_far.windows;
        true
    };
    let all = backend.block_on(model.perplexity(tokens, window, &mut told))?;
    assert_eq!((all.windows, windows), (tokens.len() / window, tokens.len() / window));
    assert_eq!(all.scored, all.windows * (window - window / 2 - 1));
    Ok((all.value, all.scored))
}

fn run(model: &mut LanguageModel, tokens: &[u32], past: usize) -> Result<Vec<f32>, Failed> {
    let backend = model.backend().clone();
    Ok(backend.block_on(model.forward(tokens, past))?)
}
