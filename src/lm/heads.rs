//! How many heads the blocks of a decoder have, and how large they are.

use super::architecture::{Architecture, Unrotated};
use super::keys::Keys;
use super::parts::Part;
use super::recurrent::Recurring;
use super::spec::MAX_HEAD;
use crate::error::Result;

/// The heads of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads; 0 where a block does not attend.
    pub count: usize,
    /// Key and value heads; divides `count` where a block attends.
    pub kv_count: usize,
    /// The size of a query and key head.
    pub key_size: usize,
    /// The size of a value head.
    pub value_size: usize,
}

/// The heads of all blocks.
pub(super) struct AllHeads {
    /// For each block, where it sees the whole sequence.
    pub(super) global: Vec<Heads>,
    /// For each block, where it sees a window.
    pub(super) local: Vec<Heads>,
    /// How many elements of a head are rotated where a block sees all, and where it
    /// sees a window.
    pub(super) rotary_dims: [usize; 2],
}

/// The most heads that are read; models in use stay below 200.
const MOST: u64 = 1 << 14;

impl AllHeads {
    /// From a file's keys.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is missing or
    /// impossible.
    pub(super) fn read(
        keys: &Keys<'_>,
        architecture: &Architecture,
        blocks: usize,
        width: usize,
    ) -> Result<Self> {
        if matches!(architecture.recurrence, Some((_, Recurring::Everywhere))) {
            // Files say 0; nothing reads these.
            let heads = vec![Heads { count: 1, kv_count: 1, key_size: 2, value_size: 2 }; blocks];
            return Ok(AllHeads { local: heads.clone(), global: heads, rotary_dims: [2, 2] });
        }
        let counts = keys.of_blocks("attention.head_count", MOST, blocks, None)?;
        let kv_counts = keys.of_blocks("attention.head_count_kv", MOST, blocks, Some(&counts))?;
        let first = counts.iter().copied().find(|&count| count > 0).unwrap_or(1);
        let key_size = keys.size_or("attention.key_length", MAX_HEAD, width / first)?;
        let value_size = keys.size_or("attention.value_length", MAX_HEAD, width / first)?;
        let local_key = keys.size_if_there("attention.key_length_swa", MAX_HEAD)?;
        let local_value = keys.size_if_there("attention.value_length_swa", MAX_HEAD)?;
        let of = |key_size: usize, value_size: usize| -> Vec<Heads> {
            let pairs = counts.iter().zip(&kv_counts);
            pairs
                .map(|(&count, &kv_count)| Heads { count, kv_count, key_size, value_size })
                .collect()
        };
        let unrotated = architecture.unrotated == Unrotated::Everywhere;
        // Latent attention has elements of its own for it, rotated or not.
        let without = match architecture.part {
            Part::Whole => architecture.recurrence.is_some() && unrotated && !architecture.latent,
            Part::Encoder | Part::Decoder => unrotated,
        };
        let rotary_dims = match without {
            true => [2, 2],
            false => {
                let global = keys.size_or("rope.dimension_count", MAX_HEAD, key_size)?;
                let local = keys.size_if_there("rope.dimension_count_swa", MAX_HEAD)?;
                let local = local.or(local_key).unwrap_or(global);
                [if architecture.half_rotated { global / 2 } else { global }, local]
            }
        };
        Ok(AllHeads {
            global: of(key_size, value_size),
            local: of(local_key.unwrap_or(key_size), local_value.unwrap_or(value_size)),
            rotary_dims,
        })
    }
}
