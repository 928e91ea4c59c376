//! The header: one JSON object with an entry for each tensor.
//!
//! It is walked entry by entry, so that an error names the tensor and a name
//! that is given twice does not hide the first one.

use crate::formats::gguf::shown;
use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// The entry that is no tensor.
const METADATA: &str = "__metadata__";

/// The most tensors read; the largest models in use have some ten thousand.
const MOST_TENSORS: usize = 1 << 17;

/// What a header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    /// In the header's order.
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        let mut told = false;
        while let Some(name) = map.next_key::<String>()? {
            let named = |error: A::Error| {
                A::Error::custom(format_args!("tensor '{}': {error}", shown(name.as_bytes())))
            };
            if name == METADATA {
                if std::mem::replace(&mut told, true) {
                    return Err(A::Error::custom(format_args!("'{METADATA}' is given twice")));
                }
                header.metadata = map.next_value::<Unique>().map_err(named)?.0;
                continue;
            }
            if header.tensors.len() == MOST_TENSORS {
                let what = format_args!("more than {MOST_TENSORS} tensors, which is the limit");
                return Err(A::Error::custom(what));
            }
            let info = map.next_value().map_err(named)?;
            header.tensors.push((name, info));
        }
        Ok(header)
    }
}

/// Texts by name, where no name may be given twice.
#[derive(Debug, Default)]
pub(super) struct Unique(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Texts)
    }
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let text = map.next_value().map_err(|error| {
                A::Error::custom(format_args!("'{}': {error}", shown(name.as_bytes())))
            })?;
            if texts.contains_key(&name) {
                let what = format_args!("'{}' is given twice", shown(name.as_bytes()));
                return Err(A::Error::custom(what));
            }
            texts.insert(name, text);
        }
        Ok(Unique(texts))
    }
}
