//! Rotary scaling, from a file's keys and tensors.

use super::architecture::Architecture;
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
    if let Some(factors) = rope_factors(keys, file, "rope_freqs.weight", pairs)? {
        let all = match keys.meta.opt_str(&keys.key("rope.scaling.type"))? {
            None | Some("linear") => factor(keys)?,
            _ => 1.0,
        };
        let factors = factors.into_iter().map(|factor| factor * all).collect();
        return Ok(RopeScaling::Factors { factors });
    }
    let attention = attention_factor(keys)?;
    let long = rope_factors(keys, file, "rope_factors_long.weight", pairs)?;
    if let (Some(long), Some(short)) = (long, rope_factors(keys, file, SHORT_FACTORS, pairs)?) {
        return long_rope(keys, short, long, context, attention);
    }
    let factor = factor(keys)?;
    match keys.meta.opt_str(&keys.key("rope.scaling.type"))? {
        Some("none") => Ok(linear(1.0, attention, pairs, context)),
        // Files older than the key have the factor alone. LongRoPE without its divisors
        // is the same, as in llama.cpp.
        None | Some("linear" | "longrope") => Ok(linear(factor, attention, pairs, context)),
        Some("yarn") => Ok(RopeScaling::Yarn {
            factor,
            original_context: keys.size_or(ORIGINAL_CONTEXT, 1 << 27, context)?,
            beta_fast: keys.positive_or("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: keys.positive_or("rope.scaling.yarn_beta_slow", 1.0)?,
            attention_factor: yarn_gain(keys, factor, attention)?,
        }),
        Some(other) => {
            let what = format!(
                "rotary scaling '{}' (known: none, linear, yarn, longrope)",
                other.escape_debug()
            );
            let at = format!("{}: key '{}'", file.name(), keys.key("rope.scaling.type"));
            Err(Error::unsupported(at, what))
        }
    }
}

/// All frequencies divided by one factor, and cosines and sines multiplied by another.
fn linear(factor: f64, gain: Option<f64>, pairs: usize, context: usize) -> RopeScaling {
    match gain.filter(|&gain| gain != 1.0) {
        None if factor == 1.0 => RopeScaling::None,
        None => RopeScaling::Linear { factor },
        gain => RopeScaling::LongRope {
            short: vec![factor; pairs],
            long: vec![factor; pairs],
            original_context: context,
            max_context: context,
            attention_factor: gain,
        },
    }
}

/// What frequencies are divided by; 1 if the file does not say. Old files have another
/// name for it, and 0 for nothing.
pub(super) fn factor(keys: &Keys<'_>) -> Result<f64> {
    let given = ["rope.scaling.factor", "rope.scale_linear"];
    for name in given {
        match keys.meta.opt_f32(&keys.key(name))? {
            None | Some(0.0) => (),
            Some(factor) => return keys.above_zero(name, factor.into()),
        }
    }
    Ok(1.0)
}

/// What a file multiplies cosines and sines with.
fn attention_factor(keys: &Keys<'_>) -> Result<Option<f64>> {
    let name = "rope.scaling.attn_factor";
    match keys.meta.opt_f32(&keys.key(name))? {
        Some(factor) => keys.above_zero(name, factor.into()).map(Some),
        None => Ok(None),
    }
}

/// What YaRN multiplies cosines and sines with; `None` for what the paper says. A
/// multiplier of the logarithm takes off there what scores get instead, as in
/// `yarn_get_mscale` of DeepSeek's models.
fn yarn_gain(keys: &Keys<'_>, factor: f64, attention: Option<f64>) -> Result<Option<f64>> {
    let multiplier = keys.meta.opt_f32(&keys.key(LOG_MULTIPLIER))?.unwrap_or(0.0);
    if multiplier == 0.0 && attention.is_none() {
        return Ok(None);
    }
    let gain = |multiplier: f64| 1.0 + 0.1 * multiplier * factor.max(1.0).ln();
    // Files of latent attention have a tenth of it, and the same multiplier twice.
    let latent = Architecture::named(keys.architecture).is_some_and(|known| known.latent);
    let own = match (latent, multiplier) {
        (true, multiplier) if multiplier != 0.0 => 1.0,
        (_, multiplier) => gain(1.0) / gain(multiplier.into()),
    };
    Ok(Some(own * attention.unwrap_or(1.0)))
}

/// What the logarithm of the factor is multiplied with, where scores grow with it.
pub(super) const LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";

const ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";
const SHORT_FACTORS: &str = "rope_factors_short.weight";

fn long_rope(
    keys: &Keys<'_>,
    short: Vec<f64>,
    long: Vec<f64>,
    context: usize,
    attention_factor: Option<f64>,
) -> Result<RopeScaling> {
    let original = keys.size_or(ORIGINAL_CONTEXT, 1 << 27, context)?;
    Ok(RopeScaling::LongRope {
        short,
        long,
        original_context: original,
        max_context: context,
        attention_factor,
    })
}

/// A divisor for each rotated pair, where the file has them.
fn rope_factors(
    keys: &Keys<'_>,
    file: &GgufFile,
    name: &str,
    pairs: usize,
) -> Result<Option<Vec<f64>>> {
    let Some(info) = file.tensor_info(name) else { return Ok(None) };
    let wrong = |what: String| Err(Error::format(file.name(), format!("tensor '{name}'"), what));
    // Blocks that rotate less than others use the first of the divisors.
    let more = Architecture::named(keys.architecture).is_some_and(|known| known.half_rotated);
    let enough = matches!(info.extents(), [count] if *count == 2 * pairs && more);
    // Before anything is read: the tensor can be as large as the file.
    if !enough && info.extents() != [pairs] {
        return wrong(format!("extents {:?}, expected [{pairs}]", info.extents()));
    }
    if info.dtype() != Some(DType::F32) {
        return wrong(format!("{}, expected F32", info.ggml_type()));
    }
    let mut factors = info.load()?.to_f32()?;
    factors.truncate(pairs);
    if let Some(factor) = factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        return wrong(format!("{factor} is not a positive number"));
    }
    Ok(Some(factors.into_iter().map(f64::from).collect()))
}
