//! Operators on the text of strings.

use crate::error::Result;
use crate::onnx::{HostCx, HostResults};
use crate::tensor::{DType, Tensor};
use regex::Regex;

/// Strings one behind the other, broadcast.
pub(super) fn concat(cx: &HostCx<'_>) -> Result<HostResults> {
    let (a, b) = (cx.strings(0)?, cx.strings(1)?);
    let (of_a, of_b) = (cx.input(0)?.extents(), cx.input(1)?.extents());
    let extents =
        broadcast(of_a, of_b).ok_or_else(|| cx.broken(format!("extents {of_a:?} and {of_b:?}")))?;
    let count: usize = extents.iter().product();
    let joined = (0..count).map(|at| {
        let of = |own: &[usize]| place(at, &extents, own);
        [a[of(of_a)], b[of(of_b)]].concat()
    });
    let joined: Vec<String> = joined.collect();
    Ok(vec![Some(Tensor::from_strings(&extents, &joined)?)])
}

/// The extents that both are broadcast to.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |own: &[usize], axis: usize| match (axis + own.len()).checked_sub(rank) {
        Some(at) => own[at],
        None => 1,
    };
    let both = (0..rank).map(|axis| match (extent(a, axis), extent(b, axis)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    });
    both.collect()
}

/// Where an element of the broadcast shape is in a tensor of its own extents.
fn place(mut at: usize, extents: &[usize], own: &[usize]) -> usize {
    let (mut place, mut stride) = (0, 1);
    for axis in (0..extents.len()).rev() {
        let index = at % extents[axis].max(1);
        at /= extents[axis].max(1);
        let offset = extents.len() - own.len();
        if axis >= offset {
            let n = own[axis - offset];
            place += if n == 1 { 0 } else { index * stride };
            stride *= n;
        }
    }
    place
}

/// The pieces of each string, filled up with empty ones, and how many there are.
pub(super) fn split(cx: &HostCx<'_>) -> Result<HostResults> {
    let given = cx.strings(0)?;
    let delimiter = cx.string("delimiter", "")?;
    let most = match cx.attributes().int("maxsplit")? {
        Some(most) => usize::try_from(most).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let pieces: Vec<Vec<&str>> = given.iter().map(|text| pieces(text, delimiter, most)).collect();
    let width = pieces.iter().map(Vec::len).max().unwrap_or(0);
    let filled = pieces
        .iter()
        .flat_map(|pieces| pieces.iter().copied().chain(std::iter::repeat("")).take(width));
    let filled: Vec<&str> = filled.collect();
    let counts: Vec<i64> = pieces.iter().map(|pieces| pieces.len() as i64).collect();
    let extents = cx.input(0)?.extents();
    let wide = [extents, &[width]].concat();
    let counts = Tensor::from_i64(extents, &counts)?;
    Ok(vec![Some(Tensor::from_strings(&wide, &filled)?), Some(counts)])
}

/// Cut at the delimiter, or at white space if that is empty; at most so often.
fn pieces<'t>(text: &'t str, delimiter: &str, most: usize) -> Vec<&'t str> {
    if text.is_empty() {
        return Vec::new();
    }
    if !delimiter.is_empty() {
        return text.splitn(most.saturating_add(1), delimiter).collect();
    }
    let (mut rest, mut pieces) = (text.trim_start(), Vec::new());
    while !rest.is_empty() {
        match rest.find(char::is_whitespace).filter(|_| pieces.len() < most) {
            Some(end) => {
                pieces.push(&rest[..end]);
                rest = rest[end..].trim_start();
            }
            None => {
                pieces.push(rest);
                rest = "";
            }
        }
    }
    pieces
}

/// The strings without those to be left out, in another case.
pub(super) fn normalise(cx: &HostCx<'_>) -> Result<HostResults> {
    let (given, extents) = (cx.strings(0)?, cx.input(0)?.extents());
    if !matches!(extents, [_] | [1, _]) {
        return Err(cx.broken(format!("extents {extents:?}")));
    }
    let exact = cx.int("is_case_sensitive", 0)? != 0;
    let folded = |text: &str| if exact { text.to_string() } else { text.to_lowercase() };
    let left_out = cx.attributes().strings("stopwords")?.unwrap_or_default();
    let left_out: Vec<String> = left_out.iter().map(|word| folded(word)).collect();
    let action = cx.string("case_change_action", "NONE")?;
    let kept = given.iter().filter(|text| !left_out.contains(&folded(text)));
    let mut kept: Vec<String> = match action {
        "LOWER" => kept.map(|text| text.to_lowercase()).collect(),
        "UPPER" => kept.map(|text| text.to_uppercase()).collect(),
        "NONE" => kept.map(|text| text.to_string()).collect(),
        other => return Err(cx.broken(format!("case_change_action '{other}'"))),
    };
    if kept.is_empty() {
        kept.push(String::new());
    }
    let mut extents = extents.to_vec();
    if let Some(last) = extents.last_mut() {
        *last = kept.len();
    }
    Ok(vec![Some(Tensor::from_strings(&extents, &kept)?)])
}

