//! Tensors that do not fit the model, and prompts that do not.

use crate::judge::{FILE, load};
use crate::raw::Raw;
use crate::table::{Case, check, survive};
use crate::valid;
use wginfer::ErrorKind::{self, Format, Unsupported};
use wginfer::formats::gguf::{GgufFile, Value};
use wginfer::lm::{GenerateOptions, Prompt};

const F32: u32 = 0;
const I32: u32 = 26;

fn names() -> Vec<String> {
    let file = GgufFile::parse(valid(), FILE).unwrap();
    file.tensors().map(|info| info.name().to_string()).collect()
}

fn refused(tensor: &str, name: &str, kind: ErrorKind, change: &dyn Fn(&mut Raw)) {
    let (name, names) = (format!("{tensor}: {name}"), format!("tensor '{tensor}'"));
    check(&[Case { name: &name, change, kind, names: &names }]);
}

#[test]
fn every_tensor_must_be_there() {
    for tensor in names() {
        if ["output.weight", "token_embd.weight"].contains(&tensor.as_str()) {
            // Each takes the place of the other.
            survive(&[("one table", &|raw| raw.remove_tensor(&tensor))]);
        } else {
            refused(&tensor, "missing", Format, &|raw| raw.remove_tensor(&tensor));
        }
    }
    refused("blk.1.attn_norm.weight", "missing", Format, &|raw| {
        raw.set("llama.block_count", Value::U32(2));
    });
}

#[test]
fn every_tensor_must_have_its_shape() {
    for tensor in names() {
        let valid = Raw::new(&valid());
        let dims = valid.tensors.iter().find(|t| t.name == tensor.as_bytes()).unwrap().dims.clone();
        let elements: u64 = dims.iter().product();
        let flat = vec![elements];
        // One more of 1 would be the same: GGUF does not tell a row from a matrix of one.
        let deep = [&dims[..], &[2]].concat();
        let short: Vec<u64> = dims.iter().map(|&d| d - 1).collect();
        let empty = vec![0; dims.len()];
        for shape in [flat, deep, short, empty] {
            if shape == dims {
                continue;
            }
            let size = 4 * shape.iter().product::<u64>() as usize;
            // Fewer rows than tokens: it is the vocabulary that is too long.
            let rows = tensor == "token_embd.weight" && shape.len() == 2 && shape[0] == dims[0];
            assert!(!rows, "{shape:?}");
            refused(&tensor, &format!("{shape:?}"), Format, &|raw| {
                raw.replace_tensor(&tensor, &shape, F32, size);
            });
        }
        refused(&tensor, "whole numbers", Unsupported, &|raw| raw.tensor(&tensor).of = I32);
        refused(&tensor, "Q1_0", Unsupported, &|raw| {
            let dims: Vec<u64> = dims.iter().map(|_| 256).collect();
            raw.replace_tensor(&tensor, &dims, 41, 36 * if dims.len() == 2 { 256 } else { 1 });
        });
    }
}

#[test]
fn embeddings_must_have_a_row_for_every_token() {
    let (key, table) = ("key 'tokenizer.ggml.tokens'", "token_embd.weight");
    let rows = |rows: u64| {
        move |raw: &mut Raw| {
            for name in ["token_embd.weight", "output.weight"] {
                raw.replace_tensor(name, &[16, rows], F32, 4 * 16 * rows as usize);
            }
        }
    };
    for few in [0, 1, 262] {
        check(&[Case { name: "few rows", change: &rows(few), kind: Format, names: key }]);
        check(&[Case { name: "few rows", change: &rows(few), kind: Format, names: table }]);
    }
    // Padding is common; a padding row that is generated is a typed error.
    survive(&[("more rows", &rows(300))]);
}

/// A file can be small and still ask for large tables.
#[test]
fn sizes_need_tensors_of_that_size() {
    survive(&[
        ("a head of 1024", &|raw| {
            for (name, dims) in [
                ("blk.0.attn_q.weight", [16, 1024]),
                ("blk.0.attn_k.weight", [16, 1024]),
                ("blk.0.attn_v.weight", [16, 1024]),
                ("blk.0.attn_output.weight", [1024, 16]),
            ] {
                raw.replace_tensor(name, &dims, F32, 4 * 16 * 1024);
            }
            raw.set("llama.attention.head_count", Value::U32(1));
            raw.set("llama.attention.key_length", Value::U32(1024));
            raw.set("llama.attention.value_length", Value::U32(1024));
            raw.set("llama.context_length", Value::U32(1 << 27));
        }),
        ("NaN weights", &|raw| raw.data.fill(0xff)),
        ("infinite weights", &|raw| {
            raw.data.chunks_exact_mut(4).for_each(|v| v.copy_from_slice(&[0, 0, 0x80, 0x7f]));
        }),
    ]);
    let tensor = "rope_freqs.weight";
    for factors in [0, 3, 5, 100_000] {
        refused(tensor, &format!("{factors} factors"), Format, &|raw| {
            raw.tensors.push(raw.tensors[0].clone());
            raw.tensors.last_mut().unwrap().name = tensor.into();
            raw.replace_tensor(tensor, &[factors], F32, 4 * factors as usize);
        });
    }
    refused(tensor, "zeros", Format, &|raw| {
        raw.tensors.push(raw.tensors[0].clone());
        raw.tensors.last_mut().unwrap().name = tensor.into();
        raw.replace_tensor(tensor, &[4], F32, 16);
    });
}

#[test]
fn prompts_that_cannot_be_continued_are_refused() {
    let mut model = load(&valid().into(), None).unwrap();
    let context = model.context();
    let options = GenerateOptions::default();
    let cases = [
        (Prompt::Text(String::new()), ErrorKind::Input, "prompt"),
        (Prompt::Ask(String::new()), ErrorKind::Input, "prompt"),
        (Prompt::Chat(Vec::new()), ErrorKind::Input, "prompt"),
        (Prompt::Tokens(Vec::new()), ErrorKind::Input, "prompt"),
        (Prompt::Text("a".repeat(context + 1)), ErrorKind::Limit, "context"),
        (Prompt::Tokens(vec![1; context + 1]), ErrorKind::Limit, "context"),
    ];
    for (prompt, kind, names) in cases {
        let error = model.generate(prompt, &options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(names), "{error}");
    }
    for id in [263, u32::MAX] {
        let mut generation = model.generate(Prompt::Tokens(vec![id]), &options).unwrap();
        let error = generation.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
    // The longest prompt there is room for gives one token, and the end.
    let full = Prompt::Tokens(vec![1; context]);
    let pieces: Vec<_> = model.generate(full, &options).unwrap().collect();
    assert!(pieces.iter().all(Result::is_ok), "{pieces:?}");
}

#[test]
fn a_context_that_the_model_has_not_is_refused() {
    for context in [0, 257, usize::MAX] {
        let error = load(&valid().into(), Some(context)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("context_length"), "{error}");
    }
}

/// Logits that are not numbers end a generation with an error, not a token.
#[test]
fn nan_weights_are_noticed() {
    let mut raw = Raw::new(&valid());
    raw.data.fill(0xff);
    let mut model = load(&raw.bytes(), None).unwrap();
    let mut generation = model.generate("why", &GenerateOptions::default()).unwrap();
    let error = generation.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("logit"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
}
