//! A whole GGUF file: header, metadata, tensor descriptions, data.

use super::cursor::{Cursor, shown};
use super::ggml_type::GgmlType;
use super::metadata::{Entries, Metadata};
use super::names::NameIndex;
use crate::error::{Error, Result};
use crate::tensor::{Bytes, DType, Tensor};
use std::ops::Range;

/// The most tensors read; the largest models in use have some ten thousand.
const MAX_TENSORS: usize = 1 << 17;
/// The longest tensor name read. GGML's own limit is 63; other writers go
/// beyond it.
const MAX_NAME_BYTES: usize = 1 << 10;
/// GGML's limit (`GGML_MAX_DIMS`).
const MAX_DIMS: usize = 4;
/// Alignment where the file names none (`GGUF_DEFAULT_ALIGNMENT`).
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;
pub(super) const MAGIC: &[u8; 4] = b"GGUF";
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";

/// What is kept of a tensor's description.
struct Record {
    name: Range<usize>,
    ty: GgmlType,
    rank: u8,
    /// Row-major, slowest first; entries from `rank` on are unused.
    extents: [usize; MAX_DIMS],
    /// From the start of the data section.
    offset: u64,
    /// `None` where the type's block size is not known.
    size: Option<u64>,
}

/// A GGUF file (version 2 or 3, little endian), checked as a whole.
///
/// Everything stays in the file's bytes: names, values and weights are slices
/// of the map. Loading keeps some hundred bytes a tensor, whatever its size.
pub struct GgufFile {
    bytes: Bytes,
    name: String,
    version: u32,
    alignment: u64,
    data_start: usize,
    entries: Entries,
    records: Vec<Record>,
    index: NameIndex,
    /// The other files of a model in several.
    others: Vec<GgufFile>,
}

/// A tensor's description.
#[derive(Clone, Copy)]
pub struct TensorInfo<'a> {
    file: &'a GgufFile,
    record: &'a Record,
}

impl std::fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (keys, tensors) = (self.metadata().len(), self.records.len());
        write!(f, "GgufFile({}, {keys} keys, {tensors} tensors)", self.name)
    }
}

impl GgufFile {
    /// Reads a file's bytes. `name` is what errors call the file.
    ///
    /// # Errors
    /// [`Error::Format`] where the bytes break a rule of the format,
    /// [`Error::Unsupported`] for other versions and for big endian. Tensor
    /// types this crate cannot compute with are no error here, only in
    /// [`GgufFile::tensor`].
    pub fn parse(bytes: impl Into<Bytes>, name: &str) -> Result<Self> {
        let bytes = bytes.into();
        let mut cursor = Cursor::new(&bytes, name);
        let version = version(&mut cursor, name)?;
        // A description has a name, a rank, a type and an offset; a pair has
        // a key, a type and at least one byte.
        let tensors = cursor.count(8 + 4 + 4 + 8, "tensor count")?;
        let keys = cursor.count(8 + 4 + 1, "key count")?;
        let entries = Entries::parse(&mut cursor, keys, &bytes, name)?;
        let alignment = alignment(&Metadata { entries: &entries, bytes: &bytes, file: name })?;

        if tensors > MAX_TENSORS {
            let what = format_args!("claims {tensors} tensors, at most {MAX_TENSORS} are read");
            return Err(cursor.error("tensor count", what));
        }
        let mut records = Vec::with_capacity(tensors);
        for i in 0..tensors {
            records.push(Record::parse(&mut cursor, i, alignment)?);
        }
        let tensor = |i: u32| &bytes[records[i as usize].name.clone()];
        let index = NameIndex::new(tensors as u32, tensor).map_err(|(first, second)| {
            let at = format_args!("tensor '{}'", shown(tensor(first)));
            Error::format(name, at, format_args!("given twice, as number {first} and {second}"))
        })?;
        let data_start = data_start(&cursor, alignment, !records.is_empty())?;
        let file = GgufFile {
            name: name.into(),
            version,
            alignment,
            data_start,
            entries,
            records,
            index,
            bytes,
            others: Vec::new(),
        };
        file.check_ranges()?;
        Ok(file)
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What tensor offsets are multiples of, in bytes.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The size of the whole file, or of all files of the model, in bytes.
    pub fn file_bytes(&self) -> u64 {
        let others = self.others.iter().map(GgufFile::file_bytes);
        others.sum::<u64>() + self.bytes.len() as u64
    }

    /// How many files the model is in.
    pub fn parts(&self) -> usize {
        1 + self.others.len()
    }

    /// Adds another file of the same model, with tensors of other names.
    pub(super) fn push_part(&mut self, part: GgufFile) {
        self.others.push(part);
    }

    /// The keys and values.
    pub fn metadata(&self) -> Metadata<'_> {
        Metadata { entries: &self.entries, bytes: &self.bytes, file: &self.name }
    }

