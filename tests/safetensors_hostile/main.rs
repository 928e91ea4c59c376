//! Broken and hostile safetensors files: a typed error that names file and
//! tensor, in bounded memory, and never a crash.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "../gguf_hostile/heap.rs"]
mod heap;
mod index;
mod raw;

use raw::{FILE, file, framed, parse, refused};
use wginfer::formats::safetensors::{SafetensorsFile, open};
use wginfer::{DType, ErrorKind};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Two tensors and some metadata: what everything here is made from.
const GOOD: &str = r#"{"__metadata__":{"format":"pt"},
    "b.weight":{"dtype":"F16","shape":[3],"data_offsets":[16,22]},
    "a.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
const GOOD_BYTES: usize = 22;

fn good() -> Vec<u8> {
    file(GOOD, GOOD_BYTES)
}

#[test]
fn the_unchanged_file_is_good() {
    let parsed = parse(&good()).unwrap();
    let names: Vec<_> = parsed.tensors().map(|tensor| tensor.name().to_string()).collect();
    assert_eq!(names, ["a.weight", "b.weight"]);
    assert_eq!(parsed.metadata().get("format").map(String::as_str), Some("pt"));
    let a = parsed.tensor("a.weight").unwrap();
    assert_eq!((a.dtype(), a.extents()), (DType::F32, &[2, 2][..]));
    // The data counts up from 0.
    assert_eq!(a.bytes()[..], (0..16).collect::<Vec<u8>>());
    let b = parsed.tensor("b.weight").unwrap();
    assert_eq!(b.bytes()[..], (16..22).collect::<Vec<u8>>());
    let info = parsed.tensor_info("b.weight").unwrap();
    assert_eq!((info.bytes(), info.spelled_dtype().as_str()), (6, "F16"));
}

