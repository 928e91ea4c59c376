//! Reading little-endian values from untrusted bytes.

use crate::error::{Error, Result};
use std::fmt::Display;

/// A position in a file's bytes. Every read is checked against what is left;
/// every error names the file and where it happened.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
    file: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], file: &'a str) -> Self {
        Cursor { bytes, pos: 0, file }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.pos
    }

    /// An error at the current offset.
    pub(super) fn error(&self, at: impl Display, what: impl Display) -> Error {
        Error::format(self.file, format_args!("{at} (byte {})", self.pos), what)
    }

    pub(super) fn take(&mut self, n: usize, at: impl Display) -> Result<&'a [u8]> {
        let end = self.pos.checked_add(n).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            let left = self.remaining();
            return Err(self.error(at, format_args!("needs {n} bytes, the file has {left} left")));
        };
        let taken = &self.bytes[self.pos..end];
        self.pos = end;
        Ok(taken)
    }

    pub(super) fn u32(&mut self, at: impl Display) -> Result<u32> {
        let mut raw = [0; 4];
        raw.copy_from_slice(self.take(4, at)?);
        Ok(u32::from_le_bytes(raw))
    }

    pub(super) fn u64(&mut self, at: impl Display) -> Result<u64> {
        let mut raw = [0; 8];
        raw.copy_from_slice(self.take(8, at)?);
        Ok(u64::from_le_bytes(raw))
    }

    /// A count of things that take at least `each` bytes: refused when the
    /// rest of the file cannot hold them, so nothing is ever sized by a
    /// number the file merely claims.
    pub(super) fn count(&mut self, each: usize, at: impl Display) -> Result<usize> {
        let n = self.u64(&at)?;
        let most = self.remaining() / each.max(1);
        match usize::try_from(n) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(self.error(
                at,
                format_args!("claims {n} entries, the rest of the file holds at most {most}"),
            )),
        }
    }

    /// A length-prefixed string's bytes.
    pub(super) fn string(&mut self, at: impl Display) -> Result<&'a [u8]> {
        let n = self.u64(&at)?;
        match usize::try_from(n) {
            Ok(n) if n <= self.remaining() => self.take(n, at),
            _ => {
                let left = self.remaining();
                Err(self.error(at, format_args!("a string of {n} bytes, the file has {left} left")))
            }
        }
    }
}

/// A name from a file, fit for a message: escaped and of bounded length.
pub(in crate::formats) fn shown(name: &[u8]) -> String {
    const MOST: usize = 80;
    let text = String::from_utf8_lossy(&name[..name.len().min(4 * MOST)]);
    let mut out: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() || name.len() > 4 * MOST {
        out.push('…');
    }
    out
}
