//! Read-only bytes: owned, part of a mapped file, or several of these one after another.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

/// Shared read-only bytes: an allocation, a range of a memory-mapped file, or several of
/// them joined.
///
/// Cloning shares; nothing is copied. Joined bytes are put together when they are first
/// read as one slice; [`Bytes::get`] reads some of them without that.
#[derive(Clone)]
pub struct Bytes {
    source: Source,
    range: Range<usize>,
}

#[derive(Clone)]
enum Source {
    Owned(Arc<[u8]>),
    Mapped(Arc<memmap2::Mmap>),
    Joined(Arc<Joined>),
}

struct Joined {
    pieces: Vec<Bytes>,
    whole: OnceLock<Vec<u8>>,
}

impl Joined {
    /// Some of the bytes, from the pieces that have them.
    fn get(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        let (mut first, mut out) = (0, Vec::new());
        for piece in &self.pieces {
            let (start, end) = (first.max(range.start), (first + piece.len()).min(range.end));
            if start < end {
                let part = &piece[start - first..end - first];
                if part.len() == range.len() {
                    return Cow::Borrowed(part);
                }
                out.extend_from_slice(part);
            }
            first += piece.len();
        }
        Cow::Owned(out)
    }
}

impl Bytes {
    /// The whole of a mapped file.
    pub fn mapped(map: Arc<memmap2::Mmap>) -> Self {
        let range = 0..map.len();
        Bytes { source: Source::Mapped(map), range }
    }

    /// Several, one after another.
    pub(crate) fn joined(pieces: Vec<Bytes>) -> Self {
        let range = 0..pieces.iter().map(Bytes::len).sum();
        Bytes { source: Source::Joined(Arc::new(Joined { pieces, whole: OnceLock::new() })), range }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Some of the bytes; `None` where the range does not fit. They are copied only where
    /// they lie in more than one piece.
    pub fn get(&self, range: Range<usize>) -> Option<Cow<'_, [u8]>> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start + range.start;
        match &self.source {
            Source::Joined(joined) => Some(joined.get(start..start + range.len())),
            _ => Some(Cow::Borrowed(&self[range])),
        }
    }

    /// All of them, unless they would have to be put together.
    pub(crate) fn in_one_piece(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Joined(joined) => joined.whole.get().map(|whole| &whole[self.range.clone()]),
            _ => Some(self),
        }
    }

    /// A number that no other bytes have that live at the same time, other parts of the
    /// same ones with another beginning included.
    pub(crate) fn address(&self) -> usize {
        match &self.source {
            Source::Joined(joined) => Arc::as_ptr(joined) as usize + self.range.start,
            _ => self.as_ptr() as usize,
        }
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
            Source::Joined(joined) => {
                joined.whole.get_or_init(|| joined.get(0..joined_len(joined)).into_owned())
            }
        };
        &all[self.range.clone()]
    }
}

fn joined_len(joined: &Joined) -> usize {
    joined.pieces.iter().map(Bytes::len).sum()
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes, mapped: {})", self.len(), self.is_mapped())
    }
}
