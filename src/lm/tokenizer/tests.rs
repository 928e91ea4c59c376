//! Against llama.cpp's ids for SmolLM2, and against broken vocabularies.

use super::*;
use crate::error::ErrorKind;
use crate::formats::gguf::{GgufWriter, MetaValue};
use crate::lm::stream::Utf8Stream;
use std::sync::LazyLock;

static SMOLLM2: LazyLock<Tokenizer> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/smollm2/tokenizer.gguf");
    Tokenizer::from_gguf(&crate::formats::gguf::open(path).unwrap()).unwrap()
});

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    ids_no_special: Option<Vec<u32>>,
    pieces_hex: Vec<String>,
}

fn cases() -> Vec<Case> {
    let json = include_str!("../../../tests/data/smollm2/tokenization.json");
    let cases: Vec<Case> = serde_json::from_str(json).unwrap();
    assert_eq!(cases.len(), 35);
    cases
}

const SPECIAL: EncodeOptions = EncodeOptions { special: true, ..EncodeOptions::PART };

#[test]
fn ids_are_those_of_the_reference() {
    for case in cases() {
        let ids = SMOLLM2.encode(&case.text, SPECIAL).unwrap();
        assert_eq!(ids, case.ids, "{:?}", case.text);
        let plain = SMOLLM2.encode(&case.text, EncodeOptions::PART).unwrap();
        assert_eq!(plain, *case.ids_no_special.as_ref().unwrap_or(&case.ids), "{:?}", case.text);
    }
    assert!(cases().iter().any(|c| c.ids_no_special.is_some()));
}

/// A text, and its ids by two other programs: without special tokens in it, with them
/// where that differs, and between BOS and EOS.
#[derive(serde::Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    special: Option<Vec<u32>>,
    whole: Vec<u32>,
}

#[test]
fn ids_are_those_of_two_other_programs() {
    let json = include_str!("../../../tests/data/smollm2/texts.json");
    let texts: Vec<Text> = serde_json::from_str(json).unwrap();
    assert!(texts.len() >= 240, "{}", texts.len());
    assert!(texts.iter().filter(|text| text.special.is_some()).count() >= 30);
    for Text { text, ids, special, whole } in &texts {
        let encode = |options| SMOLLM2.encode(text, options).unwrap();
        assert_eq!(encode(EncodeOptions::PART), *ids, "{text:?}");
        assert_eq!(encode(SPECIAL), *special.as_ref().unwrap_or(ids), "{text:?}");
        let ends = EncodeOptions { special: false, bos: Some(true), eos: Some(true) };
        assert_eq!(encode(ends), *whole, "{text:?}");
        assert_eq!(SMOLLM2.decode(ids, true).unwrap(), *text);
    }
}

#[test]
fn bytes_are_those_of_the_reference_and_join_to_the_text() {
    for case in cases() {
        let mut stream = Utf8Stream::new();
        let mut text = String::new();
        for (&id, hex) in case.ids.iter().zip(&case.pieces_hex) {
            let bytes = SMOLLM2.token_bytes(id).unwrap();
            let wrote: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(wrote, *hex);
            text.push_str(&stream.push(bytes));
        }
        text.push_str(&stream.finish());
        assert_eq!(text, case.text);
        assert_eq!(SMOLLM2.decode(&case.ids, true).unwrap(), case.text);
    }
}

#[test]
fn control_tokens_can_be_left_out() {
    let ids = SMOLLM2.encode("<|im_start|>user\nHi<|im_end|>\n", EncodeOptions::PROMPT).unwrap();
    assert_eq!(SMOLLM2.decode(&ids, false).unwrap(), "user\nHi\n");
}

#[test]
fn special_tokens_of_smollm2() {
    let t = &*SMOLLM2;
    assert_eq!(t.vocab_len(), 49152);
    assert_eq!((t.bos(), t.eos(), t.eot()), (Some(1), Some(2), None));
    assert_eq!((t.unknown(), t.padding()), (Some(0), Some(2)));
    assert!(!t.adds_bos() && !t.adds_eos());
    assert_eq!(t.end_tokens(), [0, 2]);
    assert!(t.is_end(2) && !t.is_end(1));
    assert_eq!(t.kind(1), Some(TokenKind::Control));
    assert_eq!(t.kind(49151), Some(TokenKind::Normal));
    assert_eq!(t.kind(49152), None);
    assert_eq!(t.token_id("Ġthe"), Some(260));
}

