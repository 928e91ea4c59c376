//! The architectures that read whole texts: their tokens see those behind them, and what
//! they give is vectors of tokens, not the next one.

use super::known::{AS_THEY_ARE, CLASSIC, GEMMA, HALVES, LLAMA};
use super::{Alibi, Architecture, HeadNorms, LocalRope, Unrotated, Windows};
use crate::lm::parts::Part;
use crate::lm::spec::Norm;
use crate::ops::elementwise::Unary;

/// BERT's block: the residual stream itself is normalised.
const BERT: Architecture = Architecture {
    name: "bert",
    sees_behind: true,
    stream_norms: true,
    pre_norms: false,
    positions: true,
    unrotated: Unrotated::Everywhere,
    activation: Unary::Gelu,
    ..CLASSIC
};

/// BERT with rotated queries and keys in the place of embeddings of positions.
const ROTATED: Architecture =
    Architecture { positions: false, unrotated: Unrotated::Nowhere, ..BERT };

/// T5's encoder (arXiv 1910.10683, and 2002.05202 for the gated form).
const T5: Architecture = Architecture {
    name: "t5encoder",
    part: Part::Encoder,
    sees_behind: true,
    unrotated: Unrotated::Everywhere,
    activation: Unary::GeluTanh,
    routing: None,
    ..HALVES
};

/// Encoders with a part that writes what follows from what was read.
pub(in crate::lm) const IN_TWO_PARTS: &[Architecture] =
    &[Architecture { name: "t5", part: Part::Decoder, sees_behind: false, ..T5 }];

/// The encoders this version knows.
pub(in crate::lm) const ENCODERS: &[Architecture] = &[
    BERT,
    Architecture { name: "nomic-bert", gated: true, activation: Unary::Silu, ..ROTATED },
    Architecture { name: "nomic-bert-moe", routing: Some(AS_THEY_ARE), ..ROTATED },
    Architecture {
        name: "jina-bert-v2",
        positions: false,
        alibi: Alibi::Always(8.0),
        gated: true,
        fused_gate: true,
        ..BERT
    },
    Architecture { name: "jina-bert-v3", ..ROTATED },
    Architecture {
        name: "modern-bert",
        sees_behind: true,
        norm: Norm::Layer,
        activation: Unary::Gelu,
        fused_gate: true,
        windows: Windows::AllButFirst(3),
        local_rope: LocalRope::Base(10_000.0),
        rope_base: 160_000.0,
        ..HALVES
    },
    Architecture { name: "neo-bert", sees_behind: true, fused_gate: true, routing: None, ..LLAMA },
    Architecture { name: "eurobert", sees_behind: true, ..HALVES },
    Architecture {
        name: "gemma-embedding",
        sees_behind: true,
        rope_base: 1_000_000.0,
        local_rope: LocalRope::Base(10_000.0),
        qk_norm: HeadNorms::Weighted,
        post_norms: true,
        windows: Windows::AllBut(6),
        ..GEMMA
    },
    Architecture { name: "llama-embed", sees_behind: true, ..LLAMA },
    T5,
];
