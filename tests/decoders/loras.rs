//! LoRA adapters: against llama.cpp (`scripts/make_loras.py`), and for every architecture
//! against a file into whose weights they were merged.

use super::support::backends::{self, Named};
use super::support::loras::Adapter;
use super::{Judged, TOLERANCE, furthest, models, path, relative_l2, rewritten};
use libtest_mimic::{Failed, Trial};
use std::collections::HashMap;
use wginfer::formats::gguf::{self, GgufFile, GgufWriter, MetaValue};
use wginfer::lm::engine::{Engine, EngineOptions, Event, Request, Work};
use wginfer::lm::{GenerateOptions, LanguageModel, Lora, ModelFile, ModelOptions, Prompt};
use wginfer::{Backend, DType, Error, Tensor};

/// The rank of random adapters.
const RANK: usize = 3;

/// How much of them is added.
const SCALE: f32 = 0.75;

/// Tensors of blocks and outside of them that are no matrices, or not used as such: an adapter
/// of one is refused.
const REFUSED: [&str; 27] = [
    "altup_correct_coef",
    "altup_predict_coef",
    "altup_proj",
    "altup_unembd_proj",
    "attn_k_b",
    "attn_k_norm",
    "attn_q_norm",
    "attn_rel_b",
    "attn_v_b",
    "channel_mix_lerp_k",
    "channel_mix_lerp_r",
    "ffn_down_chexps",
    "ffn_gate_chexps",
    "ffn_up_chexps",
    "per_layer_model_proj",
    "per_layer_token_embd",
    "position_embd",
    "shortconv.conv",
    "ssm_a",
    "ssm_conv1d",
    "ssm_d",
    "ssm_norm",
    "time_mix_first",
    "time_mix_v1",
    "time_mix_v2",
    "time_mix_w2",
    "time_mix_lerp",
];

/// The same of a single model: a router with a norm of its own.
const REFUSED_IN: [(&str, &str); 1] = [("gemma4--experts", "ffn_gate_inp")];

#[derive(serde::Deserialize)]
struct Case {
    model: String,
    adapters: Vec<Given>,
    #[serde(flatten)]
    judged: Judged,
}

#[derive(serde::Deserialize)]
struct Given {
    file: String,
    scale: f32,
}

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for backend in backends::all() {
        for name in super::files_of("loras", ".json") {
            let backend = backend.clone();
            let title = format!("decoders::{}::lora::{name}", backend.name);
            trials.push(Trial::test(title, move || agrees(&backend, &name)));
        }
    }
    for backend in backends::all() {
        for name in ["llama", "qwen3moe"] {
            let backend = backend.clone();
            let title = format!("decoders::{}::lora::in_an_engine::{name}", backend.name);
            trials.push(Trial::test(title, move || in_an_engine(&backend, name)));
        }
    }
    for name in models() {
        let title = format!("decoders::lora::merged::{name}");
        trials.push(Trial::test(title, move || as_merged(&name)));
    }
    trials.push(Trial::test("decoders::lora::wrong_files_are_refused", refused));
    trials
}

fn agrees(backend: &Named, name: &str) -> Result<(), Failed> {
    let case: Case = serde_json::from_slice(&std::fs::read(path(&format!("loras/{name}.json")))?)?;
    let mut options = ModelOptions { cache: DType::F32, ..ModelOptions::default() };
    for Given { file, scale } in &case.adapters {
        options.loras.push(Lora::new(gguf::open(path(&format!("loras/{file}")))?, *scale)?);
    }
    let file = gguf::open(path(&format!("decoders/{}.gguf", case.model)))?;
    let runner = &backend.backend;
    let mut model = runner.block_on(LanguageModel::load(file, runner, &options, &mut |_, _| {}))?;
    let off = furthest(backend, &mut model, &case.judged)?;
    println!("{}: {name}: {off:.2e}", backend.name);
    if off > TOLERANCE {
        return Err(format!("logits are off by {off:.2e}, at most {TOLERANCE:.0e}").into());
    }
    Ok(())
}

