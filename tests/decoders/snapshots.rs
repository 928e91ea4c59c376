//! What a model keeps of a text, put into another model of the same file.

use super::support::backends::{self, Named};
use super::support::tiny_model::TinyModel;
use super::{path, relative_l2, rewritten};
use libtest_mimic::{Failed, Trial};
use wginfer::formats::gguf::{self, GgufFile, GgufWriter};
use wginfer::lm::{LanguageModel, ModelOptions, Snapshot};
use wginfer::{Backend, DType, Error, ErrorKind, Tensor};

const TOKENS: [u32; 12] = [1, 50, 77, 9, 130, 2, 0, 41, 8, 99, 31, 20];

/// How far logits may be off on another backend than the one that filled the caches.
const ELSEWHERE: f64 = 2e-5;

/// Models with caches of every kind, which other backends go on from as well.
const KINDS: [&str; 6] = ["llama", "gemma3n", "deepseek2", "lfm2", "qwen35", "rwkv7"];

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for name in super::models() {
        let title = format!("decoders::snapshot::{name}");
        trials.push(Trial::test(title, move || goes_on(&name)));
    }
    for backend in backends::all().into_iter().filter(Named::is_gpu) {
        for name in KINDS {
            let backend = backend.clone();
            let title = format!("decoders::{}::snapshot::{name}", backend.name);
            trials.push(Trial::test(title, move || goes_on_elsewhere(&backend, name)));
        }
    }
    trials.push(Trial::test("decoders::snapshot_of_others_is_refused", others));
    trials.push(Trial::test("decoders::snapshot_of_other_frequencies_is_refused", frequencies));
    trials.push(Trial::test("decoders::snapshots_of_long_texts", grown));
    trials.push(Trial::test("decoders::damaged_snapshots_are_refused", damaged));
    trials
}

fn open(name: &str) -> wginfer::Result<GgufFile> {
    gguf::open(path(&format!("decoders/{name}.gguf")))
}

fn options() -> ModelOptions {
    ModelOptions { cache: DType::F32, ..ModelOptions::default() }
}

fn load(
    file: GgufFile,
    backend: &Backend,
    options: &ModelOptions,
) -> wginfer::Result<LanguageModel> {
    backend.block_on(LanguageModel::load(file, backend, options, &mut |_, _| {}))
}

/// A model that has read all tokens but the last ones.
fn begun(backend: &Backend, file: GgufFile, tokens: usize) -> wginfer::Result<LanguageModel> {
    let mut model = load(file, backend, &options())?;
    backend.block_on(model.forward(&TOKENS[..tokens], 0))?;
    Ok(model)
}

/// Through bytes, as from another process.
fn carried(from: &LanguageModel, to: &mut LanguageModel) -> wginfer::Result<Snapshot> {
    let snapshot = from.backend().block_on(from.snapshot())?.with_attachment("said");
    let snapshot = Snapshot::parse(snapshot.to_bytes()?, "carried")?;
    to.backend().clone().block_on(to.restore(&snapshot))?;
    Ok(snapshot)
}

/// The next tokens give the same logits, bit for bit.
fn goes_on(name: &str) -> Result<(), Failed> {
    let cpu = Backend::Cpu;
    if name.starts_with("t5") {
        let model = load(open(name)?, &cpu, &options())?;
        let error = cpu.block_on(model.snapshot()).err().ok_or("a part of a model was kept")?;
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        return Ok(());
    }
    let mut first = begun(&cpu, open(name)?, 9)?;
    let mut second = load(open(name)?, &cpu, &options())?;
    // What it kept of another text is gone.
    cpu.block_on(second.forward(&[5, 6, 7], 0))?;
    let snapshot = carried(&first, &mut second)?;
    assert_eq!((snapshot.tokens(), snapshot.attachment()), (&TOKENS[..9], Some("said")));
    assert_eq!(second.kept(), &TOKENS[..9]);
    for end in [11, 12] {
        let past = first.kept().len();
        let wanted = cpu.block_on(first.forward(&TOKENS[past..end], past))?;
        let found = cpu.block_on(second.forward(&TOKENS[past..end], past))?;
        assert_eq!(wanted, found, "after {past} tokens");
    }
    let anew = cpu.block_on(second.forward(&TOKENS[..3], 0))?;
    let wanted = cpu.block_on(first.forward(&TOKENS[..3], 0))?;
    assert_eq!(anew, wanted, "from the beginning");
    Ok(())
}

