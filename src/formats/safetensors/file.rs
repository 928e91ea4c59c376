//! A whole safetensors file: header, tensor descriptions, data.

use super::dtype::{KNOWN, dtype};
use super::header::Header;
use crate::error::{Error, Result};
use crate::formats::gguf::shown;
use crate::tensor::{Bytes, DType, MAX_RANK, Tensor};
use safetensors::tensor::{Dtype, TensorInfo as Described};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// The bytes before the header: its length.
const LENGTH: usize = 8;
/// The longest header read, in bytes. Headers of the largest models in use have
/// about a megabyte; what is parsed of one takes a few times its size.
const MOST_HEADER: u64 = 16 << 20;

/// What is kept of a tensor's description.
#[derive(Debug)]
struct Record {
    dtype: Dtype,
    extents: Vec<usize>,
    /// In the file.
    range: Range<usize>,
}

/// A safetensors file, checked as a whole. Weights stay in the file's bytes.
pub struct SafetensorsFile {
    bytes: Bytes,
    name: String,
    metadata: BTreeMap<String, String>,
    records: BTreeMap<String, Record>,
}

/// A tensor's description.
#[derive(Debug, Clone, Copy)]
pub struct TensorInfo<'a> {
    name: &'a str,
    record: &'a Record,
}

impl std::fmt::Debug for SafetensorsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SafetensorsFile({}, {} tensors)", self.name, self.records.len())
    }
}

impl SafetensorsFile {
    /// Reads a file's bytes. `name` is what errors call the file.
    ///
    /// # Errors
    /// [`Error::Format`] where the bytes break a rule of the format,
    /// [`Error::Limit`] for a header over 16 MiB. Element types this crate
    /// cannot compute with are no error here, only in
    /// [`SafetensorsFile::tensor`].
    pub fn parse(bytes: impl Into<Bytes>, name: &str) -> Result<Self> {
        let bytes = bytes.into();
        let start = data_start(&bytes, name)?;
        // Written by JSON's rules, but a value that is no object is not one.
        let header: Header = serde_json::from_slice(&bytes[LENGTH..start])
            .map_err(|error| Error::format(name, "header", error))?;
        let mut records = BTreeMap::new();
        for (tensor, described) in header.tensors {
            let record = Record::new(described, start, bytes.len())
                .map_err(|what| tensor_error(name, &tensor, what))?;
            match records.entry(tensor) {
                Entry::Occupied(entry) => {
                    return Err(tensor_error(name, entry.key(), "given twice"));
                }
                Entry::Vacant(entry) => entry.insert(record),
            };
        }
        let file = SafetensorsFile { bytes, name: name.into(), metadata: header.metadata, records };
        file.check_ranges(start)?;
        Ok(file)
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size of the whole file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The texts that the file's writer added, by name.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Every tensor's description, by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        self.records.iter().map(|(name, record)| TensorInfo { name, record })
    }

    /// A tensor's description.
    pub fn tensor_info(&self, name: &str) -> Option<TensorInfo<'_>> {
        let (name, record) = self.records.get_key_value(name)?;
        Some(TensorInfo { name, record })
    }

    /// A tensor over the file's own bytes; nothing is copied.
    ///
    /// # Errors
    /// If there is no such tensor ([`Error::Format`]), or its type or rank is
    /// not one of this crate ([`Error::Unsupported`]).
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let record = self.records.get(name);
        let record = record.ok_or_else(|| tensor_error(&self.name, name, "missing"))?;
        let refused = |what: String| {
            let at = format_args!("{}: tensor '{}'", self.name, shown(name.as_bytes()));
            Err(Error::unsupported(at, what))
        };
        let Some(dtype) = dtype(record.dtype) else {
            return refused(format!("elements of type {}; supported: {KNOWN}", record.dtype));
        };
        if record.extents.len() > MAX_RANK {
            let rank = record.extents.len();
            return refused(format!("{rank} dimensions; at most {MAX_RANK} are supported"));
        }
        let bytes = self.bytes.slice(record.range.clone());
        let bytes = bytes.ok_or_else(|| Error::internal("a checked tensor range left its file"))?;
        Tensor::new(dtype, &record.extents, bytes)
    }

    /// The tensors must fill the data section, one after another.
    fn check_ranges(&self, start: usize) -> Result<()> {
        let mut order: Vec<_> = self.records.iter().collect();
        order.sort_unstable_by_key(|(_, record)| (record.range.start, record.range.end));
        let (mut end, mut last) = (start, "the header");
        for (name, record) in order {
            let (begin, expected) = (record.range.start - start, end - start);
            if begin != expected {
                let how = if begin < expected { "overlaps" } else { "leaves a gap after" };
                let what = format_args!(
                    "at offset {begin} {how} '{}', which ends at {expected}",
                    shown(last.as_bytes())
                );
                return Err(tensor_error(&self.name, name, what));
            }
            (end, last) = (record.range.end, name);
        }
        if end != self.bytes.len() {
            let what = format!("{} bytes that belong to no tensor", self.bytes.len() - end);
            return Err(Error::format(&self.name, format_args!("byte {end}"), what));
        }
        Ok(())
    }
}

