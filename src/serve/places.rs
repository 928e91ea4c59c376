//! Where the tokens of a text stand in it, for those who ask for probabilities.

use crate::lm::Piece;
use crate::lm::stream::Utf8Stream;
use std::collections::VecDeque;

/// Tokens whose text is told, each with the number of characters before it.
pub(super) type Placed = Vec<(usize, Piece)>;

/// Counts the characters of one text, and holds back tokens until it is certain that no
/// stop string cuts them off.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    stream: Utf8Stream,
    /// Characters that the tokens made.
    made: usize,
    /// Those of them that are told.
    told: usize,
    waiting: VecDeque<(usize, Piece)>,
}

impl Places {
    /// Takes the next token, which stands for `bytes`. Gives those that are certain now.
    ///
    /// A part of a character stands where that character does.
    pub(super) fn take(&mut self, piece: Piece, bytes: &[u8]) -> Placed {
        self.told += piece.text.chars().count();
        let before = self.made;
        self.made += self.stream.push(bytes).chars().count();
        let at = match std::str::from_utf8(bytes) {
            // What came before it and never became a character is one now.
            Ok(text) => self.made.saturating_sub(text.chars().count()),
            Err(_) => before,
        };
        if piece.log_probabilities.is_some() {
            self.waiting.push_back((at, piece));
        }
        self.certain()
    }

    /// Ends the text with what was held back of it. Gives the tokens that are in it.
    pub(super) fn finish(&mut self, rest: &str) -> Placed {
        self.told += rest.chars().count();
        self.made += self.stream.finish().chars().count();
        match self.told < self.made {
            // A stop string, and what came with it.
            true => self.certain(),
            false => self.waiting.drain(..).collect(),
        }
    }

    fn certain(&mut self) -> Placed {
        let count = self.waiting.iter().take_while(|(at, _)| *at < self.told).count();
        self.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lm::LogProbabilities;

    fn piece(token: u32, text: &str) -> Piece {
        let log_probabilities = Some(LogProbabilities { chosen: -1.0, top: Vec::new() });
        Piece { token, text: text.into(), log_probabilities }
    }

    fn places(placed: &Placed) -> Vec<(usize, u32)> {
        placed.iter().map(|(at, piece)| (*at, piece.token)).collect()
    }

    #[test]
    fn characters_count_and_not_bytes() {
        let mut all = Places::default();
        assert_eq!(places(&all.take(piece(1, "é "), "é ".as_bytes())), [(0, 1)]);
        assert_eq!(places(&all.take(piece(2, ""), b"\xe2\x82")), []);
        assert_eq!(places(&all.take(piece(3, "€"), b"\xac")), [(2, 2), (2, 3)]);
        // It is broken by what follows, and told as U+FFFD before it.
        assert_eq!(places(&all.take(piece(4, ""), b"\xe2")), []);
        assert_eq!(places(&all.take(piece(5, "\u{fffd}x"), b"x")), [(3, 4), (4, 5)]);
        assert_eq!(places(&all.take(piece(6, ""), b"\xf0\x9f")), []);
        assert_eq!(places(&all.finish("\u{fffd}")), [(5, 6)]);
    }

    #[test]
    fn a_stop_string_is_no_part_of_a_text() {
        let begun = || {
            let mut all = Places::default();
            assert_eq!(places(&all.take(piece(1, "an "), b"an E")), [(0, 1)]);
            assert_eq!(places(&all.take(piece(2, ""), b"N")), []);
            all
        };
        let mut all = begun();
        assert_eq!(places(&all.take(piece(3, ""), b"D")), []);
        assert_eq!(places(&all.finish("")), []);
        let mut all = begun();
        assert_eq!(places(&all.take(piece(3, "ENE"), b"E")), [(4, 2), (5, 3)]);
        let mut all = begun();
        assert_eq!(places(&all.finish("EN")), [(4, 2)]);
        // A token without a text, at the end.
        assert_eq!(places(&all.take(piece(4, ""), b"")), []);
        assert_eq!(places(&all.finish("")), [(5, 4)]);
    }
}