#[test]
fn tensors_are_parts_of_the_map() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let header = r#"{"w":{"dtype":"U8","shape":[1000,1000],"data_offsets":[0,1000000]}}"#;
    std::fs::write(&path, file(header, 1_000_000)).unwrap();
    let (tensor, peak) = heap::peak_of(|| open(&path).unwrap().tensor("w").unwrap());
    assert!(tensor.bytes().is_mapped() && tensor.len() == 1_000_000);
    assert!(peak < 20_000, "{peak} bytes of heap");
    let error = open(folder.path().join("none.safetensors")).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("none.safetensors"));
    assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn every_element_type_is_read() {
    let types = [
        ("BOOL", 1, DType::Bool),
        ("U8", 1, DType::U8),
        ("I8", 1, DType::I8),
        ("F8_E4M3", 1, DType::F8E4M3FN),
        ("F8_E5M2", 1, DType::F8E5M2),
        ("F8_E4M3FNUZ", 1, DType::F8E4M3FNUZ),
        ("F8_E5M2FNUZ", 1, DType::F8E5M2FNUZ),
        ("F8_E8M0", 1, DType::F8E8M0),
        ("I16", 2, DType::I16),
        ("U16", 2, DType::U16),
        ("F16", 2, DType::F16),
        ("BF16", 2, DType::BF16),
        ("I32", 4, DType::I32),
        ("U32", 4, DType::U32),
        ("F32", 4, DType::F32),
        ("F64", 8, DType::F64),
        ("I64", 8, DType::I64),
        ("U64", 8, DType::U64),
    ];
    for (name, size, dtype) in types {
        let bytes = 6 * size;
        let header =
            format!(r#"{{"t":{{"dtype":"{name}","shape":[2,3],"data_offsets":[0,{bytes}]}}}}"#);
        let tensor = parse(&file(&header, bytes)).unwrap().tensor("t").unwrap();
        assert_eq!((tensor.dtype(), tensor.extents()), (dtype, &[2, 3][..]), "{name}");
    }
    // Known to the format and not here: the file is good, the tensor is not.
    for (name, bytes) in [("C64", 48), ("F4", 3)] {
        let header =
            format!(r#"{{"t":{{"dtype":"{name}","shape":[2,3],"data_offsets":[0,{bytes}]}}}}"#);
        let error = parse(&file(&header, bytes)).unwrap().tensor("t").unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{text}");
        assert!(text.contains("tensor 't'") && text.contains(name) && text.contains("BF16"));
    }
}

#[test]
fn a_scalar_and_an_empty_tensor_are_tensors() {
    let header = r#"{"e":{"dtype":"F32","shape":[0,4],"data_offsets":[4,4]},
        "s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
    let parsed = parse(&file(header, 4)).unwrap();
    assert_eq!(parsed.tensor("s").unwrap().len(), 1);
    assert!(parsed.tensor("e").unwrap().is_empty());
    assert_eq!(parse(&file("{}", 0)).unwrap().tensors().len(), 0);
    // Headers are padded with spaces to align the data.
    assert!(parse(&file("{}    ", 0)).is_ok());
}

#[test]
fn lengths_that_cannot_be() {
    refused(b"", ErrorKind::Format, &["header length", "0 bytes"]);
    refused(&[1, 0, 0], ErrorKind::Format, &["header length"]);
    refused(&0u64.to_le_bytes(), ErrorKind::Format, &["header", "'{'"]);
    for length in [u64::MAX, 1 << 63, 1 << 40, 3] {
        refused(&framed(length, "{}"), ErrorKind::Format, &["header length"]);
    }
    // As long as it says, but longer than any header.
    let long = vec![b' '; 17 << 20];
    let long = [&(long.len() as u64).to_le_bytes()[..], &long].concat();
    refused(&long, ErrorKind::Limit, &["header"]);
}

#[test]
fn headers_that_are_no_json() {
    let cases = ["[]", "7", "{", "{\"a\"", "{\"a\":1}", "{\"a\":{}}", "{} {}", "{\"a\":null}"];
    for header in cases {
        refused(&file(header, 0), ErrorKind::Format, &["header"]);
    }
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    refused(&file(&deep, 0), ErrorKind::Format, &["header"]);
    let mut not_text = file("{\"abc\":{}}", 0);
    not_text[11] = 0xff;
    refused(&not_text, ErrorKind::Format, &["header"]);
}

/// One tensor `t` and what its entry says.
fn entry(text: &str, bytes: usize) -> Vec<u8> {
    file(&format!("{{\"t\":{{{text}}}}}"), bytes)
}

#[test]
fn entries_that_cannot_be() {
    let cases: &[(&str, usize, &[&str])] = &[
        (r#""dtype":"F31","shape":[1],"data_offsets":[0,4]"#, 4, &["F31"]),
        (r#""dtype":7,"shape":[1],"data_offsets":[0,4]"#, 4, &[]),
        (r#""shape":[1],"data_offsets":[0,4]"#, 4, &["dtype"]),
        (r#""dtype":"F32","data_offsets":[0,4]"#, 4, &["shape"]),
        (r#""dtype":"F32","shape":[1]"#, 4, &["data_offsets"]),
        (r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#, 4, &[]),
        (r#""dtype":"F32","shape":[1.5],"data_offsets":[0,4]"#, 4, &[]),
        (r#""dtype":"F32","shape":[1],"data_offsets":[0]"#, 4, &[]),
        (r#""dtype":"F32","shape":[1],"data_offsets":[0,4,8]"#, 4, &[]),
        (r#""dtype":"F32","shape":[1],"data_offsets":[-4,0]"#, 4, &[]),
        (r#""dtype":"F32","shape":[1],"data_offsets":[0,8]"#, 4, &["0..8", "4"]),
        (r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#, 4, &["4..0"]),
        (r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#, 4, &["needs 8"]),
        (r#""dtype":"F32","shape":[0],"data_offsets":[0,4]"#, 4, &["needs 0"]),
        (r#""dtype":"F4","shape":[3],"data_offsets":[0,2]"#, 2, &["whole number of bytes"]),
        (
            r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]"#,
            4,
            &["larger than any file"],
        ),
        (
            r#""dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]"#,
            0,
            &["larger than any file"],
        ),
        (
            r#""dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]"#,
            4,
            &["larger than any file"],
        ),
    ];
    for (text, bytes, words) in cases {
        let words = [&["tensor 't'"], *words].concat();
        refused(&entry(text, *bytes), ErrorKind::Format, &words);
    }
    // A shape may be absurd as long as it is consistent; the tensor is refused.
    let ones = vec!["1"; 50].join(",");
    let parsed = entry(&format!(r#""dtype":"U8","shape":[{ones}],"data_offsets":[0,1]"#), 1);
    let error = parse(&parsed).unwrap().tensor("t").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn tensors_must_fill_the_data_one_after_another() {
    let two = |first: &str, second: &str, bytes: usize| {
        let one = |name: &str, range: &str| {
            format!(r#""{name}":{{"dtype":"U8","shape":[4],"data_offsets":[{range}]}}"#)
        };
        file(&format!("{{{},{}}}", one("x", first), one("y", second)), bytes)
    };
    assert!(parse(&two("0,4", "4,8", 8)).is_ok());
    assert!(parse(&two("4,8", "0,4", 8)).is_ok());
    refused(&two("0,4", "3,7", 7), ErrorKind::Format, &["tensor 'y'", "overlaps 'x'"]);
    refused(&two("0,4", "0,4", 4), ErrorKind::Format, &["tensor 'y'", "overlaps 'x'"]);
    refused(&two("0,4", "5,9", 9), ErrorKind::Format, &["tensor 'y'", "gap after 'x'"]);
    refused(&two("1,5", "5,9", 9), ErrorKind::Format, &["tensor 'x'", "gap after 'the header'"]);
    refused(&two("0,4", "4,8", 9), ErrorKind::Format, &["1 bytes that belong to no tensor"]);
}

#[test]
fn names_are_given_once() {
    let same = r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    refused(&file(same, 2), ErrorKind::Format, &["tensor 't'", "given twice"]);
    let same = r#"{"__metadata__":{"k":"1","k":"2"}}"#;
    refused(&file(same, 0), ErrorKind::Format, &["__metadata__", "'k' is given twice"]);
    let same = r#"{"__metadata__":{},"__metadata__":{}}"#;
    refused(&file(same, 0), ErrorKind::Format, &["'__metadata__' is given twice"]);
    let number = r#"{"__metadata__":{"k":1}}"#;
    refused(&file(number, 0), ErrorKind::Format, &["__metadata__", "'k'"]);
}

#[test]
fn names_in_messages_are_short_and_harmless() {
    let name = "\\u001b[31m".to_string() + &"n".repeat(100_000);
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}}}"#);
    let text = parse(&file(&header, 1)).unwrap_err().to_string();
    assert!(text.len() < 1000 && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn memory_is_bounded_by_the_header() {
    let entry = |n: usize| format!(r#""{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let many: Vec<_> = (0..200_000).map(entry).collect();
    let many = file(&format!("{{{}}}", many.join(",")), 0);
    refused(&many, ErrorKind::Format, &["131072"]);
    // Small texts, many numbers: what a number takes is all that is taken.
    let zeros = "0,".repeat(4 << 20) + "0";
    let header = format!(r#"{{"t":{{"dtype":"U8","shape":[{zeros}],"data_offsets":[0,0]}}}}"#);
    let bytes = file(&header, 0);
    let (parsed, peak) = heap::peak_of(|| parse(&bytes));
    assert!(parsed.unwrap().tensor("t").is_err());
    assert!(peak < 16 * bytes.len(), "{peak} bytes of heap for {}", bytes.len());
}

#[test]
fn every_truncation_is_refused() {
    let whole = good();
    for len in 0..whole.len() {
        let error = parse(&whole[..len]).expect_err("it is cut off");
        assert!(error.to_string().contains(FILE), "{len}: {error}");
        assert_eq!(error.kind(), ErrorKind::Format, "{len}: {error}");
    }
}

#[test]
fn every_changed_byte_is_read_or_refused() {
    let whole = good();
    let mut refusals = 0;
    for at in 0..whole.len() {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            let (result, peak) = heap::peak_of(|| use_all(&bytes));
            assert!(peak < 100_000, "byte {at}: {peak} bytes of heap");
            if let Err(error) = result {
                refusals += 1;
                assert!(error.to_string().contains(FILE), "byte {at}: {error}");
                assert_ne!(error.kind(), ErrorKind::Internal, "byte {at}: {error}");
            }
        }
    }
    // Data may be anything, and so may names; all else has rules.
    assert!(refusals > whole.len() * 2, "{refusals}");
}

fn use_all(bytes: &[u8]) -> wginfer::Result<()> {
    let parsed: SafetensorsFile = parse(bytes)?;
    for info in parsed.tensors() {
        let tensor = parsed.tensor(info.name())?;
        assert_eq!(tensor.bytes().len() as u64, info.bytes());
    }
    Ok(())
}