#[test]
fn bos_and_eos_are_added_on_demand_and_not_doubled() {
    let t = &*SMOLLM2;
    let ids = |text, bos, eos| t.encode(text, EncodeOptions { special: true, bos, eos }).unwrap();
    assert_eq!(ids("x", None, None), ids("x", Some(false), Some(false)));
    assert_eq!(ids("x", Some(true), Some(true)), [1, 104, 2]);
    // Asked for by name it comes whatever the text begins with.
    assert_eq!(ids("<|im_start|>", Some(true), None), [1, 1]);

    let mut writer = tiny();
    writer.metadata("tokenizer.ggml.add_bos_token", true).unwrap();
    writer.metadata("tokenizer.ggml.add_eos_token", true).unwrap();
    let t = load(&writer).unwrap();
    let b = t.token_id("<b>").unwrap();
    let prompt = |text| t.encode(text, EncodeOptions { special: true, ..Default::default() });
    let a = t.token_id("a").unwrap();
    assert_eq!(prompt("a").unwrap(), [b, a, b + 1]);
    assert_eq!(prompt("<b>a").unwrap(), [b, a, b + 1]);
    assert_eq!(t.encode("", EncodeOptions::PROMPT).unwrap(), [b]);
}

#[test]
fn an_id_beyond_the_vocabulary_is_an_input_error() {
    for error in [SMOLLM2.token_bytes(49152).err(), SMOLLM2.decode(&[u32::MAX], true).err()] {
        assert_eq!(error.unwrap().kind(), ErrorKind::Input);
    }
}

#[test]
fn a_byte_without_a_token_is_an_error_and_not_dropped() {
    // SmolLM2's vocabulary has no token for the byte 0x04.
    let error = SMOLLM2.encode("a\u{4}b", EncodeOptions::PART).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("0x04"), "{error}");
}

/// All byte tokens, one merge, BOS, EOS and a user-defined token.
fn parts() -> Vec<(&'static str, MetaValue)> {
    let mut tokens = Vec::new();
    for byte in 0..=255u8 {
        let mut text = String::new();
        bytes::encode(&[byte], &mut text);
        tokens.push(text);
    }
    tokens.extend(["<b>", "<e>", "<u>", "ab", "<u>>", "abab"].map(String::from));
    let mut types = vec![1i32; 256];
    types.extend([3, 3, 4, 1, 4, 1]);
    vec![
        ("tokenizer.ggml.model", "gpt2".into()),
        ("tokenizer.ggml.pre", "gpt-2".into()),
        ("tokenizer.ggml.tokens", tokens.into()),
        ("tokenizer.ggml.token_type", types.into()),
        ("tokenizer.ggml.merges", vec!["a b"].into()),
        ("tokenizer.ggml.bos_token_id", 256u32.into()),
        ("tokenizer.ggml.eos_token_id", 257u32.into()),
    ]
}

fn tiny() -> GgufWriter {
    with(&[])
}

/// The tiny vocabulary with some keys replaced; an empty array removes one.
fn with(changes: &[(&str, MetaValue)]) -> GgufWriter {
    let mut writer = GgufWriter::new();
    for (key, value) in parts() {
        let change = changes.iter().find(|(changed, _)| *changed == key);
        writer.metadata(key, change.map_or(value, |(_, new)| new.clone())).unwrap();
    }
    writer
}

fn load(writer: &GgufWriter) -> Result<Tokenizer> {
    Tokenizer::from_gguf(&GgufFile::parse(writer.to_bytes().unwrap(), "tiny.gguf").unwrap())
}

#[test]
fn user_defined_tokens_are_matched_in_any_text_the_longest_first() {
    let t = load(&tiny()).unwrap();
    let a = u32::from(b'a');
    assert_eq!(t.encode("a<u>a<u>>", EncodeOptions::PART).unwrap(), [a, 258, a, 260]);
    let plain = t.encode("<b>", EncodeOptions::PART).unwrap();
    assert_eq!(plain, [u32::from(b'<'), u32::from(b'b'), u32::from(b'>')]);
    assert_eq!(t.encode("<b>", SPECIAL).unwrap(), [256]);
}

