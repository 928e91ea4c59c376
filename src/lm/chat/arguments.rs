//! Calls that are not JSON as a whole: a name and JSON (Mistral), or a name and arguments
//! between marks of their own, where text has no quotes (Qwen3-Coder, GLM 4.5). What is
//! text and what is JSON there the tool's schema says.

use super::tools::{ToolCall, call_of, form, quoted, required, schema_of};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(super) const NAMED: &str = "[ARGS]";
const ID: &str = "[CALL_ID]";
pub(super) const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
pub(super) const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";
pub(super) const KEY: &str = "<arg_key>";
const KEY_END: &str = "</arg_key>";
const VALUE: &str = "<arg_value>";
const VALUE_END: &str = "</arg_value>";

/// How a form without quotes is written around a call, and around each argument.
struct Marks {
    open: &'static str,
    named: &'static str,
    key: &'static str,
    value: &'static str,
    next: &'static str,
    close: &'static str,
}

const IN_FUNCTION: Marks = Marks {
    open: "<tool_call>\n<function=",
    named: ">\n",
    key: PARAMETER,
    value: ">\n",
    next: "\n</parameter>\n",
    close: "</function>\n</tool_call>",
};

const IN_PAIRS: Marks = Marks {
    open: "<tool_call>",
    named: "\n",
    key: KEY,
    value: "</arg_key>\n<arg_value>",
    next: "</arg_value>\n",
    close: "</tool_call>",
};

/// What tools take, by their names: the schemas of their arguments.
#[derive(Debug, Clone, Default)]
pub(super) struct Schemas(BTreeMap<String, Map<String, Value>>);

impl Schemas {
    /// Those of tools in OpenAI's form.
    pub(super) fn of(tools: &[Value]) -> Self {
        let one = |tool: &Value| {
            let name = tool["function"]["name"].as_str()?;
            let properties = tool["function"]["parameters"]["properties"].as_object();
            Some((name.into(), properties.cloned().unwrap_or_default()))
        };
        Schemas(tools.iter().filter_map(one).collect())
    }

    /// An argument's value from its text: JSON, unless text is what the schema wants, or
    /// there is none.
    fn value(&self, tool: &str, argument: &str, text: &str) -> Value {
        let json = || serde_json::from_str::<Value>(text.trim()).ok();
        let schema = self.0.get(tool).and_then(|properties| properties.get(argument));
        let value = match schema.map_or(Text::Always, Text::of) {
            Text::Always => None,
            Text::Perhaps => json().filter(|value| !value.is_string()),
            Text::Never => json(),
        };
        value.unwrap_or_else(|| text.into())
    }
}

/// Whether an argument is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Always,
    Perhaps,
    Never,
}

impl Text {
    fn of(schema: &Value) -> Self {
        let all = |mut kinds: Vec<Text>| {
            kinds.dedup();
            if let [kind] = kinds[..] { kind } else { Text::Perhaps }
        };
        let is_text = |text: bool| if text { Text::Always } else { Text::Never };
        let values = |list: &Vec<Value>| list.iter().map(|v| is_text(v.is_string())).collect();
        if let Some(kind) = schema["type"].as_str() {
            return is_text(kind == "string");
        }
        if let Some(kinds) = schema["type"].as_array() {
            return all(kinds.iter().map(|kind| is_text(kind == "string")).collect());
        }
        if let Some(list) = schema["enum"].as_array() {
            return all(values(list));
        }
        if let Some(value) = schema.get("const") {
            return is_text(value.is_string());
        }
        match schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            Some(list) => all(list.iter().map(Text::of).collect()),
            None => Text::Perhaps,
        }
    }
}

