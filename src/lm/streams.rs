//! Several residual streams, of which blocks compute one (Gemma 3n), and what blocks are
//! told of tokens, as a file describes them.

use super::architecture::Architecture;
use super::keys::Keys;
use crate::error::Result;
use crate::formats::gguf::Value;

/// Several residual streams (AltUp, arXiv 2301.13310).
#[derive(Debug, Clone, PartialEq)]
pub struct Streams {
    /// How many there are.
    pub count: usize,
    /// The one that blocks compute.
    pub active: usize,
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
        Ok(Some(Streams { count, active: active as usize, openness: openness(keys, blocks)? }))
    }
}

/// What blocks are told of their tokens, and which keys and values they read (Gemma 3n
/// and Gemma 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The size of a token's embedding for one block, where there are such.
    pub per_block: Option<usize>,
    /// Blocks from here on have no keys and values of their own.
    pub own_caches: usize,
}

impl Told {
    /// From a file's keys; `None` for an architecture without. What a file lacks is as in
    /// the published Gemma 3n where there are streams, and absent elsewhere.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is impossible.
    pub(super) fn read(
        keys: &Keys<'_>,
        architecture: &Architecture,
        blocks: usize,
    ) -> Result<Option<Self>> {
        if !architecture.told {
            return Ok(None);
        }
        let (size, published) = match architecture.streams {
            true => (256, blocks.saturating_sub(PUBLISHED_CACHES) as u64),
            false => (0, 0),
        };
        let name = "attention.shared_kv_layers";
        let or = |name, given: Option<u64>, published| match given {
            Some(given) => given,
            None if architecture.streams => keys.default(name, published),
            None => published,
        };
        let shared = or(name, keys.meta.opt_u64(&keys.key(name))?, published);
        let own_caches = (blocks as u64).checked_sub(shared).filter(|&own| own > 0);
        let own_caches =
            own_caches.ok_or_else(|| keys.wrong(name, format!("{shared} of {blocks} blocks")))?;
        let name = "embedding_length_per_layer_input";
        let per_block = match or(name, keys.meta.opt_u64(&keys.key(name))?, size) {
            0 if !architecture.streams => None,
            size => Some(keys.in_range(name, size, 1 << 14)?),
        };
        Ok(Some(Told { per_block, own_caches: own_caches as usize }))
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
