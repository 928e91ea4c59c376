//! Read-only bytes that are either owned or part of a mapped file.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Shared read-only bytes: an allocation or a range of a memory-mapped file.
///
/// Cloning shares; nothing is copied.
#[derive(Clone)]
pub struct Bytes {
    source: Source,
    range: Range<usize>,
}

#[derive(Clone)]
enum Source {
    Owned(Arc<[u8]>),
    Mapped(Arc<memmap2::Mmap>),
}

impl Bytes {
    /// The whole of a mapped file.
    pub fn mapped(map: Arc<memmap2::Mmap>) -> Self {
        let range = 0..map.len();
        Bytes { source: Source::Mapped(map), range }
    }

    /// A part of these bytes, sharing them; `None` where the range does not fit.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Bytes { source: self.source.clone(), range: start..start + range.len() })
    }

    /// Whether the bytes belong to a mapped file rather than to the heap.
    pub fn is_mapped(&self) -> bool {
        matches!(self.source, Source::Mapped(_))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Bytes { source: Source::Owned(bytes.into()), range }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.source {
            Source::Owned(bytes) => bytes,
            Source::Mapped(map) => map,
        };
        &all[self.range.clone()]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes, mapped: {})", self.len(), self.is_mapped())
    }
}