/// `[TOOL_CALLS]name[ARGS]{..}`, once for each, perhaps with an id between.
pub(super) fn named(text: &str, mark: &str) -> Option<Vec<ToolCall>> {
    let (mut calls, mut rest) = (Vec::new(), text);
    while let Some(part) = rest.trim_start().strip_prefix(mark) {
        let (name, json) = part.split_once(NAMED)?;
        let name = name.split(ID).next()?;
        let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
        let arguments = values.next()?.ok()?;
        calls.push(call_of(name.trim(), arguments)?);
        rest = json.get(values.byte_offset()..)?;
    }
    Some(calls)
}

/// `<function=name>` with a `<parameter=key>` for each argument.
pub(super) fn functions(text: &str, schemas: &Schemas) -> Option<Vec<ToolCall>> {
    let (mut calls, mut rest) = (Vec::new(), text);
    while let Some((_, part)) = rest.split_once(FUNCTION) {
        let (name, mut part) = part.split_once('>')?;
        let mut arguments = Map::new();
        while let Some(argument) = part.trim_start().strip_prefix(PARAMETER) {
            let (key, argument) = argument.split_once('>')?;
            let (value, after) = argument.split_once(PARAMETER_END)?;
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            arguments.insert(key.into(), schemas.value(name, key, value));
            part = after;
        }
        // A text that was cut at its end may lack the last marks.
        rest = part.trim_start();
        rest = rest.strip_prefix(FUNCTION_END).or(rest.is_empty().then_some(rest))?;
        calls.push(call_of(name, Value::Object(arguments))?);
    }
    Some(calls)
}

/// A name with `<arg_key>` and `<arg_value>` for each argument.
pub(super) fn pairs(text: &str, mark: &str, schemas: &Schemas) -> Option<Vec<ToolCall>> {
    let (mut calls, mut rest) = (Vec::new(), text);
    while let Some((_, part)) = rest.split_once(mark) {
        let end = part.find(['\n', '<']).unwrap_or(part.len());
        let (name, mut part) = part.split_at(end);
        let name = name.trim();
        let mut arguments = Map::new();
        while let Some(argument) = part.trim_start().strip_prefix(KEY) {
            let (key, argument) = argument.split_once(KEY_END)?;
            let argument = argument.trim_start().strip_prefix(VALUE)?;
            let (value, after) = argument.split_once(VALUE_END)?;
            arguments.insert(key.into(), schemas.value(name, key, value));
            part = after;
        }
        (!name.is_empty()).then_some(())?;
        calls.push(call_of(name, Value::Object(arguments))?);
        rest = part;
    }
    Some(calls)
}

/// The grammar of one call with each argument between marks: all that are required, in
/// the order of the schema. `shared` are definitions that schemas refer to.
pub(super) fn grammar(tools: &[Value], in_pairs: bool, shared: &Map<String, Value>) -> String {
    let marks = if in_pairs { IN_PAIRS } else { IN_FUNCTION };
    let (mut choices, mut rules) = (Vec::new(), String::new());
    for (i, tool) in tools.iter().enumerate() {
        let schema = schema_of(tool);
        let name = tool["function"]["name"].as_str().unwrap_or("");
        let mut parts = vec![quoted(&format!("{}{name}{}", marks.open, marks.named))];
        for (j, (key, schema)) in required(&schema).enumerate() {
            parts.push(quoted(&format!("{}{key}{}", marks.key, marks.value)));
            parts.push(format!("a{i}_{j}"));
            let (value, ends_itself) = argument(schema, &marks, shared);
            if !ends_itself {
                parts.push(quoted(marks.next));
            }
            rules.push_str(&format!("a{i}_{j}{value}\n"));
        }
        parts.push(quoted(marks.close));
        choices.push(parts.join(" "));
    }
    format!("start: {}\n{rules}", choices.join(" | "))
}

