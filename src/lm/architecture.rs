//! What each architecture makes of the general decoder block, as data.
//!
//! The facts are those of the models' published configurations and of
//! llama.cpp's `llama-model.cpp`, whose GGUF names and conventions (norm
//! weights of Gemma with 1 added, say) files follow.

use super::experts::Gate;
use super::recurrent::{Recurrence, Recurring};
use super::spec::{Clamp, Norm};
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
    /// Blocks see the chunk of so many tokens that a query is in. As long as a text
    /// is no longer, that is all of it: the context is cut to one chunk.
    Chunks(usize),
}

/// Which blocks do not rotate queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unrotated {
    /// None.
    Nowhere,
    /// All.
    Everywhere,
    /// Each `n`th.
    Each(usize),
    /// Those that see the whole sequence where others have a window.
    Unwindowed,
    /// Each `n`th, unless the file gives a window of 0.
    EachUnlessWindowIsZero(usize),
    /// All, if the file's `rope.scaling.finetuned` is false.
    UnlessFinetuned,
}

/// How blocks with a window rotate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LocalRope {
    /// As all others.
    Same,
    /// With the same base, unless the file gives one, and without scaling.
    Unscaled,
    /// With this base, unless the file gives one, and without scaling.
    Base(f64),
}

/// How query and key heads are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadNorms {
    /// Where a file has weights for it.
    WhereGiven,
    /// With weights, which a file must have.
    Weighted,
    /// Without weights, in blocks that rotate.
    Bare,
}

/// Which models of an architecture take off scores by distance (ALiBi) although
/// their files do not say so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Alibi {
    /// None.
    Never,
    /// All, with this exponent.
    Always(f64),
    /// Those of so many blocks, which do not rotate then.
    WithBlocks(usize, f64),
}

/// Whether attention and feed-forward read the same residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parallel {
    /// One after the other.
    Never,
    /// Side by side.
    Always,
    /// Side by side, unless the file's `use_parallel_residual` says otherwise.
    ByKey,
    /// Side by side where the feed-forward layer has no norm of its own.
    WithoutNorm,
}

/// What becomes of the file's `logit_scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogitScale {
    /// Logits are multiplied with it.
    Factor,
    /// Logits are divided by it.
    Divisor,
}

/// How the weights of experts come about where the file does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Routing {
    /// From the router's numbers to weights.
    pub(super) gate: Gate,
    /// Whether the weights of the chosen experts are made to add up to 1.
    pub(super) normalised: bool,
    /// Whether what experts read is multiplied with their weights, not what they
    /// give.
    pub(super) weighs_inputs: bool,
}

/// An architecture: where its block differs from Llama's.
#[derive(Debug)]
pub(super) struct Architecture {
    /// The value of `general.architecture`.
    pub(super) name: &'static str,
    /// How values are normalised.
    pub(super) norm: Norm,
    /// Whether attention and feed-forward read normalised values.
    pub(super) pre_norms: bool,
    /// Whether what attention and feed-forward give is normalised before it is
    /// added to the residual stream.
    pub(super) post_norms: bool,
    /// Whether query and key heads are normalised.
    pub(super) qk_norm: HeadNorms,
    /// Whether that is done after they are rotated.
    pub(super) qk_norm_rotated: bool,
    /// Whether attention and feed-forward are side by side.
    pub(super) parallel: Parallel,
    /// Whether rotated pairs are neighbours rather than half a head apart.
    pub(super) interleaved: bool,
    /// The base of rotary frequencies where the file gives none.
    pub(super) rope_base: f64,
    /// How blocks with a window rotate.
    pub(super) local_rope: LocalRope,
    /// Which blocks do not rotate at all.
    pub(super) unrotated: Unrotated,
    /// Applied to the gate of the feed-forward layer, or to its inner values.
    pub(super) activation: Unary,
    /// How gated values are kept in bounds.
    pub(super) clamp: Option<Clamp>,
    /// Whether that is multiplied with itself.
    pub(super) squared: bool,
    /// Whether the feed-forward layer has a gate.
    pub(super) gated: bool,
    /// Whether `ffn_up` holds the rows of the gate and of `up`.
    pub(super) fused_gate: bool,
    /// The experts of files that have some.
    pub(super) routing: Option<Routing>,
    /// Whether embeddings are multiplied with the root of the width.
    pub(super) scaled_embedding: bool,
    /// Whether there is a table of embeddings of positions.
    pub(super) positions: bool,
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
    /// Whether scores are divided by the size of a head, not by its root.
    pub(super) head_scaled: bool,
    /// Whether each block has an activation of its own.
    pub(super) xielu: bool,
    /// Whether a file must give the scales of embeddings, residuals and logits.
    pub(super) scales_required: bool,
    /// What `logit_scale` means.
    pub(super) logit_scale: LogitScale,
    /// Whether keys and values may be made of one short vector of each token.
    pub(super) latent: bool,
    /// Whether there is ALiBi where the file gives no exponent.
    pub(super) alibi: Alibi,
    /// Whether blocks without key and value heads convolve.
    pub(super) convolves: bool,
    /// Whether there are several residual streams.
    pub(super) streams: bool,
    /// What recurrent blocks compute, and which blocks are.
    pub(super) recurrence: Option<(Recurrence, Recurring)>,
    /// Whether blocks have a feed-forward layer behind what tokens learn of each other
    /// by; otherwise a block is one or the other.
    pub(super) feeds: bool,
    /// Whether queries come with a gate for what attention gives.
    pub(super) gated_attention: bool,
}

