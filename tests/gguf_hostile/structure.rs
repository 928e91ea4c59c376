//! Hostile structure: counts, lengths, types, ranks, offsets.

use crate::raw::{ARRAY, BOOL, Pair, Raw, STRING, array, string};
use crate::table::{Case, check};
use crate::valid;
use wginfer::ErrorKind::{self, Format, Unsupported};
use wginfer::formats::gguf::{self, GgufFile, Value};

const Q: &str = "blk.0.attn_q.weight";
const AT_Q: &str = "tensor 'blk.0.attn_q.weight'";

fn case<'a>(
    name: &'a str,
    kind: ErrorKind,
    names: &'a str,
    change: &'a dyn Fn(&mut Raw),
) -> Case<'a> {
    Case { name, change, kind, names }
}

#[test]
fn headers() {
    check(&[
        case("no magic", Format, "magic", &|raw| raw.magic = *b"GGML"),
        case("version 0", Unsupported, "version", &|raw| raw.version = 0),
        case("version 1", Unsupported, "version", &|raw| raw.version = 1),
        case("version 4", Unsupported, "version", &|raw| raw.version = 4),
        case("big endian", Unsupported, "big-endian", &|raw| raw.version = 3u32.swap_bytes()),
        case("u64::MAX tensors", Format, "tensor count", &|raw| raw.tensor_count = Some(u64::MAX)),
        case("2^40 tensors", Format, "tensor count", &|raw| raw.tensor_count = Some(1 << 40)),
        case("a tensor too many", Format, "tensor number 12", &|raw| {
            raw.tensor_count = Some(raw.tensors.len() as u64 + 1);
        }),
        case("u64::MAX keys", Format, "key count", &|raw| raw.key_count = Some(u64::MAX)),
        case("2^40 keys", Format, "key count", &|raw| raw.key_count = Some(1 << 40)),
        case("a key too many", Format, "tensor", &|raw| {
            raw.key_count = Some(raw.pairs.len() as u64 + 1);
        }),
        case("a key too few", Format, "tensor", &|raw| {
            raw.key_count = Some(raw.pairs.len() as u64 - 1);
        }),
    ]);
}

#[test]
fn keys_and_values() {
    let deep = |levels: usize| {
        let mut value: Vec<u8> = (1..levels).flat_map(|_| array(ARRAY, 1)).collect();
        value.extend(array(BOOL, 0));
        value
    };
    check(&[
        case("an empty key", Format, "metadata key number", &|raw| raw.pairs[3].key.clear()),
        case("a key of 2^63 bytes", Format, "metadata key number 0", &|raw| {
            // The length of the first key is where its first bytes are.
            raw.pairs.insert(0, Pair { key: vec![0xff; 8], of: u32::MAX, value: vec![0xff; 64] });
        }),
        case("a key of 70000 bytes", Format, "metadata key number", &|raw| {
            raw.set(&"k".repeat(70_000), Value::U8(1));
        }),
        case("a key that is not UTF-8", Format, "metadata key number 2", &|raw| {
            raw.pairs[2].key[0] = 0xff;
        }),
        case("a key twice", Format, "key 'general.name'", &|raw| {
            let again = raw.pair("general.name").clone();
            raw.pairs.push(again);
        }),
        case("value type 13", Format, "key 'general.name'", &|raw| {
            raw.pair("general.name").of = 13;
        }),
        case("value type u32::MAX", Format, "key 'general.name'", &|raw| {
            raw.pair("general.name").of = u32::MAX;
        }),
        case("a bool of 2", Format, "key 'x'", &|raw| raw.set_raw("x", BOOL, vec![2])),
        case("a string of u64::MAX", Format, "key 'x'", &|raw| {
            raw.set_raw("x", STRING, vec![0xff; 8]);
        }),
        case("a string of 2^32", Format, "key 'x'", &|raw| {
            raw.set_raw("x", STRING, (1u64 << 32).to_le_bytes().to_vec());
        }),
        case("an array of u64::MAX strings", Format, "key 'x'", &|raw| {
            raw.set_raw("x", ARRAY, array(STRING, u64::MAX));
        }),
        case("an array of 2^61 numbers", Format, "key 'x'", &|raw| {
            raw.set_raw("x", ARRAY, array(10, 1 << 61));
        }),
        case("an array of 2^62 arrays", Format, "key 'x'", &|raw| {
            raw.set_raw("x", ARRAY, array(ARRAY, 1 << 62));
        }),
        case("an array of no type", Format, "key 'x'", &|raw| {
            raw.set_raw("x", ARRAY, array(99, 1));
        }),
        case("arrays 5 deep", Format, "key 'x'", &|raw| raw.set_raw("x", ARRAY, deep(5))),
        case("arrays 10000 deep", Format, "key 'x'", &|raw| {
            raw.set_raw("x", ARRAY, deep(10_000));
        }),
        case("alignment 0", Format, "key 'general.alignment'", &align(0)),
        case("alignment 3", Format, "key 'general.alignment'", &align(3)),
        case("alignment 2^31", Format, "key 'general.alignment'", &align(1 << 31)),
        case("alignment u64::MAX", Format, "key 'general.alignment'", &|raw| {
            raw.set("general.alignment", Value::U64(u64::MAX));
        }),
        case("alignment of text", Format, "key 'general.alignment'", &|raw| {
            raw.set("general.alignment", Value::Str(b"32"));
        }),
    ]);
}

fn align(to: u32) -> impl Fn(&mut Raw) {
    move |raw| raw.set("general.alignment", Value::U32(to))
}

