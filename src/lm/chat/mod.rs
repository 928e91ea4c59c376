//! From messages to the text a chat model was trained on.

mod answer;
mod arguments;
mod channels;
mod forms;
mod guard;
mod json;
mod methods;
mod percent;
mod tags;
#[cfg(test)]
mod tests;
mod text;
mod thoughts;
mod time;
mod tools;

pub use answer::AnswerStream;
pub(super) use channels::FINAL;
pub use channels::Told;
pub use tools::{ToolCall, ToolStream, ToolStyle};

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use minijinja::machinery::ast::Stmt;
use minijinja::machinery::{self, CodeGenerator};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, Value};
use std::borrow::Cow;
use std::fmt;

const KEY: &str = "tokenizer.chat_template";
/// Where some files have a template of its own for conversations with tools.
const TOOL_KEY: &str = "tokenizer.chat_template.tool_use";
/// The longest template read; those in use stay below 20 kB.
const MAX_SOURCE: usize = 1 << 20;

/// The work one rendering may do, in minijinja's fuel: about one for an
/// instruction and one for 64 bytes made. So a template can neither run for
/// long nor fill the memory; templates in use need a few thousand.
const FUEL: u64 = 200_000;
const FUEL_PER_MESSAGE: u64 = 5_000;
/// Sixteen times the bytes that come in.
const BYTES_PER_FUEL: u64 = 4;

/// The format that `<|im_start|>` models share, for files without a template.
const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + \
    '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
    {% endif %}";

/// What files of RWKV have in the place of a template, and what is meant by it.
const RWKV_NAME: &str = "rwkv-world";
const RWKV: &str = "{% for m in messages %}{% set text = m.content | trim %}\
    {% if m.role == 'system' %}{{ 'System: ' + text + '\n\n' }}\
    {% elif m.role == 'user' %}{{ 'User: ' + text + '\n\n' }}\
    {% elif m.role == 'assistant' %}{{ 'Assistant: ' + text + '\n\n' }}{% endif %}\
    {% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`, as the template knows it.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        ChatMessage { role: role.into(), content: content.into() }
    }
}

/// A chat template in the dialect of Hugging Face's `transformers`: Jinja with
/// Python's string and dictionary methods, `tojson`, `raise_exception` and
/// `strftime_now` (in UTC).
///
/// Rendering is bounded in time, memory and stack: see [`Error::Limit`] of
/// [`ChatTemplate::render`].
pub struct ChatTemplate {
    source: String,
    /// The one for conversations with tools, where it is another.
    with_tools: Option<String>,
    /// What errors call the template.
    name: String,
    bos: String,
    eos: String,
    /// What every rendering is told beside its conversation.
    values: Values,
}

/// Values that a template knows by name beside the conversation, such as
/// `enable_thinking`.
pub type Values = serde_json::Map<String, serde_json::Value>;

/// What a model is asked with: its template, and what that is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatOptions {
    /// The source of a template in the place of the file's.
    pub template: Option<String>,
    /// What the template is told whenever a conversation does not say otherwise.
    pub values: Values,
}

/// What a rendering is about, and nobody else may name.
const TAKEN: [&str; 6] =
    ["messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"];

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatTemplate({})", self.name)
    }
}

impl ChatTemplate {
    /// The template of a file.
    ///
    /// # Errors
    /// [`Error::Format`] if there is none (a caller who knows the format can
    /// use [`ChatTemplate::chatml`] or [`ChatTemplate::new`]) or it is not a
    /// template.
    pub fn from_gguf(file: &GgufFile, tokenizer: &Tokenizer) -> Result<Self> {
        let meta = file.metadata();
        let Some(source) = meta.opt_str(KEY)? else {
            let what = "missing: the file has no chat template; choose one, such as ChatML";
            return Err(meta.error(KEY, what));
        };
        let source = if source == RWKV_NAME { RWKV } else { source };
        let mut template = Self::of_model(source, file.name(), tokenizer)?;
        if let Some(source) = meta.opt_str(TOOL_KEY)? {
            template.with_tools = Some(template.checked(&plain_blocks(source))?.into());
        }
        Ok(template)
    }

