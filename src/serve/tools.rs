//! Tools that an answer may call.

use super::error::ApiError;
use super::random;
use crate::lm::chat::{ToolCall, ToolStyle};
use crate::lm::{ChatTemplate, GrammarSource};
use serde_json::{Value, json};

/// The most tools of a request.
const MOST: usize = 128;

/// The tools of a request, and how the model calls them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tools {
    pub(super) style: ToolStyle,
    /// What the model is told of.
    pub(super) told: Vec<Value>,
    /// One of these must be called.
    forced: Option<Vec<Value>>,
    /// Whether an answer has one call at most.
    pub(super) single: bool,
}

impl Tools {
    /// `None` where there are no tools, or none may be called.
    pub(super) fn read(
        tools: Vec<Value>,
        choice: Option<Value>,
        template: Option<&ChatTemplate>,
    ) -> Result<Option<Self>, ApiError> {
        let choice = choice.unwrap_or(Value::Null);
        if tools.is_empty() {
            return match choice.as_str() {
                None | Some("none" | "auto") if !choice.is_object() => Ok(None),
                _ => Err(ApiError::param("tool_choice", "tool_choice needs tools")),
            };
        }
        if tools.len() > MOST {
            return Err(ApiError::param("tools", format!("at most {MOST} tools")));
        }
        if let Some(i) = tools.iter().position(|tool| named(tool).is_none()) {
            let text = format!("tools[{i}] is no function with a name");
            return Err(ApiError::param("tools", text));
        }
        let Some(style) = template.and_then(ToolStyle::of) else {
            let text = "the model's chat template does not know of tools";
            return Err(ApiError::param("tools", text).code("unsupported_parameter"));
        };
        let forced = match (&choice, choice.as_str()) {
            (_, Some("none")) => return Ok(None),
            (Value::Null, _) | (_, Some("auto")) => None,
            (_, Some("required")) => Some(tools.clone()),
            (Value::Object(_), _) => {
                let wanted = choice["function"]["name"].as_str();
                let tool = tools.iter().find(|tool| wanted.is_some() && named(tool) == wanted);
                let none = || ApiError::param("tool_choice", "tool_choice names no tool");
                Some(vec![tool.ok_or_else(none)?.clone()])
            }
            _ => {
                let text = "tool_choice must be none, auto, required or a function";
                return Err(ApiError::param("tool_choice", text));
            }
        };
        Ok(Some(Tools { style, told: tools, forced, single: false }))
    }

    /// What an answer must follow, if a tool must be called.
    pub(super) fn source(&self) -> Result<Option<GrammarSource>, ApiError> {
        let grammar = self.forced.as_ref().map(|forced| self.style.grammar(forced));
        Ok(grammar.transpose()?.map(GrammarSource::Lark))
    }
}

/// The calls of an answer that are told: where only one is wanted, the first.
pub(super) fn wanted(tools: Option<&Tools>, mut calls: Vec<ToolCall>) -> Vec<ToolCall> {
    if tools.is_some_and(|tools| tools.single) {
        calls.truncate(1);
    }
    calls
}

fn named(tool: &Value) -> Option<&str> {
    let name = (tool["type"] == "function").then(|| tool["function"]["name"].as_str())?;
    name.filter(|name| !name.is_empty())
}

/// Calls in OpenAI's form; those of a stream have their number.
pub(super) fn told(calls: &[ToolCall], streamed: bool) -> Vec<Value> {
    let one = |(index, call): (usize, &ToolCall)| {
        let mut value = json!({
            "id": format!("call_{:016x}", random()),
            "type": "function",
            "function": { "name": call.name, "arguments": call.arguments.to_string() },
        });
        if streamed {
            value["index"] = index.into();
        }
        value
    };
    calls.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_where_only_one_is_wanted() {
        let call = |name: &str| ToolCall { name: name.into(), arguments: json!({}) };
        let all = vec![call("a"), call("b")];
        let tools = Tools { style: ToolStyle::Tagged, told: vec![], forced: None, single: true };
        assert_eq!(wanted(Some(&tools), all.clone()), [call("a")]);
        assert_eq!(wanted(Some(&Tools { single: false, ..tools }), all.clone()), all);
        assert_eq!(wanted(None, all.clone()), all);
    }
}
