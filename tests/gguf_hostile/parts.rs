//! Files of models in two parts (T5): hostile keys and tensors of those.

use crate::judge::{FILE, bounded, check_error};
use crate::raw::Raw;
use crate::table::Change;
use wginfer::ErrorKind::{self, Format, Unsupported};
use wginfer::formats::gguf::{GgufFile, Value};
use wginfer::lm::{LanguageModel, ModelOptions};
use wginfer::{Backend, Bytes, DType, Result};

const F32: u32 = 0;

fn valid() -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders");
    std::fs::read(folder.join("t5--gated.gguf")).unwrap()
}

/// Reads the file, loads the model and writes a token.
fn run(bytes: &Bytes) -> Result<()> {
    let file = || GgufFile::parse(bytes.clone(), FILE);
    bounded("reading", || file().and_then(|file| wginfer::lm::ModelFile::new(file).map(|_| ())))?;
    let options = ModelOptions { cache: DType::F32, ..ModelOptions::default() };
    let cpu = Backend::Cpu;
    let mut model = cpu.block_on(LanguageModel::load(file()?, &cpu, &options, &mut |_, _| {}))?;
    let source = model.spec().source.unwrap();
    cpu.block_on(model.forward(&[7, 8, source.end, source.start], 0)).map(|_| ())
}

fn refused(name: &str, kind: ErrorKind, names: &str, change: Change<'_>) {
    let mut raw = Raw::new(&valid());
    change(&mut raw);
    let error = run(&raw.bytes()).err().unwrap_or_else(|| panic!("{name}: accepted"));
    check_error(&error, name);
    let text = error.to_string();
    let right = error.kind() == kind && text.contains(names) && text.contains(FILE);
    assert!(right, "{name}: {:?}: {text}", error.kind());
}

#[test]
fn the_unchanged_file_is_good() {
    run(&valid().into()).unwrap();
}

#[test]
fn keys_of_parts_must_make_sense() {
    let key = "t5.attention.relative_buckets_count";
    for count in [0, 1, 3, 31, 33, 64, 256, u32::MAX] {
        // Those that make sense do not fit the table.
        let names = if (4..256).contains(&count) { "attn_rel_b.weight" } else { key };
        refused(&format!("{count} buckets"), Format, names, &|raw| raw.set(key, Value::U32(count)));
    }
    refused("no buckets", Format, key, &|raw| raw.remove(key));
    let key = "t5.decoder_start_token_id";
    for id in [264, u32::MAX] {
        refused("start", Format, key, &|raw| raw.set(key, Value::U32(id)));
    }
    let key = "tokenizer.ggml.eos_token_id";
    refused("no end", Format, key, &|raw| raw.remove(key));
    let key = "t5.decoder_block_count";
    for blocks in [0, 5000] {
        refused("blocks", Format, key, &|raw| raw.set(key, Value::U32(blocks)));
    }
    refused("a block more", Format, "dec.blk.3.", &|raw| raw.set(key, Value::U32(4)));
    refused("a block less", Unsupported, "dec.blk.2.", &|raw| raw.set(key, Value::U32(2)));
    let key = "t5.attention.head_count";
    for heads in [0, 3, 5, 1 << 20] {
        let names = if (1..1 << 14).contains(&heads) { "blk.0." } else { key };
        refused(&format!("{heads} heads"), Format, names, &|raw| raw.set(key, Value::U32(heads)));
    }
}

#[test]
fn every_tensor_of_a_part_must_be_there() {
    let file = GgufFile::parse(valid(), FILE).unwrap();
    for info in file.tensors() {
        let name = info.name();
        // Without a gate a layer is of the other form, in blocks that all have one it is
        // not; the head may be the table of embeddings, and it may be that.
        let others = ["output.weight", "token_embd.weight"];
        if others.contains(&name) || name.contains("blk.0.ffn_gate") {
            continue;
        }
        refused(name, Format, &format!("tensor '{name}'"), &|raw| raw.remove_tensor(name));
    }
}

#[test]
fn nothing_of_a_part_is_passed_over() {
    for name in ["enc.blk.0.cross_attn_q.weight", "dec.blk.0.attn_q.bias", "blk.0.attn_q.weight"] {
        refused(name, Unsupported, name, &|raw| {
            raw.tensors.push(raw.tensors[0].clone());
            raw.tensors.last_mut().unwrap().name = name.into();
            raw.replace_tensor(name, &[4], F32, 16);
        });
    }
}
