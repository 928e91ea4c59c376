//! Files that end too early.

use crate::judge::{FILE, bounded, check_error};
use crate::valid;
use wginfer::formats::gguf::GgufFile;
use wginfer::{Bytes, ErrorKind};

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = valid();
    let file = GgufFile::parse(whole.clone(), FILE).unwrap();
    let header = file.tensors().map(|info| info.offset()).min().unwrap() as usize;
    // What follows the last tensor is padding and may be missing.
    let end = file.tensors().map(|info| info.offset() + info.bytes().unwrap()).max().unwrap();
    let all = Bytes::from(whole);
    let mut places = 0;
    let rest = (header..end as usize).step_by(101).chain([end as usize - 1]);
    for length in (0..=header).chain(rest) {
        let cut = all.slice(0..length).unwrap();
        let what = format!("cut to {length} bytes");
        let error = bounded(&what, || GgufFile::parse(cut.clone(), FILE)).err();
        let error = error.unwrap_or_else(|| panic!("{what}: accepted"));
        assert_eq!(error.kind(), ErrorKind::Format, "{what}: {error}");
        assert!(error.to_string().starts_with("hostile.gguf: "), "{what}: {error}");
        check_error(&error, &what);
        places += 1;
    }
    println!("{places} places, {header} bytes of header");
    let unpadded = all.slice(0..end as usize).unwrap();
    GgufFile::parse(unpadded, FILE).unwrap();
}

/// Whoever cuts through a key or a tensor hears its name; nearer to the start
/// it is the counts that cannot be true.
#[test]
fn what_was_cut_through_is_named() {
    let whole = valid();
    let find = |text: &str| whole.windows(text.len()).position(|w| w == text.as_bytes()).unwrap();
    let all = Bytes::from(whole.clone());
    for (text, name) in [
        ("tokenizer.ggml.model", "key 'tokenizer.ggml.model'"),
        ("tokenizer.ggml.tokens", "key 'tokenizer.ggml.tokens'"),
        ("blk.0.attn_q.weight", "tensor 'blk.0.attn_q.weight'"),
        ("output_norm.weight", "tensor 'output_norm.weight'"),
    ] {
        let end = find(text) + text.len();
        for length in [end, end + 3, end + 5] {
            let error = GgufFile::parse(all.slice(0..length).unwrap(), FILE).unwrap_err();
            assert!(error.to_string().contains(name), "{text} + {}: {error}", length - end);
        }
    }
}
