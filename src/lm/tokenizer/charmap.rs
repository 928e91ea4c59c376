//! SentencePiece's precompiled map of characters: what is written for what, before
//! text is cut. The format is that of SentencePiece's `normalizer.cc`: the length
//! of a double array, its units, and texts that end with a zero.

use crate::error::Result;
use crate::formats::gguf::{Metadata, Value};

const KEY: &str = "tokenizer.ggml.precompiled_charsmap";

/// The largest map read; those in use take a quarter of a megabyte.
const MOST_BYTES: usize = 1 << 24;

/// A map from sequences of characters to text.
#[derive(Debug)]
pub(super) struct CharMap {
    units: Vec<u32>,
    texts: String,
}

impl CharMap {
    /// The map of a file, if it has one.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key if it is no such map.
    pub(super) fn read(meta: &Metadata<'_>) -> Result<Option<Self>> {
        let Some(value) = meta.get(KEY) else { return Ok(None) };
        let bytes = match value {
            Value::Array(array) if array.len() <= MOST_BYTES => {
                let byte = |value: Value<'_>| {
                    let number = value.as_integer()?;
                    u8::try_from(number).ok().or_else(|| Some(i8::try_from(number).ok()? as u8))
                };
                array.iter().map(byte).collect::<Option<Vec<u8>>>()
            }
            _ => None,
        };
        let Some(bytes) = bytes else {
            return Err(meta.error(KEY, format!("no array of at most {MOST_BYTES} bytes")));
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        CharMap::parse(&bytes).map(Some).map_err(|what| meta.error(KEY, what))
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or("shorter than its head")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (trie, texts) = rest.split_at_checked(length).ok_or("shorter than its array")?;
        let (units, odd) = trie.as_chunks::<4>();
        if units.is_empty() || !odd.is_empty() {
            return Err("an array of no whole units");
        }
        let texts = std::str::from_utf8(texts).map_err(|_| "texts that are no UTF-8")?;
        Ok(CharMap {
            units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            texts: texts.into(),
        })
    }

    /// The longest beginning of a text that the map has: its bytes, and what is
    /// written for it.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut found = None;
        let mut at = offset(*self.units.first()?);
        for (i, &byte) in text.as_bytes().iter().enumerate() {
            at ^= usize::from(byte);
            let Some(&unit) = self.units.get(at) else { break };
            if label(unit) != u32::from(byte) {
                break;
            }
            at ^= offset(unit);
            if has_leaf(unit)
                && let Some(&leaf) = self.units.get(at)
            {
                found = Some((i + 1, value(leaf)));
            }
        }
        let (length, start) = found?;
        let written = self.texts.get(start..)?;
        let end = written.find('\0').unwrap_or(written.len());
        text.is_char_boundary(length).then(|| (length, &written[..end]))
    }
}

/// The parts of a unit, as in Darts-clone.
fn has_leaf(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

fn value(unit: u32) -> usize {
    (unit & 0x7fff_ffff) as usize
}

fn label(unit: u32) -> u32 {
    unit & 0x8000_00ff
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_map_is_refused() {
        for bytes in [&[1, 0, 0][..], &[8, 0, 0, 0, 1, 2, 3, 4], &[3, 0, 0, 0, 1, 2, 3]] {
            assert!(CharMap::parse(bytes).is_err(), "{bytes:?}");
        }
        assert!(CharMap::parse(&[4, 0, 0, 0, 0, 0, 0, 0, 0xff]).is_err());
    }

    /// Units that lead anywhere lead to nothing.
    #[test]
    fn a_broken_array_finds_nothing() {
        let mut bytes = vec![8, 0, 0, 0];
        bytes.extend([0xff; 8]);
        let map = CharMap::parse(&bytes).unwrap();
        assert_eq!(map.longest("abc"), None);
        assert_eq!(map.longest(""), None);
    }
}
