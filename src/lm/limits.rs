//! Bounds of what stands between the two halves of feed-forward layers, as a file gives
//! them (Step 3.5).

use super::keys::Keys;
use crate::error::Result;
use crate::formats::gguf::Value;

/// Bounds of a block's gated values: `min(activation(g), limit)` times `u` between
/// `-limit` and `limit`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// That of chosen experts.
    pub experts: Option<f32>,
    /// That of the feed-forward layer and of the expert that all tokens share.
    pub shared: Option<f32>,
}

/// Limits of at most this are none, as in llama.cpp.
const LEAST_LIMIT: f32 = 1e-6;

impl Limits {
    /// For each block; nothing if the file has none.
    ///
    /// # Errors
    /// If a key of the file is no number, or no list of numbers.
    pub(super) fn read(keys: &Keys<'_>, blocks: usize) -> Result<Vec<Self>> {
        let of = |name: &str| -> Result<Vec<f32>> {
            let key = keys.key(name);
            match keys.meta.get(&key) {
                None => Ok(Vec::new()),
                Some(Value::Array(_)) => Ok(keys.meta.f32s_of(&key)?.collect()),
                Some(_) => Ok(vec![keys.meta.f32_of(&key)?; blocks]),
            }
        };
        let (experts, shared) = (of("swiglu_clamp_exp")?, of("swiglu_clamp_shexp")?);
        if experts.is_empty() && shared.is_empty() {
            return Ok(Vec::new());
        }
        let limit = |limits: &[f32], block: usize| {
            limits.get(block).copied().filter(|limit| *limit > LEAST_LIMIT)
        };
        let of_block =
            |block| Limits { experts: limit(&experts, block), shared: limit(&shared, block) };
        Ok((0..blocks).map(of_block).collect())
    }
}
