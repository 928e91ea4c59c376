//! Rotary scaling, from a file's keys and tensors.

use super::keys::Keys;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::ops::rotary::tables::RopeScaling;
use crate::tensor::DType;

/// How a file scales rotary frequencies.
///
/// # Errors
/// [`Error::Format`] naming the key or tensor that is wrong, [`Error::Unsupported`]
/// for a kind that is not known.
pub(super) fn scaling(
    keys: &Keys<'_>,
    file: &GgufFile,
    rotary_dim: usize,
    context: usize,
) -> Result<RopeScaling> {
    let pairs = rotary_dim / 2;
    // Llama 3 files carry per-frequency divisors as a tensor instead of keys.
    if let Some(factors) = rope_factors(file, "rope_freqs.weight", pairs)? {
        return Ok(RopeScaling::Factors { factors });
    }
    let long = rope_factors(file, "rope_factors_long.weight", pairs)?;
    if let (Some(long), Some(short)) = (long, rope_factors(file, SHORT_FACTORS, pairs)?) {
        return long_rope(keys, short, long, context);
    }
    let factor = keys.positive_or("rope.scaling.factor", 1.0)?;
    match keys.meta.opt_str(&keys.key("rope.scaling.type"))? {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor }),
        Some("yarn") => Ok(RopeScaling::Yarn {
            factor,
            original_context: keys.size("rope.scaling.original_context_length", 1 << 27)?,
            beta_fast: keys.positive_or("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: keys.positive_or("rope.scaling.yarn_beta_slow", 1.0)?,
            // Where scores are scaled instead, the tables are not.
            attention_factor: keys.meta.get(&keys.key(LOG_MULTIPLIER)).map(|_| 1.0),
        }),
        Some(other) => {
            let what =
                format!("rotary scaling '{}' (known: none, linear, yarn)", other.escape_debug());
            let at = format!("{}: key '{}'", file.name(), keys.key("rope.scaling.type"));
            Err(Error::unsupported(at, what))
        }
    }
}

/// What the logarithm of the factor is multiplied with, where scores grow with it.
pub(super) const LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";

const SHORT_FACTORS: &str = "rope_factors_short.weight";

fn long_rope(
    keys: &Keys<'_>,
    short: Vec<f64>,
    long: Vec<f64>,
    context: usize,
) -> Result<RopeScaling> {
    let original = keys.size_or("rope.scaling.original_context_length", 1 << 27, context)?;
    let factor = match keys.meta.opt_f32(&keys.key("rope.scaling.attn_factor"))? {
        Some(factor) => Some(keys.above_zero("rope.scaling.attn_factor", factor.into())?),
        None => None,
    };
    Ok(RopeScaling::LongRope {
        short,
        long,
        original_context: original,
        max_context: context,
        attention_factor: factor,
    })
}

/// A divisor for each rotated pair, where the file has them.
fn rope_factors(file: &GgufFile, name: &str, pairs: usize) -> Result<Option<Vec<f64>>> {
    let Some(info) = file.tensor_info(name) else { return Ok(None) };
    let wrong = |what: String| Err(Error::format(file.name(), format!("tensor '{name}'"), what));
    // Before anything is read: the tensor can be as large as the file.
    if info.extents() != [pairs] {
        return wrong(format!("extents {:?}, expected [{pairs}]", info.extents()));
    }
    if info.dtype() != Some(DType::F32) {
        return wrong(format!("{}, expected F32", info.ggml_type()));
    }
    let factors = info.load()?.to_f32()?;
    if let Some(factor) = factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        return wrong(format!("{factor} is not a positive number"));
    }
    Ok(Some(factors.into_iter().map(f64::from).collect()))
}
