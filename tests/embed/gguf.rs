//! Encoders and decoders from GGUF files: small ones with random weights against
//! transformers and llama.cpp (`tests/data/encoders`).

use crate::oracle::relative;
use crate::support::backends::Named;
use crate::support::loras::Adapter;
use crate::support::recipe::Recipe;
use libtest_mimic::{Failed, Trial};
use std::path::{Path, PathBuf};
use wginfer::embed::{EmbedOptions, Embedder, Pooling, cosine};
use wginfer::formats::gguf::{GgufFile, GgufWriter};
use wginfer::lm::engine::{Engine, EngineOptions, Event, Request, Work};
use wginfer::lm::spec::{DecoderSpec, encoders};
use wginfer::lm::tokenizer::{EncodeOptions, Tokenizer};
use wginfer::lm::{GenerateOptions, LanguageModel, ModelOptions};
use wginfer::{Backend, Error};

/// The largest relative L2 of vectors: transformers computes in f64; llama.cpp in f32, and
/// its GELU comes from a table of halves.
fn tolerance(judge: &str) -> f64 {
    if judge == "transformers" { 1e-4 } else { 1e-3 }
}

#[derive(serde::Deserialize)]
pub(crate) struct Judged {
    judge: String,
    vocabulary: String,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
}

impl Judged {
    fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(String::as_str).collect()
    }
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The models there are: an architecture or one of its forms, and `.mixed` for quantised
/// types.
fn names() -> Vec<String> {
    let files = std::fs::read_dir(data("encoders")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".json").map(String::from)).collect();
    found.sort();
    found
}

pub(crate) fn read(name: &str) -> Result<(GgufFile, Judged), Failed> {
    let bytes = std::fs::read(data(&format!("encoders/{name}.json")))?;
    let (recipe, judged): (Recipe, Judged) =
        (serde_json::from_slice(&bytes)?, serde_json::from_slice(&bytes)?);
    let vocabulary = data(&format!("tokenizers/{}.gguf", judged.vocabulary));
    let file = recipe.file(name, &wginfer::formats::gguf::open(vocabulary)?)?;
    Ok((file, judged))
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("embed::gguf::every_encoder_is_judged", every_encoder_is_judged),
        Trial::test("embed::gguf::tokens", tokens),
        Trial::test("embed::gguf::what_is_not_a_vector_is_refused", refusals),
        Trial::test("embed::gguf::the_part_that_reads_gives_vectors", of_two_parts),
    ];
    for name in names().into_iter().filter(|name| !name.ends_with(".mixed")) {
        let trial = format!("embed::gguf::lora::{name}");
        trials.push(Trial::test(trial, move || with_lora(&name)));
    }
    for backend in crate::support::backends::all() {
        // Each model and its quantised form lie beside each other.
        let names = names().into_iter().enumerate();
        for (_, name) in names.filter(|(i, _)| backend.takes(i + i / 2, 2)) {
            let backend = backend.clone();
            let trial = format!("embed::{}::gguf::{name}", backend.name);
            trials.push(Trial::test(trial, move || agrees(&backend, &name)));
        }
        let name = format!("embed::{}::gguf_in_an_engine", backend.name);
        trials.push(Trial::test(name, move || in_an_engine(&backend)));
    }
    trials
}

fn every_encoder_is_judged() -> Result<(), Failed> {
    let names = names();
    for known in encoders() {
        for end in ["", ".mixed"] {
            let is = |name: &&String| match name.strip_suffix(".mixed") {
                Some(stem) => end == ".mixed" && stem.split("--").next() == Some(known),
                None => end.is_empty() && name.split("--").next() == Some(known),
            };
            if !names.iter().any(|name| is(&name)) {
                return Err(format!("no model of {known}{end}").into());
            }
        }
    }
    Ok(())
}

