//! Finding tokens that are matched as a whole, before text is cut.

use super::vocab::{TokenKind, Vocab};
use crate::error::{Error, Result};
use aho_corasick::{AhoCorasick, MatchKind};

/// Texts of tokens that end a turn or a text. Files often name only one of
/// them as EOS; the texts are those llama.cpp looks for (`llama-vocab.cpp`).
pub(super) const END_TEXTS: [&str; 29] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "< EOT >",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "</s>",
    "<｜end▁of▁sentence｜>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    // What a model that fills gaps in code puts behind its text.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|repo_name|>",
    "<|fim_repo|>",
    "<|file_sep|>",
];

/// Where one of these is a token, `</s>` is text.
pub(super) const PLAIN_S: [&str; 2] = ["<|tool_response>", "<|plamo:eos|>"];

/// Texts of tokens around a gap in code that a model fills.
pub(super) const GAP_TEXTS: [&str; 24] = [
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<fim-prefix>",
    "<fim-suffix>",
    "<fim-middle>",
    "<fim_prefix>",
    "<fim_suffix>",
    "<fim_middle>",
    "<｜fim▁begin｜>",
    "<｜fim▁hole｜>",
    "<｜fim▁end｜>",
    "<PRE>",
    "<SUF>",
    "<MID>",
    "▁<PRE>",
    "▁<SUF>",
    "▁<MID>",
    "<|code_prefix|>",
    "<|code_suffix|>",
    "<|code_middle|>",
    "<|prefix|>",
    "<|suffix|>",
    "<|middle|>",
];

/// The most bytes of such tokens together; the largest sets in use have some
/// tens of thousands.
const MAX_BYTES: usize = 1 << 18;

/// Finds tokens of some kinds in text: the leftmost, and of those the
/// longest, as Hugging Face's tokenizers do. One pass, linear in the text.
pub(super) struct Specials {
    finder: Option<AhoCorasick>,
    ids: Vec<u32>,
    /// Whether a token takes the white space behind it.
    strips: Vec<bool>,
}

impl Specials {
    /// `strips`: whether the token of this text takes the white space behind it.
    pub(super) fn new(
        vocab: &Vocab,
        kinds: &'static [TokenKind],
        strips: &dyn Fn(&[u8]) -> bool,
        file: &str,
    ) -> Result<Self> {
        let found = || vocab.of_kinds(kinds).filter(|(_, text)| !text.is_empty());
        let at = || format!("{file}: key 'tokenizer.ggml.token_type'");
        let bytes: usize = found().map(|(_, text)| text.len()).sum();
        if bytes > MAX_BYTES {
            let what = format!("{bytes} bytes of special tokens; at most {MAX_BYTES}");
            return Err(Error::unsupported(at(), what));
        }
        let ids: Vec<u32> = found().map(|(id, _)| id).collect();
        let strips = found().map(|(_, text)| strips(text)).collect();
        if ids.is_empty() {
            return Ok(Specials { finder: None, ids, strips });
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(found().map(|(_, text)| text))
            .map_err(|e| Error::unsupported(at(), e))?;
        Ok(Specials { finder: Some(finder), ids, strips })
    }

    /// Calls `token` for each match and `text` for what lies between, in
    /// order.
    pub(super) fn split<'t, S>(
        &self,
        state: &mut S,
        input: &'t str,
        mut text: impl FnMut(&mut S, &'t str) -> Result<()>,
        mut token: impl FnMut(&mut S, u32),
    ) -> Result<()> {
        let mut done = 0;
        if let Some(finder) = &self.finder {
            for found in finder.find_iter(input) {
                // Tokens are UTF-8, so matches begin and end between characters.
                let pattern = found.pattern().as_usize();
                text(state, &input[done.min(found.start())..found.start()])?;
                token(state, self.ids[pattern]);
                done = found.end();
                if self.strips[pattern] {
                    done = input.len() - input[done..].trim_start_matches(is_space).len();
                }
            }
        }
        text(state, &input[done..])
    }
}

/// White space as C has it.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}
