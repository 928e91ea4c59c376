//! Keys and values that all heads make of one short vector of each token
//! (multi-head latent attention), as a file gives them.

use super::architecture::Architecture;
use super::heads::Heads;
use super::keys::Keys;
use super::rope::{LOG_MULTIPLIER, factor};
use super::spec::MAX_HEAD;
use crate::error::Result;
use crate::formats::gguf::GgufFile;

/// Sizes of latent attention.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// The size of the vector that queries are made of, where there is one.
    pub query_rank: Option<usize>,
    /// The size of the vector that keys and values are made of.
    pub rank: usize,
    /// How many elements of a query and key head are not rotated.
    pub plain: usize,
    /// How many are; all heads share them in the keys.
    pub rotated: usize,
    /// The size of a value head.
    pub value: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Whether the vectors themselves are the keys and values in the caches: then
    /// queries are brought to their space, and what attention gives is brought
    /// back. Files have the matrices for one or for the other.
    pub absorbed: bool,
}

impl Latent {
    /// From a file's keys; `None` for an architecture without.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is missing or
    /// impossible.
    pub(super) fn read(
        keys: &Keys<'_>,
        file: &GgufFile,
        architecture: &Architecture,
        rotated: usize,
    ) -> Result<Option<Self>> {
        if !architecture.latent {
            return Ok(None);
        }
        let size = |name: &str| {
            let own = format!("{name}_mla");
            match keys.meta.get(&keys.key(&own)) {
                Some(_) => keys.size(&own, MAX_HEAD),
                None => keys.size(name, MAX_HEAD),
            }
        };
        let key = size("attention.key_length")?;
        let Some(plain) = key.checked_sub(rotated).filter(|&plain| plain > 0) else {
            let what = format!("{rotated} of {key} elements");
            return Err(keys.wrong("rope.dimension_count", what));
        };
        let query_rank = match keys.meta.opt_u64(&keys.key("attention.q_lora_rank"))? {
            None | Some(0) => None,
            Some(rank) => Some(keys.in_range("attention.q_lora_rank", rank, 1 << 20)?),
        };
        Ok(Some(Latent {
            query_rank,
            rank: keys.size("attention.kv_lora_rank", MAX_HEAD - rotated as u64)?,
            plain,
            rotated,
            value: size("attention.value_length")?,
            scale: scale(keys, key)?,
            absorbed: file.tensors().any(|info| info.name().ends_with(".attn_k_b.weight")),
        }))
    }

    /// The heads of a block of so many, as the caches have them.
    pub(super) fn cached(&self, count: usize) -> Heads {
        let (kv_count, key_size, value_size) = match self.absorbed {
            true => (1, self.rank + self.rotated, self.rank),
            false => (count, self.plain + self.rotated, self.value),
        };
        Heads { count, kv_count, key_size, value_size }
    }
}

/// The root of a head's size, and what stretched frequencies ask for on both sides
/// of a product.
fn scale(keys: &Keys<'_>, key: usize) -> Result<f32> {
    let multiplier = f64::from(keys.meta.opt_f32(&keys.key(LOG_MULTIPLIER))?.unwrap_or(0.0));
    let factor = factor(keys)?;
    let gain = 1.0 + multiplier * factor.max(1.0).ln();
    Ok((gain * gain / (key as f64).sqrt()) as f32)
}