/// The tokens that other implementations make of the texts, special ones included.
fn tokens() -> Result<(), Failed> {
    for name in names() {
        let (file, judged) = read(&name)?;
        let tokenizer = Tokenizer::from_gguf(&file)?;
        for (text, ids) in judged.texts.iter().zip(&judged.ids) {
            let found = tokenizer.encode(text, EncodeOptions::TEXT)?;
            if found != *ids {
                return Err(format!("{name}: {text:?} is {found:?}, not {ids:?}").into());
            }
        }
    }
    Ok(())
}

/// All matrices with an adapter, against a file into whose weights it was merged.
fn with_lora(name: &str) -> Result<(), Failed> {
    const SCALE: f32 = 0.5;
    let (model, judged) = read(name)?;
    let vectors = |file, loras| -> wginfer::Result<Vec<f32>> {
        let options = EmbedOptions { loras, ..EmbedOptions::default() };
        let mut embedder = Embedder::from_gguf_blocking(file, &Backend::Cpu, &options)?;
        Ok(embedder.embed_blocking(&judged.texts())?.concat())
    };
    let open = || read(name).unwrap().0;
    let mut adapter = Adapter::random(&model, 4, |_| true)?;
    let (with, refused) = adapter.taken(SCALE, |lora| vectors(open(), vec![lora]))?;
    let mut writer = GgufWriter::new();
    for (key, value) in model.metadata().iter() {
        writer.copy(key, value)?;
    }
    for info in model.tensors() {
        let merged = adapter.merged(&model, info.name(), SCALE)?;
        writer.tensor(info.name(), merged)?;
    }
    let merged = vectors(GgufFile::parse(writer.to_bytes()?, "merged")?, Vec::new())?;
    let plain = vectors(model, Vec::new())?;
    let (off, moved) = (relative(&with, &merged), relative(&plain, &merged));
    println!("{name}: {off:.2e} of {moved:.2}, without {refused:?}");
    let matrix = |name: &String| {
        let ends = [".attn_rel_b.weight", "_norm.weight"];
        (name.contains(".attn_") || name.contains(".ffn_"))
            && !ends.iter().any(|end| name.ends_with(end))
    };
    if refused.iter().any(matrix) {
        return Err(format!("refused: {refused:?}").into());
    }
    if off > 1e-5 || moved < 0.01 {
        return Err(format!("off by {off:.2e}, moved by {moved:.2e}").into());
    }
    Ok(())
}

/// All texts together and each by itself.
fn agrees(backend: &Named, name: &str) -> Result<(), Failed> {
    let (file, judged) = read(name)?;
    let options = EmbedOptions::default();
    let mut embedder = Embedder::from_gguf_blocking(file, &backend.backend, &options)?;
    let together = embedder.embed_blocking(&judged.texts())?;
    for (i, text) in judged.texts().into_iter().enumerate() {
        let alone = embedder.embed_blocking(&[text])?;
        for vector in [&together[i], &alone[0]] {
            let off = relative(vector, &judged.vectors[i]);
            if off.is_nan() || off > tolerance(&judged.judge) {
                return Err(format!("text {i}: relative L2 {off:.2e}").into());
            }
        }
    }
    Ok(())
}

