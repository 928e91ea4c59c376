//! The families of pre-tokenizers, their names and their expressions: those of
//! llama.cpp's `src/llama-vocab.cpp` (commit 00ad355e, and the later ones of its
//! release 0.5.0), which takes them from the models' `tokenizer.json`.

use super::{Step, Trim};

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

const LINES: Step = plain(r"[^\n]+|\n+");
/// As Qwen 2 without English contractions.
const UFAKZEKA: Step = Step {
    pattern: r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
/// As Qwen 2 with line ends one by one.
const BAILING: Step = Step {
    pattern: r"'[sS]|'[dD]|'[mM]|'[tT]|'[lL][lL]|'[vV][eE]|'[rR][eE]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+",
    trim: Trim::NotNewlines,
};
const MINICPM5: Step = Step {
    pattern: r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
/// Words with a space between them are one piece.
const EXAONE_MOE: Step = Step {
    pattern: r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+",
    trim: Trim::NotNewlines,
};
/// As Llama 3, but spaces in pieces of powers of two.
const JAIS2: Step = Step { pattern: LLAMA3.pattern, trim: Trim::Powers };
const YOUTU_MARKS: &str =
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+";
/// As OpenAI's o200k with single digits.
const YOUTU: Step = Step {
    pattern: r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
/// Numbers in pieces of three digits, counted from the right.
const THOUSANDS: Step = Step { pattern: r"\p{N}+", trim: Trim::Thousands };
/// The same, unless a letter follows.
const WHOLE_NUMBERS: Step = Step { pattern: r"\d+\b", trim: Trim::Thousands };
const DIGITS: Step = Step { pattern: r"\d+", trim: Trim::Thousands };
const AFMOE_SCRIPTS: &str = "[一-鿿㐀-䶿\u{f900}-\u{faff}\u{3040}-ゟ゠-ヿ･-ﾟ\u{2f00}-\u{2fdf}\u{e40}-\u{e7f}\u{e80}-\u{eff}\u{1780}-\u{17ff}\u{1000}-\u{109f}\u{aa60}-\u{aa7f}\u{a9e0}-\u{a9ff}\u{ac00}-\u{d7af}\u{1100}-\u{11ff}]+";
/// As OpenAI's o200k, but ideographs apart.
const KIMI: Step = Step {
    pattern: r"\p{Han}+|[^\r\n\p{L}\p{N}]?[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]&&\P{Han}]*[[\p{Ll}\p{Lm}\p{Lo}\p{M}]&&\P{Han}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]&&\P{Han}]+[[\p{Ll}\p{Lm}\p{Lo}\p{M}]&&\P{Han}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    trim: Trim::NotNewlines,
};
const SPARK: Step = Step {
    pattern: r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+"##,
    trim: Trim::Any,
};

const fn plain(pattern: &'static str) -> Step {
    Step { pattern, trim: Trim::Nothing }
}

/// Ideographs, syllables and what else the ranges of DeepSeek's first models take in.
const HAN_AND_HANGUL: &str = "[一-龥\u{800}-一가-\u{d7ff}]+";

/// How the models that name a family cut text.
pub(in crate::lm::tokenizer) struct Family {
    /// The values of `tokenizer.ggml.pre`.
    pub(super) names: &'static [&'static str],
    /// Applied in order, each to the pieces the one before has left.
    pub(super) steps: &'static [Step],
    /// Whether a piece that is a token as a whole is not merged from bytes.
    pub(in crate::lm::tokenizer) ignore_merges: bool,
    /// Whether BOS is added where the file says nothing.
    pub(in crate::lm::tokenizer) add_bos: bool,
}

const PLAIN: Family = Family { names: &[], steps: &[], ignore_merges: false, add_bos: false };

pub(super) const FAMILIES: &[Family] = &[
    Family { names: &["seed-coder"], steps: &[SEED], ..PLAIN },
    Family { names: &["bloom", "poro-chat", "gpt3-finnish"], steps: &[BLOOM], ..PLAIN },
    Family { names: &["viking"], steps: &[BLOOM, plain(r"\p{N}")], ..PLAIN },
    Family {
        names: &["default"],
        steps: &[plain(r"[\p{P}\$\+<=>\^~\|]+"), GPT2, plain(r"\p{N}+"), plain("[0-9][0-9][0-9]")],
        ..PLAIN
    },
    Family {
        names: &[
            "jina-de",
            "jina-es",
            "jina-v1-en",
            "jina-v2-code",
            "jina-v2-de",
            "jina-v2-es",
            "modern-bert",
            "roberta-bpe",
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
        ..PLAIN
    },
    Family {
        names: &[
            "mellum2",
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        steps: &[plain(r"\p{N}"), GPT2],
        ..PLAIN
    },
    Family {
        names: &[
            "jina-v5-nano",
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
            "f2llmv2",
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "kormo",
            "grok-2",
            "solar-open",
        ],
        steps: &[QWEN2],
        ..PLAIN
    },
    Family { names: &["qwen35"], steps: &[QWEN35], ..PLAIN },
    // As Llama 3 cuts, but merged from bytes.
    Family {
        names: &["glm5", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        steps: &[LLAMA3],
        ..PLAIN
    },
    Family { names: &["tekken"], steps: &[TEKKEN], ignore_merges: true, add_bos: true },
    Family {
        names: &["kanana2", "talkie", "gpt-4o", "llama4", "minimax-m2"],
        steps: &[O200K],
        ..PLAIN
    },
    Family {
        names: &["hy_v4", "deepseek-v3", "hunyuan-dense", "joyai-llm"],
        steps: &[plain(r"\p{N}{1,3}"), plain("[一-龥\u{3040}-ゟ゠-ヿ]+"), DEEPSEEK3],
        ..PLAIN
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
        ..PLAIN
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
        ..PLAIN
    },
    Family {
        names: &["falcon"],
        steps: &[plain(r"[\p{P}\$\+<=>\^~\|`]+"), GPT2, plain("[0-9][0-9][0-9]")],
        ..PLAIN
    },
    // What else models in use name, each alone.
    Family { names: &["laguna"], steps: &[LINES, QWEN2], ..PLAIN },
    Family { names: &["ufakzeka"], steps: &[UFAKZEKA], ..PLAIN },
    Family { names: &["bailingmoe", "bailingmoe2", "llada-moe"], steps: &[BAILING], ..PLAIN },
    Family {
        names: &["minicpm5"],
        steps: &[plain(r"\p{N}{1,3}"), MINICPM5],
        ignore_merges: true,
        ..PLAIN
    },
    Family { names: &["exaone-moe"], steps: &[EXAONE_MOE], ..PLAIN },
    Family { names: &["jais-2"], steps: &[JAIS2], ..PLAIN },
    Family {
        names: &["chameleon"],
        steps: &[
            plain("<sentinel:[0-9]+>"),
            plain("IMGIMG[A-I]{1,4}Z"),
            plain(r"[\t\n]|    |  "),
            plain(r"\p{N}"),
            plain(r"[\p{P}!-/:-@\[-`{-~]"),
            GPT2,
        ],
        add_bos: true,
        ..PLAIN
    },
    Family { names: &["youtu"], steps: &[plain(YOUTU_MARKS), YOUTU], ignore_merges: true, ..PLAIN },
    Family { names: &["granite-embed-multi-97m"], steps: &[O200K], ignore_merges: true, ..PLAIN },
    Family { names: &["tiny_aya", "cohere2moe"], steps: &[WHOLE_NUMBERS, O200K], ..PLAIN },
    Family { names: &["superbpe"], steps: &[plain(r"\p{N}+"), DIGITS], ..PLAIN },
    Family { names: &["afmoe"], steps: &[THOUSANDS, plain(AFMOE_SCRIPTS), DEEPSEEK3], ..PLAIN },
    Family { names: &["kimi-k2"], steps: &[KIMI], ..PLAIN },
    Family {
        names: &["spark2_5"],
        steps: &[plain(r"\p{N}{1,3}"), plain("[一-龥\u{3040}-ゟ゠-ヿ]+"), SPARK, plain(r"\p{N}")],
        ..PLAIN
    },
];
