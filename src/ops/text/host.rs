//! The rows of the family.

use super::{cast, encode, words};
use crate::error::Result;
use crate::onnx::{HostCx, HostOperator, HostResults, When};

const fn always(
    name: &'static str,
    since: u32,
    compute: fn(&HostCx<'_>) -> Result<HostResults>,
) -> HostOperator {
    HostOperator { domain: "", name, since, when: When::Always, compute }
}

const fn ml(
    name: &'static str,
    since: u32,
    compute: fn(&HostCx<'_>) -> Result<HostResults>,
) -> HostOperator {
    HostOperator { domain: "ai.onnx.ml", name, since, when: When::Always, compute }
}

/// An operator that has a row for numbers as well.
const fn strings(
    name: &'static str,
    compute: fn(&HostCx<'_>) -> Result<HostResults>,
) -> HostOperator {
    HostOperator { domain: "", name, since: 1, when: When::Strings, compute }
}

/// Moves elements; the first output has strings.
fn first(cx: &HostCx<'_>) -> Result<HostResults> {
    cx.as_numbers(&[0])
}

/// Gives numbers.
fn none(cx: &HostCx<'_>) -> Result<HostResults> {
    cx.as_numbers(&[])
}

fn all(cx: &HostCx<'_>) -> Result<HostResults> {
    cx.as_numbers(&(0..cx.output_count()).collect::<Vec<_>>())
}

pub(crate) const HOST: &[HostOperator] = &[
    strings("Cast", cast::cast),
    strings("CastLike", cast::cast_like),
    strings("Compress", first),
    strings("Concat", first),
    strings("Equal", none),
    strings("Expand", first),
    strings("Flatten", first),
    strings("Gather", first),
    strings("GatherElements", first),
    strings("GatherND", first),
    strings("Identity", first),
    strings("OneHot", first),
    strings("Reshape", first),
    strings("ScatterElements", first),
    strings("ScatterND", first),
    strings("Slice", first),
    strings("Split", all),
    strings("Squeeze", first),
    strings("Tile", first),
    strings("Transpose", first),
    strings("Unique", first),
    strings("Unsqueeze", first),
    strings("Where", first),
    HostOperator {
        domain: "ai.onnx.ml",
        name: "ArrayFeatureExtractor",
        since: 1,
        when: When::Strings,
        compute: first,
    },
    HostOperator {
        domain: "com.microsoft",
        name: "Tokenizer",
        since: 1,
        when: When::Always,
        compute: words::tokenize,
    },
    always("RegexFullMatch", 20, words::regex_full_match),
    always("StringConcat", 20, words::concat),
    always("StringNormalizer", 10, words::normalise),
    always("StringSplit", 20, words::split),
    always("TfIdfVectorizer", 9, encode::tf_idf),
    ml("CategoryMapper", 1, encode::category_mapper),
    ml("LabelEncoder", 1, encode::label_encoder),
    ml("OneHotEncoder", 1, encode::one_hot),
];