/// All matrices of a model with an adapter, and the same model with weights into which it is
/// merged. What is refused by name is left out.
fn as_merged(name: &str) -> Result<(), Failed> {
    let open = || gguf::open(path(&format!("decoders/{name}.gguf")));
    let model = open()?;
    // What a head shares with the table it does not share with the table's adapter.
    let tied = model.tensor_info("output.weight").is_none();
    let wanted = |name: &str| !(tied && name == "token_embd.weight");
    let mut adapter = Adapter::random(&model, RANK, wanted)?;
    let (with, refused) = adapter.taken(SCALE, |lora| logits(open()?, &options(vec![lora])))?;
    let may_be = |refused: &String| {
        let bare = refused.trim_end_matches(".weight");
        let in_block = bare.split_once("blk.").and_then(|(_, rest)| rest.split_once('.'));
        let bare = in_block.map_or(bare, |(_, own)| own);
        // What is no weight of a matrix, and what is added to one already.
        !refused.ends_with(".weight")
            || REFUSED.iter().any(|stem| bare.starts_with(stem))
            || REFUSED_IN.contains(&(name, bare))
    };
    if let Some(wrong) = refused.iter().find(|name| !may_be(name)) {
        return Err(format!("an adapter of '{wrong}' is refused").into());
    }
    let merged = rewritten(name, &[], |name, _| {
        Ok(vec![(name.to_string(), adapter.merged(&model, name, SCALE)?)])
    })?;
    let merged = logits(merged, &options(Vec::new()))?;
    let plain = logits(open()?, &options(Vec::new()))?;
    let (off, moved) = (relative_l2(&with, &merged)?, relative_l2(&plain, &merged)?);
    println!(
        "{name}: {off:.2e} of {moved:.2}, {} changed, without {refused:?}",
        adapter.names().count()
    );
    if off > TOLERANCE {
        return Err(format!("off by {off:.2e}, at most {TOLERANCE:.0e}").into());
    }
    if moved < 0.02 {
        return Err(format!("the adapter moved logits by {moved:.2e} only").into());
    }
    Ok(())
}

fn options(loras: Vec<Lora>) -> ModelOptions {
    ModelOptions { cache: DType::F32, loras, ..ModelOptions::default() }
}

/// The logits after some tokens, computed as a whole and the last one by itself.
fn logits(file: GgufFile, options: &ModelOptions) -> wginfer::Result<Vec<f32>> {
    let backend = Backend::Cpu;
    let mut model =
        backend.block_on(LanguageModel::load(file, &backend, options, &mut |_, _| {}))?;
    let mut tokens = [1, 50, 77, 9, 130, 2, 0, 41, 8];
    if let Some(source) = model.spec().source {
        tokens[5..7].copy_from_slice(&[source.end, source.start]);
    }
    let mut logits = backend.block_on(model.forward(&tokens[..8], 0))?;
    logits.extend(backend.block_on(model.forward(&tokens[8..], 8))?);
    Ok(logits)
}

