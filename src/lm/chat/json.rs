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
    // Others of json.dumps' arguments change nothing that can be seen here.
    for ignored in ["ensure_ascii", "sort_keys", "separators"] {
        args.get::<Option<Value>>(ignored)?;
    }
    args.assert_all_used()?;
    let indent = indent.map(|n| " ".repeat(n.min(MAX_INDENT)));
    let mut writer = Writer { state, indent, out: String::new(), paid: 0 };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// Pays as it goes: the text of nested lists can be far longer than what the
/// lists cost to make.
struct Writer<'a, 't, 'e> {
    state: &'a State<'t, 'e>,
    indent: Option<String>,
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
        for key in value.try_iter()? {
            self.separate(first, depth + 1)?;
            first = false;
            match key.kind() {
                ValueKind::String => self.text(&key)?,
                _ => self.text(&Value::from(key.to_string()))?,
            }
            self.out.push_str(": ");
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close('}', first, depth)
    }

    fn text(&mut self, value: &Value) -> Result<(), Error> {
        let text = serde_json::to_string(value.as_str().unwrap_or_default());
        self.out.push_str(&text.map_err(|e| invalid(e.to_string()))?);
        Ok(())
    }

    /// What stands before an element.
    fn separate(&mut self, first: bool, depth: usize) -> Result<(), Error> {
        match (&self.indent, first) {
            (None, true) => {}
            (None, false) => self.out.push_str(", "),
            (Some(_), true) => self.line(depth),
            (Some(_), false) => {
                self.out.push(',');
                self.line(depth);
            }
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
