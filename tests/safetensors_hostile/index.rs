//! Models in several files, and indices that say what cannot be.

use crate::raw::file;
use std::path::Path;
use wginfer::ErrorKind;
use wginfer::formats::safetensors::{INDEX, SINGLE, SafetensorsModel};

fn shard(name: &str, value: u8) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
    let mut bytes = file(&header, 1);
    bytes.pop();
    bytes.push(value);
    bytes
}

/// A folder with two files, and an index with what `map` says.
fn folder(map: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("1.safetensors", &shard("a", 1));
    write("2.safetensors", &shard("b", 2));
    write(INDEX, map.as_bytes());
    folder
}

fn refused(folder: &Path, kind: ErrorKind, words: &[&str]) {
    let error = SafetensorsModel::open(folder).expect_err("the index is broken");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}

#[test]
fn tensors_are_found_in_their_files() {
    let good = r#"{"metadata":{"total_size":2},
        "weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    let folder = folder(good);
    let model = SafetensorsModel::open(folder.path()).unwrap();
    assert_eq!(model.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(model.files().len(), 2);
    for (name, value) in [("a", 1), ("b", 2)] {
        let tensor = model.tensor(name).unwrap();
        assert!(model.has(name) && tensor.bytes()[..] == [value] && tensor.bytes().is_mapped());
    }
    let error = model.tensor("c").unwrap_err().to_string();
    assert!(error.contains(INDEX) && error.contains("tensor 'c'"), "{error}");
    // A single file comes first.
    std::fs::write(folder.path().join(SINGLE), shard("c", 3)).unwrap();
    let model = SafetensorsModel::open(folder.path()).unwrap();
    assert_eq!(model.names().collect::<Vec<_>>(), ["c"]);
}

#[test]
fn indices_that_cannot_be() {
    let cases: &[(&str, ErrorKind, &[&str])] = &[
        ("{", ErrorKind::Format, &[INDEX]),
        ("{}", ErrorKind::Format, &[INDEX, "weight_map"]),
        (r#"{"weight_map":{"a":1}}"#, ErrorKind::Format, &[INDEX, "'a'"]),
        (
            r#"{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}"#,
            ErrorKind::Format,
            &[INDEX, "'a' is given twice"],
        ),
        (
            r#"{"weight_map":{"a":"2.safetensors"}}"#,
            ErrorKind::Format,
            &[INDEX, "tensor 'a'", "2.safetensors"],
        ),
        (r#"{"weight_map":{"a":"3.safetensors"}}"#, ErrorKind::Io, &["3.safetensors"]),
        (r#"{"weight_map":{"a":"model.safetensors.index.json"}}"#, ErrorKind::Format, &[INDEX]),
        (r#"{"weight_map":{"a":""}}"#, ErrorKind::Format, &[INDEX, "inside"]),
        (r#"{"weight_map":{"a":"."}}"#, ErrorKind::Io, &["not a regular file"]),
        (r#"{"weight_map":{"a":"/etc/hostname"}}"#, ErrorKind::Format, &["inside"]),
        (r#"{"weight_map":{"a":"../x.safetensors"}}"#, ErrorKind::Format, &["inside"]),
        (r#"{"weight_map":{"a":"x\\..\\y"}}"#, ErrorKind::Format, &["inside"]),
    ];
    for (map, kind, words) in cases {
        refused(folder(map).path(), *kind, words);
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_the_folder() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("x.safetensors");
    std::fs::write(&target, shard("a", 1)).unwrap();
    let folder = folder(r#"{"weight_map":{"a":"link.safetensors"}}"#);
    std::os::unix::fs::symlink(target, folder.path().join("link.safetensors")).unwrap();
    refused(folder.path(), ErrorKind::Format, &["link.safetensors", "leads out"]);
}
