//! `wginfer chat`: a conversation with a language model.

use crate::failure::Failure;
use crate::generate::{Guides, Sampling};
use crate::interrupt;
use crate::kept;
use crate::model_args::ModelArgs;
use crate::output::{count_noun, note, safe, safe_lines};
use crate::template_args::TemplateArgs;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use wginfer::ErrorKind;
use wginfer::lm::chat::{AnswerStream, Told};
use wginfer::lm::{ChatMessage, FinishReason, GenerateOptions, LanguageModel, Prompt, Sampler};

const HELP: &str = "\
/reset          forget the conversation
/system TEXT    say what the model's role is, and forget the conversation
/help           show this
/quit           leave; so does Ctrl-D
A line that ends with \\ goes on in the next one. Ctrl-C ends an answer early.
Arrow keys edit, and bring back earlier lines.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// What the model is told about its role
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// A file to keep entered lines in, for the arrow keys in later chats
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    /// Keep the conversation in this file, and go on with the one that it has
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,

    #[command(flatten)]
    sampling: Sampling,

    #[command(flatten)]
    guides: Guides,

    #[command(flatten)]
    template: TemplateArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let options = args.sampling.options();
    Sampler::new(options.sampler.clone()).map_err(|error| Failure::Usage(error.to_string()))?;
    let source = args.guides.source()?;
    let told = args.template.options()?;
    interrupt::listen();
    let model = args.model.load(told)?;
    let options = args.guides.applied(options, source.as_ref(), &model)?;
    if model.template().is_none() {
        return Err(wginfer::Error::Unsupported {
            at: "chat".into(),
            what: "the model's file has no usable chat template; see --chat-template and generate --raw".into(),
        }
        .into());
    }
    if !args.model.quiet {
        note("/help shows what can be said besides text.");
    }
    interrupt::stop_gracefully();
    let system = args.system.clone();
    let quiet = args.model.quiet;
    let draft = args.guides.draft(&model, &args.model.options(), quiet)?;
    let guides = &args.guides;
    let mut chat = Chat { model, draft, guides, options, quiet, system, messages: Vec::new() };
    chat.forget();
    if let Some(path) = &args.session {
        chat.go_on(path)?;
    }
    let talked = chat.talk(args.history.clone());
    let Some(path) = &args.session else { return talked };
    // What was said until then is kept after an error too, unless the device is lost.
    let kept = chat.keep(path);
    talked.and(kept)
}

/// A conversation.
struct Chat<'a> {
    model: LanguageModel,
    draft: Option<LanguageModel>,
    guides: &'a Guides,
    options: GenerateOptions,
    quiet: bool,
    system: Option<String>,
    messages: Vec<ChatMessage>,
}

