//! Hostile values of the keys that describe the model and the tokenizer.

use crate::judge;
use crate::raw::Raw;
use crate::table::{Case, check, survive};
use wginfer::ErrorKind::{self, Format, Limit, Unsupported};
use wginfer::formats::gguf::Value;

/// Keys without which there is no model, and whether they hold text.
const NEEDED: [(&str, bool); 9] = [
    ("general.architecture", true),
    ("llama.context_length", false),
    ("llama.block_count", false),
    ("llama.embedding_length", false),
    ("llama.attention.head_count", false),
    ("llama.attention.layer_norm_rms_epsilon", false),
    ("tokenizer.ggml.model", true),
    ("tokenizer.ggml.tokens", false),
    ("tokenizer.ggml.merges", false),
];

/// Keys that may be missing, but not be of another type.
const OPTIONAL: [(&str, bool); 15] = [
    ("llama.feed_forward_length", false),
    ("llama.attention.head_count_kv", false),
    ("llama.attention.key_length", false),
    ("llama.attention.value_length", false),
    ("llama.rope.dimension_count", false),
    ("llama.rope.freq_base", false),
    ("llama.rope.scaling.factor", false),
    ("llama.rope.scaling.type", true),
    ("tokenizer.ggml.pre", true),
    ("tokenizer.ggml.token_type", false),
    ("tokenizer.ggml.bos_token_id", false),
    ("tokenizer.ggml.eos_token_id", false),
    ("tokenizer.ggml.unknown_token_id", false),
    ("tokenizer.ggml.add_bos_token", false),
    ("tokenizer.chat_template", true),
];

/// Checks one change of one key; the message must name the key.
fn refused(key: &str, name: &str, kind: ErrorKind, change: &dyn Fn(&mut Raw)) {
    let (name, names) = (format!("{key}: {name}"), format!("key '{key}'"));
    check(&[Case { name: &name, change, kind, names: &names }]);
}

/// Checks that a file is read, loaded and run.
fn accepted(name: &str, change: &dyn Fn(&mut Raw)) {
    let mut raw = Raw::new(&crate::valid());
    change(&mut raw);
    let bytes = raw.bytes();
    let loaded = judge::read_all(&bytes).and_then(|()| judge::load_and_step(&bytes));
    assert!(loaded.is_ok(), "{name}: {loaded:?}");
}

/// As [`refused`], for a value to be put in the key's place.
fn refused_value(key: &str, kind: ErrorKind, value: Value<'_>) {
    refused(key, &format!("{value:?}"), kind, &|raw| raw.set(key, value));
}

#[test]
fn every_key_must_be_there_and_of_its_type() {
    for (key, _) in NEEDED {
        refused(key, "missing", Format, &|raw| raw.remove(key));
    }
    for (key, is_text) in NEEDED.into_iter().chain(OPTIONAL) {
        let other = if is_text { Value::U32(7) } else { Value::Str(b"seven") };
        refused_value(key, Format, other);
        refused(key, "an array of bools", Format, &|raw| {
            raw.set_raw(key, crate::raw::ARRAY, [crate::raw::array(7, 1), vec![1]].concat());
        });
        if is_text {
            refused_value(key, Format, Value::Str(b"caf\xe9"));
        }
    }
}

#[test]
fn sizes_must_make_sense() {
    for key in [
        "llama.context_length",
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.attention.value_length",
        "llama.rope.dimension_count",
    ] {
        for value in [Value::U32(0), Value::U32(u32::MAX), Value::U64(u64::MAX), Value::I32(-1)] {
            refused_value(key, Format, value);
        }
    }
    refused_value("llama.attention.head_count", Format, Value::U32(3));
    refused_value("llama.attention.head_count_kv", Format, Value::U32(3));
    refused_value("llama.attention.key_length", Format, Value::U32(16_000));
    refused_value("llama.rope.dimension_count", Format, Value::U32(3));
    refused_value("llama.rope.dimension_count", Format, Value::U32(10));
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refused_value("llama.attention.layer_norm_rms_epsilon", Format, Value::F32(value));
        refused_value("llama.rope.freq_base", Format, Value::F32(value));
    }
    refused_value("llama.rope.freq_base", Format, Value::F32(1.0));
}