    /// Every tensor's description, in the file's order, then those of the model's
    /// other files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        let mut all: Vec<TensorInfo<'_>> =
            self.records.iter().map(|record| TensorInfo { file: self, record }).collect();
        for other in &self.others {
            all.extend(other.records.iter().map(|record| TensorInfo { file: other, record }));
        }
        all.into_iter()
    }

    /// A tensor's description.
    pub fn tensor_info(&self, name: &str) -> Option<TensorInfo<'_>> {
        let own = |i: u32| &self.bytes[self.records[i as usize].name.clone()];
        match self.index.find(name.as_bytes(), own) {
            Some(i) => Some(TensorInfo { file: self, record: &self.records[i as usize] }),
            None => self.others.iter().find_map(|other| other.tensor_info(name)),
        }
    }

    /// A tensor over the file's own bytes; nothing is copied.
    ///
    /// # Errors
    /// If there is no such tensor, or its type is not one of this crate.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.tensor_info(name) {
            Some(info) => info.load(),
            None => Err(Error::format(
                &self.name,
                format_args!("tensor '{}'", shown(name.as_bytes())),
                "missing",
            )),
        }
    }

    /// Every tensor must lie in the data section, and no two may share bytes.
    fn check_ranges(&self) -> Result<()> {
        let available = (self.bytes.len() - self.data_start.min(self.bytes.len())) as u64;
        let mut order: Vec<u32> = Vec::with_capacity(self.records.len());
        for (i, record) in self.records.iter().enumerate() {
            let size = record.size.unwrap_or(0);
            if record.offset.checked_add(size).is_none_or(|end| end > available) {
                let what = format_args!(
                    "{size} bytes at offset {} of the data section, which has {available}",
                    record.offset
                );
                return Err(self.tensor_error(record, what));
            }
            if size > 0 {
                order.push(i as u32);
            }
        }
        let record = |i: u32| &self.records[i as usize];
        order.sort_unstable_by_key(|&i| record(i).offset);
        for pair in order.windows(2) {
            let (a, b) = (record(pair[0]), record(pair[1]));
            if a.offset + a.size.unwrap_or(0) > b.offset {
                let other = shown(&self.bytes[a.name.clone()]);
                let what = format_args!(
                    "at offset {} overlaps tensor '{other}' at {}",
                    b.offset, a.offset
                );
                return Err(self.tensor_error(b, what));
            }
        }
        Ok(())
    }

    fn tensor_error(&self, record: &Record, what: impl std::fmt::Display) -> Error {
        let name = shown(&self.bytes[record.name.clone()]);
        Error::format(&self.name, format_args!("tensor '{name}'"), what)
    }
}

impl<'a> TensorInfo<'a> {
    /// The tensor's name.
    pub fn name(&self) -> &'a str {
        // Checked to be UTF-8 when the file was read.
        std::str::from_utf8(&self.file.bytes[self.record.name.clone()]).unwrap_or_default()
    }

    /// The type as the file has it.
    pub fn ggml_type(&self) -> GgmlType {
        self.record.ty
    }

    /// The type, where this crate has it.
    pub fn dtype(&self) -> Option<DType> {
        self.record.ty.dtype()
    }

    /// The extents, slowest first: the file's dimensions in reverse order.
    pub fn extents(&self) -> &'a [usize] {
        &self.record.extents[..usize::from(self.record.rank)]
    }

    /// The tensor's bytes in the file, where the size of its type is known.
    pub fn bytes(&self) -> Option<u64> {
        self.record.size
    }

    /// The tensor's place, in bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.file.data_start as u64 + self.record.offset
    }

    /// The tensor over the file's own bytes; nothing is copied.
    ///
    /// # Errors
    /// If the type is not one of this crate.
    pub fn load(&self) -> Result<Tensor> {
        let (Some(dtype), Some(size)) = (self.dtype(), self.record.size) else {
            let known: Vec<_> = DType::ALL
                .iter()
                .filter(|&&d| GgmlType::from_dtype(d).is_some())
                .map(|d| d.name())
                .collect();
            let at = format_args!("{}: tensor '{}'", self.file.name, shown(self.name().as_bytes()));
            let what = format_args!("{} weights; supported: {}", self.record.ty, known.join(", "));
            return Err(Error::unsupported(at, what));
        };
        // Checked to lie inside the file, so both fit in usize.
        let start = self.file.data_start + self.record.offset as usize;
        let bytes = self.file.bytes.slice(start..start + size as usize);
        let bytes = bytes.ok_or_else(|| Error::internal("a checked tensor range left its file"))?;
        Tensor::new(dtype, self.extents(), bytes)
    }
}