impl Chat<'_> {
    /// Takes one line after another until there are no more.
    fn talk(&mut self, history: Option<PathBuf>) -> Result<(), Failure> {
        let mut lines = Lines::new(history)?;
        while let Some(line) = lines.next()? {
            if !self.take(line.trim())? {
                break;
            }
        }
        lines.keep();
        Ok(())
    }

    /// Goes on with the conversation of a file, if there is one. A role that is given now is
    /// the one that holds.
    fn go_on(&mut self, path: &Path) -> Result<(), Failure> {
        let Some(snapshot) = kept::restore(&mut self.model, path, self.quiet)? else {
            return Ok(());
        };
        let messages = snapshot.attachment().map(serde_json::from_str::<Vec<ChatMessage>>);
        let Some(Ok(mut messages)) = messages else {
            let name = path.display();
            return Err(Failure::Usage(format!("{name} has no conversation; name another file")));
        };
        let role = messages.iter().find(|message| message.role == "system");
        if self.system.is_none() {
            self.system = role.map(|message| message.content.clone());
        }
        messages.retain(|message| message.role != "system");
        self.forget();
        if !self.quiet {
            note(format_args!("going on after {}", count_noun(messages.len(), "message")));
        }
        self.messages.extend(messages);
        Ok(())
    }

    fn keep(&mut self, path: &Path) -> Result<(), Failure> {
        // A question whose answer failed is as if it had not been asked.
        if self.messages.last().is_some_and(|message| message.role == "user") {
            self.messages.pop();
        }
        let messages = serde_json::to_string(&self.messages)
            .map_err(|error| Failure::Usage(format!("the conversation: {error}")))?;
        kept::save(&self.model, path, Some(messages))
    }

    /// Does what a line says, and says whether the chat goes on.
    fn take(&mut self, line: &str) -> Result<bool, Failure> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => (),
            "/quit" | "/exit" => return Ok(false),
            "/help" => note(HELP),
            "/reset" => {
                self.forget();
                note("forgotten");
            }
            "/system" => {
                self.system = Some(rest.trim().to_string()).filter(|text| !text.is_empty());
                self.forget();
                note("the role is set, the conversation forgotten");
            }
            word if word.starts_with('/') && !word[1..].contains('/') => {
                note(format_args!("{} is no command; /help shows them", safe(word)));
            }
            _ => self.answer(line)?,
        }
        Ok(true)
    }

    fn forget(&mut self) {
        self.messages.clear();
        let system = self.system.iter().map(|text| ChatMessage::new("system", text));
        self.messages.extend(system);
    }

    /// What was said and answered stays, also of an answer that was cut short.
    fn answer(&mut self, said: &str) -> Result<(), Failure> {
        self.messages.push(ChatMessage::new("user", said));
        match self.generate() {
            // Nothing came of it: it is as if it had not been said.
            Ok(text) if text.is_empty() && interrupt::asked() => {
                self.messages.pop();
            }
            Ok(text) => self.messages.push(ChatMessage::new("assistant", text)),
            // The conversation is too long, or the template refuses it.
            Err(Failure::Library(error))
                if matches!(error.kind(), ErrorKind::Limit | ErrorKind::Input) =>
            {
                self.messages.pop();
                note(format_args!("error: {error}\n/reset forgets the conversation"));
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn generate(&mut self) -> Result<String, Failure> {
        let prompt = Prompt::Chat(self.messages.clone());
        let prompt = self.model.prompt_tokens(&prompt)?;
        let asked = self.model.file().end_of(&prompt)?;
        let mut answer = AnswerStream::new(self.model.template(), None, &asked);
        let prompt = Prompt::Tokens(prompt);
        let mut generation =
            self.guides.generate(&mut self.model, self.draft.as_mut(), prompt, &self.options)?;
        interrupt::ends(generation.canceller());
        let mut screen = Screen::new();
        for piece in &mut generation {
            screen.show(&answer.push(&piece?))?;
        }
        screen.show(&answer.finish().0)?;
        let text = screen.end()?;
        let stats = generation.stats();
        let why = match stats.finish {
            Some(FinishReason::Length) => Some(("cut off by --max-tokens", "")),
            Some(FinishReason::Context) => Some(("the context is full", "; /reset forgets")),
            Some(FinishReason::Cancelled) => Some(("interrupted", "")),
            _ => None,
        };
        if let Some((why, then)) = why.filter(|_| !self.quiet) {
            note(format_args!("({why} after {}{then})", count_noun(stats.tokens, "token")));
        }
        Ok(text)
    }
}

/// Where an answer is shown as it comes.
struct Screen {
    out: io::StdoutLock<'static>,
    terminal: bool,
    /// What was said so far.
    text: String,
    /// Whether thoughts are what was shown last.
    thinking: bool,
}

impl Screen {
    fn new() -> Self {
        let out = io::stdout().lock();
        Screen { terminal: out.is_terminal(), out, text: String::new(), thinking: false }
    }

    /// Thoughts are faint on a terminal, above what is said, and nowhere else.
    fn show(&mut self, told: &Told) -> io::Result<()> {
        if self.terminal && !told.thought.is_empty() {
            self.thinking = true;
            write!(self.out, "\x1b[2m{}\x1b[0m", safe_lines(&told.thought))?;
        }
        if !told.text.is_empty() {
            if std::mem::take(&mut self.thinking) {
                self.out.write_all(b"\n\n")?;
            }
            self.text.push_str(&told.text);
            // A model may say anything, a terminal should not obey it.
            let shown = if self.terminal { safe_lines(&told.text) } else { told.text.to_string() };
            self.out.write_all(shown.as_bytes())?;
        }
        self.out.flush()
    }

    /// Ends the line; gives what was said.
    fn end(mut self) -> io::Result<String> {
        if self.thinking || !self.text.ends_with('\n') {
            writeln!(self.out)?;
        }
        Ok(self.text)
    }
}

/// What the user enters.
struct Lines {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

impl Lines {
    fn new(history: Option<PathBuf>) -> Result<Self, Failure> {
        let mut editor = DefaultEditor::new().map_err(unreadable)?;
        if let Some(path) = history.as_ref().filter(|path| path.exists()) {
            editor.load_history(path).map_err(unreadable)?;
        }
        Ok(Lines { editor, history })
    }

    /// The next entry; `None` at the end.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() { "> " } else { ". " };
            match self.editor.readline(prompt) {
                Ok(line) => {
                    text.push_str(&line);
                    if let Some(begun) = text.strip_suffix('\\') {
                        text = format!("{begun}\n");
                        continue;
                    }
                    if !text.trim().is_empty() {
                        self.editor.add_history_entry(&text).map_err(unreadable)?;
                    }
                    return Ok(Some(text));
                }
                // Ctrl-C forgets what was begun.
                Err(ReadlineError::Interrupted) => {
                    text.clear();
                    note("(Ctrl-D or /quit leaves)");
                }
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(unreadable(error)),
            }
        }
    }

    fn keep(&mut self) {
        if let Some(path) = &self.history
            && let Err(error) = self.editor.save_history(path)
        {
            note(format_args!("{}: {error}", path.display()));
        }
    }
}

fn unreadable(error: ReadlineError) -> Failure {
    let source = match error {
        ReadlineError::Io(source) => source,
        other => io::Error::other(other),
    };
    Failure::Library(wginfer::Error::Io { path: "terminal".into(), source })
}
