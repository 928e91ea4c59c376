//! Text from tokens as they come.

/// Turns bytes that arrive in pieces into text.
///
/// A token can end in the middle of a character. Those bytes are held back
/// until the character is whole, so every piece of text is final. Bytes that
/// can never become a character give U+FFFD, one for each maximal prefix of a
/// character, exactly as [`String::from_utf8_lossy`] would over all bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Utf8Stream {
    /// The beginning of a character, at most three bytes.
    held: Vec<u8>,
}

impl Utf8Stream {
    /// A stream that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives the text that is now certain.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let end = done + chunk.invalid().len();
            if chunk.invalid().is_empty() {
                continue;
            }
            // An incomplete character at the very end may still be completed.
            if end == self.held.len() && incomplete(chunk.invalid()) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done = end;
        }
        self.held.drain(..done);
        text
    }

    /// Whether bytes of an unfinished character are held back.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Ends the stream: what is held back can no longer become a character.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_waits_until_it_is_whole() {
        let mut stream = Utf8Stream::new();
        let bytes = "🙂".as_bytes();
        for &byte in &bytes[..3] {
            assert_eq!(stream.push(&[byte]), "");
            assert!(stream.is_holding());
        }
        assert_eq!(stream.push(&bytes[3..]), "🙂");
        assert!(!stream.is_holding());
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn what_cannot_become_a_character_is_replaced_at_once() {
        let mut stream = Utf8Stream::new();
        assert_eq!(stream.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(stream.push(b"\xe4\xbd"), "");
        // The held bytes are broken by what follows, which is itself good.
        assert_eq!(stream.push(b"x"), "\u{fffd}x");
        assert_eq!(stream.push(b"\xf0\x9f"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_text(
            parts in prop::collection::vec(
                prop_oneof![
                    any::<char>().prop_map(|c| c.to_string().into_bytes()),
                    prop::collection::vec(any::<u8>(), 0..4),
                ],
                0..12,
            ),
            cuts in prop::collection::vec(1usize..5, 1..20),
        ) {
            let bytes = parts.concat();
            let (mut stream, mut text, mut rest) = (Utf8Stream::new(), String::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (piece, more) = rest.split_at(*cut.min(&rest.len()));
                text.push_str(&stream.push(piece));
                prop_assert!(stream.held.len() < 4);
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            text.push_str(&stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
