//! Calls of tools in what a model says: the forms that models were trained on.

use super::arguments::Schemas;
use super::channels::{CHANNEL, FUNCTIONS};
use super::{ChatTemplate, arguments, forms};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// How a model writes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolStyle {
    /// `<tool_call>{"name": .., "arguments": ..}</tool_call>`, once for each: Hermes,
    /// Qwen and others.
    Tagged,
    /// `<tool_call>`, `<function=name>` and `<parameter=key>` for each argument, whose
    /// text has no quotes: Qwen3-Coder, Qwen3.5.
    Functions,
    /// `<tool_call>name`, then `<arg_key>` and `<arg_value>` for each argument: GLM 4.5.
    Pairs,
    /// `[TOOL_CALLS][{"name": .., "arguments": ..}, ..]`: Mistral.
    Listed,
    /// `[TOOL_CALLS]name[ARGS]{..}`, once for each: Mistral Small 3.2, Ministral 3.
    Named,
    /// The text is `{"name": .., "parameters": ..}`: Llama 3.
    Bare,
    /// A name, a mark and JSON, in a fence: DeepSeek V3 and R1.
    Fenced,
    /// A name, a mark and JSON: DeepSeek V3.1.
    Marked,
    /// `<|tool_call_start|>[name(key="value")]<|tool_call_end|>`: LFM2.
    Python,
    /// A message of its own, see [`AnswerStream`](super::AnswerStream): gpt-oss.
    Channels,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// What it is called with, an object.
    pub arguments: Value,
}

const TAG: &str = "<tool_call>";
const END_TAG: &str = "</tool_call>";
const LIST: &str = "[TOOL_CALLS]";
const PYTHON: &str = "<|python_tag|>";
/// Between a tool's name and its arguments in a message of its own.
const CALLED: &str = " <|constrain|>json<|message|>";

impl ToolStyle {
    /// How the model of a template writes calls; `None` if the template does not
    /// know of tools.
    pub fn of(template: &ChatTemplate) -> Option<Self> {
        let source = template.tool_source();
        if !source.contains("tools") {
            None
        } else if template.has_channels() {
            Some(ToolStyle::Channels)
        } else if source.contains(forms::DEEPSEEK_LIST) {
            let fenced = source.contains("```json");
            Some(if fenced { ToolStyle::Fenced } else { ToolStyle::Marked })
        } else if source.contains(forms::PYTHON_LIST) {
            Some(ToolStyle::Python)
        } else if source.contains(TAG) {
            Some(tagged(source))
        } else if source.contains(LIST) {
            let named = source.contains(arguments::NAMED);
            Some(if named { ToolStyle::Named } else { ToolStyle::Listed })
        } else {
            Some(ToolStyle::Bare)
        }
    }

    /// A grammar, in the form of Lark, of one call of one of some tools (of OpenAI's
    /// form: `{"type": "function", "function": {"name", "parameters"}}`).
    ///
    /// # Errors
    /// [`Error::Input`] if two tools define different things under one name.
    pub fn grammar(self, tools: &[Value]) -> Result<String> {
        if let Some(grammar) = self.named_grammar(tools)? {
            return Ok(grammar);
        }
        let arguments = if self == ToolStyle::Bare { "parameters" } else { "arguments" };
        let call = |tool: &Value| {
            let (function, schema) = (&tool["function"], schema_of(tool));
            json!({
                "type": "object",
                "properties": { "name": { "const": function["name"] }, arguments: schema },
                "required": ["name", arguments],
                "additionalProperties": false,
            })
        };
        let one = json!({ "anyOf": tools.iter().map(call).collect::<Vec<_>>() });
        let shared = definitions(tools)?;
        let formed = |mut schema: Value| {
            schema["x-guidance"] = form();
            for (key, definitions) in &shared {
                schema[key] = definitions.clone();
            }
            schema
        };
        Ok(match self {
            ToolStyle::Tagged => {
                format!("start: \"{TAG}\\n\" call \"\\n{END_TAG}\"\ncall: %json {}\n", formed(one))
            }
            ToolStyle::Listed => {
                let list = json!({ "type": "array", "items": one, "minItems": 1, "maxItems": 1 });
                format!("start: \"{LIST}\" list\nlist: %json {}\n", formed(list))
            }
            _ => format!("start: call\ncall: %json {}\n", formed(one)),
        })
    }

