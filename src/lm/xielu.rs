//! The activation of Apertus (xIELU, arXiv 2411.13010), whose curve each block has its
//! own numbers for.

use super::keys::Keys;
use crate::error::Result;
use crate::formats::gguf::Value;

/// `positive x² + slope x` above 0, `negative (exp(min(x, least)) - 1 - x) + slope x`
/// from there on down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xielu {
    /// How fast it grows above 0.
    pub positive: f32,
    /// How much it bends below.
    pub negative: f32,
    /// Its slope at 0.
    pub slope: f32,
    /// The largest exponent.
    pub least: f32,
}

/// The curves of all blocks, as a file gives them.
///
/// # Errors
/// [`Error::Format`](crate::Error::Format) naming the key that is missing or has not a
/// number for each block.
pub(super) fn curves(keys: &Keys<'_>, blocks: usize) -> Result<Vec<Xielu>> {
    let read = |name: &str| numbers(keys, &format!("xielu.{name}"), blocks);
    let (negative, positive) = (read("alpha_n")?, read("alpha_p")?);
    let (slope, least) = (read("beta")?, read("eps")?);
    let curve = |i: usize| Xielu {
        positive: softplus(positive[i]),
        negative: slope[i] + softplus(negative[i]),
        slope: slope[i],
        least: least[i],
    };
    Ok((0..blocks).map(curve).collect())
}

/// A number for each block; one alone is for all.
fn numbers(keys: &Keys<'_>, key: &str, blocks: usize) -> Result<Vec<f32>> {
    if !matches!(keys.meta.get(key), Some(Value::Array(_))) {
        return Ok(vec![keys.meta.f32_of(key)?; blocks]);
    }
    let numbers: Vec<f32> = keys.meta.f32s_of(key)?.collect();
    match numbers.len() == blocks && numbers.iter().all(|number| number.is_finite()) {
        true => Ok(numbers),
        false => Err(keys.meta.error(key, format!("not {blocks} numbers"))),
    }
}

/// `ln(1 + exp(x))`.
fn softplus(x: f32) -> f32 {
    let x = f64::from(x);
    (x.max(0.0) + (-x.abs()).exp().ln_1p()) as f32
}
