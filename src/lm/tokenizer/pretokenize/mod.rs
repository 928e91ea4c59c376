//! Cutting text into the pieces within which byte pairs merge.

mod families;

use crate::error::{Error, Result};
use families::FAMILIES;
pub(super) use families::Family;
use regex::Regex;

struct Step {
    pattern: &'static str,
    trim: Trim,
}

/// How a match is cut once more.
///
/// Mostly it stands for `\s+(?!\S)` before the `\s+` at a pattern's end.
/// The original expressions leave the last space of a run to the word after
/// it by looking ahead, which takes a backtracking engine whose time and
/// stack grow with the text. Here `\s+` takes the whole run and one character
/// is given back afterwards: the same pieces in linear time.
#[derive(Clone, Copy, PartialEq)]
enum Trim {
    Nothing,
    Any,
    /// Runs that end a line were taken by `\s*[\r\n]+`, which gives nothing
    /// back.
    NotNewlines,
    /// As [`Trim::NotNewlines`]; what is left of such a run is cut into powers of two
    /// from 512 on down, and none of 1 as long as there are 2.
    Powers,
    /// Pieces of three characters, but the first one, which has what is left over.
    Thousands,
}

/// The compiled expressions of a family.
pub(super) struct PreTokenizer {
    steps: Vec<(Regex, Trim)>,
}

impl Family {
    /// The family that `tokenizer.ggml.pre` names.
    pub(super) fn named(name: &str, file: &str) -> Result<&'static Family> {
        FAMILIES.iter().find(|family| family.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|f| f.names).copied().collect();
            Error::unsupported(
                format_args!("{file}: key 'tokenizer.ggml.pre'"),
                format_args!(
                    "pre-tokenizer '{}'; known: {}",
                    name.escape_debug(),
                    known.join(", ")
                ),
            )
        })
    }

    pub(super) fn compile(&self) -> Result<PreTokenizer> {
        let compile = |step: &Step| match Regex::new(step.pattern) {
            Ok(regex) => Ok((regex, step.trim)),
            Err(e) => Err(Error::internal(format_args!("pattern '{}': {e}", step.pattern))),
        };
        Ok(PreTokenizer { steps: self.steps.iter().map(compile).collect::<Result<_>>()? })
    }
}

impl PreTokenizer {
    /// Calls `piece` with each piece of `text` in order; together they are
    /// the whole text.
    pub(super) fn split<'t>(
        &self,
        text: &'t str,
        piece: &mut impl FnMut(&'t str) -> Result<()>,
    ) -> Result<()> {
        split(&self.steps, text, piece)
    }
}

fn split<'t>(
    steps: &[(Regex, Trim)],
    text: &'t str,
    piece: &mut impl FnMut(&'t str) -> Result<()>,
) -> Result<()> {
    let Some(((regex, trim), rest)) = steps.split_first() else {
        return if text.is_empty() { Ok(()) } else { piece(text) };
    };
    let mut done = 0;
    while let Some(found) = regex.find_at(text, done) {
        let end = found.start() + kept(found.as_str(), *trim, found.end() == text.len());
        // What no alternative matches is a piece of its own.
        split(rest, &text[done..found.start()], piece)?;
        let (mut part, mut left) = cut(&text[found.start()..end], *trim, true);
        while !part.is_empty() {
            split(rest, part, piece)?;
            (part, left) = cut(left, *trim, false);
        }
        done = end;
    }
    split(rest, &text[done..], piece)
}

/// How many bytes of a match stay in the piece. Patterns never match nothing,
/// and neither does what is left here.
fn kept(found: &str, trim: Trim, at_end: bool) -> usize {
    let Some(last) = found.chars().next_back() else { return found.len() };
    let newline = matches!(last, '\r' | '\n');
    let whole = matches!(trim, Trim::Nothing | Trim::Thousands)
        || at_end
        || !last.is_whitespace()
        || (newline && trim != Trim::Any)
        || found.len() == last.len_utf8();
    if whole { found.len() } else { found.len() - last.len_utf8() }
}

/// The next piece of what is kept of a match, and what is left.
fn cut(kept: &str, trim: Trim, first: bool) -> (&str, &str) {
    // Of all that is matched only white space ends so.
    let spaces = || kept.ends_with(|c: char| c.is_whitespace() && !"\r\n".contains(c));
    let bytes = match trim {
        Trim::Powers if spaces() => {
            let fits = kept.chars().take(512).count();
            bytes_of(kept, if fits < 4 { fits.min(2) } else { 1 << fits.ilog2() })
        }
        Trim::Thousands => match if first { kept.chars().count() % 3 } else { 0 } {
            0 => bytes_of(kept, 3),
            over => bytes_of(kept, over),
        },
        _ => kept.len(),
    };
    kept.split_at(bytes)
}

