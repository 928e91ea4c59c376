//! Models in several files.

use std::path::{Path, PathBuf};
use wginfer::formats::gguf::{self, GgufFile, GgufWriter};
use wginfer::{ErrorKind, Tensor};

fn whole() -> GgufFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders/qwen3.gguf");
    gguf::open(path).unwrap()
}

/// One part: some tensors of a file, and of the first part its keys.
pub fn part(file: &GgufFile, number: u16, count: u16, told: i32) -> GgufWriter {
    let mut writer = GgufWriter::new();
    if number == 0 {
        for (key, value) in file.metadata().iter() {
            writer.copy(key, value).unwrap();
        }
    }
    writer.metadata("split.no", number).unwrap();
    writer.metadata("split.count", count).unwrap();
    writer.metadata("split.tensors.count", told).unwrap();
    for (i, info) in file.tensors().enumerate() {
        if i % usize::from(count) == usize::from(number) {
            writer.tensor(info.name(), info.load().unwrap()).unwrap();
        }
    }
    writer
}

pub fn name(number: u16, count: u16) -> String {
    format!("m-{:05}-of-{count:05}.gguf", number + 1)
}

fn split(folder: &Path, count: u16) -> Vec<PathBuf> {
    let file = whole();
    let told = file.tensors().len() as i32;
    let save = |number: u16| {
        let path = folder.join(name(number, count));
        part(&file, number, count, told).save(&path).unwrap();
        path
    };
    (0..count).map(save).collect()
}

fn bytes(tensor: &Tensor) -> &[u8] {
    tensor.bytes()
}

#[test]
fn any_part_opens_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole();
    for path in split(folder.path(), 3) {
        let parts = gguf::open(&path).unwrap();
        assert_eq!((parts.parts(), parts.tensors().len()), (3, file.tensors().len()));
        let name = parts.metadata().str_of("general.architecture").unwrap().to_string();
        assert_eq!(name, "qwen3");
        for info in file.tensors() {
            let (ours, theirs) = (parts.tensor(info.name()).unwrap(), info.load().unwrap());
            assert_eq!(bytes(&ours), bytes(&theirs), "{}", info.name());
        }
        wginfer::lm::ModelFile::new(parts).unwrap();
    }
}

#[test]
fn what_does_not_fit_together_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = split(folder.path(), 3);
    let file = whole();
    let told = file.tensors().len() as i32;
    let error = |what: &str, kind: ErrorKind| {
        let error = gguf::open(&paths[0]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    // Another number of tensors.
    part(&file, 0, 3, told + 1).save(&paths[0]).unwrap();
    error("split.tensors.count", ErrorKind::Format);
    part(&file, 0, 3, told).save(&paths[0]).unwrap();
    // A part under the name of another, which also has its tensors.
    std::fs::copy(&paths[1], &paths[2]).unwrap();
    error("split.no", ErrorKind::Format);
    // A tensor that two parts have.
    let mut twice = part(&file, 2, 3, told + 1);
    let first = file.tensors().next().unwrap();
    twice.tensor(first.name(), first.load().unwrap()).unwrap();
    twice.save(&paths[2]).unwrap();
    part(&file, 0, 3, told + 1).save(&paths[0]).unwrap();
    error(first.name(), ErrorKind::Format);
    // A part that is not there.
    std::fs::remove_file(&paths[2]).unwrap();
    error("m-00003-of-00003.gguf", ErrorKind::Io);
    // A part under a name of its own.
    let strange = folder.path().join("strange.gguf");
    std::fs::copy(&paths[1], &strange).unwrap();
    let error = gguf::open(&strange).unwrap_err().to_string();
    assert!(error.contains("-00002-of-00003.gguf"), "{error}");
}
