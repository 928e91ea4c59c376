//! Random damage: bits that changed, bytes that were overwritten.

use crate::judge::{self, bounded, check_error};
use crate::{quick, valid};
use std::panic::{AssertUnwindSafe, catch_unwind};
use wginfer::Bytes;
use wginfer::formats::gguf::GgufFile;
use wginfer::validate::mix;

/// How many files; `WGINFER_TEST_QUICK` takes a quarter.
fn files() -> u64 {
    if quick() { 2000 } else { 8000 }
}

/// Every so many of the files that are read without an error are also loaded.
const LOADED: usize = 25;

/// `WGINFER_FLIP_SEED` takes another one.
fn seed() -> u64 {
    let given = std::env::var("WGINFER_FLIP_SEED").ok();
    given.map_or(20_240_229, |text| text.parse().expect("WGINFER_FLIP_SEED is a number"))
}

/// A file with one to four places changed. Most places lie in the header:
/// weights may have any value.
fn damaged(valid: &[u8], header: usize, random: u64) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for change in 0..1 + mix(random, 0) % 4 {
        let draw = |n: u64| mix(mix(random, 1 + change), n);
        let within = if draw(0) % 10 < 9 { header } else { valid.len() };
        let at = (draw(1) % within as u64) as usize;
        match draw(2) % 4 {
            // Numbers whose upper bytes are set are the interesting ones.
            0 => bytes[at] = 0xff,
            1 => bytes[at] = 0,
            _ => bytes[at] ^= 1 << (draw(3) % 8),
        }
    }
    bytes
}

#[test]
fn damaged_files_are_read_or_refused() {
    let (valid, seed, files) = (valid(), seed(), files());
    let file = GgufFile::parse(valid.clone(), "valid.gguf").unwrap();
    let header = file.tensors().map(|info| info.offset()).min().unwrap() as usize;
    println!("seed {seed}, {files} files");
    let (mut read, mut loaded) = (0u64, 0);
    for number in 0..files {
        let what = format!("seed {seed}, file {number}");
        let bytes: Bytes = damaged(&valid, header, mix(seed, number)).into();
        let check = || {
            let outcome = bounded(&what, || judge::read_all(&bytes));
            let fine = outcome.is_ok();
            outcome.err().inspect(|error| check_error(error, &what));
            fine
        };
        let fine = catch_unwind(AssertUnwindSafe(check));
        if !fine.unwrap_or_else(|_| panic!("{what}: panicked")) {
            continue;
        }
        read += 1;
        if read % LOADED as u64 == 0 {
            let outcome = catch_unwind(AssertUnwindSafe(|| judge::load_and_step(&bytes)));
            match outcome.unwrap_or_else(|_| panic!("{what}: panicked")) {
                Ok(()) => loaded += 1,
                Err(error) => check_error(&error, &what),
            }
        }
    }
    println!("{read} of them read, {loaded} of every {LOADED}th of these loaded");
    // Damage that nothing notices would be a test of nothing, and so would
    // damage that ends at the first check.
    assert!(read > files / 20 && read < files / 20 * 19, "{read} of {files}");
    assert!(loaded > 0);
}
