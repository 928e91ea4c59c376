//! A model in one safetensors file or in several.

use super::header::Unique;
use super::{SafetensorsFile, open};
use crate::error::{Error, Result};
use crate::formats::files::{inside, text};
use crate::formats::gguf::shown;
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

/// The file of a model that has one.
pub const SINGLE: &str = "model.safetensors";
/// The index of a model that has several.
pub const INDEX: &str = "model.safetensors.index.json";

/// The largest index read, in bytes.
const MOST_INDEX: u64 = 16 << 20;
/// The most files of a model; the largest in use have some hundred.
const MOST_FILES: usize = 4096;

/// A model's weights, in one file or in several.
#[derive(Debug)]
pub struct SafetensorsModel {
    name: String,
    files: Vec<SafetensorsFile>,
    /// Which file has a tensor.
    places: BTreeMap<String, usize>,
}

impl SafetensorsModel {
    /// Opens the model in a folder: [`SINGLE`], or else the files that
    /// [`INDEX`] names, which must lie inside the folder. They must not be
    /// changed while they are open.
    ///
    /// # Errors
    /// [`Error::Io`] where neither is there or a file cannot be opened,
    /// [`Error::Format`] where the index or a file breaks its rules.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
        if single.is_file() || !index.is_file() {
            return Ok(Self::single(open(single)?));
        }
        Self::indexed(folder, &index)
    }

    /// The model in one file.
    pub fn single(file: SafetensorsFile) -> Self {
        let places = file.tensors().map(|tensor| (tensor.name().into(), 0)).collect();
        SafetensorsModel { name: file.name().into(), files: vec![file], places }
    }

    fn indexed(folder: &Path, index: &Path) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: Unique,
        }
        let name = index.display().to_string();
        let parsed: Index = serde_json::from_str(&text(index, MOST_INDEX)?)
            .map_err(|error| Error::format(&name, "index", error))?;
        let mut model = SafetensorsModel { name, files: Vec::new(), places: BTreeMap::new() };
        let mut opened: BTreeMap<String, usize> = BTreeMap::new();
        for (tensor, location) in parsed.weight_map.0 {
            let place = match opened.entry(location) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(place) => {
                    let file = model.shard(folder, place.key())?;
                    model.files.push(file);
                    *place.insert(model.files.len() - 1)
                }
            };
            let file = &model.files[place];
            if file.tensor_info(&tensor).is_none() {
                let at = format!("tensor '{}'", shown(tensor.as_bytes()));
                let what = format!("is said to be in {}, which does not have it", file.name());
                return Err(Error::format(&model.name, at, what));
            }
            model.places.insert(tensor, place);
        }
        Ok(model)
    }

    fn shard(&self, folder: &Path, location: &str) -> Result<SafetensorsFile> {
        if self.files.len() == MOST_FILES {
            return Err(Error::Limit {
                what: self.name.clone(),
                limit_name: "files of a model".into(),
                needed: MOST_FILES as u64 + 1,
                limit: MOST_FILES as u64,
            });
        }
        let path = inside(folder, location).map_err(|error| match error {
            Error::Input { expected, .. } => {
                let at = format!("file '{}'", shown(location.as_bytes()));
                Error::format(&self.name, at, expected)
            }
            other => other,
        })?;
        open(path)
    }

    /// What errors call the model: its file, or its index.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files.
    pub fn files(&self) -> &[SafetensorsFile] {
        &self.files
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// A tensor over its file's own bytes; nothing is copied.
    ///
    /// # Errors
    /// As [`SafetensorsFile::tensor`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.places.get(name) {
            Some(&place) => self.files[place].tensor(name),
            None => {
                let at = format!("tensor '{}'", shown(name.as_bytes()));
                Err(Error::format(&self.name, at, "missing"))
            }
        }
    }
}