const LLAMA: Architecture = Architecture {
    name: "llama",
    norm: Norm::Rms,
    pre_norms: true,
    post_norms: false,
    qk_norm: HeadNorms::WhereGiven,
    qk_norm_rotated: false,
    parallel: Parallel::Never,
    interleaved: true,
    rope_base: 10_000.0,
    local_rope: LocalRope::Same,
    unrotated: Unrotated::Nowhere,
    activation: Unary::Silu,
    clamp: None,
    squared: false,
    gated: true,
    fused_gate: false,
    routing: Some(NORMALISED),
    scaled_embedding: false,
    positions: false,
    windows: Windows::Nowhere,
    window: None,
    attention_softcap: None,
    final_softcap: None,
    width_scaled_blocks: None,
    head_scaled: false,
    xielu: false,
    scales_required: false,
    logit_scale: LogitScale::Factor,
    latent: false,
    alibi: Alibi::Never,
    convolves: false,
    streams: false,
    recurrence: None,
    feeds: true,
    gated_attention: false,
};

/// Llama with rotated pairs half a head apart.
const HALVES: Architecture = Architecture { interleaved: false, routing: None, ..LLAMA };

/// Layer norms, and a feed-forward layer without a gate.
const CLASSIC: Architecture =
    Architecture { norm: Norm::Layer, activation: Unary::GeluTanh, gated: false, ..HALVES };

const NORMALISED: Routing = Routing { gate: Gate::Softmax, normalised: true, weighs_inputs: false };
const AS_THEY_ARE: Routing = Routing { normalised: false, ..NORMALISED };
const OF_USED: Routing = Routing { gate: Gate::SoftmaxOfUsed, ..AS_THEY_ARE };
const SIGMOID: Routing = Routing { gate: Gate::Sigmoid, ..NORMALISED };
const BEFORE: Routing = Routing { gate: Gate::Sigmoid, weighs_inputs: true, ..AS_THEY_ARE };

const GEMMA: Architecture =
    Architecture { name: "gemma", activation: Unary::GeluTanh, scaled_embedding: true, ..HALVES };

const GRANITE: Architecture = Architecture {
    logit_scale: LogitScale::Divisor,
    unrotated: Unrotated::UnlessFinetuned,
    ..LLAMA
};

const COHERE: Architecture =
    Architecture { norm: Norm::Layer, parallel: Parallel::Always, routing: None, ..LLAMA };

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

