//! The methods of Python's strings and dictionaries that templates call.
//!
//! minijinja leaves methods to its user. Each one here pays for its work
//! before it allocates: a method must not be a way around the fuel.

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

type Out = Result<Value, Error>;

/// Bytes that one fuel pays for.
const BYTES: usize = 64;

/// Calls `method` of `value`, or says that it is unknown.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Out {
    match value.kind() {
        ValueKind::String => match value.as_str() {
            Some(text) => {
                pay(state, text.len())?;
                string(state, text, method, args)
            }
            None => Err(Error::from(ErrorKind::UnknownMethod)),
        },
        ValueKind::Map => map(state, value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES) as u64)
}

fn string(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Out {
    let plain = |value: Value| from_args::<()>(args).map(|()| value);
    match method {
        "upper" => plain(text.to_uppercase().into()),
        "lower" => plain(text.to_lowercase().into()),
        "title" => plain(title(text).into()),
        "capitalize" => plain(capitalised(text).into()),
        "isdigit" => plain((!text.is_empty() && text.chars().all(|c| c.is_numeric())).into()),
        "isspace" => plain((!text.is_empty() && text.chars().all(char::is_whitespace)).into()),
        "strip" | "lstrip" | "rstrip" => strip(text, method, args),
        "startswith" => affix(args, |wanted| text.starts_with(wanted)),
        "endswith" => affix(args, |wanted| text.ends_with(wanted)),
        "find" | "rfind" => {
            let (wanted,): (&str,) = from_args(args)?;
            let at = if method == "find" { text.find(wanted) } else { text.rfind(wanted) };
            // Python counts characters.
            Ok(at.map_or(-1, |at| text[..at].chars().count() as i64).into())
        }
        "count" => {
            let (wanted,): (&str,) = from_args(args)?;
            Ok(text.matches(wanted).count().into())
        }
        "replace" => replace(state, text, args),
        "split" | "rsplit" => split(state, text, method, args),
        "splitlines" => {
            let lines: Vec<&str> = text.lines().collect();
            pay(state, lines.len() * BYTES)?;
            plain(lines.into_iter().map(Value::from).collect())
        }
        "join" => join(state, text, args),
        "format" => format(state, text, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    out
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect(),
        None => String::new(),
    }
}

fn strip(text: &str, method: &str, args: &[Value]) -> Out {
    let (set,): (Option<&str>,) = from_args(args)?;
    let cut = |c: char| set.map_or(c.is_whitespace(), |set| set.contains(c));
    let mut text = text;
    if method != "rstrip" {
        text = text.trim_start_matches(cut);
    }
    if method != "lstrip" {
        text = text.trim_end_matches(cut);
    }
    Ok(text.into())
}

/// A string, or a list of strings of which any will do.
fn affix(args: &[Value], fits: impl Fn(&str) -> bool) -> Out {
    let (wanted,): (&Value,) = from_args(args)?;
    if let Some(wanted) = wanted.as_str() {
        return Ok(fits(wanted).into());
    }
    for one in wanted.try_iter()? {
        match one.as_str() {
            Some(one) if fits(one) => return Ok(true.into()),
            Some(_) => {}
            None => return Err(not_a_string()),
        }
    }
    Ok(false.into())
}

fn not_a_string() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a string is needed")
}

fn replace(state: &State<'_, '_>, text: &str, args: &[Value]) -> Out {
    let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
    let most = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let found = text.matches(old).take(most).count();
    pay(state, found.saturating_mul(new.len()))?;
    Ok(text.replacen(old, new, found).into())
}

fn split(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Out {
    let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
    let most = most.and_then(|n| usize::try_from(n).ok());
    let parts: Vec<&str> = match (separator, most) {
        (Some(""), _) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
        }
        (None, None) => text.split_whitespace().collect(),
        (None, Some(_)) => {
            let what = "split() with a limit needs a separator";
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
        (Some(by), None) => text.split(by).collect(),
        (Some(by), Some(n)) if method == "split" => text.splitn(n.saturating_add(1), by).collect(),
        (Some(by), Some(n)) => {
            let mut parts: Vec<&str> = text.rsplitn(n.saturating_add(1), by).collect();
            parts.reverse();
            parts
        }
    };
    pay(state, parts.len() * BYTES)?;
    Ok(parts.into_iter().map(Value::from).collect())
}

fn join(state: &State<'_, '_>, text: &str, args: &[Value]) -> Out {
    let (items,): (&Value,) = from_args(args)?;
    let mut out = String::new();
    for (i, item) in items.try_iter()?.enumerate() {
        let item = item.as_str().ok_or_else(not_a_string)?.to_string();
        pay(state, BYTES + text.len() + item.len())?;
        if i > 0 {
            out.push_str(text);
        }
        out.push_str(&item);
    }
    Ok(out.into())
}

/// `{}`, `{0}` and `{name}`, without what Python can say of how they are written.
fn format(state: &State<'_, '_>, text: &str, args: &[Value]) -> Out {
    let unknown =
        |what: &str| Err(Error::new(ErrorKind::InvalidOperation, format!("format() of '{what}'")));
    let (listed, named): (Rest<Value>, Kwargs) = from_args(args)?;
    let (mut out, mut rest, mut next) = (String::new(), text, 0);
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let mark = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(mark) {
            out.push_str(mark);
            rest = after;
            continue;
        }
        let Some((field, after)) = rest.split_once('}').filter(|_| mark == "{") else {
            return unknown(text);
        };
        let value = match field.parse::<usize>() {
            Ok(at) => listed.get(at).cloned(),
            Err(_) if field.is_empty() => {
                next += 1;
                listed.get(next - 1).cloned()
            }
            Err(_) => named.get::<Option<Value>>(field)?,
        };
        let Some(value) = value else { return unknown(field) };
        let value = super::text::string(state, &value)?;
        pay(state, value.len())?;
        out.push_str(&value);
        rest = after;
    }
    named.assert_all_used()?;
    out.push_str(rest);
    Ok(out.into())
}

fn map(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Out {
    if method == "get" {
        let (key, default): (&Value, Option<Value>) = from_args(args)?;
        let found = value.get_item(key)?;
        let none = || default.unwrap_or_else(|| Value::from(()));
        return Ok(if found.is_undefined() { none() } else { found });
    }
    if !matches!(method, "keys" | "values" | "items") {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    from_args::<()>(args)?;
    let mut out = Vec::new();
    for key in value.try_iter()? {
        pay(state, 2 * BYTES)?;
        out.push(match method {
            "keys" => key,
            "values" => value.get_item(&key)?,
            _ => {
                let item = value.get_item(&key)?;
                Value::from(vec![key, item])
            }
        });
    }
    Ok(out.into())
}
