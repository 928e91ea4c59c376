//! The architectures of decoders whose blocks, or some of them, keep a state.

use super::known::{AS_THEY_ARE, GRANITE, HALVES, NORMALISED, SIGMOID};
use super::{Architecture, HeadNorms, Routing, Unrotated};
use crate::lm::recurrent::{Recurrence, Recurring};
use crate::lm::spec::Norm;
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

/// RWKV-7, with a feed-forward layer of its own kind.
const RWKV: Architecture = Architecture {
    norm: Norm::Layer,
    unrotated: Unrotated::Everywhere,
    recurrence: Some((Recurrence::Rwkv7, Recurring::Everywhere)),
    activation: Unary::Relu,
    squared: true,
    gated: false,
    ..HALVES
};

/// RWKV-7 in the place of the attention of Qwen 2.
const OF_QWEN: Architecture = Architecture {
    unrotated: Unrotated::Everywhere,
    recurrence: Some((Recurrence::Rwkv7, Recurring::Everywhere)),
    ..HALVES
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
        recurrence: Some((Recurrence::ChannelDeltaNet { bounded: false }, Recurring::WithoutKeys)),
        routing: Some(SIGMOID),
        ..HALVES
    },
    Architecture {
        name: "bailingmoe3",
        needs_gate: true,
        latent: true,
        interleaved: true,
        sections_apart: true,
        recurrence: Some((Recurrence::ChannelDeltaNet { bounded: true }, Recurring::WithoutKeys)),
        routing: Some(Routing { normalised: false, ..SIGMOID }),
        ..HALVES
    },
    Architecture { name: "mamba2", ..MAMBA },
    Architecture {
        name: "plamo2",
        post_norms: true,
        qk_norm: HeadNorms::Weighted,
        fused_gate: true,
        recurrence: Some((Recurrence::MambaHeads, Recurring::WithoutKeys)),
        ..HALVES
    },
    Architecture { name: "nemotron_h", ..NEMOTRON_H },
    Architecture { name: "nemotron_h_moe", routing: Some(SIGMOID), ..NEMOTRON_H },
    Architecture { name: "arwkv7", ..OF_QWEN },
    Architecture { name: "qwen35", ..DELTA },
    Architecture { name: "qwen35moe", routing: Some(NORMALISED), ..DELTA },
    Architecture {
        name: "qwen3next",
        recurrence: Some((Recurrence::DeltaNet { tiled: false }, Recurring::AllBut(4))),
        routing: Some(NORMALISED),
        ..DELTA
    },
    Architecture {
        name: "rwkv6",
        recurrence: Some((Recurrence::Rwkv6, Recurring::Everywhere)),
        ..RWKV
    },
    Architecture {
        name: "rwkv6qwen2",
        recurrence: Some((Recurrence::Rwkv6, Recurring::Everywhere)),
        ..OF_QWEN
    },
    Architecture { name: "rwkv7", ..RWKV },
];