/// `com.microsoft.Tokenizer`: the pieces of each string that a pattern finds, or that
/// lie between separators, filled up with a given string.
pub(super) fn tokenize(cx: &HostCx<'_>) -> Result<HostResults> {
    let given = cx.strings(0)?;
    let least = usize::try_from(cx.int("mincharnum", 1)?).unwrap_or(1);
    let filler = cx.string("pad_value", "")?;
    let mark = cx.int("mark", 0)? != 0;
    let cut = Cut::new(cx)?;
    let pieces = given.iter().map(|text| {
        let mut pieces: Vec<&str> = cut.pieces(text);
        pieces.retain(|piece| piece.chars().count() >= least);
        if mark {
            // Start and end of text, as the control characters of these names.
            pieces.insert(0, "\u{2}");
            pieces.push("\u{3}");
        }
        pieces
    });
    let pieces: Vec<Vec<&str>> = pieces.collect();
    let width = pieces.iter().map(Vec::len).max().unwrap_or(0);
    let filled = pieces
        .iter()
        .flat_map(|pieces| pieces.iter().copied().chain(std::iter::repeat(filler)).take(width));
    let filled: Vec<&str> = filled.collect();
    let extents = [cx.input(0)?.extents(), &[width]].concat();
    Ok(vec![Some(Tensor::from_strings(&extents, &filled)?)])
}

/// How a tokenizer cuts.
enum Cut {
    /// What this finds is a piece.
    Found(Regex),
    /// What this finds lies between pieces.
    Between(Regex),
    Characters,
}

impl Cut {
    fn new(cx: &HostCx<'_>) -> Result<Self> {
        let compiled = |pattern: &str| {
            let wrong = |error| cx.broken(format!("pattern '{pattern}': {error}"));
            Regex::new(pattern).map_err(wrong)
        };
        let separators = cx.attributes().strings("separators")?.unwrap_or_default();
        match cx.attributes().string("tokenexp")? {
            Some(pattern) if !pattern.is_empty() => compiled(pattern).map(Cut::Found),
            _ if separators.iter().all(|separator| separator.is_empty()) => Ok(Cut::Characters),
            _ => {
                let all: Vec<String> = separators.iter().map(|one| format!("(?:{one})")).collect();
                compiled(&all.join("|")).map(Cut::Between)
            }
        }
    }

    fn pieces<'t>(&self, text: &'t str) -> Vec<&'t str> {
        match self {
            Cut::Found(regex) => regex.find_iter(text).map(|found| found.as_str()).collect(),
            Cut::Between(regex) => regex.split(text).filter(|piece| !piece.is_empty()).collect(),
            Cut::Characters => {
                text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect()
            }
        }
    }
}

/// Whether all of each string is as the pattern says.
pub(super) fn regex_full_match(cx: &HostCx<'_>) -> Result<HostResults> {
    let given = cx.strings(0)?;
    let pattern = cx.string("pattern", "")?;
    let regex = Regex::new(&format!(r"\A(?:{pattern})\z"))
        .map_err(|error| cx.broken(format!("pattern '{pattern}': {error}")))?;
    let matches = given.iter().map(|text| u8::from(regex.is_match(text))).collect::<Vec<_>>();
    Ok(vec![Some(Tensor::new(DType::Bool, cx.input(0)?.extents(), matches)?)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_as_python_cuts_it() {
        assert_eq!(pieces("  a b  c ", "", usize::MAX), ["a", "b", "c"]);
        assert_eq!(pieces("  a b  c ", "", 1), ["a", "b  c "]);
        assert_eq!(pieces("a--b--c", "--", usize::MAX), ["a", "b", "c"]);
        assert_eq!(pieces("a--b--c", "--", 1), ["a", "b--c"]);
        assert_eq!(pieces("a,,b", ",", usize::MAX), ["a", "", "b"]);
        assert_eq!(pieces("   ", "", usize::MAX), [""; 0]);
    }

    #[test]
    fn elements_of_broadcast_tensors_are_found() {
        let all = |own: &[usize]| (0..6).map(|at| place(at, &[2, 3], own)).collect::<Vec<_>>();
        assert_eq!(all(&[3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(all(&[2, 1]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(all(&[2, 3]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(all(&[]), [0; 6]);
    }
}
