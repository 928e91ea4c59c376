//! A look over a file before it is decoded. A message of two bytes becomes a
//! structure of some hundred, so their number is limited first, and so is how
//! deep they are nested.

use crate::error::{Error, Result};

/// The most messages read. The largest models in use have some ten thousand
/// nodes with a few attributes each.
const MOST_MESSAGES: usize = 1 << 21;
/// How deep messages may be nested; the decoder's own limit is 100.
const DEEPEST: usize = 96;

/// A message whose fields may be messages.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Function,
    Info,
    Type,
    Element,
    Shape,
    Leaf,
}

/// What a length-delimited field of a message is, where it is a message. The
/// numbers are those in `proto.rs`.
fn inside(kind: Kind, field: u64) -> Option<Kind> {
    use Kind::*;
    Some(match (kind, field) {
        (Model, 7) | (Attribute, 6 | 11) => Graph,
        (Model, 25) => Function,
        (Model, 8 | 14) | (Tensor, 3 | 13) | (Function, 9) => Leaf,
        (Graph, 1) | (Function, 7) => Node,
        (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
        (Graph, 11..=13) => Info,
        (Graph, 15) | (Attribute, 22) => Sparse,
        (Node, 5) | (Function, 11) => Attribute,
        (Attribute, 14) | (Info, 2) | (Element, 1) => Type,
        (Type, 1 | 4 | 8 | 9) => Element,
        (Element, 2) => Shape,
        (Shape, 1) | (Type, 5) => Leaf,
        _ => return None,
    })
}

/// Counts the messages of a file.
///
/// # Errors
/// If the bytes are not messages, or there are too many or too deep ones.
pub(super) fn look_over(bytes: &[u8], file: &str) -> Result<()> {
    let mut walk = Walk { bytes, file, at: 0, messages: 0 };
    walk.message(Kind::Model, bytes.len(), 0)
}

struct Walk<'a> {
    bytes: &'a [u8],
    file: &'a str,
    at: usize,
    messages: usize,
}

impl Walk<'_> {
    fn message(&mut self, kind: Kind, end: usize, depth: usize) -> Result<()> {
        self.messages += 1;
        if self.messages > MOST_MESSAGES {
            return self.wrong(format_args!("more than {MOST_MESSAGES} messages"));
        }
        if depth > DEEPEST {
            return self.wrong(format_args!("messages nested deeper than {DEEPEST}"));
        }
        while self.at < end {
            let key = self.varint(end)?;
            match key & 7 {
                0 => self.varint(end).map(|_| ())?,
                1 => self.skip(8, end)?,
                5 => self.skip(4, end)?,
                2 => {
                    let length = self.varint(end)?;
                    let start = self.at;
                    self.skip(length, end)?;
                    if let Some(inner) = inside(kind, key >> 3) {
                        let stop = std::mem::replace(&mut self.at, start);
                        self.message(inner, stop, depth + 1)?;
                    }
                }
                other => {
                    return self.wrong(format_args!("wire type {other}: not an ONNX file"));
                }
            }
        }
        Ok(())
    }

    fn varint(&mut self, end: usize) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at).filter(|_| self.at < end) else {
                return self.wrong("a number is cut off");
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        self.wrong("a number of more than 64 bits")
    }

    fn skip(&mut self, length: u64, end: usize) -> Result<()> {
        match usize::try_from(length).ok().and_then(|length| self.at.checked_add(length)) {
            Some(at) if at <= end => {
                self.at = at;
                Ok(())
            }
            _ => {
                let left = end - self.at;
                self.wrong(format_args!("a field of {length} bytes where {left} are left"))
            }
        }
    }

    fn wrong<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        Err(Error::format(self.file, format_args!("byte {}", self.at), what))
    }
}
