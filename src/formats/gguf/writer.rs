//! Writing GGUF files.

use super::file::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, valid_alignment};
use super::ggml_type::GgmlType;
use super::value::{MAX_DEPTH, Value, ValueType};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

/// Builds a GGUF file (version 3, little endian).
///
/// Tensors are shared, not copied, and written straight from their bytes, so
/// converting a mapped file needs little memory.
///
/// ```
/// use wginfer::{Tensor, formats::gguf::{GgufFile, GgufWriter}};
/// let mut writer = GgufWriter::new();
/// writer.metadata("general.architecture", "llama")?;
/// writer.tensor("w", Tensor::from_f32(&[2, 3], &[0.0; 6])?)?;
/// let file = GgufFile::parse(writer.to_bytes()?, "example")?;
/// assert_eq!(file.tensor("w")?.extents(), [2, 3]);
/// # Ok::<(), wginfer::Error>(())
/// ```
#[derive(Default)]
pub struct GgufWriter {
    alignment: Option<u64>,
    keys: HashSet<String>,
    names: HashSet<String>,
    pairs: Vec<u8>,
    tensors: Vec<(String, GgmlType, Tensor)>,
}

/// A metadata value to write.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are named after the Rust types they hold")]
pub enum MetaValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    U64(u64),
    I64(i64),
    F64(f64),
    /// The elements' type, named because there may be no element.
    Array(ValueType, Vec<MetaValue>),
}

impl GgufWriter {
    /// An empty file with the default alignment of 32 bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Aligns tensors to `bytes` and says so in the metadata.
    ///
    /// # Errors
    /// If `bytes` is not a power of two from 8, or was set before.
    pub fn alignment(&mut self, bytes: u32) -> Result<&mut Self> {
        if !valid_alignment(bytes.into()) {
            return Err(Error::input("GGUF alignment", "a power of two from 8", bytes));
        }
        self.pair(ALIGNMENT_KEY, &MetaValue::U32(bytes))?;
        self.alignment = Some(bytes.into());
        Ok(self)
    }

    /// Adds a key.
    ///
    /// # Errors
    /// If the key is empty, too long or was added before, if an array's
    /// elements differ in type, or if the key is the alignment, which
    /// [`GgufWriter::alignment`] sets.
    pub fn metadata(&mut self, key: &str, value: impl Into<MetaValue>) -> Result<&mut Self> {
        if key == ALIGNMENT_KEY {
            return Err(Error::input("metadata key", "alignment()", key));
        }
        self.pair(key, &value.into())
    }

    /// Copies a value of another file.
    ///
    /// # Errors
    /// As [`GgufWriter::metadata`], and if a string is not UTF-8.
    pub fn copy(&mut self, key: &str, value: Value<'_>) -> Result<&mut Self> {
        let value = MetaValue::from_read(value)
            .ok_or_else(|| Error::input(format_args!("key '{key}'"), "UTF-8", "other bytes"))?;
        self.metadata(key, value)
    }

    /// Adds a tensor; its extents are row-major, as everywhere in this crate.
    ///
    /// # Errors
    /// If the name is empty, too long or was added before, the rank is above
    /// 4, or GGUF has no such type.
    pub fn tensor(&mut self, name: &str, tensor: Tensor) -> Result<&mut Self> {
        let ty = GgmlType::from_dtype(tensor.dtype()).ok_or_else(|| {
            Error::unsupported(
                format_args!("tensor '{name}'"),
                format_args!("{} in GGUF", tensor.dtype()),
            )
        })?;
        if tensor.extents().len() > 4 {
            return Err(Error::input(
                format_args!("rank of '{name}'"),
                "at most 4",
                tensor.extents().len(),
            ));
        }
        if name.is_empty() || name.len() > 63 {
            // GGML reads names into 64 bytes with a terminating zero.
            return Err(Error::input("tensor name", "1 to 63 bytes", format_args!("'{name}'")));
        }
        if !self.names.insert(name.into()) {
            return Err(Error::input("tensor name", "a new one", format_args!("'{name}' again")));
        }
        self.tensors.push((name.into(), ty, tensor));
        Ok(self)
    }

