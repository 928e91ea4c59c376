//! `tojson` as templates expect it: Python's `json.dumps` without escapes for
//! HTML, which is what `transformers` puts in the place of Jinja's filter.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Bytes of text that one fuel pays for; writing them is slower than copying.
const BYTES: usize = 16;
/// The widest indentation; a number from a template becomes that many spaces.
const MAX_INDENT: usize = 16;
/// The deepest nesting. Lists can nest as deep as the fuel allows, which is
/// more than the stack does.
const MAX_DEPTH: usize = 64;

/// The filter: `value|tojson` or `value|tojson(indent=4)`.
pub(super) fn tojson(state: &State<'_, '_>, value: &Value, args: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = args.get("indent")?;
    let is = |name: &str| -> Result<bool, Error> {
        Ok(args.get::<Option<Value>>(name)?.is_some_and(|value| value.is_true()))
    };
    let (ascii, sorted) = (is("ensure_ascii")?, is("sort_keys")?);
    let separators: Option<Vec<String>> = args.get("separators")?;
    args.assert_all_used()?;
    let [between, colon] = match (separators.as_deref(), indent) {
        (None, None) => [", ", ": "].map(String::from),
        (None, Some(_)) => [",", ": "].map(String::from),
        (Some([between, colon]), _) => [between.clone(), colon.clone()],
        (Some(_), _) => return Err(invalid("tojson: separators are two strings".into())),
    };
    let indent = indent.map(|n| " ".repeat(n.min(MAX_INDENT)));
    let mut writer =
        Writer { state, indent, between, colon, ascii, sorted, out: String::new(), paid: 0 };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// Pays as it goes: the text of nested lists can be far longer than what the
/// lists cost to make.
struct Writer<'a, 't, 'e> {
    state: &'a State<'t, 'e>,
    indent: Option<String>,
    /// What stands between elements.
    between: String,
    /// What stands between a key and its value.
    colon: String,
    /// Whether what is not ASCII is written as escapes.
    ascii: bool,
    /// Whether keys are in order.
    sorted: bool,
    out: String,
    paid: usize,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!("tojson: nested deeper than {MAX_DEPTH}")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => self.text(value)?,
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            other => return Err(invalid(format!("tojson: {other} is not JSON"))),
        }
        self.pay()
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut first = true;
        for item in value.try_iter()? {
            self.separate(first, depth + 1)?;
            first = false;
            self.value(&item, depth + 1)?;
        }
        self.close(']', first, depth)
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let mut first = true;
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sorted {
            keys.sort();
        }
        for key in keys {
            self.separate(first, depth + 1)?;
            first = false;
            match key.kind() {
                ValueKind::String => self.text(&key)?,
                _ => self.text(&Value::from(key.to_string()))?,
            }
            self.out.push_str(&self.colon);
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close('}', first, depth)
    }

    fn text(&mut self, value: &Value) -> Result<(), Error> {
        let text = serde_json::to_string(value.as_str().unwrap_or_default());
        let text = text.map_err(|e| invalid(e.to_string()))?;
        if !self.ascii {
            self.out.push_str(&text);
            return Ok(());
        }
        for c in text.chars() {
            match c.is_ascii() {
                true => self.out.push(c),
                false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    self.out.push_str(&format!("\\u{unit:04x}"));
                }),
            }
        }
        Ok(())
    }

    /// What stands before an element.
    fn separate(&mut self, first: bool, depth: usize) -> Result<(), Error> {
        if !first {
            self.out.push_str(&self.between);
        }
        if self.indent.is_some() {
            self.line(depth);
        }
        self.pay()
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) -> Result<(), Error> {
        if self.indent.is_some() && !empty {
            self.line(depth);
        }
        self.out.push(bracket);
        self.pay()
    }

    fn line(&mut self, depth: usize) {
        self.out.push('\n');
        for _ in 0..depth {
            self.out.push_str(self.indent.as_deref().unwrap_or_default());
        }
    }

    fn pay(&mut self) -> Result<(), Error> {
        let due = self.out.len() / BYTES;
        self.state.consume_fuel((due - self.paid) as u64)?;
        self.paid = due;
        Ok(())
    }
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}