/// From the CPU backend to a device and back.
fn goes_on_elsewhere(backend: &Named, name: &str) -> Result<(), Failed> {
    let (cpu, device) = (Backend::Cpu, &backend.backend);
    let mut first = begun(&cpu, open(name)?, 9)?;
    let mut there = load(open(name)?, device, &options())?;
    carried(&first, &mut there)?;
    let found = device.block_on(there.forward(&TOKENS[9..11], 9))?;
    let mut back = load(open(name)?, &cpu, &options())?;
    carried(&there, &mut back)?;
    let last = cpu.block_on(back.forward(&TOKENS[11..], 11))?;
    let wanted = cpu.block_on(first.forward(&TOKENS[9..11], 9))?;
    let off = relative_l2(&found, &wanted)?;
    let wanted = cpu.block_on(first.forward(&TOKENS[11..], 11))?;
    let off = off.max(relative_l2(&last, &wanted)?);
    println!("{}: {name}: {off:.2e}", backend.name);
    if off > ELSEWHERE {
        return Err(format!("off by {off:.2e}, at most {ELSEWHERE:.0e}").into());
    }
    Ok(())
}

/// Another model's, also where only weights differ; caches of another type; a longer text
/// than the context. The model keeps what it had, or nothing.
fn others() -> Result<(), Failed> {
    let cpu = Backend::Cpu;
    let first = begun(&cpu, open("llama")?, 9)?;
    let snapshot = cpu.block_on(first.snapshot())?;
    let halves = ModelOptions { cache: DType::F16, ..options() };
    let short = ModelOptions { context: Some(8), ..options() };
    let finer = rewritten("llama", &[], |name, tensor| {
        let tensor = match name {
            "blk.1.ffn_up.weight" => {
                let values: Vec<f32> = tensor.to_f32()?.iter().map(|v| v * 1.01).collect();
                Tensor::from_f32(tensor.extents(), &values)?
            }
            _ => tensor,
        };
        Ok(vec![(name.to_string(), tensor)])
    })?;
    let cases = [
        ("weights", finer, options(), ErrorKind::Input),
        ("architecture", open("qwen2")?, options(), ErrorKind::Input),
        ("caches", open("llama")?, halves, ErrorKind::Input),
        ("context", open("llama")?, short, ErrorKind::Limit),
    ];
    for (what, file, options, kind) in cases {
        let mut model = load(file, &cpu, &options)?;
        cpu.block_on(model.forward(&[5, 6, 7], 0))?;
        let error = cpu.block_on(model.restore(&snapshot)).err();
        if error.as_ref().map(Error::kind) != Some(kind) {
            return Err(format!("{what}: {error:?}").into());
        }
        assert_eq!(model.kept(), [5, 6, 7], "{what}");
    }
    Ok(())
}

/// Frequencies may go by the context that was asked for: what was rotated by others is of
/// another model.
fn frequencies() -> Result<(), Failed> {
    let cpu = Backend::Cpu;
    let of = |context: usize| ModelOptions { context: Some(context), ..options() };
    let original = 16;
    let file = || {
        let key = "phi3.rope.scaling.original_context_length";
        rewritten("phi3--longrope", &[(key, (original as u32).into())], |name, tensor| {
            Ok(vec![(name.to_string(), tensor)])
        })
    };
    let mut first = load(file()?, &cpu, &of(original))?;
    cpu.block_on(first.forward(&TOKENS[..3], 0))?;
    let snapshot = cpu.block_on(first.snapshot())?;
    let mut same = load(file()?, &cpu, &of(original - 1))?;
    cpu.block_on(same.restore(&snapshot))?;
    let mut longer = load(file()?, &cpu, &of(original + 1))?;
    let error = cpu.block_on(longer.restore(&snapshot)).err().ok_or("it was taken")?;
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    Ok(())
}

