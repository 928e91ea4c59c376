//! `left % right` as Python has it: a string is filled in, a number divided.
//!
//! The engine divides only; its filter `format` fills in, and pays for what it makes.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// What `left % right` is.
pub(super) fn percent(
    state: &mut State<'_, '_>,
    left: Value,
    right: Value,
) -> Result<Value, Error> {
    if left.kind() != ValueKind::String {
        return remainder(&left, &right);
    }
    // A tuple has a value for each place, anything else is the value of the only one; a map
    // may have more than are asked for.
    let places = left.as_str().map_or(0, places);
    let named = right.kind() == ValueKind::Map;
    let mut args = vec![left];
    match right.downcast_object_ref::<Tuple>() {
        Some(_) => args.extend(right.try_iter()?),
        None => args.push(right),
    }
    if args.len() - 1 > places && !named {
        let what = format!("{} values for {places} places", args.len() - 1);
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    state.apply_filter("format", &args)
}

/// How many values a string takes.
fn places(text: &str) -> usize {
    let (mut places, mut letters) = (0, text.chars());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            continue;
        }
        // Between the mark and what a value becomes are flags and widths, some of which
        // are values too.
        for letter in letters.by_ref() {
            match letter {
                '*' => places += 1,
                '%' => break,
                letter if letter.is_alphabetic() => {
                    places += 1;
                    break;
                }
                _ => (),
            }
        }
    }
    places
}

/// What is left of a division, with the sign of the divisor.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let wrong = || {
        let what = format!("{} % {} cannot be computed", left.kind(), right.kind());
        Error::new(ErrorKind::InvalidOperation, what)
    };
    let number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !number(left) || !number(right) {
        return Err(wrong());
    }
    let whole = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        let rest = left.checked_rem(right).ok_or_else(wrong)?;
        let other_sign = rest != 0 && (rest < 0) != (right < 0);
        return Ok(Value::from(if other_sign { rest + right } else { rest }));
    }
    let float = |value: &Value| f64::try_from(value.clone()).map_err(|_| wrong());
    let (left, right) = (float(left)?, float(right)?);
    if right == 0.0 {
        return Err(wrong());
    }
    let rest = left % right;
    let other_sign = rest != 0.0 && (rest < 0.0) != (right < 0.0);
    Ok(Value::from(if other_sign { rest + right } else { rest }))
}