/// The keys and tensors of a file, and what is told of it.
type Wrong = (Vec<(String, MetaValue)>, Vec<(String, Vec<usize>)>, &'static str);

/// Files that are no adapters of a model, each with what is told of it.
fn refused() -> Result<(), Failed> {
    let model = || gguf::open(path("decoders/llama.gguf"));
    let two = |a: &[usize], b: &[usize]| -> Vec<(String, Vec<usize>)> {
        let name = "blk.0.attn_q.weight";
        vec![(format!("{name}.lora_a"), a.to_vec()), (format!("{name}.lora_b"), b.to_vec())]
    };
    let file = model()?;
    let &[outputs, width] = file.tensor_info("blk.0.attn_q.weight").ok_or("no such")?.extents()
    else {
        return Err("no matrix".into());
    };
    let good = two(&[2, width], &[outputs, 2]);
    let named = |name: &str, extents: &[usize]| (name.to_string(), extents.to_vec());
    let keys: [(&str, MetaValue); 3] = [
        ("general.type", "adapter".into()),
        ("general.architecture", "llama".into()),
        ("adapter.type", "lora".into()),
    ];
    let with = |key: &str, value: MetaValue| {
        let mut keys: Vec<(String, MetaValue)> =
            keys.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        keys.retain(|(other, _)| other != key);
        keys.push((key.into(), value));
        keys
    };
    let usual = || with("adapter.type", "lora".into());
    let cases: Vec<Wrong> = vec![
        (with("general.type", "model".into()), good.clone(), "'model', not 'adapter'"),
        (with("adapter.type", "dora".into()), good.clone(), "'dora', not 'lora'"),
        (
            with("general.architecture", "qwen2".into()),
            good.clone(),
            "that of the model is 'llama'",
        ),
        (with("adapter.lora.alpha", f32::NAN.into()), good.clone(), "adapter.lora.alpha"),
        (
            with("adapter.alora.invocation_tokens", vec![1i32].into()),
            good.clone(),
            "invocation_tokens",
        ),
        (usual(), good[..1].to_vec(), "blk.0.attn_q.weight.lora_b"),
        (usual(), good[1..].to_vec(), "blk.0.attn_q.weight.lora_a"),
        (usual(), two(&[2, width + 1], &[outputs, 2]), "expected [2,"),
        (usual(), two(&[3, width], &[outputs, 2]), "expected [2,"),
        (usual(), two(&[2, width], &[outputs - 1, 2]), "blk.0.attn_q.weight.lora_b"),
        (usual(), two(&[2, 1, width], &[outputs, 2]), "blk.0.attn_q.weight.lora_a"),
        (
            with("adapter.lora.alpha", f32::MAX.into()),
            good.iter().map(|(name, _)| (name.clone(), vec![1, 1])).collect(),
            "blk.0.attn_q.weight.lora_a",
        ),
        (usual(), vec![named("blk.0.attn_q.bias", &[outputs])], "neither"),
        (
            usual(),
            vec![
                named("blk.9.attn_q.weight.lora_a", &[2, width]),
                named("blk.9.attn_q.weight.lora_b", &[outputs, 2]),
            ],
            "blk.9.attn_q.weight",
        ),
        (
            usual(),
            vec![
                named("blk.0.attn_norm.weight.lora_a", &[1, width]),
                named("blk.0.attn_norm.weight.lora_b", &[1, 1]),
            ],
            "no matrix",
        ),
    ];
    for (keys, tensors, told) in cases {
        let mut writer = GgufWriter::new();
        for (key, value) in keys {
            writer.metadata(&key, value)?;
        }
        for (name, extents) in tensors {
            let count = extents.iter().product();
            writer.tensor(&name, Tensor::from_f32(&extents, &vec![0.5; count])?)?;
        }
        let file = GgufFile::parse(writer.to_bytes()?, "wrong.gguf")?;
        let error = Lora::new(file, 1.0)
            .and_then(|lora| ModelFile::new(model()?)?.with_loras(&[lora]).map(|_| ()));
        let error = error.err().ok_or_else(|| format!("taken, not told of {told}"))?;
        let known = matches!(error, Error::Format { .. } | Error::Unsupported { .. });
        let text = error.to_string();
        if !known || !text.contains(told) || !text.contains("wrong.gguf") {
            return Err(format!("{error:?}, expected '{told}'").into());
        }
    }
    let lora = Lora::new(gguf::open(path("loras/llama-0.gguf"))?, f32::NAN);
    assert!(matches!(lora, Err(Error::Input { .. })), "{lora:?}");
    Ok(())
}

/// Many sequences, and a model that is loaded again, have the adapters too.
fn in_an_engine(backend: &Named, name: &str) -> Result<(), Failed> {
    let case: Case = serde_json::from_slice(&std::fs::read(path(&format!("loras/{name}.json")))?)?;
    let mut loras = Vec::new();
    for Given { file, scale } in &case.adapters {
        loras.push(Lora::new(gguf::open(path(&format!("loras/{file}")))?, *scale)?);
    }
    let file = || gguf::open(path(&format!("decoders/{}.gguf", case.model)));
    let runner = &backend.backend;
    let options = options(loras);
    let untold = &mut |_, _| {};
    let mut model = runner.block_on(LanguageModel::load(file()?, runner, &options, untold))?;
    let prompt = case.judged.tokens[..7].to_vec();
    let generate = GenerateOptions { max_tokens: 5, ignore_end: true, ..Default::default() };
    let alone = |model: &mut LanguageModel| -> wginfer::Result<Vec<u32>> {
        let mut generation = model.generate(Prompt::Tokens(prompt.clone()), &generate)?;
        for piece in &mut generation {
            piece?;
        }
        Ok(generation.tokens()[prompt.len()..].to_vec())
    };
    let wanted = alone(&mut model)?;
    runner.block_on(model.rebuild(runner))?;
    assert_eq!(alone(&mut model)?, wanted, "loaded again");
    let bare = self::options(Vec::new());
    let mut plain = runner.block_on(LanguageModel::load(file()?, runner, &bare, untold))?;
    assert_ne!(alone(&mut plain)?, wanted, "without the adapters");
    let engine_options = EngineOptions { model: options, slots: 3, queue: 4 };
    let mut engine = runner.block_on(Engine::load(file()?, runner, &engine_options, untold))?;
    let mut found = HashMap::<_, Vec<u32>>::new();
    for _ in 0..2 {
        let work = Work::Generate(generate.clone());
        engine.submit(Request { tokens: prompt.clone(), work })?;
    }
    while !engine.is_idle() {
        for (id, event) in runner.block_on(engine.step())? {
            match event {
                Event::Piece(piece) => found.entry(id).or_default().push(piece.token),
                Event::Failed(error) => return Err(error.to_string().into()),
                _ => (),
            }
        }
    }
    assert_eq!(found.len(), 2);
    for tokens in found.values() {
        assert_eq!(*tokens, wanted, "in an engine");
    }
    Ok(())
}
