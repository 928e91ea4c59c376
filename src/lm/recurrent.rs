//! Blocks whose tokens learn of each other through a state of fixed size, as a file
//! gives them.

use super::architecture::Architecture;
use super::keys::Keys;
use crate::error::{Error, Result};

/// Sizes of blocks with a recurrent state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recurrent {
    /// What is computed.
    pub kind: Recurrence,
    /// How many tokens the convolution reaches over, itself included.
    pub taps: usize,
    /// The width of all values together.
    pub inner: usize,
    /// The size of a key, which is the rows of a state.
    pub rows: usize,
    /// States, each with a head of values; for [`Recurrence::Mamba`], whose every
    /// value has a state, the size of the vector that time steps are made of.
    pub heads: usize,
    /// Heads of keys.
    pub keys: usize,
    /// Whether time steps and keys are normalised without weights
    /// ([`Recurrence::Mamba`]).
    pub bare_norms: bool,
}

/// What a recurrent block computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurrence {
    /// The gated delta rule (arXiv 2412.06464).
    DeltaNet {
        /// States that share a key are `keys` apart, not neighbours.
        tiled: bool,
    },
    /// The same with a decay of its own for each element of a key (arXiv 2510.26692).
    ChannelDeltaNet {
        /// The logarithm of a decay is a share of the least one that the file gives
        /// (Ling 3; the formula is that of llama.cpp's `bailingmoe3.cpp`).
        bounded: bool,
    },
    /// Mamba-2 (arXiv 2405.21060).
    Mamba2,
    /// Mamba (arXiv 2312.00752).
    Mamba,
    /// Mamba-2 whose time steps and vectors are made of the convolved values, as in Mamba
    /// (PLaMo 2); all heads read the same vectors.
    MambaHeads,
    /// RWKV-6 (arXiv 2404.05892).
    Rwkv6,
    /// RWKV-7 (arXiv 2503.14456).
    Rwkv7,
}

/// Which blocks have a recurrent state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recurring {
    /// All but each `n`th, unless the file says which.
    AllBut(usize),
    /// Those without key and value heads, where the file says so of each.
    WithoutKeys,
    /// All, and none attends.
    Everywhere,
    /// All, beside attention.
    Beside,
}

/// The least logarithm of a decay, where decays are shares of it.
///
/// # Errors
/// [`Error::Format`](crate::Error::Format) naming the key if it is missing or not below 0;
/// [`Error::Unsupported`](crate::Error::Unsupported) for files that say that decays are none.
pub(super) fn least_decay(keys: &Keys<'_>, architecture: &Architecture) -> Result<Option<f32>> {
    match architecture.recurrence {
        Some((Recurrence::ChannelDeltaNet { bounded: true }, _)) => (),
        _ => return Ok(None),
    }
    let name = "kda.safe_gate";
    if keys.meta.opt_bool(&keys.key(name))? == Some(false) {
        let at = format!("{}: key '{}'", keys.meta.file(), keys.key(name));
        return Err(Error::unsupported(at, "decays without a bound"));
    }
    let name = "kda.gate_lower_bound";
    match keys.meta.opt_f32(&keys.key(name))? {
        Some(least) if least < 0.0 && least.is_finite() => Ok(Some(least)),
        Some(least) => Err(keys.wrong(name, format!("{least} is not below 0"))),
        None => Err(keys.wrong(name, "missing")),
    }
}

/// The most tokens that a convolution reaches over; models in use have 4.
const MOST_TAPS: u64 = 16;

/// The most of any other size.
const MOST: u64 = 1 << 20;

impl Recurrent {
    /// From a file's keys; `None` if the architecture has no such blocks.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is missing or
    /// impossible.
    pub(super) fn read(keys: &Keys<'_>, architecture: &Architecture) -> Result<Option<Self>> {
        let Some((kind, _)) = architecture.recurrence else { return Ok(None) };
        if matches!(kind, Recurrence::Rwkv6 | Recurrence::Rwkv7) {
            return Self::of_rwkv(keys, kind).map(Some);
        }
        let taps = keys.size("ssm.conv_kernel", MOST_TAPS)?;
        if taps < 2 {
            return Err(keys.wrong("ssm.conv_kernel", format!("{taps} is not at least 2")));
        }
        if let Recurrence::ChannelDeltaNet { .. } = kind {
            return Self::of_channels(keys, kind, taps).map(Some);
        }
        let inner = keys.size("ssm.inner_size", MOST)?;
        let heads = keys.size("ssm.time_step_rank", MOST)?;
        let groups = match kind {
            Recurrence::Mamba => 1,
            _ => {
                let groups = match kind {
                    // Files say 0.
                    Recurrence::MambaHeads => 1,
                    _ => keys.size("ssm.group_count", MOST)?,
                };
                if !inner.is_multiple_of(heads) {
                    let what = format!("{heads} does not divide the inner size of {inner}");
                    return Err(keys.wrong("ssm.time_step_rank", what));
                }
                if !heads.is_multiple_of(groups) {
                    let what = format!("{groups} does not divide {heads} heads");
                    return Err(keys.wrong("ssm.group_count", what));
                }
                groups
            }
        };
        let bare_norms = keys.meta.opt_bool(&keys.key("ssm.dt_b_c_rms"))?.unwrap_or(false);
        Ok(Some(Recurrent {
            kind,
            taps,
            inner,
            rows: keys.size("ssm.state_size", 1 << 10)?,
            heads,
            keys: groups,
            bare_norms,
        }))
    }

    /// Heads make up the width, and each token reads the one before it.
    fn of_rwkv(keys: &Keys<'_>, kind: Recurrence) -> Result<Self> {
        let inner = keys.size("embedding_length", MOST)?;
        let rows = keys.size("wkv.head_size", 1 << 10)?;
        if !inner.is_multiple_of(rows) {
            let what = format!("{rows} does not divide the width of {inner}");
            return Err(keys.wrong("wkv.head_size", what));
        }
        let heads = inner / rows;
        Ok(Recurrent { kind, taps: 2, inner, rows, heads, keys: heads, bare_norms: false })
    }

    /// Heads of queries, keys and values are as many as attention has, all of one size.
    fn of_channels(keys: &Keys<'_>, kind: Recurrence, taps: usize) -> Result<Self> {
        let heads = keys.size("attention.head_count", MOST)?;
        let rows = keys.size("kda.head_dim", 1 << 10)?;
        let inner = heads * rows;
        Ok(Recurrent { kind, taps, inner, rows, heads, keys: heads, bare_norms: false })
    }
}
