//! Tokens that are chosen where logits are: the same as on the host, and few bytes.

use crate::support::backends::Named;
use crate::support::tiny_model::TinyModel;
use crate::{PROMPT, file, load};
use libtest_mimic::Failed;
use wginfer::formats::gguf::{GgufFile, GgufWriter};
use wginfer::lm::{GenerateOptions, LanguageModel, ModelOptions, Prompt, SamplerOptions};
use wginfer::{ErrorKind, Result, Tensor};

/// Tokens that are generated.
const COUNT: usize = 12;

/// A vocabulary of which only a part is sorted, and not a whole number of groups.
const MORE: usize = 4740;

/// The width of the model's rows.
const WIDTH: usize = 64;

/// What tokens are chosen by, and the bytes a step may read back for it.
fn choices() -> Vec<(SamplerOptions, u64)> {
    let drawn = SamplerOptions { temperature: 0.9, seed: 7, ..SamplerOptions::default() };
    // A token, its logit and the sum; or 64 of the first two.
    let (one, many) = (12, 64 * 8 + 4);
    vec![
        (SamplerOptions::default(), one),
        (SamplerOptions { top_k: 1, ..drawn.clone() }, many),
        (SamplerOptions { top_k: 40, top_p: 0.95, min_p: 0.05, ..drawn.clone() }, many),
        (SamplerOptions { top_k: 64, typical_p: 0.9, temperature: 3.0, ..drawn.clone() }, many),
        (SamplerOptions { top_k: 64, xtc_probability: 0.5, temperature: 5.0, ..drawn }, many),
    ]
}

/// A model whose tokens have the logits of others to the last bit, several times over.
fn with_equals() -> Result<GgufFile> {
    let tiny = TinyModel { more_tokens: MORE, tied: true, ..TinyModel::default() };
    with_head(&tiny, |row| row * 7 % 451)
}

/// The file of a model whose output head is made of rows of its table.
fn with_head(tiny: &TinyModel, source: impl Fn(usize) -> usize) -> Result<GgufFile> {
    let plain = file(tiny)?;
    let table = plain.tensor("token_embd.weight")?.to_f32()?;
    let rows = table.len() / WIDTH;
    let row = |number: usize| table[source(number) * WIDTH..][..WIDTH].iter().map(|v| v * 0.2);
    let head: Vec<f32> = (0..rows).flat_map(row).collect();
    let mut writer: GgufWriter = tiny.writer()?;
    writer.tensor("output.weight", Tensor::from_f32(&[rows, WIDTH], &head)?)?;
    GgufFile::parse(writer.to_bytes()?, "equals.gguf")
}

fn loaded(backend: &Named, file: GgufFile) -> Result<LanguageModel> {
    let (options, backend) = (ModelOptions::default(), &backend.backend);
    backend.block_on(LanguageModel::load(file, backend, &options, &mut |_, _| {}))
}

/// The tokens, and what is read back in a step of one.
fn tokens(model: &mut LanguageModel, options: &GenerateOptions) -> Result<(Vec<u32>, u64)> {
    let mut generation = model.generate(Prompt::Tokens(PROMPT.into()), options)?;
    for piece in &mut generation {
        piece?;
    }
    let tokens = generation.tokens()[PROMPT.len()..].to_vec();
    let before = model.session().counters().bytes_to_host;
    let prompt = [&PROMPT[..], &tokens[..1]].concat();
    let one = GenerateOptions { max_tokens: 1, ..options.clone() };
    for piece in model.generate(Prompt::Tokens(prompt), &one)? {
        piece?;
    }
    Ok((tokens, model.session().counters().bytes_to_host - before))
}

/// Greedy or drawn of a few: the tokens that come of all logits too, though many are
/// equal, and the bytes of those few.
pub fn as_the_host(backend: &Named) -> Result<(), Failed> {
    let plain = TinyModel { more_tokens: MORE, ..TinyModel::default() };
    for file in [file(&plain)?, with_equals()?, file(&TinyModel::default())?] {
        let mut model = loaded(backend, file)?;
        let vocabulary = model.spec().vocabulary as u64;
        for (sampler, bytes) in choices() {
            let few = GenerateOptions {
                max_tokens: COUNT,
                ignore_end: true,
                sampler,
                ..GenerateOptions::default()
            };
            // Logarithms of probabilities need them all.
            let all = GenerateOptions { log_probabilities: Some(0), ..few.clone() };
            let (on_device, few_bytes) = tokens(&mut model, &few)?;
            let (on_host, all_bytes) = tokens(&mut model, &all)?;
            assert_eq!(on_device, on_host, "{:?}", few.sampler);
            assert_eq!(on_host.len(), COUNT);
            if backend.is_gpu() {
                assert_eq!(few_bytes, bytes, "{:?}", few.sampler);
                assert!(all_bytes >= 4 * vocabulary, "{all_bytes} bytes");
            }
        }
    }
    Ok(())
}

/// One logit that is no number, of a token that would not be chosen.
pub fn no_number(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { more_tokens: MORE, ..TinyModel::default() };
    let tied = TinyModel { tied: true, ..tiny };
    let plain = file(&tied)?;
    let mut head = plain.tensor("token_embd.weight")?.to_f32()?;
    head[1234 * WIDTH + 5] = f32::NAN;
    let rows = head.len() / WIDTH;
    let mut writer = tied.writer()?;
    writer.tensor("output.weight", Tensor::from_f32(&[rows, WIDTH], &head)?)?;
    let bytes = writer.to_bytes()?;
    let mut model = loaded(backend, GgufFile::parse(bytes, "nan.gguf")?)?;
    for (sampler, _) in choices() {
        let options = GenerateOptions { max_tokens: 2, sampler, ..GenerateOptions::default() };
        let error = tokens(&mut model, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains("logit"), "{error}");
    }
    // The same model without it answers.
    tokens(
        &mut load(backend, &tied, &ModelOptions::default())?,
        &GenerateOptions { max_tokens: 2, ..GenerateOptions::default() },
    )?;
    Ok(())
}