impl<'a> TensorInfo<'a> {
    /// The tensor's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The type, where this crate has it.
    pub fn dtype(&self) -> Option<DType> {
        dtype(self.record.dtype)
    }

    /// The type as the format spells it.
    pub fn spelled_dtype(&self) -> String {
        self.record.dtype.to_string()
    }

    /// The extents, slowest first.
    pub fn extents(&self) -> &'a [usize] {
        &self.record.extents
    }

    /// The tensor's bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.record.range.len() as u64
    }
}

fn tensor_error(file: &str, tensor: &str, what: impl std::fmt::Display) -> Error {
    Error::format(file, format_args!("tensor '{}'", shown(tensor.as_bytes())), what)
}

/// Where the data begins: after the length and the header, which is as long.
fn data_start(bytes: &Bytes, name: &str) -> Result<usize> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        let what = format_args!("the file has {} bytes, no header fits", bytes.len());
        return Err(Error::format(name, "header length (byte 0)", what));
    };
    let length = u64::from_le_bytes(*length);
    if length > rest.len() as u64 {
        let what = format_args!("{length} bytes are claimed, the file has {} more", rest.len());
        return Err(Error::format(name, "header length (byte 0)", what));
    }
    if length > MOST_HEADER {
        return Err(Error::Limit {
            what: format!("{name}: the header"),
            limit_name: "the size of a header (bytes)".into(),
            needed: length,
            limit: MOST_HEADER,
        });
    }
    if rest.first() != Some(&b'{') || length == 0 {
        return Err(Error::format(name, "header (byte 8)", "does not begin with '{'"));
    }
    // At most the file's length.
    Ok(LENGTH + length as usize)
}

impl Record {
    /// A description, checked against the data section, which begins at `start`
    /// of a file of `len` bytes.
    fn new(described: Described, start: usize, len: usize) -> Result<Self, String> {
        let Described { dtype, shape: extents, data_offsets: (begin, end) } = described;
        let size = size(dtype, &extents)?;
        let available = len - start;
        if begin > end || end > available {
            return Err(format!("bytes {begin}..{end} of the data section, which has {available}"));
        }
        if (end - begin) as u64 != size {
            let has = end - begin;
            return Err(format!("{has} bytes, but {dtype} {extents:?} needs {size}"));
        }
        Ok(Record { dtype, extents, range: start + begin..start + end })
    }
}

/// The bytes of a tensor.
fn size(dtype: Dtype, extents: &[usize]) -> Result<u64, String> {
    // A zero must not hide extents whose product overflows: whoever multiplies
    // extents later relies on it.
    let elements = |least: u64| {
        extents.iter().try_fold(1u64, |n, &extent| n.checked_mul((extent as u64).max(least)))
    };
    let bounded = elements(1).filter(|&n| n <= i64::MAX as u64);
    let bits = bounded.and(elements(0)).and_then(|n| n.checked_mul(dtype.bitsize() as u64));
    let bits = bits.ok_or_else(|| format!("{dtype} {extents:?} is larger than any file"))?;
    if bits % 8 != 0 {
        return Err(format!("{dtype} {extents:?} is not a whole number of bytes"));
    }
    Ok(bits / 8)
}
