//! Rankers from GGUF files: small ones with random weights against llama.cpp
//! (`tests/data/rankers`).

use crate::gguf::data;
use crate::support::backends::Named;
use crate::support::recipe::Recipe;
use libtest_mimic::{Failed, Trial};
use wginfer::DType;
use wginfer::Error;
use wginfer::embed::{EmbedOptions, Embedder};
use wginfer::formats::gguf::GgufFile;
use wginfer::lm::engine::{Engine, EngineOptions, Event, Request, Work};
use wginfer::lm::{ModelFile, ModelOptions};

/// With words, with unigrams, with the classifier of ModernBERT, and a decoder.
const NAMES: [&str; 4] = ["bert", "bert--xlm", "modern-bert", "qwen3"];

/// The largest difference of scores: llama.cpp's GELU comes from a table of halves.
const TOLERANCE: f32 = 2e-3;

#[derive(serde::Deserialize)]
struct Judged {
    vocabulary: String,
    query: String,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    scores: Vec<f32>,
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("embed::rank::tokens_of_pairs", tokens),
        Trial::test("embed::rank::what_ranks_gives_no_vectors", refusals),
    ];
    for backend in crate::support::backends::all() {
        for name in NAMES {
            let backend = backend.clone();
            let trial = format!("embed::{}::rank::{name}", backend.name);
            trials.push(Trial::test(trial, move || agrees(&backend, name)));
        }
    }
    trials
}

fn read(name: &str) -> Result<(GgufFile, Judged), Failed> {
    let bytes = std::fs::read(data(&format!("rankers/{name}.json")))?;
    let (recipe, judged): (Recipe, Judged) =
        (serde_json::from_slice(&bytes)?, serde_json::from_slice(&bytes)?);
    let vocabulary = data(&format!("tokenizers/{}.gguf", judged.vocabulary));
    let file = recipe.file(name, &wginfer::formats::gguf::open(vocabulary)?)?;
    Ok((file, judged))
}

/// A query and a document as Hugging Face's tokenizers put them together.
fn tokens() -> Result<(), Failed> {
    for name in NAMES {
        let (file, judged) = read(name)?;
        let file = ModelFile::new(file)?;
        assert!(file.ranks());
        for (text, ids) in judged.texts.iter().zip(&judged.ids) {
            let found = file.pair_tokens(&judged.query, text)?;
            if found != *ids {
                return Err(format!("{name}: {text:?} is {found:?}, not {ids:?}").into());
            }
        }
    }
    Ok(())
}

/// All documents at once, in fewer slots.
fn agrees(backend: &Named, name: &str) -> Result<(), Failed> {
    let (file, judged) = read(name)?;
    let model = ModelOptions { cache: DType::F32, ..ModelOptions::default() };
    let options = EngineOptions { model, slots: 3, ..EngineOptions::default() };
    let runner = &backend.backend;
    let mut untold = |_, _| {};
    let mut engine = runner.block_on(Engine::load(file, runner, &options, &mut untold))?;
    let ask = |tokens: &Vec<u32>| Request { tokens: tokens.clone(), work: Work::Rank };
    let ids = judged.ids.iter().map(|tokens| engine.submit(ask(tokens)));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let mut found = vec![f32::NAN; ids.len()];
    while !engine.is_idle() {
        for (id, event) in runner.block_on(engine.step())? {
            let Event::Ranked(scores) = event else { return Err(format!("{event:?}").into()) };
            let at = ids.iter().position(|other| *other == id).ok_or("an unknown sequence")?;
            found[at] = scores[0];
        }
    }
    for (i, (found, expected)) in found.iter().zip(&judged.scores).enumerate() {
        let off = (found - expected).abs();
        if off.is_nan() || off > TOLERANCE {
            return Err(format!("document {i}: {found}, not {expected}").into());
        }
    }
    Ok(())
}

/// A ranker gives no vectors, and what gives vectors does not rank.
fn refusals() -> Result<(), Failed> {
    let cpu = wginfer::Backend::Cpu;
    let open = Embedder::from_gguf_blocking(read("bert")?.0, &cpu, &EmbedOptions::default());
    let error = open.err().ok_or("vectors of a ranker")?;
    assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("ranks"));
    let load = |file| {
        let options = EngineOptions::default();
        cpu.block_on(Engine::load(file, &cpu, &options, &mut |_, _| {}))
    };
    let (ranker, judged) = read("bert")?;
    let request = |work| Request { tokens: judged.ids[0].clone(), work };
    let refused = load(ranker)?.submit(request(Work::Embed));
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    let refused = load(crate::gguf::read("bert")?.0)?.submit(request(Work::Rank));
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    Ok(())
}
