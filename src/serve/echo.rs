//! A prompt that is told before the text that follows it, and where its tokens stand in it.

use crate::lm::LogProbabilities;
use crate::lm::tokenizer::{TokenKind, Tokenizer};
use std::sync::Arc;

/// A prompt that is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Before {
    pub(super) text: Arc<str>,
    /// Of the text.
    pub(super) characters: usize,
}

impl From<String> for Before {
    fn from(text: String) -> Self {
        Before { characters: text.chars().count(), text: text.into() }
    }
}

/// A token, the number of characters before it, and how likely it was.
pub(super) type Told<'a> = (usize, u32, Option<&'a LogProbabilities>);

/// Where the tokens of a prompt stand in its text.
///
/// A special token that is not written in the text, such as the one that a vocabulary puts
/// in front, stands where the next one does, and takes no room. The space that some put
/// before a text takes none either. Where a vocabulary changes what it reads (folds case,
/// composes characters), tokens stand about there.
pub(super) fn placed<'a>(
    text: &str,
    tokens: &'a [(u32, Option<LogProbabilities>)],
    tokenizer: &Tokenizer,
) -> Vec<Told<'a>> {
    let mut at = Place { text, bytes: 0, counted: 0, characters: 0 };
    let place = |(token, p): &'a (u32, Option<LogProbabilities>)| {
        let bytes = tokenizer.token_bytes(*token).unwrap_or_default();
        let control = tokenizer.kind(*token) == Some(TokenKind::Control);
        (at.take(bytes, control), *token, p.as_ref())
    };
    tokens.iter().map(place).collect()
}

/// A place in a text that goes forward.
struct Place<'a> {
    text: &'a str,
    /// Bytes of tokens so far.
    bytes: usize,
    /// The beginning of the character that the place is in or before, in bytes and in
    /// characters.
    counted: usize,
    characters: usize,
}

impl Place<'_> {
    /// Goes over a token; gives how many characters were before it.
    fn take(&mut self, token: &[u8], control: bool) -> usize {
        let rest = self.text.as_bytes().get(self.bytes..).unwrap_or_default();
        let here = self.here();
        let without = token.strip_prefix(b" ").filter(|_| self.bytes == 0);
        let length = match without {
            _ if rest.starts_with(token) => token.len(),
            Some(without) if rest.starts_with(without) => without.len(),
            _ if control => 0,
            _ => token.len(),
        };
        self.bytes = (self.bytes + length).min(self.text.len());
        here
    }

    /// The number of the character that the place is in.
    fn here(&mut self) -> usize {
        while let Some(next) = self.text.get(self.counted..).and_then(|rest| rest.chars().next())
            && self.counted + next.len_utf8() <= self.bytes
        {
            self.counted += next.len_utf8();
            self.characters += 1;
        }
        self.characters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str, tokens: &[(&[u8], bool)]) -> Vec<usize> {
        let mut at = Place { text, bytes: 0, counted: 0, characters: 0 };
        tokens.iter().map(|(token, control)| at.take(token, *control)).collect()
    }

    #[test]
    fn tokens_of_a_prompt_stand_in_its_text() {
        let tokens: [(&[u8], bool); 6] = [
            (b"<s>", true),
            (b" a", false),
            (b"\xc3\xa9", false),
            (b"\xe2\x82", false),
            (b"\xac", false),
            (b" z", false),
        ];
        assert_eq!(places("aé€ z", &tokens), [0, 0, 1, 2, 2, 3]);
        // A special token that is written in it takes its room.
        assert_eq!(places("<s>x", &[(b"<s>", true), (b"x", false)]), [0, 3]);
        // What the text does not have ends with it.
        let other: [(&[u8], bool); 3] = [(b"abc", false), (b"d", false), (b"e", false)];
        assert_eq!(places("ABc", &other), [0, 3, 3]);
        assert_eq!(places("", &other[..1]), [0]);
    }
}
