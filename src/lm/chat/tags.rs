//! Thoughts that stand between two tags at the beginning of an answer, as in
//! `<think>`, the thoughts, `</think>`. Where the prompt ends with the first tag, the
//! answer begins inside.

use super::channels::Told;

/// The tags of models that think: Qwen3, DeepSeek-R1, SmolLM3, GLM 4.5 and most others;
/// Magistral; Seed-OSS; Command A Reasoning; EXAONE Deep; Apertus; Kimi-VL.
const TAGS: [(&str, &str); 7] = [
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<thought>", "</thought>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("◁think▷", "◁/think▷"),
];

/// The tags of a template: those that it mentions, else the ones that most models have,
/// whose templates need not know of them.
pub(super) fn of(source: &str) -> (&'static str, &'static str) {
    let known = TAGS.iter().find(|(begin, end)| source.contains(begin) || source.contains(end));
    *known.unwrap_or(&TAGS[0])
}

/// Takes a text in pieces apart into what is thought and what is said. White space at
/// either end of the thoughts, and before what follows them, is left out, as in
/// llama.cpp's server.
#[derive(Debug, Clone)]
pub(super) struct Tagged {
    begin: &'static str,
    end: &'static str,
    place: Place,
    /// What cannot be told yet.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first character that is no white space.
    Beginning,
    /// In the thoughts, before their first character.
    Opened,
    Thought,
    /// Behind the thoughts, before the first character of what is said.
    Closed,
    Said,
}

impl Tagged {
    /// For an answer to a prompt that ends with `asked`.
    pub(super) fn new((begin, end): (&'static str, &'static str), asked: &str) -> Self {
        let open = asked.trim_end().ends_with(begin);
        let place = if open { Place::Opened } else { Place::Beginning };
        Tagged { begin, end, place, held: String::new() }
    }

    /// Takes more text; gives what is certain.
    pub(super) fn push(&mut self, text: &str) -> Told {
        self.held.push_str(text);
        let mut told = Told::default();
        while self.step(&mut told) {}
        told
    }

    /// Goes on to the next place; `false` if more text is needed.
    fn step(&mut self, told: &mut Told) -> bool {
        let begun = self.held.trim_start();
        match self.place {
            Place::Said => {
                told.text.push_str(&std::mem::take(&mut self.held));
                false
            }
            _ if begun.is_empty() => false,
            Place::Beginning | Place::Opened if begun.starts_with(self.begin) => {
                // A model may repeat the tag that the prompt ends with.
                self.held = begun[self.begin.len()..].into();
                self.place = Place::Opened;
                true
            }
            Place::Beginning | Place::Opened if self.begin.starts_with(begun) => false,
            Place::Beginning => {
                self.place = Place::Said;
                true
            }
            Place::Opened => {
                self.held = begun.into();
                self.place = Place::Thought;
                true
            }
            Place::Thought => self.think(told),
            Place::Closed => {
                self.held = begun.into();
                self.place = Place::Said;
                true
            }
        }
    }

    fn think(&mut self, told: &mut Told) -> bool {
        if let Some(at) = self.held.find(self.end) {
            told.thought.push_str(self.held[..at].trim_end());
            self.held.drain(..at + self.end.len());
            self.place = Place::Closed;
            return true;
        }
        let certain = self.held.len() - begun(&self.held, self.end);
        let certain = self.held[..certain].trim_end().len();
        told.thought.extend(self.held.drain(..certain));
        false
    }

    /// Ends the text: what was held back.
    pub(super) fn finish(&mut self) -> Told {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Beginning | Place::Said => Told { text: held, thought: String::new() },
            Place::Opened | Place::Thought => {
                Told { text: String::new(), thought: held.trim_end().into() }
            }
            Place::Closed => Told::default(),
        }
    }
}

/// How many bytes at the end of a text may begin a tag.
fn begun(text: &str, tag: &str) -> usize {
    let fits = |&length: &usize| tag.get(..length).is_some_and(|part| text.ends_with(part));
    (1..tag.len()).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pieces, what comes of them is the same.
    fn taken(asked: &str, text: &str) -> (String, String) {
        let letters: Vec<char> = text.chars().collect();
        let results = [1, 2, 5, 11, 1000].map(|size| {
            let mut tagged = Tagged::new(of(asked), asked);
            let mut all = Told::default();
            let mut parts: Vec<Told> = letters
                .chunks(size)
                .map(|part| tagged.push(&part.iter().collect::<String>()))
                .collect();
            parts.push(tagged.finish());
            for part in parts {
                all.text.push_str(&part.text);
                all.thought.push_str(&part.thought);
            }
            (all.thought, all.text)
        });
        results.windows(2).for_each(|pair| assert_eq!(pair[0], pair[1], "{text}"));
        results[0].clone()
    }

    fn both(thought: &str, text: &str) -> (String, String) {
        (thought.into(), text.into())
    }

    #[test]
    fn thoughts_come_before_what_is_said() {
        let text = "\n<think>\nIs a </b> a tag?\n\nYes.\n</think>\n\nYes, </think> is one. \n";
        let wanted = both("Is a </b> a tag?\n\nYes.", "Yes, </think> is one. \n");
        assert_eq!(taken("", text), wanted);
        // As Qwen3 answers when it is told not to think.
        assert_eq!(taken("", "<think>\n\n</think>\n\nYes."), both("", "Yes."));
        assert_eq!(taken("[THINK]", " [THINK] [/THINK]"), both("", ""));
        assert_eq!(taken("a ◁think▷ b", "◁think▷so◁/think▷yes"), both("so", "yes"));
    }

    #[test]
    fn a_prompt_can_open_them() {
        let asked = "<|Assistant|><think>\n";
        assert_eq!(taken(asked, "So.\n</think>\n\nYes."), both("So.", "Yes."));
        assert_eq!(taken(asked, "<think>\nSo.</think>Yes."), both("So.", "Yes."));
        assert_eq!(taken(asked, "So, <thin"), both("So, <thin", ""));
        assert_eq!(taken(asked, "So</thi"), both("So</thi", ""));
        assert_eq!(taken(asked, ""), both("", ""));
        // And close them.
        assert_eq!(taken("<think>\n\n</think>\n\n", "Yes."), both("", "Yes."));
    }

    #[test]
    fn what_only_looks_like_thoughts_is_said() {
        for text in ["", " \n", "<thin", "<thing>", "I <think>so</think>.", "</think>", " Yes"] {
            assert_eq!(taken("", text), both("", text));
        }
    }
}
