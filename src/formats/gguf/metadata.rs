//! The key-value part of a file, with typed getters.

use super::cursor::{Cursor, shown};
use super::names::NameIndex;
use super::value::{Array, Value, ValueType, value_type};
use crate::error::{Error, Result};
use std::ops::Range;

/// The most keys read. Files in use have well under a hundred.
pub(super) const MAX_KEYS: usize = 1 << 16;
/// The longest key of the specification.
const MAX_KEY_BYTES: usize = (1 << 16) - 1;

/// Where one key and its value stand in the file.
pub(super) struct Entry {
    key: Range<usize>,
    of: ValueType,
    value: Range<usize>,
}

/// What is kept of the key-value part: positions only.
pub(super) struct Entries {
    entries: Vec<Entry>,
    index: NameIndex,
}

impl Entries {
    /// Reads and checks `count` pairs.
    pub(super) fn parse(
        cursor: &mut Cursor<'_>,
        count: usize,
        bytes: &[u8],
        file: &str,
    ) -> Result<Self> {
        if count > MAX_KEYS {
            let what = format_args!("claims {count} keys, at most {MAX_KEYS} are read");
            return Err(cursor.error("metadata", what));
        }
        let mut entries = Vec::with_capacity(count);
        for i in 0..count {
            entries.push(Entry::parse(cursor, i)?);
        }
        let key = |i: u32| &bytes[entries[i as usize].key.clone()];
        let index = NameIndex::new(count as u32, key).map_err(|(first, second)| {
            let at = format_args!("key '{}'", shown(key(first)));
            Error::format(file, at, format_args!("given twice, as number {first} and {second}"))
        })?;
        Ok(Entries { entries, index })
    }
}

impl Entry {
    fn parse(cursor: &mut Cursor<'_>, i: usize) -> Result<Self> {
        let at = format_args!("metadata key number {i}").to_string();
        let key = cursor.string(&at)?;
        let key_end = cursor.pos();
        if key.is_empty() || key.len() > MAX_KEY_BYTES || std::str::from_utf8(key).is_err() {
            let what = format!("'{}': keys are 1 to {MAX_KEY_BYTES} bytes of UTF-8", shown(key));
            return Err(cursor.error(at, what));
        }
        let at = format!("key '{}'", shown(key));
        let of = value_type(cursor, &at)?;
        let start = cursor.pos();
        Value::parse(cursor, of, &at)?;
        Ok(Entry { key: key_end - key.len()..key_end, of, value: start..cursor.pos() })
    }
}

/// The key-value part of a GGUF file.
///
/// Getters come in two kinds: `x_of` fails when the key is missing, `opt_x`
/// gives `None`. Both fail, naming file and key, when the value is of another
/// type or out of range.
#[derive(Clone, Copy)]
pub struct Metadata<'a> {
    pub(super) entries: &'a Entries,
    pub(super) bytes: &'a [u8],
    pub(super) file: &'a str,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $of:ident $opt:ident -> $out:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// If the key is missing, or the value does not fit.
        pub fn $of(&self, key: &str) -> Result<$out> {
            self.$opt(key)?.ok_or_else(|| self.missing(key))
        }
    )*};
}