#[test]
fn descriptions_of_tensors() {
    let q4_0 = 2;
    check(&[
        case("an empty name", Format, "tensor number 2", &|raw| raw.tensors[2].name.clear()),
        case("a name of 5000 bytes", Format, "tensor number 2", &|raw| {
            raw.tensors[2].name = vec![b'n'; 5000];
        }),
        case("a name that is not UTF-8", Format, "tensor number 2", &|raw| {
            raw.tensors[2].name = b"blk\xc3.weight".to_vec();
        }),
        case("a name twice", Format, AT_Q, &|raw| {
            raw.tensor("blk.0.attn_output.weight").name = Q.into();
        }),
        case("rank 0", Format, AT_Q, &|raw| raw.tensor(Q).dims.clear()),
        case("rank 5", Format, AT_Q, &|raw| raw.tensor(Q).dims = vec![1; 5]),
        case("rank 9", Format, AT_Q, &|raw| raw.tensor(Q).dims = vec![1; 9]),
        case("rank u32::MAX", Format, AT_Q, &|raw| raw.tensor(Q).rank = Some(u32::MAX)),
        case("2^80 elements", Format, AT_Q, &|raw| raw.tensor(Q).dims = vec![1 << 40; 2]),
        case("u64::MAX elements", Format, AT_Q, &|raw| raw.tensor(Q).dims = vec![u64::MAX]),
        case("2^62 elements", Format, AT_Q, &|raw| raw.tensor(Q).dims = vec![1 << 62]),
        case("0 times 2^80 elements", Format, AT_Q, &|raw| {
            raw.tensor(Q).dims = vec![0, 1 << 40, 1 << 40];
        }),
        case("an unknown type", Unsupported, AT_Q, &|raw| raw.tensor(Q).of = 99),
        case("a type that was removed", Unsupported, AT_Q, &|raw| raw.tensor(Q).of = 4),
        case("a row of half a block", Format, AT_Q, &|raw| raw.tensor(Q).of = q4_0),
        case("one byte off", Format, AT_Q, &|raw| raw.tensor(Q).offset += 1),
        case("offset u64::MAX", Format, AT_Q, &|raw| raw.tensor(Q).offset = u64::MAX),
        case("offset 2^64 - 32", Format, AT_Q, &|raw| raw.tensor(Q).offset = u64::MAX - 31),
        case("offset 2^63", Format, AT_Q, &|raw| raw.tensor(Q).offset = 1 << 63),
        case("past the end", Format, AT_Q, &|raw| {
            raw.tensor(Q).offset = raw.data.len().next_multiple_of(32) as u64;
        }),
        case("half past the end", Format, AT_Q, &|raw| {
            raw.tensor(Q).offset = (raw.data.len() as u64 - 100).next_multiple_of(32);
        }),
        case("two in one place", Format, "overlaps tensor", &|raw| {
            raw.tensor(Q).offset = raw.tensor("output.weight").offset;
        }),
        case("a part of another", Format, "overlaps tensor", &|raw| {
            raw.tensor(Q).offset = raw.tensor("output.weight").offset + 64;
        }),
    ]);
}

#[test]
fn what_is_no_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, bytes) in [("empty.gguf", &b""[..]), ("text.gguf", b"not a model, but a text")] {
        std::fs::write(at(name), bytes).unwrap();
        let error = gguf::open(at(name)).unwrap_err();
        assert_eq!(error.kind(), Format);
        assert!(error.to_string().contains(name), "{error}");
    }
    std::fs::create_dir(at("directory.gguf")).unwrap();
    for name in ["directory.gguf", "missing.gguf", "missing/model.gguf"] {
        let error = gguf::open(at(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// A device that gives bytes for ever must not be read.
#[cfg(unix)]
#[test]
fn devices_and_pipes_are_no_models() {
    for path in ["/dev/zero", "/dev/null"] {
        let error = gguf::open(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains(path), "{error}");
    }
}

/// The limits hold where the file is large enough for what it claims.
#[test]
fn large_files_of_small_things() {
    use crate::judge::{FILE, bounded};
    let header = |tensors: u64, keys: u64| {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend(tensors.to_le_bytes());
        out.extend(keys.to_le_bytes());
        out
    };
    // Keys of the least size: a letter or two, and a byte.
    let mut many_keys = header(0, 100_000);
    for i in 0..100_000 {
        many_keys.extend(string(format!("{i:x}").as_bytes()));
        many_keys.extend([0, 0, 0, 0, 1]);
    }
    let mut many_tensors = header(200_000, 0);
    for i in 0..200_000 {
        many_tensors.extend(string(format!("{i:x}").as_bytes()));
        many_tensors.extend([0; 4 + 4 + 8]);
    }
    for (bytes, name) in [(many_keys, "keys"), (many_tensors, "tensors")] {
        let bytes = wginfer::Bytes::from(bytes);
        let error = bounded(name, || GgufFile::parse(bytes.clone(), FILE)).unwrap_err();
        assert_eq!(error.kind(), Format);
        assert!(error.to_string().contains(name), "{error}");
    }
    // As many as are allowed, all with one long beginning.
    let start = "n".repeat(200);
    let mut keys = header(0, 60_000);
    for i in 0..60_000 {
        keys.extend(string(format!("{start}{i}").as_bytes()));
        keys.extend([0, 0, 0, 0, 1]);
    }
    let keys = wginfer::Bytes::from(keys);
    let file = bounded("60000 keys", || GgufFile::parse(keys.clone(), FILE)).unwrap();
    assert_eq!(file.metadata().len(), 60_000);
    // An array of a million empty strings in a valid file is read in place.
    let mut raw = Raw::new(&valid());
    raw.set_strings("x", &vec![Vec::new(); 1_000_000]);
    let bytes = raw.bytes();
    bounded("a million strings", || crate::judge::read_all(&bytes)).unwrap();
}
