//! Values as text, paid for while they are written.
//!
//! A list that holds itself twice, many times over, is cheap to make and its
//! text longer than any memory.

use minijinja::{Error, ErrorKind, Output, State, Value};
use std::fmt::{self, Write};

/// Bytes of text that one fuel pays for.
const BYTES: usize = 16;

/// What `{{ value }}` writes.
pub(super) fn write(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.as_str() {
        // The engine charges for what goes out.
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&string(state, value)?).map_err(Error::from),
    }
}

/// The filter `value|string`.
pub(super) fn string(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut paid = Paid { state, text: String::new() };
    match write!(paid, "{value}") {
        Ok(()) => Ok(paid.text),
        Err(_) => Err(Error::from(ErrorKind::OutOfFuel)),
    }
}

struct Paid<'a, 't, 'e> {
    state: &'a State<'t, 'e>,
    text: String,
}

impl Write for Paid<'_, '_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let before = self.text.len() / BYTES;
        self.text.push_str(text);
        let fuel = self.text.len() / BYTES - before;
        self.state.consume_fuel(fuel as u64).map_err(|_| fmt::Error)
    }
}