impl<'a> Metadata<'a> {
    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.entries.is_empty()
    }

    /// Every key with its value, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let this = *self;
        this.entries.entries.iter().filter_map(move |entry| {
            let key = std::str::from_utf8(&this.bytes[entry.key.clone()]).ok()?;
            Some((key, this.value(entry)?))
        })
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let (entries, bytes) = (&self.entries.entries, self.bytes);
        let name = |i: u32| &bytes[entries[i as usize].key.clone()];
        let i = self.entries.index.find(key.as_bytes(), name)?;
        self.value(&entries[i as usize])
    }

    fn value(&self, entry: &Entry) -> Option<Value<'a>> {
        // Checked when the file was read, so this works.
        let bytes = &self.bytes[entry.value.clone()];
        Value::parse(&mut Cursor::new(bytes, self.file), entry.of, "").ok()
    }

    /// What errors call the file.
    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    /// An error about a key's value.
    pub fn error(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::format(self.file, format_args!("key '{}'", shown(key.as_bytes())), what)
    }

    fn missing(&self, key: &str) -> Error {
        self.error(key, "missing")
    }

    fn wrong(&self, key: &str, wanted: &str, got: &Value<'_>) -> Error {
        let got = match got {
            Value::Str(text) => format!("the string '{}'", shown(text)),
            other => format!("{other:?}"),
        };
        self.error(key, format_args!("{wanted} is needed, the file has {got}"))
    }

    fn text(&self, key: &str, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes)
            .map_err(|_| self.error(key, format_args!("'{}' is not UTF-8", shown(bytes))))
    }

    fn array(&self, key: &str, wanted: &str) -> Result<Option<Array<'a>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_array().map(Some).ok_or_else(|| self.wrong(key, wanted, &value))
    }

    /// A string, where the key is there.
    ///
    /// # Errors
    /// If the value is not a string of UTF-8.
    pub fn opt_str(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let bytes = value.as_bytes().ok_or_else(|| self.wrong(key, "a string", &value))?;
        self.text(key, bytes).map(Some)
    }

    /// A whole number of any width, where the key is there.
    ///
    /// # Errors
    /// If the value is not a whole number, or negative.
    pub fn opt_u64(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_integer().and_then(|v| u64::try_from(v).ok());
        number.map(Some).ok_or_else(|| self.wrong(key, "a whole number from 0", &value))
    }

    /// A finite floating-point number of any width, where the key is there.
    ///
    /// # Errors
    /// If the value is not a floating-point number, or not finite as f32.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_f32().filter(|v| v.is_finite());
        number.map(Some).ok_or_else(|| self.wrong(key, "a finite number", &value))
    }

    /// A truth value, where the key is there.
    ///
    /// # Errors
    /// If the value is not a truth value.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(v)),
            Some(other) => Err(self.wrong(key, "a bool", &other)),
        }
    }

    /// An array of strings, where the key is there; every one is checked to
    /// be UTF-8, none is copied.
    ///
    /// # Errors
    /// If the value is not an array of strings of UTF-8.
    pub fn opt_strs(&self, key: &str) -> Result<Option<Strs<'a>>> {
        const WANTED: &str = "an array of strings";
        let Some(array) = self.array(key, WANTED)? else { return Ok(None) };
        if array.element_type() != ValueType::Str {
            return Err(self.wrong(key, WANTED, &Value::Array(array)));
        }
        for (i, value) in array.iter().enumerate() {
            if let Value::Str(bytes) = value
                && std::str::from_utf8(bytes).is_err()
            {
                let what = format!("element {i}, '{}', is not UTF-8", shown(bytes));
                return Err(self.error(key, what));
            }
        }
        Ok(Some(Strs(array)))
    }

    /// An array of whole numbers of any width, where the key is there.
    ///
    /// # Errors
    /// If the value is not such an array, or a number does not fit in i64.
    pub fn opt_i64s(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = i64> + Clone + use<'a>>> {
        const WANTED: &str = "an array of whole numbers of 64 bits";
        let Some(array) = self.array(key, WANTED)? else { return Ok(None) };
        let integer = |v: Value<'a>| v.as_integer().and_then(|v| i64::try_from(v).ok());
        if array.iter().any(|v| integer(v).is_none()) {
            return Err(self.wrong(key, WANTED, &Value::Array(array)));
        }
        Ok(Some(Counted { left: array.len(), inner: array.iter().filter_map(integer) }))
    }

    /// An array of floating-point numbers, where the key is there.
    ///
    /// # Errors
    /// If the value is not such an array.
    pub fn opt_f32s(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = f32> + Clone + use<'a>>> {
        const WANTED: &str = "an array of floating-point numbers";
        let Some(array) = self.array(key, WANTED)? else { return Ok(None) };
        if !matches!(array.element_type(), ValueType::F32 | ValueType::F64) {
            return Err(self.wrong(key, WANTED, &Value::Array(array)));
        }
        let inner = array.iter().filter_map(|v: Value<'a>| v.as_f32());
        Ok(Some(Counted { left: array.len(), inner }))
    }

    getters! {
        /// A string.
        str_of opt_str -> &'a str;
        /// A whole number of any width.
        u64_of opt_u64 -> u64;
        /// A finite floating-point number of any width.
        f32_of opt_f32 -> f32;
        /// A truth value.
        bool_of opt_bool -> bool;
        /// An array of strings.
        strs_of opt_strs -> Strs<'a>;
        /// An array of whole numbers.
        i64s_of opt_i64s -> impl ExactSizeIterator<Item = i64> + Clone + use<'a>;
        /// An array of floating-point numbers.
        f32s_of opt_f32s -> impl ExactSizeIterator<Item = f32> + Clone + use<'a>;
    }
}

/// An array of strings, left where it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strs<'a>(Array<'a>);

impl<'a> Strs<'a> {
    /// The number of strings.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        let text = |v: Value<'a>| v.as_bytes().and_then(|b| std::str::from_utf8(b).ok());
        Counted { left: self.len(), inner: self.0.iter().filter_map(text) }
    }
}

/// An iterator whose length is known although its adapters forgot it.
#[derive(Clone)]
struct Counted<I> {
    left: usize,
    inner: I,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.inner.next()?;
        self.left = self.left.saturating_sub(1);
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}
