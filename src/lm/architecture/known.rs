//! The architectures of decoders without recurrent blocks.

use super::{
    Alibi, Architecture, DefaultScales, FixedScales, HeadNorms, LocalRope, LogitScale, Parallel,
    Routing, Unrotated, Windows,
};
use crate::lm::experts::{Beside, Gate};
use crate::lm::parts::Part;
use crate::lm::spec::{Clamp, Norm};
use crate::ops::elementwise::Unary;

pub(super) const LLAMA: Architecture = Architecture {
    name: "llama",
    part: Part::Whole,
    norm: Norm::Rms,
    pre_norms: true,
    post_norms: false,
    qk_norm: HeadNorms::WhereGiven,
    qk_norm_rotated: false,
    parallel: Parallel::Never,
    interleaved: true,
    sections_apart: false,
    rope_base: 10_000.0,
    local_rope: LocalRope::Same,
    unrotated: Unrotated::Nowhere,
    activation: Unary::Silu,
    clamp: None,
    squared: false,
    limited_before: false,
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
    missing_scales: None,
    logit_scale: LogitScale::Factor,
    latent: false,
    alibi: Alibi::Never,
    convolves: false,
    streams: false,
    recurrence: None,
    fixed_scales: None,
    half_rotated: false,
    stretched: false,
    early_router: false,
    lacks: false,
    unscaled: false,
    told: false,
    beside: Beside::Nothing,
    feeds: true,
    gated_attention: false,
    gate: Unary::Sigmoid,
    needs_gate: false,
    sees_behind: false,
    stream_norms: false,
    looped: false,
    default_scales: None,
    shared_halved: false,
    either_norm: false,
    companions: false,
    bare_embedding_norm: false,
    post_epsilon: None,
    skips: false,
    cycles: false,
    switched: false,
};

/// Llama with rotated pairs half a head apart.
pub(super) const HALVES: Architecture = Architecture { interleaved: false, routing: None, ..LLAMA };

/// Layer norms, and a feed-forward layer without a gate.
pub(super) const CLASSIC: Architecture =
    Architecture { norm: Norm::Layer, activation: Unary::GeluTanh, gated: false, ..HALVES };

pub(super) const NORMALISED: Routing =
    Routing { gate: Gate::Softmax, normalised: true, weighs_inputs: false };
pub(super) const AS_THEY_ARE: Routing = Routing { normalised: false, ..NORMALISED };
const OF_USED: Routing = Routing { gate: Gate::SoftmaxOfUsed, ..AS_THEY_ARE };
pub(super) const SIGMOID: Routing = Routing { gate: Gate::Sigmoid, ..NORMALISED };
const BEFORE: Routing = Routing { gate: Gate::Sigmoid, weighs_inputs: true, ..AS_THEY_ARE };

pub(super) const GEMMA: Architecture =
    Architecture { name: "gemma", activation: Unary::GeluTanh, scaled_embedding: true, ..HALVES };

pub(super) const GRANITE: Architecture = Architecture {
    logit_scale: LogitScale::Divisor,
    unrotated: Unrotated::UnlessFinetuned,
    ..LLAMA
};

/// Those of all published models of MiniCPM.
const MINICPM_SCALES: FixedScales = FixedScales { embedding: 12.0, depth: 1.4, base: 256.0 };

const COHERE: Architecture =
    Architecture { norm: Norm::Layer, parallel: Parallel::Always, routing: None, ..LLAMA };