/// How many bytes the first characters take.
fn bytes_of(text: &str, characters: usize) -> usize {
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(family: &str, text: &str) -> Vec<String> {
        cut(&Family::named(family, "f").unwrap().compile().unwrap(), text)
    }

    fn cut(pre: &PreTokenizer, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        pre.split(text, &mut |p| {
            out.push(p.to_string());
            Ok(())
        })
        .unwrap();
        assert_eq!(out.concat(), text);
        out
    }

    /// The original expressions, run by an engine that can look ahead.
    fn by_lookahead(steps: &[fancy_regex::Regex], text: &str) -> Vec<String> {
        let mut pieces = vec![text.to_string()];
        for regex in steps {
            let cut = |piece: &String| {
                let (mut out, mut done) = (Vec::new(), 0);
                for m in regex.find_iter(piece) {
                    let m = m.unwrap();
                    out.push(piece[done..m.start()].to_string());
                    out.push(m.as_str().to_string());
                    done = m.end();
                }
                out.push(piece[done..].to_string());
                out
            };
            pieces = pieces.iter().flat_map(cut).filter(|p| !p.is_empty()).collect();
        }
        pieces
    }

    #[test]
    fn trimming_equals_looking_ahead() {
        const GPT2: &str =
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        const CASED: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
        let llama = format!(
            r"{CASED}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        let qwen = llama.replace("{1,3}", "");
        const UPPER: &str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
        const LOWER: &str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
        const END: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let before = r"[^\r\n\p{L}\p{N}]?";
        let words = |after: &str| {
            format!("{before}{UPPER}*{LOWER}+{after}|{before}{UPPER}+{LOWER}*{after}")
        };
        let tekken = format!(r"{}|\p{{N}}{END}", words(""));
        let o200k = format!(r"{}|\p{{N}}{{1,3}}{END}", words("(?i:'s|'t|'re|'ve|'m|'ll|'d)?"));
        let deepseek = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
        let seed = qwen.replace(r"\p{N}]+[\r\n]*", r"\p{N}\r\n]+");
        let bloom = r" ?[^(\s|.,!?…。，、।۔،)]+";
        let originals: [(&str, Vec<&str>); 10] = [
            ("seed-coder", vec![&seed]),
            ("viking", vec![bloom, r"\p{N}"]),
            ("tekken", vec![&tekken]),
            ("gpt-4o", vec![&o200k]),
            ("deepseek-v3", vec![r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", deepseek]),
            ("gpt-2", vec![GPT2]),
            ("smollm", vec![r"\p{N}", GPT2]),
            ("llama-bpe", vec![&llama]),
            ("qwen2", vec![&qwen]),
            ("default", vec![r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
        ];
        // Every text of five of these: spaces, both kinds of
        // line end, a letter, a digit, a mark, an apostrophe, a wide space.
        let parts = [" ", "\n", "\r", "aB", "7", "!", "'s", "\u{3000}"];
        for (family, steps) in &originals {
            let compile = |step: &&str| fancy_regex::Regex::new(step).unwrap();
            let steps: Vec<_> = steps.iter().map(compile).collect();
            let pre = Family::named(family, "f").unwrap().compile().unwrap();
            for n in 0..8usize.pow(5) {
                let text: String = (0..5).map(|k| parts[n >> (3 * k) & 7]).collect();
                assert_eq!(cut(&pre, &text), by_lookahead(&steps, &text), "{family} {text:?}");
            }
        }
    }

    #[test]
    fn families_differ_where_they_should() {
        let text = "It's  1234 IT'S\n\n x";
        let smollm = ["It", "'s", "  ", "1", "2", "3", "4", " IT", "'", "S", "\n\n", " x"];
        assert_eq!(pieces("smollm", text), smollm);
        let gpt2 = ["It", "'s", " ", " 1234", " IT", "'", "S", "\n\n", " x"];
        assert_eq!(pieces("gpt-2", text), gpt2);
        let llama = ["It", "'s", " ", " ", "123", "4", " IT", "'S", "\n\n", " x"];
        assert_eq!(pieces("llama-bpe", text), llama);
        let qwen = ["It", "'s", " ", " ", "1", "2", "3", "4", " IT", "'S", "\n\n", " x"];
        assert_eq!(pieces("qwen2", text), qwen);
        let tekken = ["It", "'s", " ", " ", "1", "2", "3", "4", " IT", "'S", "\n\n", " x"];
        assert_eq!(pieces("tekken", text), tekken);
        assert_eq!(pieces("tekken", "aBc!/"), ["a", "Bc", "!/"]);
        let o200k = ["It's", " ", " ", "123", "4", " IT'S", "\n\n", " x"];
        assert_eq!(pieces("gpt-4o", text), o200k);
        // A letter and the mark above it.
        assert_eq!(pieces("qwen2", "e\u{301}a"), ["e", "\u{301}a"]);
        assert_eq!(pieces("qwen35", "e\u{301}a"), ["e\u{301}a"]);
        assert_eq!(pieces("deepseek-v3", "日本x(y 12345"), ["日本", "x", "(y", " ", "123", "45"]);
    }

    #[test]
    fn a_million_spaces_take_no_stack_and_little_time() {
        let text = format!("{}x", " ".repeat(1 << 20));
        let start = std::time::Instant::now();
        assert_eq!(pieces("smollm", &text).len(), 2);
        assert!(start.elapsed() < std::time::Duration::from_secs(2));
    }

    #[test]
    fn an_unknown_family_is_named_with_the_known_ones() {
        let error = Family::named("unheard-of", "m.gguf").err().unwrap().to_string();
        assert!(error.contains("m.gguf: key 'tokenizer.ggml.pre'"), "{error}");
        assert!(error.contains("'unheard-of'") && error.contains("smollm"), "{error}");
    }
}
