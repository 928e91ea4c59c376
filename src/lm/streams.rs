//! Several residual streams, of which blocks compute one (Gemma 3n), as a file
//! describes them.

use super::architecture::Architecture;
use super::keys::Keys;
use crate::error::Result;
use crate::formats::gguf::Value;

/// Several residual streams (AltUp, arXiv 2301.13310), embeddings of tokens for every
/// block, and blocks that read the keys and values of others.
#[derive(Debug, Clone, PartialEq)]
pub struct Streams {
    /// How many there are.
    pub count: usize,
    /// The one that blocks compute.
    pub active: usize,
    /// The size of a token's embedding for one block.
    pub per_block: usize,
    /// Blocks from here on have no keys and values of their own.
    pub own_caches: usize,
    /// For each block, how many standard deviations above their mean gates of its
    /// feed-forward layer must be to be open; 0 for all.
    pub openness: Vec<f32>,
}

/// The share of gates that are closed is 0.95 in published models, in the first ones.
const PUBLISHED: (f32, usize) = (1.644_853_6, 10);
/// Blocks with keys and values of their own in published models.
const PUBLISHED_CACHES: usize = 20;

impl Streams {
    /// From a file's keys; `None` for an architecture with one stream.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is impossible.
    pub(super) fn read(
        keys: &Keys<'_>,
        architecture: &Architecture,
        blocks: usize,
    ) -> Result<Option<Self>> {
        if !architecture.streams {
            return Ok(None);
        }
        let count = keys.size_or("altup.num_inputs", 1 << 6, 4)?;
        let name = "altup.active_idx";
        let active = keys.meta.opt_u64(&keys.key(name))?.unwrap_or(0);
        if active >= count as u64 {
            return Err(keys.wrong(name, format!("{active} of {count}")));
        }
        let name = "attention.shared_kv_layers";
        let published = blocks.saturating_sub(PUBLISHED_CACHES) as u64;
        let shared = keys.meta.opt_u64(&keys.key(name))?.unwrap_or(published);
        let own_caches = (blocks as u64).checked_sub(shared).filter(|&own| own > 0);
        let own_caches =
            own_caches.ok_or_else(|| keys.wrong(name, format!("{shared} of {blocks} blocks")))?;
        Ok(Some(Streams {
            count,
            active: active as usize,
            per_block: keys.size_or("embedding_length_per_layer_input", 1 << 14, 256)?,
            own_caches: own_caches as usize,
            openness: openness(keys, blocks)?,
        }))
    }
}

fn openness(keys: &Keys<'_>, blocks: usize) -> Result<Vec<f32>> {
    let name = "activation_sparsity_scale";
    let key = keys.key(name);
    if !matches!(keys.meta.get(&key), Some(Value::Array(_))) {
        let (published, first) = PUBLISHED;
        log::info!("{key} is not given: {published} in the first {first} blocks");
        return Ok((0..blocks).map(|i| if i < first { published } else { 0.0 }).collect());
    }
    // A share of nothing is minus infinity deviations above the mean.
    let numbers = keys.meta.f32s_of(&key)?;
    let numbers: Vec<f32> = numbers.map(|n| if n == f32::NEG_INFINITY { 0.0 } else { n }).collect();
    match numbers.len() == blocks && numbers.iter().all(|number| number.is_finite()) {
        true => Ok(numbers),
        false => Err(keys.wrong(name, format!("not {blocks} numbers"))),
    }
}
