//! Numbers as strings and back.

use crate::error::Result;
use crate::onnx::{HostCx, HostResults};
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};

pub(super) fn cast(cx: &HostCx<'_>) -> Result<HostResults> {
    let code = cx.int("to", 0)?;
    let to = crate::formats::onnx::dtype(code);
    let to = to.ok_or_else(|| cx.unsupported(format!("to = {code}")))?;
    converted(cx, to)
}

pub(super) fn cast_like(cx: &HostCx<'_>) -> Result<HostResults> {
    converted(cx, cx.input(1)?.dtype())
}

fn converted(cx: &HostCx<'_>, to: DType) -> Result<HostResults> {
    let x = cx.input(0)?;
    let y = match (x.dtype(), to) {
        (DType::String, DType::String) => x.clone(),
        (DType::String, to) => parsed(cx, x, to)?,
        (from, _) => {
            let values = RefTensor::from_tensor(x)?;
            let digits = if from == DType::F64 { 17 } else { 8 };
            let words: Vec<String> = match values.data {
                RefData::Int(values) if from == DType::U64 => {
                    values.iter().map(|&value| (value as u64).to_string()).collect()
                }
                RefData::Int(values) => values.iter().map(i64::to_string).collect(),
                RefData::Real(values) => values.iter().map(|&v| shown(v, digits)).collect(),
            };
            Tensor::from_strings(x.extents(), &words)?
        }
    };
    Ok(vec![Some(y)])
}

/// A number with so many significant digits, without zeros at the end; with an
/// exponent where it is very large or very small. As ONNX Runtime writes it.
fn shown(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.into();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trimmed(&format!("{value:.decimals$}")).to_string()
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// The numbers that strings spell.
fn parsed(cx: &HostCx<'_>, x: &Tensor, to: DType) -> Result<Tensor> {
    let words = cx.strings(0)?;
    let no_number = |word: &str| cx.broken(format!("'{}' is no {to}", word.escape_debug()));
    let data = match to {
        DType::F32 => {
            // Straight to the type, so that nothing is rounded twice.
            let number = |word: &&str| word.trim().parse::<f32>().map_err(|_| no_number(word));
            let numbers = words.iter().map(number).collect::<Result<Vec<_>>>()?;
            return Tensor::from_f32(x.extents(), &numbers);
        }
        to if to.is_float() => {
            let number = |word: &&str| word.trim().parse::<f64>().map_err(|_| no_number(word));
            RefData::Real(words.iter().map(number).collect::<Result<_>>()?)
        }
        to if to.is_integer() && to != DType::Bool => {
            let (least, most) = to.range().unwrap_or((0, 0));
            let number = |word: &&str| {
                let number = word.trim().parse::<i128>().ok();
                let number = number.filter(|number| (least..=most).contains(number));
                number.map(|number| number as i64).ok_or_else(|| no_number(word))
            };
            RefData::Int(words.iter().map(number).collect::<Result<_>>()?)
        }
        other => return Err(cx.unsupported(format!("strings as {other}"))),
    };
    RefTensor { dtype: to, extents: x.extents().to_vec(), data }.to_tensor()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn numbers_are_shown_with_as_many_digits_as_they_have() {
        let cases = [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (f64::from(0.1f32), "0.1"),
            (f64::from(0.478_925_47f32), "0.47892547"),
            (123_456.0, "123456"),
            (1e10, "1e+10"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (0.0, "0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-INF"),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(value, 8), expected);
        }
        assert_eq!(shown(0.1, 17), "0.10000000000000001");
    }
}
