//! Answers in channels (gpt-oss' Harmony format): what a model thinks, what it says
//! and whom it calls are messages of one text, each behind a header.

use super::ToolCall;
use super::tools::call_of;
use serde_json::Value;

pub(super) const CHANNEL: &str = "<|channel|>";
pub(super) const MESSAGE: &str = "<|message|>";
/// The header of what is said.
pub(in crate::lm) const FINAL: &str = "<|channel|>final<|message|>";
const START: &str = "<|start|>";

/// What a message ends with: its own marks, or the next one's beginning.
const ENDS: [&str; 4] = ["<|end|>", "<|call|>", "<|return|>", START];

/// What a text in channels begins with; the last after `assistant` in the prompt.
const BEGINNINGS: [&str; 3] = [CHANNEL, START, "to="];

/// The tools of a request are called by their names behind this.
pub(super) const FUNCTIONS: &str = "functions.";

/// What was said, and what was thought before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// For whoever asked.
    pub text: String,
    /// The model's thoughts.
    pub thought: String,
}

/// Where in a text it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// At the beginning, where a text without channels is all answer.
    Beginning,
    /// In a header, or before one.
    Header,
    /// In a message of this kind.
    Message(Kind),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Said,
    Thought,
    /// To a tool of this name.
    Call(String),
}

/// Takes a text in pieces apart into what is said and what is thought; calls come at
/// the end.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    place: Place,
    /// What cannot be told yet.
    held: String,
    /// Names of tools, and what they are called with.
    calls: Vec<(String, String)>,
}

impl Channels {
    pub(super) fn new() -> Self {
        Channels { place: Place::Beginning, held: String::new(), calls: Vec::new() }
    }

    /// Takes more text; gives what is certain.
    pub(super) fn push(&mut self, text: &str) -> Told {
        self.held.push_str(text);
        let mut told = Told::default();
        while self.step(&mut told) {}
        told
    }

    /// Goes on by one header or message; `false` if more text is needed.
    fn step(&mut self, told: &mut Told) -> bool {
        match self.place.clone() {
            Place::Beginning => {
                let begun = self.held.trim_start();
                if BEGINNINGS.iter().any(|mark| begun.starts_with(mark)) {
                    self.place = Place::Header;
                } else if BEGINNINGS.iter().any(|mark| mark.starts_with(begun)) {
                    return false;
                } else {
                    self.place = Place::Message(Kind::Said);
                }
                true
            }
            Place::Header => {
                let Some(at) = self.held.find(MESSAGE) else { return false };
                let rest = self.held.split_off(at + MESSAGE.len());
                let header = std::mem::replace(&mut self.held, rest);
                let kind = Kind::of(&header[..at]);
                if let Kind::Call(name) = &kind {
                    self.calls.push((name.clone(), String::new()));
                }
                self.place = Place::Message(kind);
                true
            }
            Place::Message(kind) => {
                let end = ENDS.iter().filter_map(|mark| self.held.find(mark)).min();
                let keep = end.unwrap_or_else(|| self.held.len() - may_end(&self.held));
                let rest = self.held.split_off(keep);
                let part = std::mem::replace(&mut self.held, rest);
                self.tell(&kind, &part, told);
                if end.is_some() {
                    self.place = Place::Header;
                }
                end.is_some()
            }
        }
    }

    fn tell(&mut self, kind: &Kind, part: &str, told: &mut Told) {
        match kind {
            Kind::Said => told.text.push_str(part),
            Kind::Thought => told.thought.push_str(part),
            Kind::Call(_) => {
                if let Some((_, arguments)) = self.calls.last_mut() {
                    arguments.push_str(part);
                }
            }
        }
    }

    /// Ends the text: what was held back, and the calls. One whose arguments are no
    /// object, as where a text is cut off, is told as text.
    pub(super) fn finish(&mut self) -> (Told, Vec<ToolCall>) {
        let mut told = Told::default();
        let held = std::mem::take(&mut self.held);
        match self.place.clone() {
            Place::Beginning => told.text = held,
            // A header that was cut off says nothing.
            Place::Header => (),
            Place::Message(kind) => self.tell(&kind, &held, &mut told),
        }
        let mut calls = Vec::new();
        for (name, arguments) in std::mem::take(&mut self.calls) {
            let value: Option<Value> = serde_json::from_str(arguments.trim()).ok();
            match value.and_then(|value| call_of(&name, value)) {
                Some(call) => calls.push(call),
                None => told.text.push_str(&arguments),
            }
        }
        (told, calls)
    }
}