/// The rest of the rule of an argument, and whether what follows it is part of it.
fn argument(schema: &Value, marks: &Marks, shared: &Map<String, Value>) -> (String, bool) {
    let texts = |list: &Vec<Value>| -> Option<Vec<String>> {
        list.iter().map(|value| value.as_str().map(quoted)).collect()
    };
    let constant = schema.get("const").map(|value| vec![value.clone()]);
    let listed = schema["enum"].as_array().or(constant.as_ref()).and_then(texts);
    if let Some(texts) = listed {
        return (format!(": {}", texts.join(" | ")), false);
    }
    if Text::of(schema) == Text::Always {
        return (format!("[suffix={}]: /(.|\\n)*/", quoted(marks.next)), true);
    }
    let mut schema = schema.clone();
    if let Value::Object(schema) = &mut schema {
        schema.extend(shared.clone());
        schema.insert("x-guidance".into(), form());
    }
    (format!(": %json {schema}"), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schemas() -> Schemas {
        Schemas::of(&[json!({ "type": "function", "function": { "name": "sky", "parameters": {
            "type": "object", "properties": {
                "at": { "type": "string" }, "n": { "type": "integer" },
                "either": { "type": ["string", "null"] }, "list": { "type": "array" },
                "kind": { "enum": ["a", "b"] }, "any": { "anyOf": [{ "type": "number" }] },
            },
        } } })])
    }

    fn told(calls: Option<Vec<ToolCall>>) -> Option<Vec<(String, Value)>> {
        Some(calls?.into_iter().map(|call| (call.name, call.arguments)).collect())
    }

    #[test]
    fn a_name_and_json() {
        let text = "[TOOL_CALLS]sky[ARGS]{\"at\": \"[TOOL_CALLS]x[ARGS]\"}[TOOL_CALLS]sea[CALL_ID]abc\
                    [ARGS]{}";
        let wanted =
            vec![("sky".into(), json!({ "at": "[TOOL_CALLS]x[ARGS]" })), ("sea".into(), json!({}))];
        assert_eq!(told(named(text, "[TOOL_CALLS]")), Some(wanted));
        for broken in ["[TOOL_CALLS]sky", "[TOOL_CALLS]sky[ARGS]{", "[TOOL_CALLS]sky[ARGS]1"] {
            assert_eq!(named(broken, "[TOOL_CALLS]"), None, "{broken}");
        }
    }

    #[test]
    fn arguments_in_functions() {
        let text = "<tool_call>\n<function=sky>\n<parameter=at>\n12\n</parameter>\n<parameter=n>\n12\n\
                    </parameter>\n<parameter=either>\nnull\n</parameter>\n<parameter=list>\n[1, \"a\"]\n\
                    </parameter>\n<parameter=other>\na\n<b> </function>\n</parameter>\n</function>\n\
                    </tool_call>\n<tool_call>\n<function=sea>\n</function>\n</tool_call>";
        let first = json!({ "at": "12", "n": 12, "either": null, "list": [1, "a"],
            "other": "a\n<b> </function>" });
        let wanted = vec![("sky".into(), first), ("sea".into(), json!({}))];
        assert_eq!(told(functions(text, &schemas())), Some(wanted));
        for broken in
            ["<function=sky", "<function=sky><parameter=at>x", "<function=sky>x</function>"]
        {
            assert_eq!(functions(broken, &schemas()), None, "{broken}");
        }
    }

    #[test]
    fn arguments_in_pairs() {
        let text = "<tool_call>sky\n<arg_key>at</arg_key>\n<arg_value>1 < 2\n</arg_value>\n\
                    <arg_key>any</arg_key>\n<arg_value>1.5</arg_value>\n<arg_key>kind</arg_key>\
                    <arg_value>a</arg_value></tool_call><tool_call>sea</tool_call>";
        let first = json!({ "at": "1 < 2\n", "any": 1.5, "kind": "a" });
        let wanted = vec![("sky".into(), first), ("sea".into(), json!({}))];
        assert_eq!(told(pairs(text, "<tool_call>", &schemas())), Some(wanted));
        for broken in
            ["<tool_call>", "<tool_call>a\n<arg_key>b", "<tool_call>a<arg_key>b</arg_key>"]
        {
            assert_eq!(pairs(broken, "<tool_call>", &schemas()), None, "{broken}");
        }
    }
}
