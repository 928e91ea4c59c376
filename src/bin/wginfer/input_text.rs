//! Text that is read from files and pipes.

use crate::failure::Failure;
use std::io::{self, Read};
use std::path::Path;
use wginfer::Error;

/// The longest text read, in bytes: far more than any context holds.
const MOST: u64 = 16 << 20;

/// All of a source's text. `what` is what errors call it.
pub(crate) fn read(source: impl Read, name: &Path, what: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| io_error(name, error))?;
    if bytes.len() as u64 > MOST {
        return Err(Failure::Library(Error::Limit {
            what: what.into(),
            limit_name: "the command's prompt size (bytes)".into(),
            needed: bytes.len() as u64,
            limit: MOST,
        }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        unusable(what, "UTF-8 text", &format!("byte {byte:#04x} at offset {at}"))
    })
}

/// Text that cannot be used.
pub(crate) fn unusable(what: &str, expected: &str, got: &str) -> Failure {
    let (name, expected, got) = (what.into(), expected.into(), got.into());
    Failure::Library(Error::Input { name, expected, got })
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> Failure {
    Failure::Library(Error::Io { path: path.into(), source })
}
