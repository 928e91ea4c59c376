//! Broken and hostile GGUF files: a typed error that names file, key or
//! tensor, in bounded memory and time, and never a crash.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod flips;
mod heap;
mod judge;
mod keys;
mod model;
mod parts;
mod raw;
mod structure;
mod table;
mod templates;
#[allow(dead_code, reason = "other test programs use the rest")]
#[path = "../support/tiny_model.rs"]
mod tiny_model;
mod truncation;

use tiny_model::TinyModel;
use wginfer::Bytes;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// The smallest model: thousands of its copies are read.
fn smallest() -> TinyModel {
    TinyModel {
        width: 16,
        heads: 2,
        kv_heads: 1,
        feed_forward: 16,
        blocks: 1,
        ..TinyModel::default()
    }
}

fn valid() -> Vec<u8> {
    smallest().bytes().unwrap()
}

/// Whether a part of long lists will do.
fn quick() -> bool {
    std::env::var("WGINFER_TEST_QUICK").is_ok_and(|v| !v.is_empty() && v != "0")
}

/// Everything that is said of hostile files would mean little if the file
/// they are made from was refused too.
#[test]
fn the_unchanged_file_is_good() {
    let bytes: Bytes = valid().into();
    judge::bounded("valid", || judge::read_all(&bytes)).unwrap();
    judge::load_and_step(&bytes).unwrap();
    let rebuilt = raw::Raw::new(&bytes).bytes();
    assert_eq!(bytes[..], rebuilt[..]);
}