/// The architectures this version knows.
pub(super) const KNOWN: &[Architecture] = &[
    LLAMA,
    Architecture { name: "arcee", activation: Unary::Relu, squared: true, gated: false, ..LLAMA },
    Architecture {
        name: "bloom",
        unrotated: Unrotated::Everywhere,
        alibi: Alibi::Always(8.0),
        ..CLASSIC
    },
    Architecture { name: "command-r", ..COHERE },
    Architecture {
        name: "cohere2",
        windows: Windows::AllBut(4),
        unrotated: Unrotated::Unwindowed,
        ..COHERE
    },
    Architecture { name: "deepseek2", latent: true, routing: Some(AS_THEY_ARE), ..LLAMA },
    Architecture { name: "dots1", qk_norm: HeadNorms::Weighted, routing: Some(SIGMOID), ..HALVES },
    Architecture { name: "ernie4_5", ..LLAMA },
    Architecture { name: "ernie4_5-moe", ..LLAMA },
    Architecture { name: "exaone", ..HALVES },
    Architecture {
        name: "exaone4",
        pre_norms: false,
        post_norms: true,
        qk_norm: HeadNorms::Weighted,
        windows: Windows::AllBut(4),
        unrotated: Unrotated::Unwindowed,
        ..HALVES
    },
    Architecture { name: "falcon", activation: Unary::Gelu, parallel: Parallel::Always, ..CLASSIC },
    GEMMA,
    Architecture {
        name: "gemma2",
        post_norms: true,
        windows: Windows::AllBut(2),
        window: Some(4096),
        attention_softcap: Some(50.0),
        final_softcap: Some(30.0),
        width_scaled_blocks: Some(46),
        ..GEMMA
    },
    Architecture {
        name: "gemma3",
        rope_base: 1_000_000.0,
        local_rope: LocalRope::Base(10_000.0),
        qk_norm: HeadNorms::Weighted,
        post_norms: true,
        windows: Windows::AllBut(6),
        width_scaled_blocks: Some(62),
        ..GEMMA
    },
    Architecture {
        name: "gemma3n",
        rope_base: 1_000_000.0,
        local_rope: LocalRope::Base(10_000.0),
        qk_norm: HeadNorms::Weighted,
        windows: Windows::AllBut(5),
        final_softcap: Some(30.0),
        streams: true,
        ..GEMMA
    },
    Architecture { name: "chatglm", fused_gate: true, routing: None, ..LLAMA },
    Architecture { name: "glm4", fused_gate: true, post_norms: true, routing: None, ..LLAMA },
    Architecture { name: "glm4moe", routing: Some(SIGMOID), ..HALVES },
    Architecture { name: "gpt2", positions: true, unrotated: Unrotated::Everywhere, ..CLASSIC },
    Architecture { name: "gptneox", activation: Unary::Gelu, parallel: Parallel::ByKey, ..CLASSIC },
    Architecture {
        name: "gpt-oss",
        windows: Windows::AllBut(2),
        routing: Some(OF_USED),
        clamp: Some(Clamp { limit: 7.0, slope: 1.702 }),
        ..HALVES
    },
    Architecture { name: "granite", ..GRANITE },
    Architecture { name: "granitemoe", ..GRANITE },
    Architecture {
        name: "hunyuan-dense",
        qk_norm: HeadNorms::Weighted,
        qk_norm_rotated: true,
        ..HALVES
    },
    Architecture { name: "internlm2", routing: None, ..LLAMA },
    Architecture { name: "lfm2", convolves: true, qk_norm: HeadNorms::Weighted, ..HALVES },
    Architecture {
        name: "minicpm",
        scales_required: true,
        unrotated: Unrotated::Nowhere,
        ..GRANITE
    },
    Architecture { name: "mistral3", ..LLAMA },
    Architecture {
        name: "mpt",
        unrotated: Unrotated::Everywhere,
        activation: Unary::Gelu,
        ..CLASSIC
    },
    Architecture { name: "nemotron", activation: Unary::Relu, squared: true, ..CLASSIC },
    Architecture { name: "olmo", norm: Norm::Bare, routing: None, ..LLAMA },
    Architecture {
        name: "olmo2",
        pre_norms: false,
        post_norms: true,
        qk_norm: HeadNorms::Weighted,
        windows: Windows::AllBut(4),
        local_rope: LocalRope::Unscaled,
        ..HALVES
    },
    Architecture {
        name: "olmoe",
        qk_norm: HeadNorms::Weighted,
        routing: Some(AS_THEY_ARE),
        ..HALVES
    },
    Architecture { name: "phi2", parallel: Parallel::Always, ..CLASSIC },
    Architecture { name: "phi3", fused_gate: true, windows: Windows::Everywhere, ..HALVES },
    Architecture { name: "qwen2", ..HALVES },
    Architecture { name: "qwen2moe", routing: Some(AS_THEY_ARE), ..HALVES },
    Architecture { name: "qwen3", qk_norm: HeadNorms::Weighted, ..HALVES },
    Architecture {
        name: "qwen3moe",
        qk_norm: HeadNorms::Weighted,
        routing: Some(NORMALISED),
        ..HALVES
    },
    Architecture { name: "seed_oss", ..HALVES },
    Architecture { name: "smollm3", unrotated: Unrotated::Each(4), routing: None, ..LLAMA },
    Architecture { name: "stablelm", norm: Norm::Layer, parallel: Parallel::WithoutNorm, ..HALVES },
    Architecture { name: "starcoder2", ..CLASSIC },
    Architecture {
        name: "apertus",
        qk_norm: HeadNorms::Weighted,
        gated: false,
        xielu: true,
        ..HALVES
    },
    Architecture { name: "baichuan", alibi: Alibi::WithBlocks(40, 8.0), ..LLAMA },
    Architecture { name: "bailingmoe", ..LLAMA },
    Architecture {
        name: "bailingmoe2",
        qk_norm: HeadNorms::Weighted,
        routing: Some(AS_THEY_ARE),
        ..HALVES
    },
    Architecture { name: "bitnet", ..HALVES },
    Architecture { name: "codeshell", ..CLASSIC },
    Architecture { name: "deepseek", routing: Some(AS_THEY_ARE), ..LLAMA },
    Architecture {
        name: "exaone-moe",
        qk_norm: HeadNorms::Weighted,
        windows: Windows::AllBut(4),
        unrotated: Unrotated::Unwindowed,
        routing: Some(AS_THEY_ARE),
        ..HALVES
    },
    Architecture {
        name: "hunyuan-moe",
        qk_norm: HeadNorms::Weighted,
        qk_norm_rotated: true,
        routing: Some(NORMALISED),
        ..HALVES
    },
    Architecture {
        name: "jais",
        norm: Norm::Layer,
        unrotated: Unrotated::Everywhere,
        head_scaled: true,
        ..HALVES
    },
    Architecture { name: "jais2", activation: Unary::Relu, squared: true, ..CLASSIC },
    Architecture {
        name: "lfm2moe",
        convolves: true,
        qk_norm: HeadNorms::Weighted,
        routing: Some(SIGMOID),
        ..HALVES
    },
    Architecture {
        name: "llama4",
        qk_norm: HeadNorms::Bare,
        unrotated: Unrotated::EachUnlessWindowIsZero(4),
        windows: Windows::Chunks(8192),
        routing: Some(BEFORE),
        ..LLAMA
    },
    Architecture {
        name: "maincoder",
        qk_norm: HeadNorms::Weighted,
        qk_norm_rotated: true,
        ..LLAMA
    },
    Architecture {
        name: "minimax-m2",
        qk_norm: HeadNorms::Weighted,
        routing: Some(SIGMOID),
        ..HALVES
    },
    Architecture { name: "orion", norm: Norm::Layer, ..HALVES },
    Architecture { name: "pangu-embedded", ..HALVES },
    Architecture { name: "plamo", parallel: Parallel::Always, ..HALVES },
    Architecture { name: "qwen", ..HALVES },
    Architecture { name: "qwen2vl", ..HALVES },
    Architecture { name: "qwen3vl", qk_norm: HeadNorms::Weighted, ..HALVES },
    Architecture {
        name: "qwen3vlmoe",
        qk_norm: HeadNorms::Weighted,
        routing: Some(NORMALISED),
        ..HALVES
    },
    Architecture {
        name: "refact",
        unrotated: Unrotated::Everywhere,
        alibi: Alibi::Always(8.0),
        ..HALVES
    },
    Architecture {
        name: "starcoder",
        positions: true,
        unrotated: Unrotated::Everywhere,
        ..CLASSIC
    },
    Architecture { name: "xverse", routing: None, ..LLAMA },
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

impl Architecture {
    pub(super) fn named(name: &str) -> Option<&'static Architecture> {
        KNOWN.iter().find(|known| known.name == name)
    }
}
