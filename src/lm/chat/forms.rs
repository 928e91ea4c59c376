//! Calls of tools in forms that are not one JSON value each.

use super::tools::{ToolCall, call_of};
use serde_json::{Map, Number, Value};

pub(super) const DEEPSEEK_LIST: &str = "<｜tool▁calls▁begin｜>";
pub(super) const DEEPSEEK_LIST_END: &str = "<｜tool▁calls▁end｜>";
pub(super) const DEEPSEEK: &str = "<｜tool▁call▁begin｜>";
pub(super) const DEEPSEEK_SEP: &str = "<｜tool▁sep｜>";
pub(super) const DEEPSEEK_END: &str = "<｜tool▁call▁end｜>";
pub(super) const PYTHON_LIST: &str = "<|tool_call_start|>";
pub(super) const PYTHON_LIST_END: &str = "<|tool_call_end|>";

/// DeepSeek's: `function`, a mark, the name and JSON in a fence, or the name, a mark
/// and JSON. `None` if one is broken.
pub(super) fn deepseek(text: &str) -> Option<Vec<ToolCall>> {
    let one = |part: &str| {
        let inner = part.split(DEEPSEEK_END).next()?;
        let (first, rest) = inner.split_once(DEEPSEEK_SEP)?;
        let (name, arguments) = match rest.split_once("```json") {
            Some((name, fenced)) => (name, fenced.split("```").next()?),
            None => (first, rest),
        };
        call_of(name.trim(), serde_json::from_str(arguments.trim()).ok()?)
    };
    text.split(DEEPSEEK).skip(1).map(one).collect()
}

/// LFM2's: a list of calls as Python writes them, `[name(key="value", other=3)]`.
/// `None` if it is broken.
pub(super) fn python(text: &str) -> Option<Vec<ToolCall>> {
    let text = text.strip_prefix(PYTHON_LIST)?;
    let mut python = Python { rest: text.split(PYTHON_LIST_END).next()?, depth: 0 };
    let listed = python.take("[");
    let mut calls = Vec::new();
    loop {
        let name = python.name()?;
        python.take("(").then_some(())?;
        calls.push(call_of(name, Value::Object(python.pairs(")", "=", Python::key)?))?);
        if !python.take(",") {
            break;
        }
    }
    if listed {
        python.take("]").then_some(())?;
    }
    python.rest.trim().is_empty().then_some(calls)
}

/// How deep values may lie in each other.
const DEEPEST: usize = 64;

/// What is left of an expression.
struct Python<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Python<'a> {
    fn take(&mut self, mark: &str) -> bool {
        match self.rest.trim_start().strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A name, of letters, digits and what joins them.
    fn name(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    fn key(&mut self) -> Option<String> {
        self.name().map(String::from)
    }

    /// Keys and values up to an end.
    fn pairs(
        &mut self,
        end: &str,
        between: &str,
        key: fn(&mut Self) -> Option<String>,
    ) -> Option<Map<String, Value>> {
        let mut pairs = Map::new();
        while !self.take(end) {
            let key = key(self)?;
            self.take(between).then_some(())?;
            pairs.insert(key, self.value()?);
            if !self.take(",") {
                return self.take(end).then_some(pairs);
            }
        }
        Some(pairs)
    }

    fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let value = self.any_value();
        self.depth -= 1;
        value
    }

    fn any_value(&mut self) -> Option<Value> {
        if self.take("[") {
            return self.items("]").map(Value::Array);
        }
        if self.take("(") {
            return self.items(")").map(Value::Array);
        }
        if self.take("{") {
            return self.pairs("}", ":", Python::string).map(Value::Object);
        }
        if self.rest.trim_start().starts_with(['"', '\'']) {
            return self.string().map(Value::String);
        }
        let text = self.rest.trim_start();
        let end = text.find([',', ')', ']', '}']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        match word.trim() {
            "None" | "null" => Some(Value::Null),
            "True" | "true" => Some(Value::Bool(true)),
            "False" | "false" => Some(Value::Bool(false)),
            number => number.parse::<Number>().ok().map(Value::Number),
        }
    }

    fn items(&mut self, end: &str) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.value()?);
            if !self.take(",") {
                return self.take(end).then_some(items);
            }
        }
        Some(items)
    }

    /// A string between single or double quotes, with the escapes that JSON shares.
    fn string(&mut self) -> Option<String> {
        let text = self.rest.trim_start();
        let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
        let mut value = String::new();
        let mut letters = text.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    'u' => {
                        let code = text.get(at + 2..at + 6)?;
                        value.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                        letters.nth(3)?;
                    }
                    other => value.push(other),
                },
                end if end == quote => {
                    self.rest = &text[at + quote.len_utf8()..];
                    return Some(value);
                }
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listed(text: &str) -> Option<Vec<(String, Value)>> {
        let calls = python(&format!("{PYTHON_LIST}{text}{PYTHON_LIST_END}"))?;
        Some(calls.into_iter().map(|call| (call.name, call.arguments)).collect())
    }

    #[test]
    fn calls_as_python_writes_them() {
        let text = r#"[sky(at="a, \"b\"", n=-3.5, on=True, none=None), sea.x()]"#;
        let wanted = json!({ "at": "a, \"b\"", "n": -3.5, "on": true, "none": null });
        assert_eq!(listed(text), Some(vec![("sky".into(), wanted), ("sea.x".into(), json!({}))]));
        let text = r"[f(l=['x', (1, 2), {'k': {'d': 1e3}}], u='\u00e9\n')]";
        let wanted = json!({ "l": ["x", [1, 2], { "k": { "d": 1e3 } }], "u": "é\n" });
        assert_eq!(listed(text), Some(vec![("f".into(), wanted)]));
        assert_eq!(listed("f(a=1)").map(|calls| calls.len()), Some(1));
        let deep = format!("[f(a={}1{})]", "[".repeat(200), "]".repeat(200));
        for broken in
            ["", "[]", "[f]", "[f(a)]", "[f(a=)]", "[f(a='x)]", "[f(a=1)] x", "[f(1)]", &deep]
        {
            assert_eq!(listed(broken), None, "{broken}");
        }
    }

    #[test]
    fn calls_of_deepseek() {
        let old = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>sky\n```json\n\
                   {\"at\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>sea\n\
                   ```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
        let calls = deepseek(old).unwrap();
        assert_eq!((&*calls[0].name, &calls[0].arguments), ("sky", &json!({ "at": 1 })));
        assert_eq!((&*calls[1].name, calls.len()), ("sea", 2));
        let new = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>sky<｜tool▁sep｜>{\"at\": 1}<｜tool▁call▁end｜>";
        assert_eq!(deepseek(new).unwrap(), calls[..1]);
        assert_eq!(deepseek("<｜tool▁call▁begin｜>sky<｜tool▁sep｜>{"), None);
    }
}