#[test]
fn rotary_scaling_must_make_sense() {
    let scaled = |kind: &'static str| {
        move |raw: &mut Raw| raw.set("llama.rope.scaling.type", Value::Str(kind.as_bytes()))
    };
    let with = |kind, part: &'static str, value: Value<'static>| {
        move |raw: &mut Raw| {
            scaled(kind)(raw);
            raw.set("llama.rope.scaling.original_context_length", Value::U32(64));
            raw.set("llama.rope.scaling.factor", Value::F32(2.0));
            raw.set(&format!("llama.rope.scaling.{part}"), value);
        }
    };
    refused("llama.rope.scaling.type", "unknown", Unsupported, &scaled("sideways"));
    // The context takes its place.
    accepted("no original context", &scaled("yarn"));
    for value in [0.0, -2.0, f32::NAN] {
        for kind in ["linear", "yarn"] {
            let key = "llama.rope.scaling.factor";
            let change = with(kind, "factor", Value::F32(value));
            // As in llama.cpp, 0 is a factor that is not given.
            if value == 0.0 {
                accepted(&format!("{key}: {kind}"), &change);
            } else {
                refused(key, kind, Format, &change);
            }
        }
        let value = Value::F32(value);
        for part in ["yarn_beta_fast", "yarn_beta_slow"] {
            refused(
                &format!("llama.rope.scaling.{part}"),
                "yarn",
                Format,
                &with("yarn", part, value),
            );
        }
    }
}

#[test]
fn names_must_be_known() {
    check(&[Case {
        name: "architecture",
        change: &|raw| raw.set("general.architecture", Value::Str(b"nonsense")),
        kind: Unsupported,
        names: "'nonsense'",
    }]);
    refused_value("tokenizer.ggml.model", Unsupported, Value::Str(b"nonsense"));
    refused_value("tokenizer.ggml.pre", Unsupported, Value::Str(b"nonsense"));
}

#[test]
fn special_tokens_must_be_tokens() {
    // Text is not made into these; numbers that no token has are none.
    for name in ["eot", "eom", "padding"] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        refused_value(&key, Format, Value::I32(-2));
        refused_value(&key, Format, Value::Str(b"263"));
    }
    for name in ["bos", "eos", "unknown"] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        for id in [Value::U32(263), Value::U32(u32::MAX - 1), Value::U64(u64::MAX), Value::I32(-2)]
        {
            refused_value(&key, Format, id);
        }
    }
    // Asked for, but there is none.
    refused_value("tokenizer.ggml.add_bos_token", Format, Value::Bool(true));
    refused("tokenizer.ggml.add_eos_token", "no eos", Format, &|raw| {
        raw.remove("tokenizer.ggml.eos_token_id");
        raw.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    });
}