#[test]
fn a_text_ends_where_models_of_its_kind_end_theirs() {
    let ends = |specials: &[&str]| {
        let mut tokens: Vec<String> = (0..=255u8)
            .map(|byte| {
                let mut text = String::new();
                bytes::encode(&[byte], &mut text);
                text
            })
            .collect();
        tokens.extend(specials.iter().map(|text| text.to_string()));
        let mut types = vec![1i32; 256];
        types.resize(tokens.len(), 3);
        let changes: [(&str, MetaValue); 5] = [
            ("tokenizer.ggml.tokens", tokens.into()),
            ("tokenizer.ggml.token_type", types.into()),
            ("tokenizer.ggml.merges", vec!["a b"].into()),
            ("tokenizer.ggml.bos_token_id", 256u32.into()),
            ("tokenizer.ggml.eos_token_id", 257u32.into()),
        ];
        load(&with(&changes)).unwrap().end_tokens().to_vec()
    };
    assert_eq!(ends(&["<b>", "<e>", "ab", "<|end|>", "<|call|>"]), [257, 259, 260]);
    // There it ends a part of a turn.
    let harmony = ["<|start|>", "<|return|>", "ab", "<|end|>", "<|call|>", "<|endoftext|>"];
    assert_eq!(ends(&harmony), [257, 260, 261]);
    assert_eq!(ends(&["<b>", "<e>", "ab", "<|file_sep|>", "<|file|>"]), [257, 259]);
}

#[test]
fn special_tokens_of_phi_3_take_the_space_behind_them() {
    let (a, space) = (u32::from(b'a'), u32::from(b' '));
    let text = "a <b> \n a<u> <b>";
    let plain = [a, space, 256, space, u32::from(b'\n'), space, a, 258, space, 256];
    assert_eq!(load(&tiny()).unwrap().encode(text, SPECIAL).unwrap(), plain);
    let mut writer = tiny();
    writer.metadata("general.name", "Phi-3 Mini").unwrap();
    let t = load(&writer).unwrap();
    assert_eq!(t.encode(text, SPECIAL).unwrap(), [a, space, 256, a, 258, 256]);
}

#[test]
fn whole_pieces_are_tokens_where_merges_are_ignored() {
    // "abab" is a token that no merge reaches.
    let t = load(&tiny()).unwrap();
    assert_eq!(t.encode("abab", EncodeOptions::PART).unwrap(), [259, 259]);
    let t = load(&with(&[("tokenizer.ggml.pre", "llama-bpe".into())])).unwrap();
    assert_eq!(t.encode("abab", EncodeOptions::PART).unwrap(), [261]);
    assert!(t.adds_bos());
}

#[test]
fn broken_vocabularies_name_their_key() {
    let long: Vec<u32> = vec![1; 300];
    let table: Vec<(&str, MetaValue, ErrorKind, &str)> = vec![
        ("model", "fairseq".into(), ErrorKind::Unsupported, "known: gpt2"),
        ("model", 1u32.into(), ErrorKind::Format, "a string is needed"),
        ("pre", "unheard-of".into(), ErrorKind::Unsupported, "smollm"),
        ("tokens", vec!["a", "b", "a"].into(), ErrorKind::Format, "types for 3 tokens"),
        ("tokens", Vec::<&str>::new().into(), ErrorKind::Format, "0 tokens"),
        ("tokens", vec![1u32].into(), ErrorKind::Format, "array of strings"),
        ("token_type", long.into(), ErrorKind::Format, "300 types for 262 tokens"),
        ("token_type", vec![9i32; 262].into(), ErrorKind::Format, "type 9"),
        ("merges", vec!["ab"].into(), ErrorKind::Format, "not two tokens"),
        ("merges", vec!["a zz"].into(), ErrorKind::Format, "'zz' is no token"),
        // Both sides are tokens; what they join to is longer than any token.
        ("merges", vec!["abab abab"].into(), ErrorKind::Format, "'abababab' is no token"),
        ("bos_token_id", 262u32.into(), ErrorKind::Format, "token 262 of a vocabulary of 262"),
        ("eos_token_id", (-2i32).into(), ErrorKind::Format, "from 0"),
    ];
    for (name, value, kind, part) in table {
        let key = format!("tokenizer.ggml.{name}");
        let error = load(&with(&[(&key, value)])).err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains("tiny.gguf") && text.contains(part), "{text}");
        assert!(text.contains(&key) || part.contains("types for 3"), "{text}");
    }
}

