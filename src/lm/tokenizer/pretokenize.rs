//! Cutting text into the pieces within which byte pairs merge.
//!
//! The families, their names and their expressions are those of llama.cpp's
//! `src/llama-vocab.cpp` (commit 00ad355e), which takes them from the models'
//! `tokenizer.json`.

use crate::error::{Error, Result};
use regex::Regex;

/// Contractions, words, numbers, the rest, white space: GPT-2.
const GPT2: Step = Step {
    pattern: r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+",
    trim: Trim::Any,
};
const LLAMA3: Step = Step {
    pattern: r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
const QWEN2: Step = Step {
    pattern: r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};

/// As Qwen 2, but that line ends are no part of what is neither letter nor number.
const SEED: Step = Step {
    pattern: r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
/// Words up to white space and marks that end clauses.
const BLOOM: Step = plain(r" ?[^(\s|.,!?…。，、।۔،)]+");

/// Qwen 3.5 counts marks with the letters they stand on.
const QWEN35: Step = Step {
    pattern: r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
/// Mistral's: words end where small letters are followed by a capital.
const TEKKEN: Step = Step {
    pattern: r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
/// OpenAI's o200k: the same with contractions and numbers of three digits.
const O200K: Step = Step {
    pattern: r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
const DEEPSEEK3: Step = Step {
    pattern: r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"##,
    trim: Trim::NotNewlines,
};

const fn plain(pattern: &'static str) -> Step {
    Step { pattern, trim: Trim::Nothing }
}

/// Ideographs, syllables and what else the ranges of DeepSeek's first models take in.
const HAN_AND_HANGUL: &str = "[一-龥\u{800}-一가-\u{d7ff}]+";

/// How the models that name a family cut text.
pub(super) struct Family {
    /// The values of `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// Applied in order, each to the pieces the one before has left.
    steps: &'static [Step],
    /// Whether a piece that is a token as a whole is not merged from bytes.
    pub(super) ignore_merges: bool,
    /// Whether BOS is added where the file says nothing.
    pub(super) add_bos: bool,
}

const FAMILIES: [Family; 16] = [
    Family { names: &["seed-coder"], steps: &[SEED], ignore_merges: false, add_bos: false },
    Family {
        names: &["bloom", "poro-chat", "gpt3-finnish"],
        steps: &[BLOOM],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &["viking"],
        steps: &[BLOOM, plain(r"\p{N}")],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &["default"],
        steps: &[plain(r"[\p{P}\$\+<=>\^~\|]+"), GPT2, plain(r"\p{N}+"), plain("[0-9][0-9][0-9]")],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &[
            "gpt-2",
            "phi-2",
            "olmo",
            "mpt",
            "jais",
            "mellum",
            "exaone4",
            "gigachat",
            "trillion",
            "granite-docling",
            "a.x-4.0",
        ],
        steps: &[GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        steps: &[plain(r"\p{N}"), GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        steps: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    Family {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
            "kormo",
            "grok-2",
            "solar-open",
        ],
        steps: &[QWEN2],
        ignore_merges: false,
        add_bos: false,
    },
    Family { names: &["qwen35"], steps: &[QWEN35], ignore_merges: false, add_bos: false },
    // As Llama 3 cuts, but merged from bytes.
    Family {
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        steps: &[LLAMA3],
        ignore_merges: false,
        add_bos: false,
    },
    Family { names: &["tekken"], steps: &[TEKKEN], ignore_merges: true, add_bos: true },
    Family {
        names: &["gpt-4o", "llama4", "minimax-m2"],
        steps: &[O200K],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        steps: &[plain(r"\p{N}{1,3}"), plain("[一-龥\u{3040}-ゟ゠-ヿ]+"), DEEPSEEK3],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &["deepseek-llm"],
        steps: &[
            plain("[\r\n]"),
            plain(r"\s?\p{LC}+"),
            plain("\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+"),
            plain(r"\s+$"),
            plain(HAN_AND_HANGUL),
            plain(r"\p{N}+"),
        ],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &["deepseek-coder"],
        steps: &[
            plain("[\r\n]"),
            plain(r"\s?\p{L}+"),
            plain(r"\s?\p{P}+"),
            plain(HAN_AND_HANGUL),
            plain(r"\p{N}"),
        ],
        ignore_merges: false,
        add_bos: false,
    },
    Family {
        names: &["falcon"],
        steps: &[plain(r"[\p{P}\$\+<=>\^~\|`]+"), GPT2, plain("[0-9][0-9][0-9]")],
        ignore_merges: false,
        add_bos: false,
    },
];

struct Step {
    pattern: &'static str,
    trim: Trim,
}

/// What stands for `\s+(?!\S)` before the `\s+` at a pattern's end.
///
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
        split(rest, &text[found.start()..end], piece)?;
        done = end;
    }
    split(rest, &text[done..], piece)
}

/// How many bytes of a match stay in the piece. Patterns never match nothing,
/// and neither does what is left here.
fn kept(found: &str, trim: Trim, at_end: bool) -> usize {
    let Some(last) = found.chars().next_back() else { return found.len() };
    let newline = matches!(last, '\r' | '\n');
    let whole = trim == Trim::Nothing
        || at_end
        || !last.is_whitespace()
        || (newline && trim == Trim::NotNewlines)
        || found.len() == last.len_utf8();
    if whole { found.len() } else { found.len() - last.len_utf8() }
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
