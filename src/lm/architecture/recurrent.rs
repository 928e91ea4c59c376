//! The architectures of decoders whose blocks, or some of them, keep a state.

use super::known::{AS_THEY_ARE, GRANITE, HALVES, NORMALISED, SIGMOID};
use super::{Architecture, HeadNorms, Unrotated};
use crate::lm::recurrent::{Recurrence, Recurring};
use crate::ops::elementwise::Unary;

/// Gated delta nets with gated attention in each fourth block.
const DELTA: Architecture = Architecture {
    qk_norm: HeadNorms::Weighted,
    gated_attention: true,
    recurrence: Some((Recurrence::DeltaNet { tiled: true }, Recurring::AllBut(4))),
    ..HALVES
};

/// Mamba-2 alone.
const MAMBA: Architecture = Architecture {
    unrotated: Unrotated::Everywhere,
    recurrence: Some((Recurrence::Mamba2, Recurring::Everywhere)),
    feeds: false,
    ..HALVES
};

/// Blocks that are Mamba-2, attention or a feed-forward layer.
const NEMOTRON_H: Architecture = Architecture {
    recurrence: Some((Recurrence::Mamba2, Recurring::WithoutKeys)),
    activation: Unary::Relu,
    squared: true,
    gated: false,
    ..MAMBA
};

/// Those this version knows.
pub(in crate::lm) const RECURRENT: &[Architecture] = &[
    Architecture {
        name: "falcon-h1",
        recurrence: Some((Recurrence::Mamba2, Recurring::Beside)),
        ..HALVES
    },
    Architecture {
        name: "granitehybrid",
        recurrence: Some((Recurrence::Mamba2, Recurring::WithoutKeys)),
        ..GRANITE
    },
    Architecture {
        name: "jamba",
        unrotated: Unrotated::Everywhere,
        recurrence: Some((Recurrence::Mamba, Recurring::WithoutKeys)),
        routing: Some(AS_THEY_ARE),
        ..HALVES
    },
    Architecture {
        name: "mamba",
        recurrence: Some((Recurrence::Mamba, Recurring::Everywhere)),
        ..MAMBA
    },
    Architecture {
        name: "kimi-linear",
        latent: true,
        unrotated: Unrotated::Everywhere,
        recurrence: Some((Recurrence::ChannelDeltaNet, Recurring::WithoutKeys)),
        routing: Some(SIGMOID),
        ..HALVES
    },
    Architecture { name: "mamba2", ..MAMBA },
    Architecture { name: "nemotron_h", ..NEMOTRON_H },
    Architecture { name: "nemotron_h_moe", routing: Some(SIGMOID), ..NEMOTRON_H },
    Architecture { name: "qwen35", ..DELTA },
    Architecture { name: "qwen35moe", routing: Some(NORMALISED), ..DELTA },
    Architecture {
        name: "qwen3next",
        recurrence: Some((Recurrence::DeltaNet { tiled: false }, Recurring::AllBut(4))),
        routing: Some(NORMALISED),
        ..DELTA
    },
];