/// Longer texts than caches have room for at first.
fn grown() -> Result<(), Failed> {
    let model = TinyModel { context: 1024, ..TinyModel::default() };
    let file = || -> wginfer::Result<GgufFile> { GgufFile::parse(model.bytes()?, "tiny.gguf") };
    let tokens: Vec<u32> = (0..400).map(|i| 97 + i * 7 % 23).collect();
    let mut kept = None;
    for backend in backends::all() {
        let runner = &backend.backend;
        let mut whole = load(file()?, runner, &options())?;
        runner.block_on(whole.forward(&tokens, 0))?;
        let wanted = runner.block_on(whole.forward(&[100, 101], tokens.len()))?;
        let snapshot = match &kept {
            Some(snapshot) => Snapshot::clone(snapshot),
            None => {
                let mut first = load(file()?, runner, &options())?;
                runner.block_on(first.forward(&tokens, 0))?;
                runner.block_on(first.snapshot())?
            }
        };
        let mut model = load(file()?, runner, &options())?;
        runner.block_on(model.restore(&snapshot))?;
        kept = Some(snapshot);
        let found = runner.block_on(model.forward(&[100, 101], tokens.len()))?;
        let off = relative_l2(&found, &wanted)?;
        println!("{}: behind {} tokens: {off:.2e}", backend.name, tokens.len());
        if off > ELSEWHERE {
            return Err(format!("off by {off:.2e}, at most {ELSEWHERE:.0e}").into());
        }
    }
    Ok(())
}

/// Cut off, or with another length of what a state has.
fn damaged() -> Result<(), Failed> {
    let cpu = Backend::Cpu;
    let first = begun(&cpu, open("llama")?, 9)?;
    let bytes = cpu.block_on(first.snapshot())?.to_bytes()?;
    for length in (0..bytes.len()).step_by(bytes.len() / 97) {
        let error = Snapshot::parse(bytes[..length].to_vec(), "cut").err();
        let error = error.ok_or_else(|| format!("{length} bytes were taken"))?;
        assert!(matches!(error, Error::Format { .. }), "{length} bytes: {error:?}");
    }
    let model = Snapshot::parse(std::fs::read(path("decoders/llama.gguf"))?, "model");
    assert!(matches!(model, Err(Error::Format { .. })), "{model:?}");
    // One token fewer than the states have rows for.
    let file = GgufFile::parse(bytes, "whole")?;
    for (tensor, told) in [("tokens", "cache.0.k"), ("cache.1.v", "cache.1.v")] {
        let mut writer = GgufWriter::new();
        for (key, value) in file.metadata().iter() {
            writer.copy(key, value)?;
        }
        for info in file.tensors() {
            let value = match info.name() == tensor {
                true if tensor == "tokens" => info.load()?.rows(0..8)?,
                true => continue,
                false => info.load()?,
            };
            writer.tensor(info.name(), value)?;
        }
        let snapshot = Snapshot::parse(writer.to_bytes()?, "other")?;
        let mut model = load(open("llama")?, &cpu, &options())?;
        let error = cpu.block_on(model.restore(&snapshot)).err().ok_or("it was taken")?;
        let text = error.to_string();
        assert!(matches!(error, Error::Format { .. }) && text.contains(told), "{text}");
        assert!(text.contains("other") && model.kept().is_empty(), "{text}");
    }
    Ok(())
}
