//! GGUF files: read in place, checked as a whole, written.
//!
//! [`open`] maps a file and checks every rule of the format before anything
//! of it is used; [`GgufFile`] then hands out metadata and tensors as slices
//! of the map. The format is that of `ggml/docs/gguf.md`, versions 2 and 3,
//! little endian.

mod cursor;
mod file;
mod ggml_type;
mod metadata;
mod names;
mod shards;
#[cfg(test)]
mod tests;
mod value;
mod writer;

pub(super) use cursor::shown;
pub use file::{GgufFile, TensorInfo};
pub use ggml_type::GgmlType;
pub use metadata::{Metadata, Strs};
pub use shards::shard_names;
pub use value::{Array, Value, ValueType};
pub use writer::{GgufWriter, MetaValue};

use super::files::map;
use crate::error::Result;
use std::path::Path;

/// Maps a GGUF file and checks it. Of a model in several files
/// (`-00001-of-0000N.gguf`) any may be named; all are opened.
///
/// The file must not be changed while it is open: its bytes are read in
/// place.
///
/// # Errors
/// [`Io`](crate::Error::Io) where the file cannot be opened or mapped, otherwise as
/// [`GgufFile::parse`].
pub fn open(path: impl AsRef<Path>) -> Result<GgufFile> {
    let path = path.as_ref();
    shards::complete(path, open_one(path)?)
}

/// One file alone.
fn open_one(path: &Path) -> Result<GgufFile> {
    GgufFile::parse(map(path)?, &path.display().to_string())
}
