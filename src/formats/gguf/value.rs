//! Metadata values, read in place.

use super::cursor::Cursor;
use crate::error::Result;
use std::fmt;

/// The type of a metadata value; the numbers are those of the GGUF
/// specification (`ggml/docs/gguf.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are named after the Rust types they hold")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

use ValueType as T;

impl ValueType {
    const ALL: [T; 13] = [
        T::U8,
        T::I8,
        T::U16,
        T::I16,
        T::U32,
        T::I32,
        T::F32,
        T::Bool,
        T::Str,
        T::Array,
        T::U64,
        T::I64,
        T::F64,
    ];

    pub(super) fn from_number(n: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(n).ok()?).copied()
    }

    /// Bytes of a value, `None` where it varies.
    fn size(self) -> Option<usize> {
        match self {
            T::U8 | T::I8 | T::Bool => Some(1),
            T::U16 | T::I16 => Some(2),
            T::U32 | T::I32 | T::F32 => Some(4),
            T::U64 | T::I64 | T::F64 => Some(8),
            T::Str | T::Array => None,
        }
    }

    /// The fewest bytes a value can take.
    fn least(self) -> usize {
        match self {
            T::Str => 8,
            T::Array => 12,
            _ => self.size().unwrap_or(1),
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            T::U8 => "u8",
            T::I8 => "i8",
            T::U16 => "u16",
            T::I16 => "i16",
            T::U32 => "u32",
            T::I32 => "i32",
            T::F32 => "f32",
            T::Bool => "bool",
            T::Str => "string",
            T::Array => "array",
            T::U64 => "u64",
            T::I64 => "i64",
            T::F64 => "f64",
        })
    }
}

/// A metadata value. Strings and arrays stay in the file's bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the variants are named after the Rust types they hold")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    /// A string's bytes; the format asks for UTF-8, files do not always obey.
    Str(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => T::U8,
            Value::I8(_) => T::I8,
            Value::U16(_) => T::U16,
            Value::I16(_) => T::I16,
            Value::U32(_) => T::U32,
            Value::I32(_) => T::I32,
            Value::F32(_) => T::F32,
            Value::Bool(_) => T::Bool,
            Value::Str(_) => T::Str,
            Value::Array(_) => T::Array,
            Value::U64(_) => T::U64,
            Value::I64(_) => T::I64,
            Value::F64(_) => T::F64,
        }
    }

    /// The value as a whole number, whatever its width.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// The value as a floating-point number; f64 is rounded to f32.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// The value's bytes, where it is a string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Value::Str(v) => Some(v),
            _ => None,
        }
    }

    /// The value as an array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(v) => Some(v),
            _ => None,
        }
    }

    /// Reads a value that [`check`] has accepted, or any value of a bounded
    /// depth. `at` names it in errors.
    fn read(cursor: &mut Cursor<'a>, ty: T, depth: usize, at: &str) -> Result<Self> {
        Ok(match ty {
            T::U8 => Value::U8(cursor.take(1, at)?[0]),
            T::I8 => Value::I8(cursor.take(1, at)?[0] as i8),
            T::U16 => Value::U16(u16::from_le_bytes(array(cursor.take(2, at)?))),
            T::I16 => Value::I16(i16::from_le_bytes(array(cursor.take(2, at)?))),
            T::U32 => Value::U32(u32::from_le_bytes(array(cursor.take(4, at)?))),
            T::I32 => Value::I32(i32::from_le_bytes(array(cursor.take(4, at)?))),
            T::F32 => Value::F32(f32::from_le_bytes(array(cursor.take(4, at)?))),
            T::Bool => match cursor.take(1, at)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(cursor.error(at, format_args!("a bool of value {other}"))),
            },
            T::Str => Value::Str(cursor.string(at)?),
            T::Array => Value::Array(Array::read(cursor, depth, at)?),
            T::U64 => Value::U64(u64::from_le_bytes(array(cursor.take(8, at)?))),
            T::I64 => Value::I64(i64::from_le_bytes(array(cursor.take(8, at)?))),
            T::F64 => Value::F64(f64::from_le_bytes(array(cursor.take(8, at)?))),
        })
    }

    /// Reads and checks a value of the file; nothing is allocated.
    pub(super) fn parse(cursor: &mut Cursor<'a>, ty: T, at: &str) -> Result<Self> {
        Self::read(cursor, ty, 0, at)
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// An array of metadata values, left where it stands in the file.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    of: ValueType,
    len: usize,
    data: &'a [u8],
}

/// The deepest nesting of arrays that is read. The format sets no limit; no
/// known key nests at all.
pub(super) const MAX_DEPTH: usize = 4;

impl<'a> Array<'a> {
    /// The elements' type.
    pub fn element_type(&self) -> ValueType {
        self.of
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in order; nothing is copied.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + Clone + use<'a> {
        let (of, mut cursor) = (self.of, Cursor::new(self.data, ""));
        // The array was checked when it was read, so reading it again works.
        (0..self.len).map_while(move |_| Value::read(&mut cursor, of, 1, "").ok())
    }

    fn read(cursor: &mut Cursor<'a>, depth: usize, at: &str) -> Result<Self> {
        if depth >= MAX_DEPTH {
            let what = format_args!("arrays nested deeper than {MAX_DEPTH}");
            return Err(cursor.error(at, what));
        }
        let of = value_type(cursor, at)?;
        let len = cursor.count(of.least(), at)?;
        let rest = cursor.clone();
        match of.size() {
            Some(size) if of != T::Bool => {
                cursor.take(len * size, at)?;
            }
            _ => {
                for _ in 0..len {
                    Value::read(cursor, of, depth + 1, at)?;
                }
            }
        }
        let data = rest.clone().take(cursor.pos() - rest.pos(), at)?;
        Ok(Array { of, len, data })
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.of, self.len)
    }
}

/// Reads the number of a value's type.
pub(super) fn value_type(cursor: &mut Cursor<'_>, at: &str) -> Result<ValueType> {
    let n = cursor.u32(at)?;
    ValueType::from_number(n)
        .ok_or_else(|| cursor.error(at, format_args!("value type {n} is not one of 0 to 12")))
}
