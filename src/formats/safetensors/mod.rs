//! Safetensors files: read in place, checked as a whole.
//!
//! [`open`] maps a file and checks every rule of the format before anything of
//! it is used: entries that name their tensor once, sizes that follow from
//! dtype and extents, ranges that fill the data section without gap or overlap.
//! [`SafetensorsModel`] is a model in one such file or in several, with an
//! index that says what is where.

mod dtype;
mod file;
mod header;
mod model;

pub use file::{SafetensorsFile, TensorInfo};
pub use model::{INDEX, SINGLE, SafetensorsModel};

use super::files::map;
use crate::error::Result;
use std::path::Path;

/// Maps a safetensors file and checks it.
///
/// The file must not be changed while it is open: its bytes are read in place.
///
/// # Errors
/// [`Io`](crate::Error::Io) where the file cannot be opened or mapped,
/// otherwise as [`SafetensorsFile::parse`].
pub fn open(path: impl AsRef<Path>) -> Result<SafetensorsFile> {
    let path = path.as_ref();
    SafetensorsFile::parse(map(path)?, &path.display().to_string())
}
