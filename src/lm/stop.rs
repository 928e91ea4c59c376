//! Strings that end a text.

/// Looks for stop strings in text that comes in pieces, and holds back only
/// what may still become one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    /// The strings to look for; empty ones are left out.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        StopStrings { stops, held: String::new() }
    }

    /// Takes more text. Gives what is now certain to come before any stop
    /// string, and whether one is complete: then the rest is dropped.
    ///
    /// The string that begins first counts, as if the whole text were looked
    /// through, however it was cut.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop)).min();
        let keep = self.held.len() - self.may_begin();
        match found {
            // Before it another one may have begun and be still incomplete.
            Some(at) if at <= keep => {
                self.held.truncate(at);
                (std::mem::take(&mut self.held), true)
            }
            _ => {
                let rest = self.held.split_off(keep);
                (std::mem::replace(&mut self.held, rest), false)
            }
        }
    }

    /// Ends the text: what is held back, up to a stop string that only waited
    /// for a longer one to be complete, and whether there was one.
    pub fn finish(&mut self) -> (String, bool) {
        let mut rest = std::mem::take(&mut self.held);
        let found = self.stops.iter().filter_map(|stop| rest.find(stop)).min();
        if let Some(at) = found {
            rest.truncate(at);
        }
        (rest, found.is_some())
    }

    /// How long the longest end of the text is that begins a stop string.
    fn may_begin(&self) -> usize {
        let begins = |stop: &String| {
            let most = stop.len().saturating_sub(1).min(self.held.len());
            (1..=most).rev().find(|&n| stop.is_char_boundary(n) && self.held.ends_with(&stop[..n]))
        };
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(stops: &[&str]) -> StopStrings {
        StopStrings::new(&stops.iter().map(|stop| stop.to_string()).collect::<Vec<_>>())
    }

    fn text(text: &str, stopped: bool) -> (String, bool) {
        (text.into(), stopped)
    }

    #[test]
    fn only_what_may_become_a_stop_is_held_back() {
        let mut s = stops(&["END", "", "é!"]);
        assert_eq!(s.push("an E"), text("an ", false));
        assert_eq!(s.push("Nd E"), text("ENd ", false));
        assert_eq!(s.push("é"), text("E", false));
        assert_eq!(s.push("N"), text("éN", false));
        assert_eq!(s.push("EN"), text("", false));
        assert_eq!(s.push("D and more"), text("", true));
        let mut s = stops(&["END"]);
        assert_eq!(s.push("E"), text("", false));
        assert_eq!(s.finish(), text("E", false));
        assert_eq!(stops(&[]).push("all of it"), text("all of it", false));
    }

    /// `bc` is complete while `abcd`, which began before it, is not yet.
    #[test]
    fn the_first_to_begin_counts() {
        let mut s = stops(&["abcd", "bc"]);
        assert_eq!(s.push("xabc"), text("x", false));
        assert_eq!(s.clone().push("d"), text("", true));
        assert_eq!(s.clone().push("e"), text("a", true));
        assert_eq!(s.finish(), text("a", true));
    }

    proptest! {
        /// However the text is cut, it ends where the earliest stop string begins.
        #[test]
        fn any_cut_gives_the_same(
            letters in "[abé]{0,24}",
            words in prop::collection::vec("[abé]{1,4}", 0..4),
            cuts in prop::collection::vec(1usize..5, 1..8),
        ) {
            let at = words.iter().filter_map(|word| letters.find(word.as_str())).min();
            let wanted = &letters[..at.unwrap_or(letters.len())];
            let mut s = StopStrings::new(&words);
            let (mut got, mut stopped) = (String::new(), false);
            let letters: Vec<char> = letters.chars().collect();
            let (mut rest, mut cuts) = (&letters[..], cuts.iter().cycle());
            while !rest.is_empty() && !stopped {
                let cut = (*cuts.next().unwrap_or(&1)).min(rest.len());
                let piece: String = rest[..cut].iter().collect();
                rest = &rest[cut..];
                let (certain, done) = s.push(&piece);
                got.push_str(&certain);
                stopped = done;
                prop_assert!(wanted.starts_with(&got), "{got} is no part of {wanted}");
            }
            if !stopped {
                let (certain, done) = s.finish();
                got.push_str(&certain);
                stopped = done;
            }
            prop_assert_eq!(got, wanted);
            prop_assert_eq!(stopped, at.is_some());
        }
    }
}