#[test]
fn a_padding_token_that_is_not_there_is_none() {
    let named = |id: MetaValue| {
        let mut writer = tiny();
        for name in ["padding", "eot", "fim_pad"] {
            writer.metadata(&format!("tokenizer.ggml.{name}_token_id"), id.clone()).unwrap();
        }
        load(&writer)
    };
    let there = named(261u32.into()).unwrap();
    assert_eq!((there.padding(), there.eot()), (Some(261), Some(261)));
    assert!(there.is_end(261));
    let without = named(262u32.into()).unwrap();
    assert_eq!((without.padding(), without.eot()), (None, None));
    assert!(!without.is_end(262));
    assert!(named("a".into()).err().unwrap().to_string().contains("_token_id"));
}

/// What has no token is written in bytes.
#[test]
fn a_vocabulary_of_plamo_has_all_bytes() {
    let error = load(&with(&[("tokenizer.ggml.model", "plamo2".into())])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Format);
    let told = error.to_string();
    assert!(told.contains("tokenizer.ggml.tokens") && told.contains("<0x00>"), "{told}");
}

#[test]
fn a_token_given_twice_is_named_with_both_ids() {
    let mut tokens: Vec<String> = (0..262).map(|i| format!("t{i}")).collect();
    tokens[200] = "t7".into();
    let error = load(&with(&[("tokenizer.ggml.tokens", tokens.into())])).err().unwrap();
    assert!(error.to_string().contains("'t7' is token 7 and 200"), "{error}");
}

#[test]
fn missing_keys_are_named() {
    for missing in ["model", "tokens", "merges"] {
        let missing = format!("tokenizer.ggml.{missing}");
        let mut writer = GgufWriter::new();
        for (key, value) in parts().into_iter().filter(|(key, _)| *key != missing) {
            writer.metadata(key, value).unwrap();
        }
        let error = load(&writer).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Format);
        assert!(error.to_string().contains(&format!("'{missing}': missing")), "{error}");
    }
    let mut writer = tiny();
    writer.metadata("tokenizer.ggml.add_bos_token", 1u32).unwrap();
    assert!(load(&writer).err().unwrap().to_string().contains("add_bos_token"));
}

#[test]
fn long_texts_take_linear_time() {
    let start = std::time::Instant::now();
    for text in ["x".repeat(1 << 18), "ab".repeat(1 << 17), "<".repeat(1 << 18)] {
        let ids = SMOLLM2.encode(&text, SPECIAL).unwrap();
        assert_eq!(SMOLLM2.decode(&ids, true).unwrap(), text);
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(10));
}

/// As llama.cpp reads such files: all scores are equal, so the leftmost pair merges first,
/// and a byte is known by its spelling.
#[test]
fn sentencepiece_without_scores_or_types() {
    let tokens = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "\u{2581}", "a", "b", "ab", "ba"];
    let tokens: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    let mut writer = GgufWriter::new();
    writer.metadata("tokenizer.ggml.model", "llama").unwrap();
    writer.metadata("tokenizer.ggml.tokens", tokens.clone()).unwrap();
    writer.metadata("tokenizer.ggml.add_space_prefix", false).unwrap();
    let plain = load(&writer).unwrap();
    // `abab`, then `aba`, where the right pair would do as well.
    for (text, wanted) in
        [("abab", &[8, 8][..]), ("aba", &[8, 6]), ("bab", &[9, 7]), ("\u{e9}", &[3, 4])]
    {
        assert_eq!(plain.encode(text, EncodeOptions::PART).unwrap(), wanted, "{text}");
    }
    // Whole numbers are scores, too: now `ba` comes before `ab`.
    let mut scores = vec![0i32; tokens.len()];
    scores[8] = -1;
    writer.metadata("tokenizer.ggml.scores", scores).unwrap();
    let scored = load(&writer).unwrap();
    assert_eq!(scored.encode("abab", EncodeOptions::PART).unwrap(), [6, 9, 7]);
}
