//! Encoders against what the library Transformers computes in f64
//! (`tests/data/embed`): small ones with random weights, and all-MiniLM-L6-v2
//! from the user's cache, where `scripts/fetch_embed_model.sh` puts it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod broken;
mod gguf;
mod oracle;
mod rank;
#[path = "../support/mod.rs"]
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use oracle::{COSINE, MODELS, Oracle, RELATIVE, check, folder, relative};
use std::path::PathBuf;
use support::backends::{self, Named};
use support::cache;
use support::spared;
use wginfer::embed::{EmbedOptions, Embedder, Embeddings, Pooling, Weights, cosine};

type Body = fn(&Named) -> Result<(), Failed>;

const BODIES: &[(&str, Body)] = &[
    ("small_models", small_models),
    ("an_onnx_model", an_onnx_model),
    ("padding_changes_nothing", padding_changes_nothing),
    ("few_plans_serve_every_length", few_plans),
    ("weights_need_not_be_aligned", weights_need_not_be_aligned),
    ("minilm", minilm),
];

/// What only devices have.
const GPU_BODIES: &[(&str, Body)] = &[("minilm_takes_little_memory", little_memory)];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = broken::trials();
    trials.extend(gguf::trials());
    trials.extend(rank::trials());
    trials.push(Trial::test("embed::folders_say_what_is_done", folders_say_what_is_done));
    trials.push(Trial::test("embed::options_are_followed", options_are_followed));
    for backend in backends::all() {
        let more = if backend.is_gpu() { GPU_BODIES } else { &[] };
        for (name, body) in BODIES.iter().chain(more) {
            let backend = backend.clone();
            let name = format!("embed::{}::{name}", backend.name);
            trials.push(Trial::test(name, move || body(&backend)));
        }
    }
    backends::conclude(&arguments, trials);
}

/// Every kind of pooling at once: the vectors stand one after another.
fn all_kinds(weights: Weights) -> EmbedOptions {
    EmbedOptions {
        weights,
        pooling: Pooling::ALL.to_vec(),
        normalise: Some(false),
        ..EmbedOptions::default()
    }
}

fn embed(embedder: &mut Embedder, texts: &[&str]) -> Result<Embeddings, Failed> {
    let backend = embedder.backend().clone();
    Ok(backend.block_on(embedder.embed(texts))?)
}

/// The texts of an oracle, all kinds of pooling, and the numbers of tokens.
fn judge(embedder: &mut Embedder, oracle: &Oracle) -> Result<(), Failed> {
    assert_eq!(embedder.most_tokens(), oracle.most);
    let found = embed(embedder, &oracle.texts())?;
    for (i, count) in found.tokens.iter().enumerate() {
        assert_eq!((count.total, count.used), (oracle.total[i], oracle.used[i]), "text {i}");
        assert_eq!(count.is_cut(), count.total > oracle.most);
    }
    for (i, vector) in found.vectors.iter().enumerate() {
        let width = vector.len() / Pooling::ALL.len();
        for (kind, part) in Pooling::ALL.iter().zip(vector.chunks(width)) {
            check(part, oracle.vector(*kind, i), &format!("text {i}, {kind}"))?;
        }
    }
    Ok(())
}

fn small_models(backend: &Named) -> Result<(), Failed> {
    for model in MODELS {
        let mut embedder =
            Embedder::open_with(folder(model), &backend.backend, &all_kinds(Weights::Auto))?;
        assert_eq!(embedder.spec().map(|spec| spec.model_type.as_str()), Some(model));
        judge(&mut embedder, &Oracle::read(model)).map_err(|e| said(model, &e))?;
    }
    Ok(())
}

fn said(what: &str, failed: &Failed) -> Failed {
    format!("{what}: {}", failed.message().unwrap_or_default()).into()
}

