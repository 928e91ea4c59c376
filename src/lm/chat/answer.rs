//! What an answer's text is made of: what is said, what is thought, calls of tools.

use super::channels::{CHANNEL, Channels, MESSAGE, Told};
use super::tags::{self, Tagged};
use super::thoughts::{self, Thoughts};
use super::{ChatTemplate, ToolCall, ToolStream, ToolStyle};
use serde_json::Value;

/// Takes the text of an answer in pieces and gives what is said and what is thought;
/// calls of tools come at the end.
#[derive(Debug, Clone)]
pub struct AnswerStream {
    apart: Apart,
    form: Form,
}

/// How thoughts are told from the rest.
#[derive(Debug, Clone)]
enum Apart {
    /// There are none, or they are part of the form.
    No,
    /// They stand between marks, wherever in the text.
    Marked(Thoughts),
    /// They stand between tags at its beginning.
    Tagged(Tagged),
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
    /// `asked` is how the prompt ends (see [`ModelFile::end_of`](crate::lm::ModelFile::end_of)):
    /// it may begin the thoughts. Without a template nothing is taken for thoughts.
    pub fn new(
        template: Option<&ChatTemplate>,
        tools: Option<(ToolStyle, &[Value])>,
        asked: &str,
    ) -> Self {
        let in_channels = template.is_some_and(ChatTemplate::has_channels);
        let apart = match template {
            Some(template) if template.marks_thoughts() => Apart::Marked(Thoughts::default()),
            Some(template) if !in_channels => Apart::Tagged(Tagged::new(template.tags(), asked)),
            _ => Apart::No,
        };
        let form = if in_channels {
            Form::Channels(Box::new(Channels::new()))
        } else if let Some((style, tools)) = tools {
            Form::Tools(ToolStream::new(style, tools))
        } else {
            Form::Plain
        };
        AnswerStream { apart, form }
    }

    /// As [`AnswerStream::new`], with thoughts told as text, in their marks.
    pub fn with_thoughts(tools: Option<(ToolStyle, &[Value])>) -> Self {
        let form = match tools {
            Some((style, tools)) if style != ToolStyle::Channels => {
                Form::Tools(ToolStream::new(style, tools))
            }
            _ => Form::Plain,
        };
        AnswerStream { apart: Apart::No, form }
    }

    /// Takes more text; gives what is certain.
    pub fn push(&mut self, text: &str) -> Told {
        let Told { text, thought } = match &mut self.apart {
            Apart::No => return self.form.push(text),
            Apart::Marked(thoughts) => thoughts.push(text),
            Apart::Tagged(tagged) => tagged.push(text),
        };
        Told { thought, ..self.form.push(&text) }
    }

    /// Ends the text: what was held back, and the calls.
    pub fn finish(&mut self) -> (Told, Vec<ToolCall>) {
        let last = match &mut self.apart {
            Apart::No => Told::default(),
            Apart::Marked(thoughts) => thoughts.finish(),
            Apart::Tagged(tagged) => tagged.finish(),
        };
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

    /// What the model's thoughts stand between.
    fn tags(&self) -> (&'static str, &'static str) {
        tags::of(self.tool_source())
    }

    /// What ends the thoughts that a prompt with this end begins; `None` if it begins none.
    pub(in crate::lm) fn end_of_thoughts(&self, asked: &str) -> Option<String> {
        let (begin, end) = self.tags();
        let open = !self.has_channels() && !self.marks_thoughts();
        (open && asked.trim_end().ends_with(begin)).then(|| format!("\n{end}\n\n"))
    }

    /// Whether the model answers in channels: its thoughts, and what it says.
    pub fn has_channels(&self) -> bool {
        let source = self.tool_source();
        source.contains(CHANNEL) && source.contains(MESSAGE)
    }
}