    /// A template from its source, for the model of a tokenizer.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn of_model(source: &str, name: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let text =
            |id: Option<u32>| id.map_or(Ok(String::new()), |id| tokenizer.decode(&[id], true));
        Self::new(source, name, &text(tokenizer.bos())?, &text(tokenizer.eos())?)
    }

    /// ChatML, which many models without a template follow. Nothing in a file
    /// says so: the choice is the caller's.
    ///
    /// # Errors
    /// None in practice.
    pub fn chatml() -> Result<Self> {
        Self::new(CHATML, "ChatML", "", "<|im_end|>")
    }

    /// A template from its source. `name` is what errors call its file; `bos`
    /// and `eos` are the texts of those tokens.
    ///
    /// # Errors
    /// [`Error::Format`] naming the line where the source is not a template.
    pub fn new(source: &str, name: &str, bos: &str, eos: &str) -> Result<Self> {
        let mut template = ChatTemplate {
            source: String::new(),
            with_tools: None,
            name: name.into(),
            bos: bos.into(),
            eos: eos.into(),
            values: Values::new(),
        };
        template.source = template.checked(&plain_blocks(source))?.into();
        Ok(template)
    }

    /// The same, which tells the template these values whenever a conversation does not
    /// say otherwise.
    ///
    /// # Errors
    /// [`Error::Input`] for the name of what the template is given anyway.
    pub fn with_values(mut self, values: Values) -> Result<Self> {
        check_names(&values)?;
        self.values = values;
        Ok(self)
    }

    /// A source that is a template.
    fn checked<'s>(&self, source: &'s str) -> Result<&'s str> {
        if source.len() > MAX_SOURCE {
            let what = format!("{} bytes, at most {MAX_SOURCE} are read", source.len());
            return Err(Error::format(&self.name, format_args!("key '{KEY}'"), what));
        }
        self.parse(source, &syntax()?)?;
        Ok(source)
    }

    /// The text of a conversation. With `add_generation_prompt` it ends where
    /// the assistant's answer begins.
    ///
    /// Encode it with [`super::tokenizer::EncodeOptions::PROMPT`]. A message
    /// that contains the text of a control token is not told from structure.
    ///
    /// # Errors
    /// [`Error::Input`] with the template's own words where it refuses the
    /// messages, [`Error::Limit`] where it does too much work,
    /// [`Error::Format`] naming the line of any other fault.
    pub fn render(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        let bytes = messages.iter().map(|m| m.role.len() + m.content.len()).sum();
        let values = messages.iter().map(value).collect();
        let size = (messages.len(), bytes);
        let told = [("messages", values), ("tools", Value::from(()))];
        self.rendered(&self.source, told, size, &Values::new(), add_generation_prompt)
    }

    /// As [`ChatTemplate::render`], of messages with whatever a template may look at
    /// (calls of tools, say), of tools in OpenAI's form, and with further values by name.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; [`Error::Input`] for a value with the name of what the
    /// template is given anyway.
    pub fn render_values(
        &self,
        messages: &[serde_json::Value],
        tools: &[serde_json::Value],
        further: &Values,
        add_generation_prompt: bool,
    ) -> Result<String> {
        check_names(further)?;
        let given_all = messages.iter().chain(tools).chain(further.values());
        let bytes = given_all.map(|value| value.to_string().len()).sum();
        let count = messages.len() + tools.len();
        let values = messages.iter().map(given).collect();
        let (source, tools) = match (tools, &self.with_tools) {
            ([], _) => (&self.source, Value::from(())),
            (tools, own) => {
                (own.as_ref().unwrap_or(&self.source), tools.iter().map(given).collect())
            }
        };
        let told = [("messages", values), ("tools", tools)];
        self.rendered(source, told, (count, bytes), further, add_generation_prompt)
    }

    /// The template's source; a block that marks what the assistant says (`generation`,
    /// for training) is a plain one in it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The source of the one that conversations with tools get.
    pub(super) fn tool_source(&self) -> &str {
        self.with_tools.as_ref().unwrap_or(&self.source)
    }

    fn rendered(
        &self,
        source: &str,
        conversation: [(&'static str, Value); 2],
        (count, bytes): (usize, usize),
        further: &Values,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let fuel = FUEL + FUEL_PER_MESSAGE * count as u64 + bytes as u64 / BYTES_PER_FUEL;
        let syntax = syntax()?;
        let environment = environment(syntax.clone(), fuel);
        // Parsed anew: the engine's instructions borrow from the source.
        let mut code = CodeGenerator::new(KEY, source);
        code.compile_stmt(&self.parse(source, &syntax)?);
        let (instructions, blocks) = code.finish();
        let named = self.values.iter().chain(further).map(|(name, one)| (&**name, given(one)));
        let fixed = [
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("bos_token", Value::from(&*self.bos)),
            ("eos_token", Value::from(&*self.eos)),
            ("documents", Value::from(())),
        ];
        // Of two with one name, the latter counts.
        let context = Value::from_pairs(named.chain(conversation).chain(fixed));
        let mut text = String::new();
        let mut out = machinery::make_string_output(&mut text);
        let plain = AutoEscape::None;
        machinery::eval(&environment, &instructions, context, &blocks, &mut out, plain)
            .map_err(|e| self.error(&e, fuel))?;
        Ok(text)
    }

    fn parse<'s>(&self, source: &'s str, syntax: &SyntaxConfig) -> Result<Stmt<'s>> {
        guard::parse(source, KEY, syntax).map_err(|fault| match fault {
            guard::Fault::Engine(error) => self.error(&error, 0),
            guard::Fault::Here(line, what) => {
                Error::format(&self.name, format_args!("key '{KEY}', line {line}"), what)
            }
        })
    }

    fn error(&self, error: &minijinja::Error, fuel: u64) -> Error {
        // A template's refusal can sit below errors of calls and blocks.
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(e) = cause {
            if let Some(Refusal(message)) = e.downcast_ref() {
                return Error::input("messages", "what the chat template accepts", message);
            }
            cause = e.source();
        }
        if error.kind() == ErrorKind::OutOfFuel {
            return Error::Limit {
                what: format!("{}: rendering the chat template", self.name),
                limit_name: "template work (fuel)".into(),
                needed: fuel + 1,
                limit: fuel,
            };
        }
        let at = match error.line() {
            Some(line) => format!("key '{KEY}', line {line}"),
            None => format!("key '{KEY}'"),
        };
        let what = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Error::format(&self.name, at, what)
    }
}