    /// The grammar of forms in which the name stands outside of the JSON.
    fn named_grammar(self, tools: &[Value]) -> Result<Option<String>> {
        // Around the list, and around a name and its JSON.
        let list = format!("{}{}", forms::DEEPSEEK_LIST, forms::DEEPSEEK);
        let (open, between, end, close) = match self {
            ToolStyle::Fenced => (
                format!("{list}function<｜tool▁sep｜>"),
                "\n```json\n",
                format!("\n```{}", forms::DEEPSEEK_END),
                forms::DEEPSEEK_LIST_END,
            ),
            ToolStyle::Marked => {
                (list, forms::DEEPSEEK_SEP, forms::DEEPSEEK_END.into(), forms::DEEPSEEK_LIST_END)
            }
            ToolStyle::Channels => {
                let open = format!("{CHANNEL}commentary to={FUNCTIONS}");
                (open, CALLED, String::new(), "")
            }
            ToolStyle::Named => (LIST.into(), arguments::NAMED, String::new(), ""),
            ToolStyle::Python => return python_grammar(tools).map(Some),
            ToolStyle::Functions | ToolStyle::Pairs => {
                let in_pairs = self == ToolStyle::Pairs;
                return Ok(Some(arguments::grammar(tools, in_pairs, &definitions(tools)?)));
            }
            _ => return Ok(None),
        };
        let shared = definitions(tools)?;
        let (mut choices, mut rules) = (Vec::new(), String::new());
        for (i, tool) in tools.iter().enumerate() {
            let mut schema = schema_of(tool);
            // Whatever else it is, the grammar refuses.
            if let Value::Object(schema) = &mut schema {
                schema.insert("x-guidance".into(), form());
                schema.extend(shared.clone());
            }
            let name = tool["function"]["name"].as_str().unwrap_or("");
            let before = quoted(&format!("{open}{name}{between}"));
            let after = format!("{end}{close}");
            let after = if after.is_empty() { after } else { quoted(&after) };
            choices.push(format!("{before} a{i} {after}"));
            rules.push_str(&format!("a{i}: %json {schema}\n"));
        }
        Ok(Some(format!("start: {}\n{rules}", choices.join(" | "))))
    }

    /// Where calls may begin in a text, by what they begin with.
    fn marks(self) -> &'static [&'static str] {
        match self {
            ToolStyle::Tagged | ToolStyle::Pairs => &[TAG],
            // Some models leave the first mark out.
            ToolStyle::Functions => &[TAG, arguments::FUNCTION],
            ToolStyle::Listed | ToolStyle::Named => &[LIST],
            ToolStyle::Bare => &[PYTHON],
            ToolStyle::Fenced | ToolStyle::Marked => &[forms::DEEPSEEK_LIST, forms::DEEPSEEK],
            ToolStyle::Python => &[forms::PYTHON_LIST],
            // Told apart by their headers, see `Channels`.
            ToolStyle::Channels => &[],
        }
    }
}

/// What stands between tags.
fn tagged(source: &str) -> ToolStyle {
    if source.contains(arguments::FUNCTION) && source.contains(arguments::PARAMETER) {
        ToolStyle::Functions
    } else if source.contains(arguments::KEY) {
        ToolStyle::Pairs
    } else {
        ToolStyle::Tagged
    }
}

/// A call as Python writes it, with JSON for the values: all required arguments, in
/// the order of the schema.
fn python_grammar(tools: &[Value]) -> Result<String> {
    let shared = definitions(tools)?;
    let (mut choices, mut rules) = (Vec::new(), String::new());
    for (i, tool) in tools.iter().enumerate() {
        let schema = schema_of(tool);
        let mut parts =
            vec![quoted(&format!("{}(", tool["function"]["name"].as_str().unwrap_or("")))];
        for (j, (name, value)) in required(&schema).enumerate() {
            let mut value = value.clone();
            if let Value::Object(schema) = &mut value {
                schema.extend(shared.clone());
                schema.insert("x-guidance".into(), form());
            }
            let comma = if j > 0 { ", " } else { "" };
            parts.push(format!("{} a{i}_{j}", quoted(&format!("{comma}{name}="))));
            rules.push_str(&format!("a{i}_{j}: %json {value}\n"));
        }
        parts.push(quoted(")"));
        choices.push(parts.join(" "));
    }
    let (open, close) = (forms::PYTHON_LIST, forms::PYTHON_LIST_END);
    let (open, close) = (quoted(&format!("{open}[")), quoted(&format!("]{close}")));
    Ok(format!("start: {open} ({}) {close}\n{rules}", choices.join(" | ")))
}

