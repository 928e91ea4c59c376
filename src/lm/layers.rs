//! What is particular to each block of a decoder.

use super::architecture::{Alibi, Architecture, LocalRope, Unrotated, Windows};
use super::heads::{AllHeads, Heads};
use super::keys::Keys;
use super::recurrent::Recurring;
use crate::error::Result;
use crate::formats::gguf::Value;

/// What is particular to one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// How many of the latest keys a query sees; `None` for all.
    pub window: Option<u32>,
    /// A query sees only the chunk of so many tokens that it is in; `None` for all.
    pub chunk: Option<u32>,
    /// How queries and keys are rotated.
    pub rotation: Rotation,
    /// How tokens learn of each other.
    pub mixer: Mixer,
    /// Its heads.
    pub heads: Heads,
    /// Whether there is a feed-forward layer behind what tokens learn of each other by.
    pub feeds: bool,
}

/// The base of rotary frequencies in blocks with a window.
pub(super) const LOCAL_BASE: &str = "rope.freq_base_swa";

/// How the tokens of a block learn of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// By attention.
    Attention,
    /// By a convolution over the latest tokens.
    Convolution,
    /// Through a state of fixed size.
    Recurrent,
    /// By attention and through such a state, side by side.
    Both,
    /// Not at all: the block is a feed-forward layer.
    FeedForward,
    /// Not at all: a matrix is in the place of attention.
    Matrix,
    /// Not at all.
    Nothing,
}

/// How a block rotates queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// As [`DecoderSpec::rope`] says.
    Global,
    /// As [`DecoderSpec::local_rope`] says.
    Local,
    /// Not at all.
    None,
}

/// The blocks that give the next token. Files may count those that predict the
/// tokens after it, which come last.
pub(super) fn blocks(keys: &Keys<'_>) -> Result<usize> {
    let all = keys.size("block_count", 1 << 12)?;
    let name = "nextn_predict_layers";
    let further = keys.meta.opt_u64(&keys.key(name))?.unwrap_or(0);
    let blocks = (all as u64).checked_sub(further).filter(|&blocks| blocks > 0);
    match blocks {
        Some(blocks) => Ok(blocks as usize),
        None => Err(keys.wrong(name, format!("{further} of {all} blocks"))),
    }
}

pub(super) fn layers(
    keys: &Keys<'_>,
    architecture: &Architecture,
    blocks: usize,
    heads: &AllHeads,
) -> Result<Vec<Layer>> {
    let name = "attention.sliding_window";
    let given = keys.meta.opt_u64(&keys.key(name))?;
    let window = match (architecture.windows, given) {
        (Windows::Nowhere | Windows::Chunks(_), _) => None,
        // Files of models without a window may say 0.
        (_, Some(0)) => None,
        (_, Some(window)) => Some(keys.in_range(name, window, 1 << 31)? as u32),
        (_, None) => match architecture.window {
            Some(window) => Some(keys.default(name, window) as u32),
            None => keys.default(name, None),
        },
    };
    let chunk = match (architecture.windows, given) {
        (Windows::Chunks(size), None) => Some(size as u32),
        (Windows::Chunks(_), Some(size)) if size != 0 => {
            Some(keys.in_range(name, size, 1 << 24)? as u32)
        }
        _ => None,
    };
    let pattern = pattern(keys, architecture, blocks)?;
    let mixers = mixers(keys, architecture, blocks, heads)?;
    let feeds = feeds(keys, architecture, blocks)?;
    let nth = |block: usize, every: usize| (block + 1).is_multiple_of(every);
    let finetuned = keys.meta.opt_bool(&keys.key("rope.scaling.finetuned"))?.unwrap_or(true);
    let rotates = truths(keys, "attention.rope_pattern", blocks)?;
    let by_distance = matches!(architecture.alibi, Alibi::WithBlocks(of, _) if of == blocks);
    let window_of_others = window;
    let lead = match architecture.unrotated {
        Unrotated::UnwindowedBehindLead => {
            keys.size_if_there("leading_dense_block_count", 1 << 12)?.unwrap_or(0)
        }
        _ => 0,
    };
    let own_rotation = architecture.local_rope != LocalRope::Same
        || keys.meta.get(&keys.key(LOCAL_BASE)).is_some();
    let layer = |block: usize| {
        let window = match (&pattern, architecture.windows) {
            (Some(Pattern::Each(windowed)), _) => window.filter(|_| windowed[block]),
            (Some(Pattern::AllBut(every)), _) if nth(block, *every) => None,
            (Some(Pattern::AllButFirst(of)), _) if block.is_multiple_of(*of) => None,
            (None, Windows::AllBut(every)) if nth(block, every) => None,
            (None, Windows::AllButFirst(of)) if block.is_multiple_of(of) => None,
            _ => window,
        };
        let others = window_of_others.is_some();
        let rotation = match architecture.unrotated {
            Unrotated::Everywhere => Rotation::None,
            Unrotated::Each(every) if nth(block, every) => Rotation::None,
            Unrotated::EachUnlessWindowIsZero(every) if given != Some(0) && nth(block, every) => {
                Rotation::None
            }
            Unrotated::UnlessFinetuned if !finetuned => Rotation::None,
            _ if by_distance => Rotation::None,
            _ if rotates.as_ref().is_some_and(|rotates| !rotates[block]) => Rotation::None,
            Unrotated::Unwindowed | Unrotated::UnwindowedBehindLead
                if others && window.is_none() && block >= lead =>
            {
                Rotation::None
            }
            _ if window.is_some() && own_rotation => Rotation::Local,
            _ => Rotation::Global,
        };
        let heads = if window.is_some() { heads.local[block] } else { heads.global[block] };
        let chunk = chunk.filter(|_| rotation != Rotation::None);
        Layer { window, chunk, rotation, mixer: mixers[block], heads, feeds: feeds[block] }
    };
    Ok((0..blocks).map(layer).collect())
}

