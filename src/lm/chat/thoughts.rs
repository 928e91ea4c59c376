//! Thoughts that stand between two marks of a text, as Gemma 4 writes them:
//! `<|channel>thought`, a line end, the thoughts, `<channel|>`; what is said follows.

use super::channels::Told;

/// What thoughts begin with; the rest of the line is a name.
pub(super) const BEGIN: &str = "<|channel>";
/// What they end with.
pub(super) const END: &str = "<channel|>";

/// Takes a text in pieces apart into what is said and what is thought.
#[derive(Debug, Clone, Default)]
pub(super) struct Thoughts {
    place: Place,
    /// What cannot be told yet.
    held: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Said,
    /// In the line that begins thoughts.
    Name,
    Thought,
}

impl Thoughts {
    /// Takes more text; gives what is certain.
    pub(super) fn push(&mut self, text: &str) -> Told {
        self.held.push_str(text);
        let mut told = Told::default();
        while self.step(&mut told) {}
        told
    }

    /// Goes on to the next mark; `false` if more text is needed.
    fn step(&mut self, told: &mut Told) -> bool {
        let (mark, next) = match self.place {
            Place::Said => (BEGIN, Place::Name),
            Place::Name => ("\n", Place::Thought),
            Place::Thought => (END, Place::Said),
        };
        // Thoughts may end in the line that begins them.
        let ended = if self.place == Place::Name { self.held.find(END) } else { None };
        let found = self.held.find(mark).filter(|at| ended.is_none_or(|end| *at < end));
        let (end, mark, next) = match (found, ended) {
            (Some(at), _) => (Some(at), mark, next),
            (None, Some(end)) => (Some(end), END, Place::Said),
            (None, None) => (None, mark, next),
        };
        let keep = end.unwrap_or_else(|| self.held.len() - begun(&self.held, mark));
        let rest = self.held.split_off(keep);
        let part = std::mem::replace(&mut self.held, rest);
        match self.place {
            Place::Said => told.text.push_str(&part),
            Place::Thought => told.thought.push_str(&part),
            // A name is kept until its line ends, in case its mark is yet to come.
            Place::Name if end.is_none() => self.held.insert_str(0, &part),
            Place::Name => (),
        }
        if end.is_some() {
            self.held.drain(..mark.len());
            self.place = next;
        }
        end.is_some()
    }

    /// Ends the text: what was held back.
    pub(super) fn finish(&mut self) -> Told {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Said => Told { text: held, thought: String::new() },
            Place::Thought => Told { text: String::new(), thought: held },
            Place::Name => Told::default(),
        }
    }
}

/// How many bytes at the end of a text may begin a mark.
fn begun(text: &str, mark: &str) -> usize {
    let fits = |&length: &usize| text.ends_with(&mark[..length]);
    (1..mark.len()).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&str]) -> (String, String) {
        let mut thoughts = Thoughts::default();
        let mut all = Told::default();
        let mut parts: Vec<Told> = pieces.iter().map(|piece| thoughts.push(piece)).collect();
        parts.push(thoughts.finish());
        for part in parts {
            all.text.push_str(&part.text);
            all.thought.push_str(&part.thought);
        }
        (all.text, all.thought)
    }

    #[test]
    fn thoughts_are_taken_out_wherever_the_text_is_cut() {
        let text = "<|channel>thought\nTwo and two.\n<channel|>Four <|chan \u{e9}.";
        let wanted = ("Four <|chan \u{e9}.".to_string(), "Two and two.\n".to_string());
        assert_eq!(told(&[text]), wanted);
        let each: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(told(&each.iter().map(String::as_str).collect::<Vec<_>>()), wanted);
    }

    #[test]
    fn no_thoughts_empty_ones_and_some_that_are_cut_off() {
        assert_eq!(told(&["Just this."]), ("Just this.".into(), String::new()));
        assert_eq!(told(&["<|channel>thought\n<channel|>Yes"]), ("Yes".into(), String::new()));
        assert_eq!(told(&["<|channel>thought<channel|>Yes"]), ("Yes".into(), String::new()));
        assert_eq!(told(&["<|channel>thought\nso fa"]), (String::new(), "so fa".into()));
        assert_eq!(told(&["<|channel>thou"]), (String::new(), String::new()));
    }
}
