//! What is particular to each block of a decoder.

use super::architecture::{Alibi, Architecture, LocalRope, Unrotated, Windows};
use super::keys::Keys;
use crate::error::Result;
use crate::formats::gguf::Value;

/// What is particular to one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// How many of the latest keys a query sees; `None` for all.
    pub window: Option<u32>,
    /// How queries and keys are rotated.
    pub rotation: Rotation,
    /// How tokens learn of each other.
    pub mixer: Mixer,
}

/// How the tokens of a block learn of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// By attention.
    Attention,
    /// By a convolution over the latest tokens.
    Convolution,
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
) -> Result<Vec<Layer>> {
    let name = "attention.sliding_window";
    let given = keys.meta.opt_u64(&keys.key(name))?;
    let window = match (architecture.windows, given) {
        (Windows::Nowhere | Windows::Chunks(_), _) => None,
        // Files of models without a window may say 0.
        (_, Some(0)) => None,
        (_, Some(window)) => Some(keys.in_range(name, window, 1 << 31)? as u32),
        (_, None) => {
            let default = architecture.window;
            let shown = default.map_or("no window".into(), |window| window.to_string());
            log::info!("{} is not given: {shown}", keys.key(name));
            default.map(|window| window as u32)
        }
    };
    let pattern = pattern(keys, blocks)?;
    let mixers = mixers(keys, architecture, blocks)?;
    let nth = |block: usize, every: usize| (block + 1).is_multiple_of(every);
    let finetuned = keys.meta.opt_bool(&keys.key("rope.scaling.finetuned"))?.unwrap_or(true);
    let by_distance = matches!(architecture.alibi, Alibi::WithBlocks(of, _) if of == blocks);
    let window_of_others = window;
    let layer = |block: usize| {
        let window = match (&pattern, architecture.windows) {
            (Some(Pattern::Each(windowed)), _) => window.filter(|_| windowed[block]),
            (Some(Pattern::AllBut(every)), _) if nth(block, *every) => None,
            (None, Windows::AllBut(every)) if nth(block, every) => None,
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
            Unrotated::Unwindowed if others && window.is_none() => Rotation::None,
            _ if window.is_some() && architecture.local_rope != LocalRope::Same => Rotation::Local,
            _ => Rotation::Global,
        };
        Layer { window, rotation, mixer: mixers[block] }
    };
    Ok((0..blocks).map(layer).collect())
}

/// What a file says of which blocks have a window.
enum Pattern {
    Each(Vec<bool>),
    AllBut(usize),
}

fn pattern(keys: &Keys<'_>, blocks: usize) -> Result<Option<Pattern>> {
    let name = "attention.sliding_window_pattern";
    let Some(value) = keys.meta.get(&keys.key(name)) else { return Ok(None) };
    let Value::Array(array) = value else {
        return Ok(Some(Pattern::AllBut(keys.size(name, 1 << 12)?)));
    };
    let truth = |value: Value<'_>| match value {
        Value::Bool(value) => Some(value),
        other => other.as_integer().map(|number| number != 0),
    };
    match array.iter().map(truth).collect::<Option<Vec<bool>>>() {
        Some(windowed) if windowed.len() == blocks => Ok(Some(Pattern::Each(windowed))),
        _ => Err(keys.wrong(name, format!("not {blocks} truth values"))),
    }
}

/// Blocks without key and value heads convolve, where an architecture has such.
fn mixers(keys: &Keys<'_>, architecture: &Architecture, blocks: usize) -> Result<Vec<Mixer>> {
    let name = "attention.head_count_kv";
    let key = keys.key(name);
    if !architecture.convolves || !matches!(keys.meta.get(&key), Some(Value::Array(_))) {
        return Ok(vec![Mixer::Attention; blocks]);
    }
    let mixer = |heads: i64| if heads == 0 { Mixer::Convolution } else { Mixer::Attention };
    let mixers: Vec<Mixer> = keys.meta.i64s_of(&key)?.map(mixer).collect();
    if mixers.len() != blocks {
        return Err(keys.wrong(name, format!("not {blocks} numbers")));
    }
    Ok(mixers)
}
