//! Files made byte by byte.

use wginfer::formats::safetensors::SafetensorsFile;
use wginfer::{ErrorKind, Result};

/// What errors call the file.
pub(crate) const FILE: &str = "hostile.safetensors";

/// A header under a length of the caller's choice.
pub(crate) fn framed(length: u64, header: &str) -> Vec<u8> {
    [&length.to_le_bytes()[..], header.as_bytes()].concat()
}

/// A header and so many bytes of data, which count up from 0.
pub(crate) fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = framed(header.len() as u64, header);
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

pub(crate) fn parse(bytes: &[u8]) -> Result<SafetensorsFile> {
    SafetensorsFile::parse(bytes.to_vec(), FILE)
}

/// The file must be refused with an error of the kind, which names the file and
/// all of the words.
pub(crate) fn refused(bytes: &[u8], kind: ErrorKind, words: &[&str]) {
    let error = parse(bytes).expect_err("the file is broken");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words.iter().chain([&FILE]) {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
    assert!(text.len() < 2000, "{} bytes: {text}", text.len());
}