/// The engine with what templates may call.
fn environment<'a>(syntax: SyntaxConfig, fuel: u64) -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_fuel(Some(fuel));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(|state, value, method, args| {
        methods::call(state, value, method, args)
    });
    environment.set_formatter(text::write);
    environment.add_filter("string", text::string);
    environment.add_filter("tojson", json::tojson);
    environment.add_test("iterable", iterable);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", time::strftime_now);
    guard::install(&mut environment);
    environment
}

/// What Python can go through; the engine takes `none` for an empty list.
fn iterable(value: &Value) -> bool {
    !value.is_none() && !value.is_undefined() && value.try_iter().is_ok()
        || value.as_str().is_some()
}

/// A source whose `{% generation %}` blocks, which `transformers` has for training, are
/// blocks of the engine's own that do as little.
fn plain_blocks(source: &str) -> Cow<'_, str> {
    if !["generation", "raw"].iter().any(|word| source.contains(word)) {
        return source.into();
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{%") {
        out.push_str(before);
        let Some((tag, after)) = after.split_once("%}") else {
            rest = &rest[before.len()..];
            break;
        };
        let words = tag.trim_matches(['-', '+']).trim();
        let tag = match words {
            "generation" => tag.replace(words, "with"),
            "endgeneration" => tag.replace(words, "endwith"),
            _ => tag.into(),
        };
        out.extend(["{%", &tag, "%}"]);
        if words == "raw" && after.starts_with('\n') {
            // Python's engine keeps the line end that this one takes.
            out.push('\n');
        }
        rest = after;
    }
    out.push_str(rest);
    out.into()
}

/// Blocks swallow the white space around them, as in `transformers`.
fn syntax() -> Result<SyntaxConfig> {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    syntax.build().map_err(Error::internal)
}

/// Values may not stand in the place of the conversation.
fn check_names(values: &Values) -> Result<()> {
    match values.keys().find(|name| TAKEN.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::input(
            "values of the chat template",
            "other names than the conversation's own",
            name,
        )),
    }
}

fn value(message: &ChatMessage) -> Value {
    Value::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())])
}

/// JSON as templates see it.
fn given(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => list.iter().map(given).collect(),
        Json::Object(map) => {
            Value::from_pairs(map.iter().map(|(key, value)| (key.as_str(), given(value))))
        }
    }
}

/// What a template passed to `raise_exception`.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: String) -> std::result::Result<Value, minijinja::Error> {
    let error = minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception");
    Err(error.with_source(Refusal(message)))
}