/// Texts of different lengths at once, as a server computes them.
fn in_an_engine(backend: &Named) -> Result<(), Failed> {
    for name in ["bert", "jina-bert-v2", "gemma-embedding", "qwen3--last", "t5encoder"] {
        let (file, judged) = read(name)?;
        let options = EngineOptions { slots: 3, ..EngineOptions::default() };
        let runner = &backend.backend;
        let mut untold = |_, _| {};
        let load = Engine::load(file, runner, &options, &mut untold);
        let mut engine = runner.block_on(load)?;
        let submit = |tokens: &Vec<u32>| Request { tokens: tokens.clone(), work: Work::Embed };
        let ids = judged.ids.iter().map(submit).map(|request| engine.submit(request));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let mut found = vec![Vec::new(); ids.len()];
        while !engine.is_idle() {
            for (id, event) in runner.block_on(engine.step())? {
                let Event::Embedded(vector) = event else {
                    return Err(format!("{name}: {event:?}").into());
                };
                let at = ids.iter().position(|other| *other == id);
                found[at.ok_or("an unknown sequence")?] = vector;
            }
        }
        for (vector, expected) in found.iter().zip(&judged.vectors) {
            // A decoder's are not scaled, and its caches may be halves.
            let turned = 1.0 - cosine(vector, expected)?;
            assert!(turned.abs() < 1e-5, "{name}: cosine off by {turned:.1e}");
        }
        let text = Request {
            tokens: judged.ids[0].clone(),
            work: Work::Generate(GenerateOptions::default()),
        };
        match (name, engine.submit(text)) {
            ("qwen3--last", Ok(_)) | (_, Err(Error::Unsupported { .. })) => (),
            (_, other) => return Err(format!("{name}: {other:?}").into()),
        }
    }
    Ok(())
}

/// A model in two parts gives the vectors that its encoder gives in a file of its own.
fn of_two_parts() -> Result<(), Failed> {
    let both = || wginfer::formats::gguf::open(data("decoders/t5--gated.gguf"));
    let mut writer = GgufWriter::new();
    writer.metadata("general.architecture", "t5encoder")?;
    for (key, value) in both()?.metadata().iter() {
        match key.strip_prefix("t5.") {
            Some(key) => writer.copy(&format!("t5encoder.{key}"), value)?,
            None if key == "general.architecture" => continue,
            None => writer.copy(key, value)?,
        };
    }
    for info in both()?.tensors().filter(|info| !info.name().starts_with("dec.")) {
        writer.tensor(info.name(), info.load()?)?;
    }
    let alone = GgufFile::parse(writer.to_bytes()?, "t5encoder")?;
    let texts = ["he reads", "and he writes something that is longer"];
    let cpu = Backend::Cpu;
    let vectors = |file| {
        let mut embedder = Embedder::from_gguf_blocking(file, &cpu, &EmbedOptions::default())?;
        embedder.embed_blocking(&texts)
    };
    assert_eq!(vectors(alone)?, vectors(both()?)?);
    Ok(())
}

/// What an encoder cannot do, and what gives no vectors, is said.
fn refusals() -> Result<(), Failed> {
    let cpu = Backend::Cpu;
    let (file, _) = read("bert")?;
    let (options, mut untold) = (ModelOptions::default(), |_, _| {});
    let load = LanguageModel::load(file, &cpu, &options, &mut untold);
    let error = cpu.block_on(load).err().ok_or("text from an encoder")?.to_string();
    assert!(error.contains("'bert'") && error.contains("vectors"), "{error}");
    let open = |file, options: &EmbedOptions| Embedder::from_gguf_blocking(file, &cpu, options);
    let several =
        EmbedOptions { pooling: vec![Pooling::Cls, Pooling::Mean], ..EmbedOptions::default() };
    let error = open(read("gemma-embedding")?.0, &several).err().ok_or("two kinds")?;
    assert!(matches!(error, Error::Input { .. }), "{error}");
    for name in ["mamba", "lfm2", "qwen3next"] {
        let file = wginfer::formats::gguf::open(data(&format!("decoders/{name}.gguf")))?;
        let error = open(file, &EmbedOptions::default()).err().ok_or(name)?;
        assert!(error.to_string().contains(name), "{error}");
    }
    // Texts that are too long are cut off before the token that ends them.
    let (file, judged) = read("bert")?;
    assert!(DecoderSpec::from_gguf(&file)?.sees_behind);
    let options = EmbedOptions { most_tokens: Some(6), ..EmbedOptions::default() };
    let mut cut = open(file, &options)?;
    let found = cpu.block_on(cut.embed(&judged.texts()))?;
    assert_eq!(found.tokens[0].total, judged.ids[0].len());
    assert_eq!((cut.most_tokens(), found.tokens[0].used), (6, 6));
    Ok(())
}
