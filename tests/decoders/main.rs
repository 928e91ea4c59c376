//! Small models of every architecture against Hugging Face transformers, on
//! every backend, and vocabularies against their own programs. Made by
//! `scripts/make_decoder_models.py` and `scripts/make_tokenizers.py`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

mod loras;
mod refusals;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use support::backends::{self, Named};
use support::recipe::Recipe;
use wginfer::formats::gguf::{GgufFile, GgufWriter, MetaValue};
use wginfer::lm::spec::{DecoderSpec, architectures};
use wginfer::lm::tokenizer::{EncodeOptions, Tokenizer};
use wginfer::lm::{LanguageModel, ModelFile, ModelOptions};
use wginfer::{DType, Error, Tensor};

/// The largest relative L2 of logits in f32.
const TOLERANCE: f64 = 1e-4;

/// How many mixes of quantised types there are.
const MIXES: usize = 10;

#[derive(serde::Deserialize)]
struct Judged {
    tokens: Vec<u32>,
    lengths: Vec<usize>,
    logits: Vec<Vec<f32>>,
    /// Other tokens of the same model.
    #[serde(default)]
    further: Vec<Judged>,
}

#[derive(serde::Deserialize)]
struct Tokenised {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn main() {
    let arguments = Arguments::from_args();
    let vocabularies = [
        ("sentencepiece", true),
        ("sentencepiece_no_prefix", true),
        ("unigram", false),
        ("unigram_plain", true),
        ("wordpiece", false),
        ("wordpiece_cased", false),
        ("lines", true),
        ("longest", true),
        ("cheapest", true),
    ];
    let judge = |(name, whole): (&'static str, bool)| {
        Trial::test(format!("decoders::tokenizer::{name}"), move || tokenises(name, whole))
    };
    let mut trials: Vec<Trial> = vocabularies.map(judge).into();
    trials.push(Trial::test("decoders::tokenizer::byte_pairs", cuts_bytes));
    let quick = backends::quick();
    for (place, backend) in backends::all().into_iter().enumerate() {
        for (i, model) in models().into_iter().enumerate() {
            // What all quantised types take to compile there is minutes.
            let costly = model == "qwen3--ternary" || model == "qwen3moe--mixed";
            if quick && backend.name == "swiftshader" && (costly || i % 3 > 0) {
                continue;
            }
            let backend = backend.clone();
            let name = format!("decoders::{}::{model}", backend.name);
            trials.push(Trial::test(name, move || agrees(&backend, &model, None)));
        }
        for (i, model) in recipes().into_iter().enumerate() {
            // Mixes take turns by name, so the first ten have all of them. In a quick run
            // adapters share these.
            if quick && backend.is_gpu() && (i >= MIXES || i % 2 != place % 2) {
                continue;
            }
            let backend = backend.clone();
            let name = format!("decoders::{}::mixed::{model}", backend.name);
            trials.push(Trial::test(name, move || agrees_mixed(&backend, &model)));
        }
        // Sinks, in every kernel of attention.
        let variants = ["serial", "tiled", "rows", "rows_subgroup"];
        for variant in variants.into_iter().filter(|_| backend.is_gpu()) {
            let backend = backend.clone();
            let name = format!("decoders::{}::sinks::{variant}", backend.name);
            let run = move || agrees(&backend, "gpt-oss", Some(("attention", variant)));
            trials.push(Trial::test(name, run));
        }
    }
    trials.extend(loras::trials());
    trials.extend(snapshots::trials());
    trials.push(Trial::test("decoders::every_architecture_is_judged", || {
        all_are_in(&models(), "model")?;
        all_are_in(&recipes(), "model of mixed types")
    }));
    trials.push(Trial::test("decoders::every_type_is_in_a_mix", every_type_is_in_a_mix));
    trials.push(Trial::test("decoders::what_an_architecture_needs_is_there", refusals::lacks));
    trials.push(Trial::test("decoders::keys_that_fit_nothing_are_refused", refusals::unfit_keys));
    trials.push(Trial::test("decoders::what_is_no_language_model_is_told", refusals::refuses));
    trials.push(Trial::test("decoders::rows_may_be_matrices_of_one", rows_of_one));
    trials.push(Trial::test("decoders::rows_and_tokens_are_as_many", rows_of_tokens));
    trials.push(Trial::test("decoders::old_files_have_the_published_scales", old_scales));
    trials.push(Trial::test("decoders::values_that_are_read_are_f32", values_of_halves));
    trials.push(Trial::test("decoders::values_of_f64_are_narrowed", wide_values));
    trials.push(Trial::test("decoders::shared_experts_divide_the_others", shares));
    trials.push(Trial::test("decoders::blocks_that_look_ahead_are_left_out", looks_ahead));
    backends::conclude(&arguments, trials);
}

/// The models there are: an architecture, or one of its forms behind two dashes.
fn models() -> Vec<String> {
    files_of("decoders", ".gguf")
}

/// The architectures that have a model of mixed types.
fn recipes() -> Vec<String> {
    files_of("decoders_mixed", ".json")
}

fn files_of(folder: &str, end: &str) -> Vec<String> {
    let files = std::fs::read_dir(path(folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> =
        names.filter_map(|name| name.strip_suffix(end).map(String::from)).collect();
    found.sort();
    found
}

fn all_are_in(models: &[String], what: &str) -> Result<(), Failed> {
    let of = |name: &&str| models.iter().any(|model| model.split("--").next() == Some(name));
    let missing: Vec<&str> = architectures().filter(|name| !of(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no {what} of {missing:?}").into()) }
}

fn recipe(name: &str) -> Result<Recipe, Failed> {
    Ok(serde_json::from_slice(&std::fs::read(path(&format!("decoders_mixed/{name}.json")))?)?)
}

fn every_type_is_in_a_mix() -> Result<(), Failed> {
    let mut seen = BTreeSet::new();
    for name in recipes() {
        seen.extend(recipe(&name)?.types().map(String::from));
    }
    let missing: Vec<DType> = DType::ALL
        .into_iter()
        .filter(|dtype| dtype.is_quantised() && !seen.contains(dtype.name()))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} in no model").into()) }
}

/// A prompt as a whole, and its last token by itself behind the others: products of
/// matrices and of a matrix and a vector.
fn agrees_mixed(backend: &Named, name: &str) -> Result<(), Failed> {
    let recipe = recipe(name)?;
    let vocabulary = wginfer::formats::gguf::open(path("decoders/llama.gguf"))?;
    let file = recipe.file(name, &vocabulary)?;
    let options = ModelOptions { cache: DType::F32, ..ModelOptions::default() };
    let runner = &backend.backend;
    let mut model = runner.block_on(LanguageModel::load(file, runner, &options, &mut |_, _| {}))?;
    let whole = runner.block_on(model.forward(&recipe.tokens, 0))?;
    let (last, before) = recipe.tokens.split_last().ok_or("no tokens")?;
    runner.block_on(model.forward(before, 0))?;
    let alone = runner.block_on(model.forward(&[*last], before.len()))?;
    let off = relative_l2(&whole, &recipe.logits)?;
    let off = off.max(relative_l2(&alone, &recipe.logits)?);
    println!("{}: {name} of mixed types: {off:.2e}", backend.name);
    if off > TOLERANCE {
        return Err(format!("logits are off by {off:.2e}, at most {TOLERANCE:.0e}").into());
    }
    Ok(())
}

/// Whole prompts, and the longest token by token behind the shortest; with a variant of
/// a family of kernels forced, if it says so.
fn agrees(backend: &Named, model_name: &str, forced: Option<(&str, &str)>) -> Result<(), Failed> {
    let file = wginfer::formats::gguf::open(path(&format!("decoders/{model_name}.gguf")))?;
    agrees_as(backend, model_name, file, forced)
}

/// [`agrees`] of a file that was made of the model's.
fn agrees_as(
    backend: &Named,
    model_name: &str,
    file: GgufFile,
    forced: Option<(&str, &str)>,
) -> Result<(), Failed> {
    let judged: Judged =
        serde_json::from_slice(&std::fs::read(path(&format!("decoders/{model_name}.json")))?)?;
    let mut options = ModelOptions { cache: DType::F32, ..ModelOptions::default() };
    if let Some((family, variant)) = forced {
        options.policy.force.insert(family.into(), variant.into());
    }
    let runner = &backend.backend;
    let mut model = runner.block_on(LanguageModel::load(file, runner, &options, &mut |_, _| {}))?;
    let mut worst = 0f64;
    for judged in [&judged].into_iter().chain(&judged.further) {
        worst = worst.max(furthest(backend, &mut model, judged)?);
    }
    println!("{}: {model_name}: {worst:.2e}", backend.name);
    if worst > TOLERANCE {
        return Err(format!("logits are off by {worst:.2e}, at most {TOLERANCE:.0e}").into());
    }
    Ok(())
}

/// How far logits are from the judge's.
fn furthest(backend: &Named, model: &mut LanguageModel, judged: &Judged) -> Result<f64, Failed> {
    let runner = &backend.backend;
    let mut worst = 0f64;
    for (&length, wanted) in judged.lengths.iter().zip(&judged.logits) {
        let got = runner.block_on(model.forward(&judged.tokens[..length], 0))?;
        worst = worst.max(relative_l2(&got, wanted)?);
    }
    let first = judged.lengths[0];
    runner.block_on(model.forward(&judged.tokens[..first], 0))?;
    for at in first..judged.tokens.len() {
        let got = runner.block_on(model.forward(&judged.tokens[at..=at], at))?;
        if let Some(i) = judged.lengths.iter().position(|&length| length == at + 1) {
            worst = worst.max(relative_l2(&got, &judged.logits[i])?);
        }
    }
    Ok(worst)
}

/// A model's file written anew: with other values of some keys, and tensors changed.
fn rewritten(
    model_name: &str,
    keys: &[(&str, MetaValue)],
    change: impl Fn(&str, Tensor) -> wginfer::Result<Vec<(String, Tensor)>>,
) -> Result<GgufFile, Failed> {
    let file = wginfer::formats::gguf::open(path(&format!("decoders/{model_name}.gguf")))?;
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata().iter().filter(|(key, _)| keys.iter().all(|k| k.0 != *key)) {
        writer.copy(key, value)?;
    }
    for (key, value) in keys {
        writer.metadata(key, value.clone())?;
    }
    for info in file.tensors() {
        for (name, tensor) in change(info.name(), info.load()?)? {
            writer.tensor(&name, tensor)?;
        }
    }
    Ok(GgufFile::parse(writer.to_bytes()?, "rewritten.gguf")?)
}

/// The first backend: what a file says is the same to all.
fn any_backend() -> Result<Named, Failed> {
    backends::all().into_iter().next().ok_or_else(|| "no backend".into())
}

/// Norms, biases and gates of one row may have a dimension more, as new conversions of
/// models with a shared expert have.
fn rows_of_one() -> Result<(), Failed> {
    let file = rewritten("qwen2moe", &[], |name, tensor| {
        let tensor = match *tensor.extents() {
            [size] => Tensor::from_f32(&[1, size], &tensor.to_f32()?)?,
            _ => tensor,
        };
        Ok(vec![(name.to_string(), tensor)])
    })?;
    agrees_as(&any_backend()?, "qwen2moe", file, None)
}

/// A row that no token has could be chosen and would be no text; llama.cpp refuses such a
/// file as well.
fn rows_of_tokens() -> Result<(), Failed> {
    for rows in [263, 265] {
        let file = rewritten("llama", &[], |name, tensor| {
            let tensor = match name {
                "token_embd.weight" | "output.weight" => {
                    let width = tensor.extents()[1];
                    let mut values = tensor.to_f32()?;
                    values.resize(rows * width, 0.5);
                    Tensor::from_f32(&[rows, width], &values)?
                }
                _ => tensor,
            };
            Ok(vec![(name.to_string(), tensor)])
        })?;
        let error = ModelFile::new(file).err().ok_or("it was taken")?;
        let told = error.to_string();
        for part in ["token_embd.weight", &format!("{rows} rows"), "264 tokens"] {
            assert!(matches!(error, Error::Format { .. }) && told.contains(part), "{told}");
        }
    }
    Ok(())
}

/// Old files of MiniCPM leave scales to the program: 12, 1.4 and 256 in the published
/// configurations of its models.
fn old_scales() -> Result<(), Failed> {
    let gone = ["embedding_scale", "residual_scale", "logit_scale"];
    let without = |names: &[&str]| {
        let file = wginfer::formats::gguf::open(path("decoders/minicpm.gguf"))?;
        let mut writer = GgufWriter::new();
        let left = |key: &str| names.iter().all(|name| key != format!("minicpm.{name}"));
        for (key, value) in file.metadata().iter().filter(|(key, _)| left(key)) {
            writer.copy(key, value)?;
        }
        for info in file.tensors() {
            writer.tensor(info.name(), info.load()?)?;
        }
        DecoderSpec::from_gguf(&GgufFile::parse(writer.to_bytes()?, "old.gguf")?)
    };
    let spec = without(&gone)?;
    let near = |got: Option<f32>, wanted: f32| {
        got.is_some_and(|got| (got - wanted).abs() <= wanted * f32::EPSILON)
    };
    let (width, blocks) = (spec.width as f32, spec.blocks as f32);
    assert!(near(spec.embedding_scale, 12.0), "{spec:?}");
    assert!(near(spec.residual_scale, 1.4 / blocks.sqrt()), "{spec:?}");
    assert!(near(spec.logit_scale, 256.0 / width), "{spec:?}");
    let error = without(&gone[..1]).err().ok_or("a file with some of them")?;
    assert!(error.to_string().contains("minicpm.embedding_scale"), "{error}");
    Ok(())
}

/// Weights that a graph has in another form than the file: others are refused by name.
fn values_of_halves() -> Result<(), Failed> {
    let of = [
        ("lfm2", "blk.0.shortconv.conv.weight"),
        ("mamba", "blk.0.ssm_conv1d.weight"),
        ("granitehybrid", "blk.0.ssm_a"),
        ("kimi-linear", "blk.0.ssm_conv1d_q.weight"),
        ("rwkv7", "blk.0.channel_mix_lerp_k.weight"),
    ];
    for (model, changed) in of {
        let file = rewritten(model, &[], |name, tensor| {
            let tensor = match name == changed {
                true => Tensor::from_f16(tensor.extents(), &tensor.to_f32()?)?,
                false => tensor,
            };
            Ok(vec![(name.to_string(), tensor)])
        })?;
        let (named, options) = (any_backend()?, ModelOptions::default());
        let backend = &named.backend;
        let loaded = backend.block_on(LanguageModel::load(file, backend, &options, &mut |_, _| {}));
        let error = loaded.err().ok_or("it was taken")?;
        let told = error.to_string();
        for part in ["rewritten.gguf", changed, "F16"] {
            assert!(matches!(error, Error::Unsupported { .. }) && told.contains(part), "{told}");
        }
    }
    Ok(())
}

/// Values of F64 are read as F32; one that is too large for it is refused.
fn wide_values() -> Result<(), Failed> {
    let wide = |factor: f64| {
        rewritten("llama", &[], move |name, tensor| {
            let values = tensor.to_f32()?.into_iter().map(|value| f64::from(value) * factor);
            let bytes: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
            Ok(vec![(name.to_string(), Tensor::new(DType::F64, tensor.extents(), bytes)?)])
        })
    };
    agrees_as(&any_backend()?, "llama", wide(1.0)?, None)?;
    let (named, options) = (any_backend()?, ModelOptions::default());
    let backend = &named.backend;
    let file = wide(1e60)?;
    let loaded = backend.block_on(LanguageModel::load(file, backend, &options, &mut |_, _| {}));
    let told = loaded.err().ok_or("it was taken")?.to_string();
    assert!(told.contains("rewritten.gguf: tensor '") && told.contains("F32"), "{told}");
    Ok(())
}

/// Of six experts, two of which are used.
fn shares() -> Result<(), Failed> {
    let keys: [(&str, MetaValue); 4] = [
        ("experts_per_group", 4u32.into()),
        ("experts_per_group", 6u32.into()),
        ("experts_per_group", 0u32.into()),
        ("expert_group_scale", 0f32.into()),
    ];
    for (key, value) in keys {
        let name = format!("grovemoe.{key}");
        let file = rewritten("grovemoe", &[(&name, value)], |name, tensor| {
            Ok(vec![(name.to_string(), tensor)])
        })?;
        let error = DecoderSpec::from_gguf(&file).err().ok_or("it was taken")?;
        let told = error.to_string();
        assert!(matches!(error, Error::Format { .. }) && told.contains(&name), "{told}");
    }
    Ok(())
}

/// Files may have blocks that predict tokens further ahead, count them among all, and
/// have their places in arrays over blocks.
fn looks_ahead() -> Result<(), Failed> {
    let keys: [(&str, MetaValue); 4] = [
        ("exaone-moe.block_count", 5u32.into()),
        ("exaone-moe.nextn_predict_layers", 1u32.into()),
        ("exaone-moe.attention.sliding_window_pattern", vec![1i32, 1, 1, 0, 0].into()),
        ("exaone-moe.attention.head_count", vec![4i32; 5].into()),
    ];
    let file = rewritten("exaone-moe", &keys, |name, tensor| {
        let further = name.strip_prefix("blk.3.").map(|part| format!("blk.4.{part}"));
        let further = further.into_iter().map(|name| (name, tensor.clone()));
        Ok(further.chain([(name.to_string(), tensor.clone())]).collect())
    })?;
    agrees_as(&any_backend()?, "exaone-moe", file, None)
}

#[derive(serde::Deserialize)]
struct BytePairs {
    texts: Vec<String>,
    groups: Vec<Group>,
}

/// Pre-tokenizers that cut alike, and the tokens that are not those of the first group.
#[derive(serde::Deserialize)]
struct Group {
    names: Vec<String>,
    ids: HashMap<usize, Vec<u32>>,
}

/// One vocabulary of byte pairs under the name of every pre-tokenizer that llama.cpp
/// knows.
fn cuts_bytes() -> Result<(), Failed> {
    let file = wginfer::formats::gguf::open(path("tokenizers/byte_pairs.gguf"))?;
    let judged: BytePairs =
        serde_json::from_slice(&std::fs::read(path("tokenizers/byte_pairs.json"))?)?;
    assert!(judged.texts.len() >= 200 && judged.groups.len() > 20);
    let first = &judged.groups[0].ids;
    let mut wrong = Vec::new();
    for group in &judged.groups {
        for name in &group.names {
            let tokenizer = Tokenizer::from_gguf(&under(&file, name)?)?;
            for (i, text) in judged.texts.iter().enumerate() {
                let got = tokenizer.encode(text, EncodeOptions::PART)?;
                let wanted = group.ids.get(&i).unwrap_or(&first[&i]);
                if got != *wanted {
                    let spelled = |ids: &[u32]| -> Vec<String> {
                        let part = |id| tokenizer.decode(&[id], true).unwrap_or_default();
                        ids.iter().map(|&id| part(id)).collect()
                    };
                    let both = (spelled(&got), spelled(wanted));
                    wrong.push(format!("{name}: {text:?}: {:?}, not {:?}", both.0, both.1));
                }
                assert_eq!(tokenizer.decode(&got, false)?, *text, "{name}");
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The same vocabulary with another pre-tokenizer.
fn under(file: &GgufFile, pre: &str) -> Result<GgufFile, Failed> {
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata().iter() {
        match key {
            "tokenizer.ggml.pre" => writer.metadata(key, pre)?,
            _ => writer.copy(key, value)?,
        };
    }
    Ok(GgufFile::parse(writer.to_bytes()?, pre)?)
}

/// Text to tokens as the judge has it, and back if that gives the `whole` text:
/// some leave out spaces and capitals.
fn tokenises(name: &str, whole: bool) -> Result<(), Failed> {
    let file = wginfer::formats::gguf::open(path(&format!("tokenizers/{name}.gguf")))?;
    let tokenizer = Tokenizer::from_gguf(&file)?;
    let judged: Tokenised =
        serde_json::from_slice(&std::fs::read(path(&format!("tokenizers/{name}.json")))?)?;
    assert!(judged.cases.len() >= 200, "{} texts", judged.cases.len());
    let marked = name != "cheapest";
    for Case { text, ids } in &judged.cases {
        let got = tokenizer.encode(text, EncodeOptions::PART)?;
        assert_eq!(got, *ids, "{text:?}");
        if !whole {
            continue;
        }
        // Where spaces have a mark, it cannot be told from one.
        let wanted = if marked { text.replace('\u{2581}', " ") } else { text.clone() };
        assert_eq!(tokenizer.decode(&got, false)?, wanted, "{text:?}");
    }
    Ok(())
}

fn relative_l2(got: &[f32], wanted: &[f32]) -> Result<f64, Failed> {
    if got.len() != wanted.len() {
        return Err(format!("{} logits, expected {}", got.len(), wanted.len()).into());
    }
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let off = square(&mut got.iter().zip(wanted).map(|(g, w)| f64::from(g - w)));
    Ok((off / square(&mut wanted.iter().map(|&w| w.into()))).sqrt())
}
