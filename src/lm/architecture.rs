//! What each architecture makes of the general decoder block, as data.
//!
//! The facts are those of the models' published configurations and of
//! llama.cpp's `llama-model.cpp`, whose GGUF names and conventions (norm
//! weights of Gemma with 1 added, say) files follow.

use crate::ops::elementwise::Unary;

/// Which blocks see only the latest keys, if the file gives a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// None, whatever the file says.
    Nowhere,
    /// Every block.
    Everywhere,
    /// All but each `n`th block, which sees the whole sequence.
    AllBut(usize),
}

/// An architecture: where its block differs from Llama's.
#[derive(Debug)]
pub(super) struct Architecture {
    /// The value of `general.architecture`.
    pub(super) name: &'static str,
    /// Whether rotated pairs are neighbours rather than half a head apart.
    pub(super) interleaved: bool,
    /// The base of rotary frequencies where the file gives none.
    pub(super) rope_base: f64,
    /// The base in blocks with a window, which do not share the file's scaling.
    pub(super) local_rope_base: Option<f64>,
    /// Each `n`th block does not rotate at all.
    pub(super) unrotated_every: Option<usize>,
    /// Applied to the gate of the feed-forward layer.
    pub(super) activation: Unary,
    /// Whether `attn_qkv` holds the rows of q, k and v, one after another.
    pub(super) fused_qkv: bool,
    /// Whether `ffn_up` holds the rows of the gate and of `up`.
    pub(super) fused_gate: bool,
    /// Whether query and key heads are normalised before they are rotated.
    pub(super) qk_norm: bool,
    /// Whether what attention and feed-forward give is normalised before it is
    /// added to the residual stream.
    pub(super) post_norms: bool,
    /// Whether embeddings are multiplied with the root of the width.
    pub(super) scaled_embedding: bool,
    /// Which blocks see a window.
    pub(super) windows: Windows,
    /// The window in tokens where the file gives none.
    pub(super) window: Option<usize>,
    /// The bound of attention scores where the file gives none.
    pub(super) attention_softcap: Option<f64>,
    /// The bound of logits where the file gives none.
    pub(super) final_softcap: Option<f64>,
    /// Models of so many blocks scale scores by `1 / sqrt(width / heads)`, not by
    /// the size of a head.
    pub(super) width_scaled_blocks: Option<usize>,
}

const LLAMA: Architecture = Architecture {
    name: "llama",
    interleaved: true,
    rope_base: 10_000.0,
    local_rope_base: None,
    unrotated_every: None,
    activation: Unary::Silu,
    fused_qkv: false,
    fused_gate: false,
    qk_norm: false,
    post_norms: false,
    scaled_embedding: false,
    windows: Windows::Nowhere,
    window: None,
    attention_softcap: None,
    final_softcap: None,
    width_scaled_blocks: None,
};

/// The architectures this version knows.
pub(super) const KNOWN: &[Architecture] = &[
    LLAMA,
    Architecture { name: "qwen2", interleaved: false, ..LLAMA },
    Architecture { name: "qwen3", interleaved: false, qk_norm: true, ..LLAMA },
    Architecture {
        name: "gemma2",
        interleaved: false,
        activation: Unary::GeluTanh,
        post_norms: true,
        scaled_embedding: true,
        windows: Windows::AllBut(2),
        window: Some(4096),
        attention_softcap: Some(50.0),
        final_softcap: Some(30.0),
        width_scaled_blocks: Some(46),
        ..LLAMA
    },
    Architecture {
        name: "gemma3",
        interleaved: false,
        rope_base: 1_000_000.0,
        local_rope_base: Some(10_000.0),
        activation: Unary::GeluTanh,
        qk_norm: true,
        post_norms: true,
        scaled_embedding: true,
        windows: Windows::AllBut(6),
        width_scaled_blocks: Some(62),
        ..LLAMA
    },
    Architecture {
        name: "phi3",
        interleaved: false,
        fused_qkv: true,
        fused_gate: true,
        windows: Windows::Everywhere,
        ..LLAMA
    },
    Architecture { name: "smollm3", unrotated_every: Some(4), ..LLAMA },
];

impl Architecture {
    pub(super) fn named(name: &str) -> Option<&'static Architecture> {
        KNOWN.iter().find(|known| known.name == name)
    }
}
