//! Metadata values, abbreviated.

use crate::output::{safe, shortened};
use serde_json::{Value as Json, json};
use wginfer::formats::gguf::Value;

/// How many elements of an array are shown.
const SHOWN: usize = 8;
/// How many characters of a text are shown however little room there is.
const LEAST: usize = 16;
/// A value in about `most` characters, for people.
pub(super) fn line(value: &Value<'_>, most: usize) -> String {
    match value {
        Value::Array(array) => {
            let shown: Vec<String> = array.iter().take(SHOWN).map(|v| line(&v, most)).collect();
            let more = if array.len() > SHOWN { ", ..." } else { "" };
            let start = format!("{} x {}: ", array.len(), array.element_type());
            let inner = format!("{}{more}", shown.join(", "));
            format!("{start}{}", shortened(&inner, most.saturating_sub(start.len()).max(LEAST)))
        }
        Value::Str(bytes) => {
            let text = safe(&String::from_utf8_lossy(bytes));
            if text.chars().count() <= most.saturating_sub(2).max(LEAST) {
                return format!("\"{text}\"");
            }
            let end = format!(" ({} bytes)", bytes.len());
            let room = most.saturating_sub(end.len() + 2).max(LEAST);
            format!("\"{}\"{end}", shortened(&text, room))
        }
        Value::F32(v) => v.to_string(),
        Value::F64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        other => other.as_integer().map_or_else(String::new, |v| v.to_string()),
    }
}

/// A key and its value for programs. Arrays have their length and their first
/// elements; everything else is whole.
pub(super) fn entry(key: &str, value: &Value<'_>) -> Json {
    let kind = value.value_type().to_string();
    match value {
        Value::Array(array) => json!({
            "key": key,
            "type": kind,
            "element_type": array.element_type().to_string(),
            "length": array.len(),
            "first": array.iter().take(SHOWN).map(|v| plain(&v)).collect::<Vec<_>>(),
        }),
        value => json!({ "key": key, "type": kind, "value": plain(value) }),
    }
}

/// JSON has no numbers that are not finite; they become strings.
fn plain(value: &Value<'_>) -> Json {
    match *value {
        Value::Str(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Bool(v) => v.into(),
        Value::F32(v) if v.is_finite() => v.into(),
        Value::F64(v) if v.is_finite() => v.into(),
        Value::U64(v) => v.into(),
        Value::Array(array) => array.iter().take(SHOWN).map(|v| plain(&v)).collect(),
        other => match other.as_integer().and_then(|v| i64::try_from(v).ok()) {
            Some(number) => number.into(),
            None => line(&other, LEAST).into(),
        },
    }
}
