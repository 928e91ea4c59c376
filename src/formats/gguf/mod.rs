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
#[cfg(test)]
mod tests;
mod value;
mod writer;

pub(super) use cursor::shown;
pub use file::{GgufFile, TensorInfo};
pub use ggml_type::GgmlType;
pub use metadata::{Metadata, Strs};
pub use value::{Array, Value, ValueType};
pub use writer::{GgufWriter, MetaValue};

use crate::error::{Error, Result};
use crate::tensor::Bytes;
use std::path::Path;
use std::sync::Arc;

/// Maps a GGUF file and checks it.
///
/// The file must not be changed while it is open: its bytes are read in
/// place.
///
/// # Errors
/// [`Error::Io`] where the file cannot be opened or mapped, otherwise as
/// [`GgufFile::parse`].
pub fn open(path: impl AsRef<Path>) -> Result<GgufFile> {
    let path = path.as_ref();
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(io(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a regular file",
        )));
    }
    // SAFETY: the map is read-only and private. Another process truncating
    // the file while it is mapped is outside what any reader of a map can
    // guard against; the documentation of this function says so.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
    GgufFile::parse(Bytes::mapped(Arc::new(map)), &path.display().to_string())
}