/// As Python writes JSON, which is what models were shown.
pub(super) fn form() -> Value {
    json!({ "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false })
}

/// A string of a grammar in the form of Lark.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The arguments that a schema requires, in its order: all, if it does not say which.
pub(super) fn required(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let named = schema["required"].as_array();
    let all = schema["properties"].as_object().into_iter().flatten();
    all.filter(move |(name, _)| named.is_none_or(|names| names.iter().any(|n| n == *name)))
}

/// What a tool is called with.
pub(super) fn schema_of(tool: &Value) -> Value {
    match &tool["function"]["parameters"] {
        Value::Null => json!({ "type": "object" }),
        schema => schema.clone(),
    }
}

/// What schemas of tools refer to, which is looked up from the outermost schema.
fn definitions(tools: &[Value]) -> Result<Map<String, Value>> {
    let mut shared = Map::new();
    for tool in tools {
        for key in ["$defs", "definitions"] {
            let Some(own) = tool["function"]["parameters"][key].as_object() else { continue };
            for (name, schema) in own {
                let all = &mut shared.entry(key).or_insert_with(|| json!({}))[name.as_str()];
                if !all.is_null() && all != schema {
                    let expected = "one meaning in all tools";
                    return Err(Error::input(format!("definition '{name}'"), expected, "several"));
                }
                *all = schema.clone();
            }
        }
    }
    Ok(shared)
}

/// Takes a text in pieces and gives what is no call; the calls come at the end.
#[derive(Debug, Clone)]
pub struct ToolStream {
    style: ToolStyle,
    /// What arguments are by, where they have no quotes.
    schemas: Schemas,
    /// What may be, or is, the beginning of calls.
    held: String,
    /// Whether a call has begun.
    calling: bool,
    /// Whether something other than white space came before.
    begun: bool,
}

impl ToolStream {
    /// A stream that has seen nothing, of a model that was told of these tools (in
    /// OpenAI's form).
    pub fn new(style: ToolStyle, tools: &[Value]) -> Self {
        let schemas = Schemas::of(tools);
        ToolStream { style, schemas, held: String::new(), calling: false, begun: false }
    }

    /// Takes more text; gives what certainly is no part of a call.
    pub fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        if self.calling {
            return String::new();
        }
        if self.style == ToolStyle::Bare && !self.begun {
            match self.held.trim_start().chars().next() {
                None => return String::new(),
                Some('{') => {
                    self.calling = true;
                    return String::new();
                }
                Some(_) => (),
            }
        }
        let marks = self.style.marks();
        let at = marks.iter().filter_map(|mark| self.held.find(mark)).min();
        let keep = match at {
            Some(at) => {
                self.calling = true;
                at
            }
            None => self.held.len() - self.may_begin(),
        };
        let rest = self.held.split_off(keep);
        let told = std::mem::replace(&mut self.held, rest);
        self.begun |= !told.trim().is_empty();
        told
    }

    /// How long the longest end of the text is that a mark begins with.
    fn may_begin(&self) -> usize {
        let begins = |mark: &&str| {
            let most = mark.len().saturating_sub(1).min(self.held.len());
            (1..=most).rev().find(|&n| self.held.ends_with(&mark[..n]))
        };
        self.style.marks().iter().filter_map(begins).max().unwrap_or(0)
    }

    /// Ends the text: what was no call after all, and the calls.
    pub fn finish(&mut self) -> (String, Vec<ToolCall>) {
        let held = std::mem::take(&mut self.held);
        if !self.calling {
            return (held, Vec::new());
        }
        match calls(self.style, &self.schemas, &held) {
            Some(calls) => (String::new(), calls),
            None => (held, Vec::new()),
        }
    }
}

/// The calls of a text that begins with one; `None` if it is broken.
fn calls(style: ToolStyle, schemas: &Schemas, text: &str) -> Option<Vec<ToolCall>> {
    let mut calls = Vec::new();
    match style {
        ToolStyle::Tagged => {
            for part in text.split(TAG).skip(1) {
                let inner = part.split(END_TAG).next()?;
                calls.push(call(&serde_json::from_str(inner.trim()).ok()?)?);
            }
        }
        ToolStyle::Listed => {
            let list = text.strip_prefix(LIST)?;
            let mut values = serde_json::Deserializer::from_str(list).into_iter::<Value>();
            match values.next()?.ok()? {
                Value::Array(list) => {
                    calls = list.iter().map(call).collect::<Option<_>>()?;
                }
                one => calls.push(call(&one)?),
            }
        }
        ToolStyle::Functions => calls = arguments::functions(text, schemas)?,
        ToolStyle::Pairs => calls = arguments::pairs(text, TAG, schemas)?,
        ToolStyle::Named => calls = arguments::named(text, LIST)?,
        ToolStyle::Fenced | ToolStyle::Marked => calls = forms::deepseek(text)?,
        ToolStyle::Python => calls = forms::python(text)?,
        ToolStyle::Channels => return None,
        ToolStyle::Bare => {
            let text = text.trim().trim_start_matches(PYTHON);
            // Several are divided by semicolons.
            for value in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                let whole = serde_json::from_str(value);
                match whole {
                    Ok(value) => calls.push(call(&value)?),
                    // A semicolon inside of a string.
                    Err(_) => return Some(vec![call(&serde_json::from_str(text).ok()?)?]),
                }
            }
        }
    }
    Some(calls).filter(|calls| !calls.is_empty())
}