fn an_onnx_model(backend: &Named) -> Result<(), Failed> {
    let mut embedder =
        Embedder::open_with(folder("bert"), &backend.backend, &all_kinds(Weights::Onnx))?;
    assert!(embedder.spec().is_none());
    let oracle = Oracle::read("bert");
    judge(&mut embedder, &oracle)?;
    // The same texts once more need no other plans, and neither do like ones.
    let plans = embedder.plans();
    let mut texts = oracle.texts();
    texts.reverse();
    texts[0] = "the cat barks at the moon while the dog sleeps";
    embed(&mut embedder, &texts)?;
    assert_eq!(embedder.plans(), plans);
    // All of it was computed where it was asked for.
    assert_eq!(embedder.fallbacks(), []);
    Ok(())
}

fn padding_changes_nothing(backend: &Named) -> Result<(), Failed> {
    for model in MODELS {
        let options = all_kinds(Weights::Auto);
        let mut embedder = Embedder::open_with(folder(model), &backend.backend, &options)?;
        let words: Vec<&str> = "the cat sleeps on a mat while one dog barks".split(' ').collect();
        let texts: Vec<String> = (1..=words.len()).map(|n| words[..n].join(" ")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let together = embed(&mut embedder, &texts)?;
        let lengths: Vec<_> = together.tokens.iter().map(|count| count.used).collect();
        assert!(lengths.iter().any(|n| n != &lengths[0]), "all alike: nothing is padded");
        for (i, text) in texts.iter().enumerate() {
            let alone = embed(&mut embedder, &[text])?;
            let off = relative(&together.vectors[i], &alone.vectors[0]);
            assert!(off <= 1e-6, "{model}: {text:?} alone differs by {off:e}");
        }
    }
    Ok(())
}

fn few_plans(backend: &Named) -> Result<(), Failed> {
    let mut embedder = Embedder::open(folder("bert"), &backend.backend)?;
    for n in 1..40 {
        embed(&mut embedder, &["a ".repeat(n).as_str()])?;
    }
    // One for up to 16 tokens, one for up to the 32 that the model takes.
    assert_eq!(embedder.plans(), 2);
    Ok(())
}

/// Writers pad the header so that weights are aligned; the format does not ask
/// for it.
fn weights_need_not_be_aligned(backend: &Named) -> Result<(), Failed> {
    const FILE: &str = "model.safetensors";
    let copy = broken::Copy::of("bert");
    let mut bytes = std::fs::read(copy.path().join(FILE))?;
    let header = u64::from_le_bytes(*bytes.first_chunk().ok_or("no header")?);
    assert_eq!(header % 4, 0, "the file is not aligned by itself");
    bytes[..8].copy_from_slice(&(header + 1).to_le_bytes());
    bytes.insert(8 + header as usize, b' ');
    copy.write(FILE, bytes);
    let texts = ["the cat sleeps", "a dog"];
    let odd = Embedder::open(copy.path(), &backend.backend)?.embed_blocking(&texts)?;
    let even = Embedder::open(folder("bert"), &backend.backend)?.embed_blocking(&texts)?;
    assert_eq!(odd, even);
    Ok(())
}

fn folders_say_what_is_done() -> Result<(), Failed> {
    let heads: [(&str, &[Pooling], bool); 4] = [
        ("bert", &[Pooling::Mean], true),
        ("roberta", &[Pooling::Cls], false),
        ("distilbert", &[Pooling::Mean], false),
        ("mpnet", &[Pooling::Cls, Pooling::Max, Pooling::Mean], false),
    ];
    for (model, pooling, normalise) in heads {
        let mut embedder = Embedder::open(folder(model), &wginfer::Backend::Cpu)?;
        let head = embedder.head();
        assert_eq!((head.pooling.as_slice(), head.normalise), (pooling, normalise), "{model}");
        let oracle = Oracle::read(model);
        for (i, vector) in embedder.embed_blocking(&oracle.texts())?.iter().enumerate() {
            let parts = pooling.iter().flat_map(|&kind| oracle.vector(kind, i)).copied();
            let mut expected: Vec<f64> = parts.collect();
            if normalise {
                let norm = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
                expected.iter_mut().for_each(|v| *v /= norm);
            }
            check(vector, &expected, &format!("{model}, text {i}"))?;
        }
    }
    Ok(())
}

fn options_are_followed() -> Result<(), Failed> {
    let cpu = wginfer::Backend::Cpu;
    let open = |options: &EmbedOptions| Embedder::open_with(folder("bert"), &cpu, options);
    let plain = open(&EmbedOptions::default())?.embed_blocking(&["the cat sleeps"])?;
    let prompt = EmbedOptions { prompt: Some("the cat ".into()), ..EmbedOptions::default() };
    assert_eq!(open(&prompt)?.embed_blocking(&["sleeps"])?, plain);

    let short = EmbedOptions { most_tokens: Some(4), ..EmbedOptions::default() };
    let mut short = open(&short)?;
    let counts = embed(&mut short, &["the cat sleeps on the mat"])?.tokens;
    assert_eq!((counts[0].total, counts[0].used, counts[0].is_cut()), (8, 4, true));
    // More than the model has positions for is not to be had.
    let long = EmbedOptions { most_tokens: Some(1000), ..EmbedOptions::default() };
    assert_eq!(open(&long)?.most_tokens(), 32);

    let one = EmbedOptions { batch_tokens: Some(1), ..EmbedOptions::default() };
    let texts = ["the cat", "a dog barks at the moon", "one"];
    let single = open(&one)?.embed_blocking(&texts)?;
    let together = open(&EmbedOptions::default())?.embed_blocking(&texts)?;
    for (a, b) in single.iter().zip(&together) {
        assert!((cosine(a, b)? - 1.0).abs() < 1e-6);
    }
    assert_eq!(open(&one)?.embed_blocking(&[])?, Vec::<Vec<f32>>::new());
    Ok(())
}

/// Where MiniLM is.
fn minilm_folder() -> Result<PathBuf, Failed> {
    let folder = cache::embed_model().ok_or("no cache directory")?;
    if folder.exists() {
        return Ok(folder);
    }
    Err(format!("{} is missing; run scripts/fetch_embed_model.sh", folder.display()).into())
}

/// Texts of several lengths on a device of its own.
fn little_memory(backend: &Named) -> Result<(), Failed> {
    let wginfer::Backend::Gpu(gpu) = &backend.backend else { return Err("no GPU".into()) };
    let texts = ["the cat", "a dog sleeps on the mat while the cat looks at the moon"];
    let gpu = pollster::block_on(gpu.reopen())?;
    let own = wginfer::Backend::Gpu(gpu.clone());
    // Kernels are tried the first time, which takes memory.
    Embedder::open(minilm_folder()?, &own)?.embed_blocking(&texts)?;
    gpu.trim();
    gpu.tick();
    gpu.reset_peaks();
    let mut embedder = Embedder::open(minilm_folder()?, &own)?;
    embedder.embed_blocking(&texts)?;
    spared::conclude(&spared::judged("MiniLM", &embedder.memory(), &gpu.memory()))
}

/// The vectors of 24 sentences and their cosines with one another.
fn minilm(backend: &Named) -> Result<(), Failed> {
    let folder = minilm_folder()?;
    let oracle = Oracle::read("minilm");
    let mut embedder = Embedder::open(&folder, &backend.backend)?;
    assert_eq!(embedder.most_tokens(), oracle.most);
    let found = embed(&mut embedder, &oracle.texts())?;
    let total: Vec<_> = found.tokens.iter().map(|count| count.total).collect();
    assert_eq!(total, oracle.total);
    let expected = oracle::minilm();
    assert!(expected.len() == found.vectors.len() && expected.len() >= 20);
    let (mut worst, mut angle) = (0.0f64, 0.0f64);
    for (i, vector) in found.vectors.iter().enumerate() {
        let theirs: Vec<f64> = expected[i].iter().map(|&v| v.into()).collect();
        check(vector, &theirs, &format!("sentence {i}"))?;
        worst = worst.max(relative(vector, &expected[i]));
        for (j, other) in found.vectors.iter().enumerate() {
            let (ours, theirs) = (cosine(vector, other)?, cosine(&expected[i], &expected[j])?);
            let off = f64::from((ours - theirs).abs());
            angle = angle.max(off);
            assert!(off <= COSINE, "cosine of {i} and {j}: {ours}, expected {theirs}");
        }
    }
    assert!(worst <= RELATIVE);
    println!("{}: relative L2 {worst:.1e}, cosines {angle:.1e}", backend.name);
    Ok(())
}