    /// The whole file in memory.
    ///
    /// # Errors
    /// None in practice; memory is all it needs.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.write(&mut out).map_err(Error::internal)?;
        Ok(out)
    }

    /// Writes the file to a path, replacing what is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let write = || {
            let mut out = io::BufWriter::new(std::fs::File::create(path)?);
            self.write(&mut out)?;
            out.flush()
        };
        write().map_err(|source| Error::Io { path: path.to_path_buf(), source })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let mut head = Vec::with_capacity(self.pairs.len() + 64 * self.tensors.len() + 64);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&3u32.to_le_bytes());
        head.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&(self.keys.len() as u64).to_le_bytes());
        head.extend_from_slice(&self.pairs);
        let mut offset = 0u64;
        for (name, ty, tensor) in &self.tensors {
            put_string(&mut head, name);
            head.extend_from_slice(&(tensor.extents().len() as u32).to_le_bytes());
            for &extent in tensor.extents().iter().rev() {
                head.extend_from_slice(&(extent as u64).to_le_bytes());
            }
            head.extend_from_slice(&ty.0.to_le_bytes());
            head.extend_from_slice(&offset.to_le_bytes());
            offset += (tensor.bytes().len() as u64).next_multiple_of(alignment);
        }
        let padding = |n: u64| (n.next_multiple_of(alignment) - n) as usize;
        let zeros = vec![0; alignment as usize];
        out.write_all(&head)?;
        out.write_all(&zeros[..padding(head.len() as u64)])?;
        for (_, _, tensor) in &self.tensors {
            out.write_all(tensor.bytes())?;
            out.write_all(&zeros[..padding(tensor.bytes().len() as u64)])?;
        }
        Ok(())
    }

    fn pair(&mut self, key: &str, value: &MetaValue) -> Result<&mut Self> {
        if key.is_empty() || key.len() > usize::from(u16::MAX) {
            return Err(Error::input("metadata key", "1 to 65535 bytes", format_args!("'{key}'")));
        }
        if !value.is_regular(0) {
            return Err(Error::input(
                format_args!("key '{key}'"),
                "an array of one type, nested at most 4 deep",
                "another",
            ));
        }
        if !self.keys.insert(key.into()) {
            return Err(Error::input("metadata key", "a new one", format_args!("'{key}' again")));
        }
        put_string(&mut self.pairs, key);
        self.pairs.extend_from_slice(&(value.value_type() as u32).to_le_bytes());
        value.put(&mut self.pairs);
        Ok(self)
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl MetaValue {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            MetaValue::U8(_) => ValueType::U8,
            MetaValue::I8(_) => ValueType::I8,
            MetaValue::U16(_) => ValueType::U16,
            MetaValue::I16(_) => ValueType::I16,
            MetaValue::U32(_) => ValueType::U32,
            MetaValue::I32(_) => ValueType::I32,
            MetaValue::F32(_) => ValueType::F32,
            MetaValue::Bool(_) => ValueType::Bool,
            MetaValue::Str(_) => ValueType::Str,
            MetaValue::U64(_) => ValueType::U64,
            MetaValue::I64(_) => ValueType::I64,
            MetaValue::F64(_) => ValueType::F64,
            MetaValue::Array(..) => ValueType::Array,
        }
    }

    /// Whether every array holds one type and none nests too deep to be read.
    fn is_regular(&self, depth: usize) -> bool {
        match self {
            MetaValue::Array(of, items) => {
                let regular =
                    |item: &MetaValue| item.value_type() == *of && item.is_regular(depth + 1);
                depth < MAX_DEPTH && items.iter().all(regular)
            }
            _ => true,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            MetaValue::U8(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::I8(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::Bool(v) => out.push((*v).into()),
            MetaValue::Str(v) => put_string(out, v),
            MetaValue::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
            MetaValue::Array(of, items) => {
                out.extend_from_slice(&(*of as u32).to_le_bytes());
                out.extend_from_slice(&(items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.put(out));
            }
        }
    }

    fn from_read(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::U8(v) => MetaValue::U8(v),
            Value::I8(v) => MetaValue::I8(v),
            Value::U16(v) => MetaValue::U16(v),
            Value::I16(v) => MetaValue::I16(v),
            Value::U32(v) => MetaValue::U32(v),
            Value::I32(v) => MetaValue::I32(v),
            Value::F32(v) => MetaValue::F32(v),
            Value::Bool(v) => MetaValue::Bool(v),
            Value::Str(v) => MetaValue::Str(std::str::from_utf8(v).ok()?.into()),
            Value::U64(v) => MetaValue::U64(v),
            Value::I64(v) => MetaValue::I64(v),
            Value::F64(v) => MetaValue::F64(v),
            Value::Array(array) => {
                let items = array.iter().map(MetaValue::from_read).collect::<Option<_>>()?;
                MetaValue::Array(array.element_type(), items)
            }
        })
    }
}

macro_rules! into_value {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for MetaValue {
            fn from(value: $from) -> Self {
                MetaValue::$variant(value.into())
            }
        }
        impl From<Vec<$from>> for MetaValue {
            fn from(values: Vec<$from>) -> Self {
                MetaValue::Array(ValueType::$variant, values.into_iter().map(Into::into).collect())
            }
        }
    )*};
}

into_value!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32,
    bool => Bool, &str => Str, String => Str, u64 => U64, i64 => I64, f64 => F64);