/// What a file says of which blocks have a window.
enum Pattern {
    Each(Vec<bool>),
    AllBut(usize),
    AllButFirst(usize),
}

/// Which blocks have a window, by an array or by each so-manieth that has none; 0 for
/// all that have one.
fn pattern(keys: &Keys<'_>, architecture: &Architecture, blocks: usize) -> Result<Option<Pattern>> {
    let name = "attention.sliding_window_pattern";
    if let Some(windowed) = truths(keys, name, blocks)? {
        return Ok(Some(Pattern::Each(windowed)));
    }
    let each = match keys.meta.opt_u64(&keys.key(name))? {
        None => return Ok(None),
        Some(0) => return Ok(Some(Pattern::Each(vec![true; blocks]))),
        Some(each) => keys.in_range(name, each, 1 << 12)?,
    };
    Ok(Some(match architecture.windows {
        Windows::AllButFirst(_) => Pattern::AllButFirst(each),
        _ => Pattern::AllBut(each),
    }))
}

/// The truth values of all blocks, where a file has an array of them; it may go on behind
/// the last block that is used.
fn truths(keys: &Keys<'_>, name: &str, blocks: usize) -> Result<Option<Vec<bool>>> {
    let Some(Value::Array(array)) = keys.meta.get(&keys.key(name)) else { return Ok(None) };
    match array.iter().map(truth).collect::<Option<Vec<bool>>>() {
        Some(values) if values.len() >= blocks => Ok(Some(values)),
        _ => Err(keys.wrong(name, format!("not {blocks} truth values"))),
    }
}

/// Blocks without key and value heads convolve or have a state, where an architecture
/// has such.
fn mixers(
    keys: &Keys<'_>,
    architecture: &Architecture,
    blocks: usize,
    heads: &AllHeads,
) -> Result<Vec<Mixer>> {
    let without = match architecture.recurrence {
        Some((_, Recurring::Everywhere)) => return Ok(vec![Mixer::Recurrent; blocks]),
        Some((_, Recurring::Beside)) => return Ok(vec![Mixer::Both; blocks]),
        Some((_, Recurring::AllBut(every))) => return recurring(keys, every, blocks),
        Some((_, Recurring::WithoutKeys)) => Mixer::Recurrent,
        None if architecture.convolves => Mixer::Convolution,
        None if architecture.lacks => return Ok(lacking(heads)),
        None => return Ok(vec![Mixer::Attention; blocks]),
    };
    let Some(heads) = each(keys, "attention.head_count_kv", blocks)? else {
        return Ok(vec![Mixer::Attention; blocks]);
    };
    // Some have blocks that are a feed-forward layer, and only those have its width.
    let inner = match architecture.feeds {
        true => None,
        false => each(keys, "feed_forward_length", blocks)?,
    };
    let mixer = |block: usize| {
        let feeds = inner.as_ref().is_some_and(|inner| inner[block] != 0);
        match heads[block] {
            0 if feeds => Mixer::FeedForward,
            0 => without,
            _ => Mixer::Attention,
        }
    };
    Ok((0..blocks).map(mixer).collect())
}

/// Blocks without key and value heads have a matrix in the place of attention, those
/// without queries nothing.
fn lacking(heads: &AllHeads) -> Vec<Mixer> {
    let mixer = |heads: &Heads| match (heads.count, heads.kv_count) {
        (0, _) => Mixer::Nothing,
        (_, 0) => Mixer::Matrix,
        _ => Mixer::Attention,
    };
    heads.global.iter().map(mixer).collect()
}

/// Which blocks have a feed-forward layer behind what tokens learn of each other by.
fn feeds(keys: &Keys<'_>, architecture: &Architecture, blocks: usize) -> Result<Vec<bool>> {
    let inner = match architecture.lacks {
        true => each(keys, "feed_forward_length", blocks)?,
        false => None,
    };
    Ok(match inner {
        Some(inner) => inner.into_iter().take(blocks).map(|inner| inner != 0).collect(),
        None => vec![architecture.feeds; blocks],
    })
}

/// The numbers of all blocks, where a file has an array of them; it may go on behind
/// the last block that is used.
fn each(keys: &Keys<'_>, name: &str, blocks: usize) -> Result<Option<Vec<i64>>> {
    let key = keys.key(name);
    if !matches!(keys.meta.get(&key), Some(Value::Array(_))) {
        return Ok(None);
    }
    let numbers: Vec<i64> = keys.meta.i64s_of(&key)?.collect();
    match numbers.len() >= blocks {
        true => Ok(Some(numbers)),
        false => Err(keys.wrong(name, format!("not {blocks} numbers"))),
    }
}

/// All blocks but each so-manieth are recurrent, unless the file says which.
fn recurring(keys: &Keys<'_>, every: usize, blocks: usize) -> Result<Vec<Mixer>> {
    let mixer = |recurrent: bool| if recurrent { Mixer::Recurrent } else { Mixer::Attention };
    let name = "attention.recurrent_layers";
    if let Some(given) = truths(keys, name, blocks)? {
        return Ok(given.into_iter().take(blocks).map(mixer).collect());
    }
    let every = keys.size_or("full_attention_interval", 1 << 12, every)?;
    Ok((1..=blocks).map(|block| mixer(!block.is_multiple_of(every))).collect())
}

/// A truth value, or a number in its place.
fn truth(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(value),
        other => other.as_integer().map(|number| number != 0),
    }
}
