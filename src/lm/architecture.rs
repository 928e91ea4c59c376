//! What each architecture makes of the general decoder block, as data.
//!
//! The facts are those of the models' published configurations and of
//! llama.cpp's `llama-model.cpp`, whose GGUF names and conventions (norm
//! weights of Gemma with 1 added, say) files follow.

mod encoders;
mod known;
mod recurrent;
mod refused;

pub(super) use encoders::ENCODERS;
use encoders::IN_TWO_PARTS;
pub(super) use refused::why_refused;

use super::experts::{Beside, Gate};
use super::parts::Part;
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
    /// All but the first of each `n`, or of as many as the file says.
    AllButFirst(usize),
    /// Blocks that rotate see the chunk that a query is in, of so many tokens where the
    /// file gives no window.
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
    /// The same, but for the first ones, which have no experts where others do.
    UnwindowedBehindLead,
    /// Each `n`th, unless the file gives a window of 0.
    EachUnlessWindowIsZero(usize),
    /// All, if the file's `rope.scaling.finetuned` is false.
    UnlessFinetuned,
}

/// How blocks with a window rotate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LocalRope {
    /// As all others, unless the file gives another base.
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
    /// Without weights, in blocks that rotate, but in models of so many experts.
    BareUnless(usize),
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

/// Scales of models of different sizes (maximal update parametrisation).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FixedScales {
    /// What embeddings are multiplied with.
    pub(super) embedding: f32,
    /// What blocks add is multiplied with this over the root of their number.
    pub(super) depth: f32,
    /// Logits are multiplied with this over the width.
    pub(super) base: f32,
}

/// Scales where the file gives none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DefaultScales {
    /// What embeddings are multiplied with.
    pub(super) embedding: f32,
    /// What scores are multiplied with, which such files call `attention.output_scale`.
    pub(super) scores: f32,
    /// What logits are multiplied with.
    pub(super) logits: f32,
}

/// An architecture: where its block differs from Llama's.
#[derive(Debug)]
pub(super) struct Architecture {
    /// The value of `general.architecture`.
    pub(super) name: &'static str,
    /// Which part of a model writes, or reads where none does.
    pub(super) part: Part,
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
    /// Whether they are half a head apart in files that tell the parts of a head for the
    /// places in a picture: the language models of those that see.
    pub(super) sections_apart: bool,
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
    /// Whether the activation is multiplied with itself.
    pub(super) squared: bool,
    /// Whether a bound of gated values holds before the activation, not behind it.
    pub(super) limited_before: bool,
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
    /// The scales of embeddings, residuals and logits of files that give none of them; of
    /// others all are needed.
    pub(super) missing_scales: Option<FixedScales>,
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
    /// Scales that are the architecture's, not the file's.
    pub(super) fixed_scales: Option<FixedScales>,
    /// Whether blocks that see the whole sequence rotate half of what others do.
    pub(super) half_rotated: bool,
    /// Whether a file may have a factor for contexts beyond its base of frequencies.
    pub(super) stretched: bool,
    /// Whether the router reads what the block reads, before any norm.
    pub(super) early_router: bool,
    /// Whether blocks may lack attention or a feed-forward layer.
    pub(super) lacks: bool,
    /// Whether scores are not scaled, and values are normalised as keys are, but without
    /// weights.
    pub(super) unscaled: bool,
    /// Whether blocks are told of tokens by embeddings of their own, and the last ones
    /// read the keys and values of others.
    pub(super) told: bool,
    /// What blocks with experts have beside them.
    pub(super) beside: Beside,
    /// Whether blocks have a feed-forward layer behind what tokens learn of each other
    /// by; otherwise a block is one or the other.
    pub(super) feeds: bool,
    /// Whether queries come with a gate for what attention gives.
    pub(super) gated_attention: bool,
    /// What a gate of a matrix of its own goes through before attention is multiplied
    /// with it.
    pub(super) gate: Unary,
    /// Whether a file must have that matrix.
    pub(super) needs_gate: bool,
    /// Whether tokens see those behind them unless the file says otherwise: an encoder.
    pub(super) sees_behind: bool,
    /// Whether the residual stream itself is normalised, behind attention and behind the
    /// feed-forward layer.
    pub(super) stream_norms: bool,
    /// Whether tokens may go through all blocks several times.
    pub(super) looped: bool,
    /// Scales of files that give none.
    pub(super) default_scales: Option<DefaultScales>,
    /// Whether the sum of the chosen experts and the shared one is halved.
    pub(super) shared_halved: bool,
    /// Whether values are normalised by their mean square where the file has the
    /// epsilon of that and no other.
    pub(super) either_norm: bool,
    /// Whether experts may have a second stage, of which several share one.
    pub(super) companions: bool,
    /// Whether embeddings are normalised by the root of their mean square alone.
    pub(super) bare_embedding_norm: bool,
    /// Added to the mean square where what is added to the residual stream is normalised,
    /// if it is another number than elsewhere.
    pub(super) post_epsilon: Option<f32>,
    /// Whether embeddings are added again behind each block, times its factor.
    pub(super) skips: bool,
    /// Whether two stacks of blocks take turns.
    pub(super) cycles: bool,
    /// Whether tokens choose adapters that are in the model.
    pub(super) switched: bool,
}

impl Architecture {
    pub(super) fn named(name: &str) -> Option<&'static Architecture> {
        decoders().chain(ENCODERS).find(|known| known.name == name)
    }
}

/// The decoders this version knows.
pub(super) fn decoders() -> impl Iterator<Item = &'static Architecture> {
    known::KNOWN.iter().chain(recurrent::RECURRENT).chain(IN_TWO_PARTS)
}