impl std::fmt::Debug for TensorInfo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.name(), self.record.ty, self.extents())
    }
}

fn version(cursor: &mut Cursor<'_>, file: &str) -> Result<u32> {
    let magic = cursor.take(4, "magic")?;
    if magic != MAGIC {
        let what = format_args!("'{}' is not a GGUF file's 'GGUF'", shown(magic));
        return Err(Error::format(file, "magic (byte 0)", what));
    }
    let version = cursor.u32("version")?;
    match version {
        2 | 3 => Ok(version),
        // A small number in the upper half: written with the other byte order.
        v if v.swap_bytes() <= 0xff && v != 0 => Err(Error::unsupported(
            format_args!("{file}: version"),
            "big-endian GGUF; only little endian is read",
        )),
        v => Err(Error::unsupported(
            format_args!("{file}: version"),
            format_args!("GGUF version {v}; versions 2 and 3 are read"),
        )),
    }
}

fn alignment(metadata: &Metadata<'_>) -> Result<u64> {
    let alignment = metadata.opt_u64(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !valid_alignment(alignment) {
        let what = format!("{alignment} is not a power of two from 8 to {MAX_ALIGNMENT}");
        return Err(metadata.error(ALIGNMENT_KEY, what));
    }
    Ok(alignment)
}

pub(super) fn valid_alignment(alignment: u64) -> bool {
    alignment.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(&alignment)
}

/// Where tensor data begins: after the descriptions, aligned.
fn data_start(cursor: &Cursor<'_>, alignment: u64, any: bool) -> Result<usize> {
    let start = (cursor.pos() as u64).checked_next_multiple_of(alignment);
    match start.and_then(|s| usize::try_from(s).ok()) {
        // A file without tensors need not be padded.
        Some(start) if start <= cursor.pos() + cursor.remaining() || !any => Ok(start),
        _ => Err(cursor.error("data section", "the file ends before it")),
    }
}

impl Record {
    fn parse(cursor: &mut Cursor<'_>, i: usize, alignment: u64) -> Result<Self> {
        let at = format!("tensor number {i}");
        let name = cursor.string(&at)?;
        let name_end = cursor.pos();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || std::str::from_utf8(name).is_err() {
            let what = format!("'{}': names are 1 to {MAX_NAME_BYTES} bytes of UTF-8", shown(name));
            return Err(cursor.error(at, what));
        }
        let at = format!("tensor '{}'", shown(name));
        let rank = cursor.u32(&at)?;
        if rank as usize > MAX_DIMS {
            return Err(
                cursor.error(at, format_args!("rank {rank}, at most {MAX_DIMS} is allowed"))
            );
        }
        let mut dims = [1u64; MAX_DIMS];
        for dim in &mut dims[..rank as usize] {
            *dim = cursor.u64(&at)?;
        }
        let ty = GgmlType(cursor.u32(&at)?);
        let offset = cursor.u64(&at)?;
        if offset % alignment != 0 {
            let what =
                format_args!("offset {offset} is not a multiple of the alignment {alignment}");
            return Err(cursor.error(at, what));
        }
        let size = size(&dims, ty).map_err(|what| cursor.error(&at, what))?;
        // GGUF writes the fastest dimension first.
        let mut extents = [1usize; MAX_DIMS];
        for (extent, &dim) in extents.iter_mut().zip(dims[..rank as usize].iter().rev()) {
            *extent = usize::try_from(dim).map_err(|_| cursor.error(&at, too_large(&dims, ty)))?;
        }
        Ok(Record {
            name: name_end - name.len()..name_end,
            ty,
            rank: rank as u8,
            extents,
            offset,
            size,
        })
    }
}

/// The bytes of a tensor; `dims` has the fastest dimension first.
fn size(dims: &[u64; MAX_DIMS], ty: GgmlType) -> std::result::Result<Option<u64>, String> {
    // A zero must not hide extents whose product overflows, and neither must
    // an unknown block size: whoever multiplies extents later relies on it.
    let bounded = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d.max(1)));
    bounded.filter(|&n| n <= i64::MAX as u64).ok_or_else(|| too_large(dims, ty))?;
    let elements: u64 = dims.iter().product();
    let Some((block, bytes)) = ty.block() else { return Ok(None) };
    if !dims[0].is_multiple_of(block) {
        return Err(format!(
            "{ty} with a row of {}: not a multiple of its block of {block}",
            dims[0]
        ));
    }
    (elements / block).checked_mul(bytes).map(Some).ok_or_else(|| too_large(dims, ty))
}

fn too_large(dims: &[u64; MAX_DIMS], ty: GgmlType) -> String {
    format!("{ty} with dimensions {dims:?} is larger than any file")
}
