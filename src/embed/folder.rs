//! The small files of a model's folder: settings in JSON.

use crate::error::{Error, Result};
use crate::formats::files;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The largest file of settings read, in bytes.
const MOST_SETTINGS: u64 = 1 << 20;
/// The largest tokenizer file read, in bytes; those of the largest vocabularies
/// in use have some 20 million.
const MOST_TOKENIZER: u64 = 256 << 20;

/// A file of settings.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) file: String,
    pub(super) value: Value,
}

/// A model's folder, or the folder of one of its modules.
#[derive(Debug, Clone)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Folder(path.to_path_buf())
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file(name).is_file()
    }

    /// A file of settings, if it is there.
    pub(super) fn settings(&self, name: &str) -> Result<Option<Settings>> {
        if !self.has(name) {
            return Ok(None);
        }
        let path = self.file(name);
        let text = files::text(&path, MOST_SETTINGS)?;
        let file = path.display().to_string();
        match serde_json::from_str(&text) {
            Ok(value) => Ok(Some(Settings { file, value })),
            Err(error) => Err(Error::format(&file, "JSON", error)),
        }
    }

    /// The text of a tokenizer file.
    pub(super) fn tokenizer_text(&self, name: &str) -> Result<String> {
        files::text(&self.file(name), MOST_TOKENIZER)
    }

    /// The folder of a module, which lies inside this one.
    pub(super) fn part(&self, path: &str, from: &Settings) -> Result<Folder> {
        if path.is_empty() {
            return Ok(self.clone());
        }
        match files::inside(&self.0, path) {
            Ok(path) => Ok(Folder(path)),
            Err(Error::Input { expected, .. }) => {
                Err(Error::format(&from.file, format_args!("path {path:?}"), expected))
            }
            Err(error) => Err(error),
        }
    }
}

impl Settings {
    pub(super) fn error(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::format(&self.file, format_args!("key '{key}'"), what)
    }

    pub(super) fn unsupported(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::unsupported(format_args!("{}: key '{key}'", self.file), what)
    }

    /// What stands under a key; a null is nothing.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// A number of things, at least 1.
    pub(super) fn count(&self, key: &str) -> Result<usize> {
        let found = self.get(key).ok_or_else(|| self.error(key, "missing"))?;
        let number = found.as_u64().and_then(|n| usize::try_from(n).ok());
        // What is larger than this is in no model, and sums of it overflow.
        number
            .filter(|n| (1..=1 << 31).contains(n))
            .ok_or_else(|| self.error(key, format_args!("expected a number above 0, got {found}")))
    }

    pub(super) fn maybe_count(&self, key: &str) -> Result<Option<usize>> {
        self.get(key).map(|_| self.count(key)).transpose()
    }

    pub(super) fn maybe_text(&self, key: &str) -> Result<Option<&str>> {
        let text = |value: &'_ Value| format!("expected a text, got {value}");
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.error(key, text(value))),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => {
                Err(self.error(key, format_args!("expected true or false, got {other}")))
            }
        }
    }
}
