//! What an answer's text is made of: what is said, what is thought, calls of tools.

use super::channels::{CHANNEL, Channels, MESSAGE, Told};
use super::thoughts::{self, Thoughts};
use super::{ChatTemplate, ToolCall, ToolStream, ToolStyle};
use serde_json::Value;

/// Takes the text of an answer in pieces and gives what is said and what is thought;
/// calls of tools come at the end.
#[derive(Debug, Clone)]
pub struct AnswerStream {
    /// Where thoughts stand between marks.
    thoughts: Option<Thoughts>,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// All is said.
    Plain,
    Tools(ToolStream),
    Channels(Box<Channels>),
}

impl AnswerStream {
    /// For the model of a template, and the tools it may call (in OpenAI's form), with how
    /// it writes calls. Models that answer in channels do so whether there are tools or not.
    pub fn new(template: Option<&ChatTemplate>, tools: Option<(ToolStyle, &[Value])>) -> Self {
        let marked = template.is_some_and(ChatTemplate::marks_thoughts);
        let form = if template.is_some_and(ChatTemplate::has_channels) {
            Form::Channels(Box::new(Channels::new()))
        } else if let Some((style, tools)) = tools {
            Form::Tools(ToolStream::new(style, tools))
        } else {
            Form::Plain
        };
        AnswerStream { thoughts: marked.then(Thoughts::default), form }
    }

    /// Takes more text; gives what is certain.
    pub fn push(&mut self, text: &str) -> Told {
        match &mut self.thoughts {
            None => self.form.push(text),
            Some(thoughts) => {
                let Told { text, thought } = thoughts.push(text);
                Told { thought, ..self.form.push(&text) }
            }
        }
    }

    /// Ends the text: what was held back, and the calls.
    pub fn finish(&mut self) -> (Told, Vec<ToolCall>) {
        let last = self.thoughts.as_mut().map(Thoughts::finish).unwrap_or_default();
        let mut told = self.form.push(&last.text);
        let (end, calls) = self.form.finish();
        told.text.push_str(&end.text);
        told.thought.push_str(&end.thought);
        told.thought.insert_str(0, &last.thought);
        (told, calls)
    }
}

impl Form {
    fn push(&mut self, text: &str) -> Told {
        match self {
            Form::Plain => said(text.into()),
            Form::Tools(stream) => said(stream.push(text)),
            Form::Channels(channels) => channels.push(text),
        }
    }

    fn finish(&mut self) -> (Told, Vec<ToolCall>) {
        match self {
            Form::Plain => Default::default(),
            Form::Tools(stream) => {
                let (text, calls) = stream.finish();
                (said(text), calls)
            }
            Form::Channels(channels) => channels.finish(),
        }
    }
}

fn said(text: String) -> Told {
    Told { text, thought: String::new() }
}

impl ChatTemplate {
    /// Whether the model puts its thoughts between marks.
    fn marks_thoughts(&self) -> bool {
        let source = self.tool_source();
        source.contains(thoughts::BEGIN) && source.contains(thoughts::END)
    }

    /// Whether the model answers in channels: its thoughts, and what it says.
    pub fn has_channels(&self) -> bool {
        let source = self.tool_source();
        source.contains(CHANNEL) && source.contains(MESSAGE)
    }
}
