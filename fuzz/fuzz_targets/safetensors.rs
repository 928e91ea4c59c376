//! Bytes as a safetensors file: as they are, and with the length that their
//! header has, which mutations alone seldom hit.
//!
//! An input that does not begin like a file becomes a small valid one, so no
//! corpus is needed to get beyond the first bytes.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use wginfer::formats::safetensors::SafetensorsFile;
use wginfer::{ErrorKind, Result};

const HEADER: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}"#;

/// The start of a file before its header.
fn framed(header: usize) -> [u8; 8] {
    (header as u64).to_le_bytes()
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    let valid = [&framed(HEADER.len()), HEADER.as_bytes(), &[0; 10]].concat();
    if data[..size].get(8) != Some(&b'{') && valid.len() <= max_size {
        data[..valid.len()].copy_from_slice(&valid);
        return valid.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|data: &[u8]| {
    judge(data.to_vec());
    let Some(rest) = data.get(8..) else { return };
    // What follows the last brace is data.
    let end = rest.iter().rposition(|&byte| byte == b'}').map_or(rest.len(), |at| at + 1);
    judge([&framed(end), rest].concat());
});

fn judge(bytes: Vec<u8>) {
    if let Err(error) = read(bytes) {
        let text = error.to_string();
        assert!(text.contains("fuzzed.safetensors"), "{text}");
        assert_ne!(error.kind(), ErrorKind::Internal, "{text}");
    }
}

fn read(bytes: Vec<u8>) -> Result<()> {
    let file = SafetensorsFile::parse(bytes, "fuzzed.safetensors")?;
    for info in file.tensors() {
        let tensor = file.tensor(info.name())?;
        assert_eq!(tensor.bytes().len() as u64, info.bytes());
        assert_eq!(tensor.extents(), info.extents());
    }
    Ok(())
}
