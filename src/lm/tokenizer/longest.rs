//! The tokenizer of RWKV: at each place of a text the longest token that stands there.
//! Tokens are bytes, which files spell as Python does between quotes.

use super::TokenKind;
use super::vocab::{TokenIds, Vocab};
use crate::error::{Error, Result};
use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};

/// Tokens by their bytes.
pub(super) struct Longest {
    ids: TokenIds,
    finder: AhoCorasick,
    /// The token of each pattern of the finder.
    tokens: Vec<u32>,
}

impl Longest {
    /// For the tokens of a vocabulary.
    ///
    /// # Errors
    /// [`Error::Internal`] if they are more than can be looked for.
    pub(super) fn new(ids: TokenIds, vocab: &Vocab) -> Result<Self> {
        // What is structure is no text that begins like it; llama.cpp does not tell them apart.
        let text = |id: &u32| vocab.kind(*id) != Some(TokenKind::Control);
        let all = (0..vocab.len() as u32).filter(text);
        let all = all.filter_map(|id| Some((id, vocab.bytes(id)?)));
        let (tokens, patterns): (Vec<u32>, Vec<&[u8]>) =
            all.filter(|(_, bytes)| !bytes.is_empty()).unzip();
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .start_kind(StartKind::Anchored)
            .build(patterns)
            .map_err(Error::internal)?;
        Ok(Longest { ids, finder, tokens })
    }

    /// The token with this text in the file's spelling.
    pub(super) fn token_id(&self, spelling: &str) -> Option<u32> {
        self.ids.get(spelling).copied()
    }

    /// Appends the tokens of a text.
    ///
    /// # Errors
    /// If there is a byte that no token begins with.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut at = 0;
        while at < text.len() {
            let input = Input::new(text.as_bytes()).span(at..text.len()).anchored(Anchored::Yes);
            let found = self.finder.try_find(input).map_err(Error::internal)?;
            let token = found.and_then(|found| {
                at = found.end();
                self.tokens.get(found.pattern().as_usize())
            });
            let none = || {
                let what = format!("byte 0x{:02x}, which no token has", text.as_bytes()[at]);
                Error::input("text", "what the vocabulary can express", what)
            };
            ids.push(*token.ok_or_else(none)?);
        }
        Ok(())
    }
}

/// Appends the bytes that a token is spelled for: `\t`, `\n`, `\r`, `\xe2`, and any other
/// character behind a backslash for itself.
///
/// # Errors
/// What is wrong with it.
pub(super) fn unescape(spelling: &str, out: &mut Vec<u8>) -> std::result::Result<(), String> {
    let mut rest = spelling;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let mut letters = behind.chars();
        match letters.next() {
            Some('t') => out.push(b'\t'),
            Some('n') => out.push(b'\n'),
            Some('r') => out.push(b'\r'),
            Some('x') => {
                let byte = behind.get(1..3).and_then(|two| u8::from_str_radix(two, 16).ok());
                out.push(byte.ok_or_else(|| format!("'{}' is no byte", spelling.escape_debug()))?);
                letters = behind[3..].chars();
            }
            Some(other) => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            None => (),
        }
        rest = letters.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelled_as_python_does() {
        let bytes = |text: &str| {
            let mut out = Vec::new();
            unescape(text, &mut out).map(|()| out)
        };
        assert_eq!(bytes(r"a\t\n\r\\\'\xe2\x82b").unwrap(), b"a\t\n\r\\'\xe2\x82b");
        assert_eq!(bytes("\u{e9}").unwrap(), "\u{e9}".as_bytes());
        for wrong in [r"\x", r"\x1", r"\xg0", "\\x\u{e9}"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