/// Those this version knows.
pub(in crate::lm) const KNOWN: &[Architecture] = &[
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
        unscaled: true,
        told: true,
        streams: true,
        ..GEMMA
    },
    Architecture {
        name: "gemma4",
        rope_base: 1_000_000.0,
        local_rope: LocalRope::Base(10_000.0),
        qk_norm: HeadNorms::Weighted,
        post_norms: true,
        windows: Windows::AllBut(6),
        routing: Some(NORMALISED),
        unscaled: true,
        told: true,
        beside: Beside::Normed,
        ..GEMMA
    },
    Architecture { name: "chatglm", fused_gate: true, routing: None, ..LLAMA },
    Architecture {
        name: "glm4",
        fused_gate: true,
        post_norms: true,
        sections_apart: true,
        routing: None,
        ..LLAMA
    },
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
    Architecture { name: "graniteswitch", switched: true, routing: None, ..GRANITE },
    Architecture { name: "granite_swa", windows: Windows::Everywhere, ..GRANITE },
    Architecture {
        name: "hunyuan-dense",
        qk_norm: HeadNorms::Weighted,
        qk_norm_rotated: true,
        ..HALVES
    },
    Architecture {
        name: "hy_v3",
        qk_norm: HeadNorms::Weighted,
        routing: Some(Routing { normalised: false, ..SIGMOID }),
        ..HALVES
    },
    Architecture { name: "internlm2", routing: None, ..LLAMA },
    Architecture { name: "lfm2", convolves: true, qk_norm: HeadNorms::Weighted, ..HALVES },
    Architecture {
        name: "minicpm",
        missing_scales: Some(MINICPM_SCALES),
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
        qk_norm: HeadNorms::BareUnless(128),
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
        name: "afmoe",
        qk_norm: HeadNorms::Weighted,
        post_norms: true,
        scaled_embedding: true,
        windows: Windows::AllBut(4),
        unrotated: Unrotated::Each(4),
        routing: Some(SIGMOID),
        ..HALVES
    },
    Architecture { name: "dbrx", norm: Norm::Layer, routing: Some(NORMALISED), ..HALVES },
    Architecture { name: "deci", lacks: true, routing: None, ..LLAMA },
    Architecture {
        name: "hunyuan_vl",
        qk_norm: HeadNorms::Weighted,
        qk_norm_rotated: true,
        stretched: true,
        ..HALVES
    },
    Architecture {
        name: "mellum",
        qk_norm: HeadNorms::Weighted,
        windows: Windows::AllBut(4),
        local_rope: LocalRope::Unscaled,
        routing: Some(NORMALISED),
        ..HALVES
    },
    Architecture {
        name: "mimo2",
        windows: Windows::Everywhere,
        local_rope: LocalRope::Unscaled,
        routing: Some(SIGMOID),
        ..HALVES
    },
    Architecture { name: "minicpm3", latent: true, fixed_scales: Some(MINICPM_SCALES), ..HALVES },
    Architecture { name: "mistral4", latent: true, routing: Some(AS_THEY_ARE), ..LLAMA },
    Architecture { name: "openelm", qk_norm: HeadNorms::Weighted, ..HALVES },
    Architecture { name: "paddleocr", ..HALVES },
    Architecture { name: "phimoe", norm: Norm::RmsBiased, routing: Some(NORMALISED), ..HALVES },
    Architecture {
        name: "plm",
        latent: true,
        activation: Unary::Relu,
        squared: true,
        gated: false,
        routing: None,
        ..LLAMA
    },
    Architecture {
        name: "smallthinker",
        windows: Windows::AllButFirst(4),
        unrotated: Unrotated::Unwindowed,
        activation: Unary::Relu,
        routing: Some(NORMALISED),
        early_router: true,
        ..HALVES
    },
    Architecture {
        name: "step35",
        half_rotated: true,
        windows: Windows::Everywhere,
        local_rope: LocalRope::Unscaled,
        routing: Some(Routing { normalised: false, ..SIGMOID }),
        ..HALVES
    },
    Architecture { name: "arctic", beside: Beside::OfInput, ..LLAMA },
    Architecture {
        name: "cohere2moe",
        either_norm: true,
        windows: Windows::AllButFirst(4),
        unrotated: Unrotated::UnwindowedBehindLead,
        routing: Some(Routing { normalised: false, ..SIGMOID }),
        shared_halved: true,
        ..COHERE
    },
    Architecture {
        name: "grok",
        post_norms: true,
        activation: Unary::GeluTanh,
        attention_softcap: Some(30.0),
        default_scales: Some(DefaultScales {
            embedding: 78.383_67,
            scores: 0.088_388_35,
            logits: 0.577_350_26,
        }),
        routing: Some(NORMALISED),
        beside: Beside::Halved,
        ..HALVES
    },
    Architecture {
        name: "plamo3",
        post_norms: true,
        qk_norm: HeadNorms::Weighted,
        fused_gate: true,
        windows: Windows::AllBut(8),
        local_rope: LocalRope::Base(10_000.0),
        ..HALVES
    },
    Architecture { name: "deepseek2-ocr", routing: Some(AS_THEY_ARE), ..HALVES },
    Architecture {
        name: "laguna",
        qk_norm: HeadNorms::Weighted,
        windows: Windows::AllButFirst(4),
        local_rope: LocalRope::Unscaled,
        gate: Unary::Softplus,
        routing: Some(Routing { normalised: false, ..SIGMOID }),
        ..HALVES
    },
    Architecture {
        name: "grovemoe",
        qk_norm: HeadNorms::Weighted,
        routing: Some(NORMALISED),
        companions: true,
        ..HALVES
    },
    Architecture { name: "nanbeige", looped: true, routing: None, ..LLAMA },
    Architecture {
        name: "maple",
        limited_before: true,
        qk_norm: HeadNorms::Weighted,
        windows: Windows::Everywhere,
        unrotated: Unrotated::Unwindowed,
        routing: Some(NORMALISED),
        ..HALVES
    },
    Architecture { name: "cogvlm", routing: None, ..HALVES },
    Architecture {
        name: "hrm_text",
        needs_gate: true,
        norm: Norm::BareRms,
        cycles: true,
        routing: None,
        ..HALVES
    },
    Architecture {
        name: "muse-glimmer",
        needs_gate: true,
        bare_embedding_norm: true,
        qk_norm: HeadNorms::Weighted,
        post_norms: true,
        post_epsilon: Some(1e-8),
        windows: Windows::AllBut(4),
        unrotated: Unrotated::Unwindowed,
        routing: None,
        ..LLAMA
    },
    Architecture {
        name: "spark2_5",
        needs_gate: true,
        activation: Unary::GeluTanh,
        windows: Windows::Everywhere,
        ..HALVES
    },
    Architecture {
        name: "talkie",
        norm: Norm::BareRms,
        bare_embedding_norm: true,
        qk_norm: HeadNorms::Weighted,
        qk_norm_rotated: true,
        skips: true,
        ..HALVES
    },
];