impl Kind {
    /// Of a message behind a header, such as `assistant<|channel|>commentary
    /// to=functions.sky <|constrain|>json`. Calls of tools that are the model's own
    /// (`python`, `browser.search`) are thoughts: nobody here answers them.
    fn of(header: &str) -> Kind {
        let word = |mark: &str| {
            let (_, rest) = header.split_once(mark)?;
            let end = |c: char| c.is_whitespace() || c == '<';
            rest.split(end).next().filter(|word| !word.is_empty())
        };
        match (word("to="), word(CHANNEL)) {
            (Some(to), _) => match to.strip_prefix(FUNCTIONS) {
                Some(name) => Kind::Call(name.into()),
                None => Kind::Thought,
            },
            (None, Some("analysis")) => Kind::Thought,
            (None, _) => Kind::Said,
        }
    }
}

/// How long the longest end of a text is that a mark begins with.
fn may_end(text: &str) -> usize {
    let begins = |mark: &&str| {
        let most = mark.len().saturating_sub(1).min(text.len());
        (1..=most).rev().find(|&n| text.ends_with(&mark[..n]))
    };
    ENDS.iter().filter_map(begins).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Whatever the pieces, what comes of them is the same.
    fn taken(text: &str) -> (String, String, Vec<ToolCall>) {
        let letters: Vec<char> = text.chars().collect();
        let results = [1, 2, 5, 11, 1000].map(|size| {
            let mut channels = Channels::new();
            let mut all = Told::default();
            for part in letters.chunks(size) {
                let told = channels.push(&part.iter().collect::<String>());
                all.text.push_str(&told.text);
                all.thought.push_str(&told.thought);
            }
            let (rest, calls) = channels.finish();
            (all.text + &rest.text, all.thought + &rest.thought, calls)
        });
        results.windows(2).for_each(|pair| assert_eq!(pair[0], pair[1], "{text}"));
        results[0].clone()
    }

    #[test]
    fn thoughts_are_apart_from_what_is_said() {
        let text = "<|channel|>analysis<|message|>Easy: a < b.<|end|><|start|>assistant\
                    <|channel|>final<|message|>Yes, <|b| it is.";
        assert_eq!(taken(text), ("Yes, <|b| it is.".into(), "Easy: a < b.".into(), vec![]));
        // What precedes a call is meant for whoever asked.
        let text = "<|channel|>commentary<|message|>I look it up.<|end|>";
        assert_eq!(taken(text).0, "I look it up.");
    }

    #[test]
    fn a_text_without_channels_is_said() {
        for text in ["{\"a\": 1}", "", "<|chan", "to", "<b>to=x</b>", "Yes."] {
            assert_eq!(taken(text), (text.into(), String::new(), vec![]));
        }
    }

    #[test]
    fn calls_have_a_recipient_on_either_side() {
        let call = |name: &str| ToolCall { name: name.into(), arguments: json!({ "at": "a<b" }) };
        let text = "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant\
                    <|channel|>commentary to=functions.sky <|constrain|>json<|message|>\
                    {\"at\": \"a<b\"}<|call|>";
        assert_eq!(taken(text), (String::new(), "Look.".into(), vec![call("sky")]));
        let text = " to=functions.sea<|channel|>commentary json<|message|>{\"at\":\"a<b\"}";
        assert_eq!(taken(text).2, [call("sea")]);
        let own = "<|channel|>analysis to=python code<|message|>1 + 1<|call|>";
        assert_eq!(taken(own), (String::new(), "1 + 1".into(), vec![]));
        // Cut off.
        let text = "<|channel|>commentary to=functions.sky<|message|>{\"at\": \"a";
        assert_eq!(taken(text), ("{\"at\": \"a".into(), String::new(), vec![]));
        assert_eq!(taken("<|channel|>commentary to=fun"), (String::new(), String::new(), vec![]));
    }
}