/// The vocabulary as the tiny model has it.
fn tokens() -> Vec<Vec<u8>> {
    let bytes = crate::valid();
    let file = wginfer::formats::gguf::GgufFile::parse(bytes, "valid").unwrap();
    let tokens = file.metadata().strs_of("tokenizer.ggml.tokens").unwrap();
    tokens.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Checks a change of the list of tokens.
fn refused_tokens(name: &str, kind: ErrorKind, change: &dyn Fn(&mut Vec<Vec<u8>>)) {
    let mut list = tokens();
    change(&mut list);
    let key = "tokenizer.ggml.tokens";
    refused(key, name, kind, &|raw| {
        raw.remove("tokenizer.ggml.token_type");
        raw.set_strings(key, &list);
    });
}

#[test]
fn vocabularies_must_agree_with_themselves() {
    refused_tokens("none", Format, &|list| list.clear());
    refused_tokens("one twice", Format, &|list| list[7] = list[9].clone());
    refused_tokens("not UTF-8", Format, &|list| list[7] = b"\xff\xfe".to_vec());
    refused_tokens("more than the embedding has rows", Format, &|list| {
        list.push(b"one too many".to_vec());
    });
    let key = "tokenizer.ggml.token_type";
    refused(key, "too few", Format, &|raw| {
        raw.set_raw(key, crate::raw::ARRAY, crate::raw::array(5, 0));
    });
    let kinds = |kind: i32| [crate::raw::array(5, 263), kind.to_le_bytes().repeat(263)].concat();
    for kind in [7, -1, i32::MAX] {
        refused(key, "unknown kinds", Format, &|raw| {
            raw.set_raw(key, crate::raw::ARRAY, kinds(kind));
        });
    }
    let key = "tokenizer.ggml.merges";
    for merge in [&b"nowhere near"[..], b"th", b"", b" ", b"t h e", b"t  h", b"\xff h", b"q z"] {
        refused(key, &format!("{merge:?}"), Format, &|raw| {
            raw.set_strings(key, &[merge.to_vec()]);
        });
    }
}

#[test]
fn vocabularies_have_a_bound() {
    // Short tokens by the million would take a hundred times their file.
    let many: Vec<Vec<u8>> = (0..1_200_000u32).map(|i| format!("{i:x}").into_bytes()).collect();
    let change = |raw: &mut Raw| {
        raw.remove("tokenizer.ggml.token_type");
        raw.set_strings("tokenizer.ggml.tokens", &many);
    };
    let names = "a vocabulary of 1200000 tokens";
    check(&[Case { name: "a million tokens", change: &change, kind: Limit, names }]);
    // Special tokens are matched by an automaton that grows with their text.
    let long: Vec<Vec<u8>> = (0..263).map(|i| format!("{i:05000}").into_bytes()).collect();
    let change = |raw: &mut Raw| {
        raw.set_strings("tokenizer.ggml.tokens", &long);
        raw.set_strings("tokenizer.ggml.merges", &[]);
        let kinds = [crate::raw::array(5, 263), 4i32.to_le_bytes().repeat(263)].concat();
        raw.set_raw("tokenizer.ggml.token_type", crate::raw::ARRAY, kinds);
    };
    let names = "key 'tokenizer.ggml.token_type'";
    check(&[Case { name: "long special tokens", change: &change, kind: Unsupported, names }]);
}

#[test]
fn odd_values_do_no_harm() {
    survive(&[
        ("every token empty", &|raw| {
            raw.set_strings("tokenizer.ggml.tokens", &vec![Vec::new(); 263]);
            raw.set_strings("tokenizer.ggml.merges", &[]);
        }),
        ("no byte has a token", &|raw| {
            let words: Vec<_> = (0..263).map(|i| format!("word{i}").into_bytes()).collect();
            raw.set_strings("tokenizer.ggml.tokens", &words);
            raw.set_strings("tokenizer.ggml.merges", &[]);
        }),
        ("a token of a megabyte", &|raw| {
            let mut list = tokens();
            list[9] = vec![b'x'; 1 << 20];
            raw.set_strings("tokenizer.ggml.tokens", &list);
        }),
        ("a merge that follows itself", &|raw| {
            let mut list = tokens();
            list[259] = "xx".into();
            raw.set_strings("tokenizer.ggml.tokens", &list);
            raw.set_strings("tokenizer.ggml.merges", &[b"x x".to_vec(), b"x x".to_vec()]);
        }),
        ("every token ends the text", &|raw| {
            let kinds = [crate::raw::array(5, 263), 3i32.to_le_bytes().repeat(263)].concat();
            raw.set_raw("tokenizer.ggml.token_type", crate::raw::ARRAY, kinds);
        }),
        ("the least epsilon", &|raw| {
            let key = "llama.attention.layer_norm_rms_epsilon";
            raw.set(key, Value::F32(f32::from_bits(1)));
        }),
        ("context 1", &|raw| raw.set("llama.context_length", Value::U32(1))),
        ("the longest context", &|raw| raw.set("llama.context_length", Value::U32(1 << 27))),
        ("the largest base", &|raw| raw.set("llama.rope.freq_base", Value::F32(f32::MAX))),
    ]);
}