fn call(value: &Value) -> Option<ToolCall> {
    let name = value.get("name")?.as_str()?.to_string();
    let arguments = value.get("arguments").or_else(|| value.get("parameters"));
    let arguments = match arguments {
        None | Some(Value::Null) => json!({}),
        // Some write them as text.
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        Some(arguments) => arguments.clone(),
    };
    call_of(&name, arguments)
}

/// A call with an object of arguments.
pub(super) fn call_of(name: &str, arguments: Value) -> Option<ToolCall> {
    arguments.is_object().then_some(ToolCall { name: name.into(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pieces, the text and the calls are the same.
    fn taken(style: ToolStyle, text: &str) -> (String, Vec<ToolCall>) {
        let letters: Vec<char> = text.chars().collect();
        let mut results = [1, 3, 7, 1000].map(|size| {
            let mut stream = ToolStream::new(style, &[]);
            let mut told = String::new();
            for part in letters.chunks(size) {
                told.push_str(&stream.push(&part.iter().collect::<String>()));
            }
            let (rest, calls) = stream.finish();
            (told + &rest, calls)
        });
        results.sort_by_key(|(told, _)| told.clone());
        results.windows(2).for_each(|pair| assert_eq!(pair[0], pair[1], "{text}"));
        results[0].clone()
    }

    fn one(name: &str, arguments: Value) -> ToolCall {
        ToolCall { name: name.into(), arguments }
    }

    #[test]
    fn definitions_of_tools_are_looked_up_outside() {
        let tool = |kind: &str| {
            json!({ "type": "function", "function": { "name": "f", "parameters": {
                "type": "object", "properties": { "a": { "$ref": "#/$defs/A" } },
                "$defs": { "A": { "type": kind } },
            } } })
        };
        let text = ToolStyle::Bare.grammar(&[tool("string"), tool("string")]).unwrap();
        let (_, schema) = text.split_once("%json ").unwrap();
        let schema: Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema["$defs"]["A"]["type"], "string");
        assert!(ToolStyle::Bare.grammar(&[tool("string"), tool("integer")]).is_err());
    }

    #[test]
    fn the_grammar_of_a_message_to_a_tool() {
        let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
        let text = ToolStyle::Channels.grammar(&[tool("sky"), tool("sea")]).unwrap();
        let (start, rules) = text.split_once('\n').unwrap();
        let call = |name: &str, rule: &str| {
            let text = format!("<|channel|>commentary to=functions.{name}{CALLED}");
            format!("{} {rule} ", quoted(&text))
        };
        assert_eq!(start, format!("start: {} | {}", call("sky", "a0"), call("sea", "a1")));
        assert!(rules.starts_with("a0: %json {"), "{text}");
    }

    #[test]
    fn calls_between_tags() {
        let text = "Let me see. <tool_call>\n{\"name\": \"sky\", \"arguments\": {\"at\": \"a<b\"}}\n\
                    </tool_call>\n<tool_call>{\"name\": \"sea\"}</tool_call>";
        let (told, calls) = taken(ToolStyle::Tagged, text);
        assert_eq!(told, "Let me see. ");
        assert_eq!(calls, [one("sky", json!({ "at": "a<b" })), one("sea", json!({}))]);
        // The end is missing where the text was cut there.
        let (_, calls) = taken(ToolStyle::Tagged, "<tool_call>{\"name\": \"sea\"}");
        assert_eq!(calls.len(), 1);
        for plain in ["a < b, <tool> and <tool_cal", "none", "<tool_call>{\"name\"", ""] {
            assert_eq!(taken(ToolStyle::Tagged, plain), (plain.into(), vec![]));
        }
    }

    #[test]
    fn calls_in_a_list() {
        let text = "[TOOL_CALLS] [{\"name\": \"sky\", \"arguments\": \"{\\\"x\\\": 1}\"}, {\"name\": \"b\"}]";
        let (told, calls) = taken(ToolStyle::Listed, text);
        assert_eq!((&*told, calls.len()), ("", 2));
        assert_eq!(calls[0], one("sky", json!({ "x": 1 })));
    }

    #[test]
    fn a_text_that_is_a_call() {
        let text = " {\"name\": \"sky\", \"parameters\": {\"x\": \"; {\"}}";
        assert_eq!(taken(ToolStyle::Bare, text).1, [one("sky", json!({ "x": "; {" }))]);
        let text = "<|python_tag|>{\"name\": \"a\"}; {\"name\": \"b\", \"parameters\": {}}";
        assert_eq!(taken(ToolStyle::Bare, text).1.len(), 2);
        for plain in ["{\"x\": 1}", "Say {\"name\": \"sky\"}", "{"] {
            assert_eq!(taken(ToolStyle::Bare, plain), (plain.into(), vec![]));
        }
    }
}
