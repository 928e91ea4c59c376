//! Tensors whose elements are in files beside the model's.

use super::proto::StringStringEntryProto;
use crate::error::{Error, Result};
use crate::formats::files::{inside, map};
use crate::formats::gguf::shown;
use crate::tensor::Bytes;
use std::collections::HashMap;
use std::path::PathBuf;

/// The files beside a model, each mapped once.
#[derive(Debug, Default)]
pub(super) struct External {
    /// The model's folder; `None` for a model that is no file.
    pub(super) folder: Option<PathBuf>,
    maps: HashMap<PathBuf, Bytes>,
}

impl External {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        External { folder, maps: HashMap::new() }
    }

    /// The `size` bytes that the entries of a tensor name.
    ///
    /// # Errors
    /// If the location is not a file in the model's folder, or the bytes are
    /// not in it. Each names the tensor, which is what `at` says.
    pub(super) fn bytes(
        &mut self,
        entries: &[StringStringEntryProto],
        size: usize,
        file: &str,
        at: &str,
    ) -> Result<Bytes> {
        let wrong = |what: String| Error::format(file, at, what);
        let entry = |key: &str| {
            entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
        };
        let number = |key: &str| -> Result<Option<usize>> {
            let parse = |text: &str| {
                let parsed = text.trim().parse().ok();
                let text = shown(text.as_bytes());
                parsed.ok_or_else(|| wrong(format!("external {key} '{text}' is not a number")))
            };
            entry(key).map(parse).transpose()
        };
        let location = entry("location").ok_or_else(|| wrong("no external location".into()))?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(size));
        if length != size {
            let what = format!("external length {length}, type and extents need {size}");
            return Err(wrong(what));
        }
        let map = self.map(location).map_err(|error| match error {
            Error::Input { expected, .. } => {
                wrong(format!("location '{}': {expected}", shown(location.as_bytes())))
            }
            Error::Io { path, source } => {
                let what = format!("{source}; {at} of {file} has its elements there");
                Error::Io { path, source: std::io::Error::new(source.kind(), what) }
            }
            other => other,
        })?;
        let end = offset.checked_add(size);
        end.and_then(|end| map.slice(offset..end)).ok_or_else(|| {
            let (place, has) = (shown(location.as_bytes()), map.len());
            wrong(format!("{size} bytes at {offset} of '{place}', which has {has}"))
        })
    }

    fn map(&mut self, location: &str) -> Result<Bytes> {
        let refused = |what: &str| Err(Error::input("location", what, location));
        let Some(folder) = &self.folder else {
            return refused("a model that is not read from a file has no files beside it");
        };
        let real = inside(folder, location)?;
        if let Some(map) = self.maps.get(&real) {
            return Ok(map.clone());
        }
        let map = map(&real)?;
        self.maps.insert(real, map.clone());
        Ok(map)
    }
}
