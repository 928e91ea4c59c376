//! What a decoder-only language model is, as data read from a GGUF file.

mod read;

use super::architecture::{ENCODERS, decoders};
pub use super::cycles::Cycles;
use super::experts::Experts;
pub use super::heads::Heads;
use super::keys::Keys;
use super::latent::Latent;
pub use super::layers::{Layer, Mixer, Rotation};
pub use super::limits::Limits;
use super::parts::Keeping;
pub use super::parts::{Part, Source};
use super::recurrent::{Recurrence, Recurrent};
pub use super::relative::Relative;
use super::streams::{Streams, Told};
pub use super::switch::Switch;
use super::xielu::Xielu;
use crate::error::{Error, Result};
use crate::ops::elementwise::Unary;
use crate::ops::rotary::tables::RopeSpec;

/// The architectures of decoders that this version knows, by their GGUF name.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    decoders().map(|known| known.name)
}

/// The architectures of encoders that this version knows, by their GGUF name.
pub fn encoders() -> impl Iterator<Item = &'static str> {
    ENCODERS.iter().map(|known| known.name)
}

/// The largest head read; models in use stay below 600. Tables of cosines and
/// sines grow with it, for a context that needs no byte of the file.
pub(super) const MAX_HEAD: u64 = 1 << 10;

/// A decoder: the sizes and choices of a general decoder block, repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// What errors call the file it was read from.
    pub file: String,
    /// The GGUF name of the architecture.
    pub architecture: String,
    /// Which part of the file's model this is.
    pub part: Part,
    /// How many blocks.
    pub blocks: usize,
    /// How often tokens go through all of them, each time with keys and values of their
    /// own.
    pub rounds: usize,
    /// Whether the residual stream is normalised between two rounds, as it is at the end.
    pub round_norms: bool,
    /// How two stacks of blocks take turns, where they do.
    pub cycles: Option<Cycles>,
    /// The width of the residual stream.
    pub width: usize,
    /// The width between the two halves of the feed-forward layer, as the file says;
    /// what is computed goes by the tensors.
    pub feed_forward: usize,
    /// Rows of the embedding table and of the output head.
    pub vocabulary: usize,
    /// The longest sequence the model was made for, in tokens.
    pub context: usize,
    /// How values are normalised.
    pub norm: Norm,
    /// The tensor of the embeddings of tokens: some files have them only as the head.
    pub embedding: &'static str,
    /// Added to the mean square, or to the variance, in normalisation.
    pub norm_epsilon: f32,
    /// Whether tokens see those behind them, too: such a model gives vectors of tokens
    /// and no next one.
    pub sees_behind: bool,
    /// Whether the residual stream itself is normalised, behind attention and behind the
    /// feed-forward layer.
    pub stream_norms: bool,
    /// Whether attention and feed-forward read normalised values.
    pub pre_norms: bool,
    /// Rotary position embedding.
    pub rope: RopeSpec,
    /// That of blocks with a window, where it is another.
    pub local_rope: Option<RopeSpec>,
    /// What each block sees, how it rotates, and its heads.
    pub layers: Vec<Layer>,
    /// Applied to the gate of the feed-forward layer.
    pub activation: Unary,
    /// How the gated values are kept in bounds, where they are.
    pub clamp: Option<Clamp>,
    /// Bounds of the gated values of each block, where it has some.
    pub limits: Vec<Limits>,
    /// Whether they hold before the activation, not behind it.
    pub limited_before: bool,
    /// The activations of all blocks, where each has its own.
    pub xielu: Vec<Xielu>,
    /// Whether the result of the activation is multiplied with itself.
    pub squared: bool,
    /// Whether the feed-forward layer has a gate.
    pub gated: bool,
    /// Whether attention and feed-forward read the same residual stream.
    pub parallel: bool,
    /// Networks that a router chooses from, in the blocks that have one.
    pub experts: Option<Experts>,
    /// Keys and values made of one short vector of each token.
    pub latent: Option<Latent>,
    /// The steepest slope of what is taken off scores for each key further back,
    /// as the exponent of a half: ALiBi.
    pub alibi: Option<f32>,
    /// How the tokens that another part reads are told from those that are written, where
    /// there is one.
    pub source: Option<Source>,
    /// That part.
    pub encoder: Option<Box<DecoderSpec>>,
    /// Scores by how far a key is, where there are some.
    pub relative: Option<Relative>,
    /// Adapters within the model, where it has some.
    pub switch: Option<Switch>,
    /// What blocks are told of tokens, where they are.
    pub told: Option<Told>,
    /// Whether values are normalised without weights.
    pub values_normed: bool,
    /// Several residual streams, where there are some.
    pub streams: Option<Streams>,
    /// Behind each block of so many the residual stream is halved (RWKV-6, whose files have
    /// weights for that).
    pub halved_each: Option<usize>,
    /// Sizes of blocks with a recurrent state, where there are some.
    pub recurrent: Option<Recurrent>,
    /// The least logarithm of a decay, where decays are shares of it.
    pub least_decay: Option<f32>,
    /// Whether queries come with a gate for what attention gives.
    pub gated_attention: bool,
    /// What a gate of a matrix of its own goes through before attention is multiplied
    /// with it.
    pub gate: Unary,
    /// Whether a file must have that matrix.
    pub needs_gate: bool,
    /// How many tokens a convolution reaches over, itself included.
    pub convolution: usize,
    /// Whether embeddings are normalised.
    pub embedding_norm: bool,
    /// Whether that is done by the root of the mean square alone.
    pub embedding_norm_bare: bool,
    /// The tensor of the norm before the output head, without its end.
    pub output_norm: &'static str,
    /// Whether one tensor holds the rows of q, k and v.
    pub fused_qkv: bool,
    /// Whether one tensor holds the rows of the gate and of `up`.
    pub fused_gate: bool,
    /// Whether query and key heads are normalised.
    pub qk_norm: bool,
    /// Whether that is done without weights, and only in blocks that rotate.
    pub qk_norm_bare: bool,
    /// How scores of distant queries grow.
    pub temperature: Option<Temperature>,
    /// Whether that is done after they are rotated.
    pub qk_norm_rotated: bool,
    /// The bound that queries, keys and values are clipped to.
    pub clamp_qkv: Option<f32>,
    /// Whether what is added to the residual stream is normalised first.
    pub post_norms: bool,
    /// Added to the mean square there, where it is another than elsewhere.
    pub post_epsilon: Option<f32>,
    /// Whether the factor of a block's end is that of the embeddings, which are added, not
    /// that of the residual stream.
    pub skips: bool,
    /// What embeddings are multiplied with.
    pub embedding_scale: Option<f32>,
    /// Whether embeddings of positions are added to those of tokens.
    pub positions: bool,
    /// What attention and feed-forward are multiplied with before they are added.
    pub residual_scale: Option<f32>,
    /// What logits are multiplied with.
    pub logit_scale: Option<f32>,
    /// What attention gives is multiplied with.
    pub attended_scale: Option<f32>,
    /// What attention scores are multiplied with; `None` for the usual
    /// `1 / sqrt(key_size)`.
    pub attention_scale: Option<f32>,
    /// The bound that attention scores are squeezed into.
    pub attention_softcap: Option<f32>,
    /// The bound that logits are squeezed into.
    pub final_softcap: Option<f32>,
    /// Whether rotated pairs are neighbours (`2i`, `2i+1`) rather than half a
    /// head apart.
    pub rope_interleaved: bool,
}

/// How gated values are kept in bounds: `min(g, limit) * sigmoid(slope * g)`, times
/// `1 + u` with `u` between `-limit` and `limit`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// The bound of both.
    pub limit: f32,
    /// What the gate is multiplied with under the sigmoid.
    pub slope: f32,
}

/// How scores grow with the position of their query: by `1 + scale ln(1 +
/// floor((position + ahead) / length))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// The growth for each factor of e.
    pub scale: f32,
    /// Up to so many positions nothing grows.
    pub length: usize,
    /// What is added to positions: 0 or 1.
    pub ahead: u32,
    /// Whether that is so only in blocks that do not rotate.
    pub unrotated: bool,
}

/// The norm of embeddings, where a file has one.
pub(super) const EMBEDDING_NORM: &str = "token_embd_norm.weight";

/// How values are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// By the root of the mean square, then weights.
    Rms,
    /// The same, and a bias where the file has one.
    RmsBiased,
    /// By mean and variance, then weights and, where the file has one, a bias.
    Layer,
    /// By mean and variance alone.
    Bare,
    /// By the root of the mean square alone.
    BareRms,
}

impl DecoderSpec {
    /// Whether a sequence can go on from any of its tokens: what blocks keep of them is
    /// a row for each. Recurrent blocks keep one state, which only goes on.
    pub fn goes_back(&self) -> bool {
        self.recurrent.is_none()
    }

    /// What a sequence may go on with.
    pub(super) fn keeping(&self) -> Keeping {
        match self.source {
            Some(source) => Keeping::Source(source),
            None if self.goes_back() => Keeping::Any,
            None => Keeping::All,
        }
    }

    /// The part that reads whole texts: of a model in one part all there is.
    pub fn reader(&self) -> &DecoderSpec {
        self.encoder.as_deref().unwrap_or(self)
    }

    /// Whether blocks are RWKV's, whose second norm has a name of its own.
    pub(super) fn is_rwkv(&self) -> bool {
        let rwkv = |kind| matches!(kind, Recurrence::Rwkv6 | Recurrence::Rwkv7);
        self.recurrent.is_some_and(|sizes| rwkv(sizes.kind))
    }

    fn check_heads(&self, keys: &Keys<'_>, layer: &Layer) -> Result<()> {
        let Heads { count, kv_count, key_size, value_size } = layer.heads;
        if kv_count == 0 || count == 0 || !count.is_multiple_of(kv_count) {
            let what = format!("{kv_count} does not divide {count} heads");
            return Err(keys.wrong("attention.head_count_kv", what));
        }
        // A gate is as large as queries, and what it is for as values.
        if (self.gated_attention || self.values_normed) && key_size != value_size {
            let what = format!("{value_size}, but keys have {key_size}");
            return Err(keys.wrong("attention.value_length", what));
        }
        let explicit = keys.meta.get(&keys.key("attention.key_length")).is_some();
        if !explicit && !self.width.is_multiple_of(count) {
            let what = format!("{count} does not divide width {}", self.width);
            return Err(keys.wrong("attention.head_count", what));
        }
        let rope = match (&self.local_rope, layer.rotation) {
            (Some(local), Rotation::Local) => local,
            _ => &self.rope,
        };
        if rope.rotary_dim > key_size || !rope.rotary_dim.is_multiple_of(2) {
            let what = format!("{} of {key_size} elements", rope.rotary_dim);
            return Err(keys.wrong("rope.dimension_count", what));
        }
        Ok(())
    }

    fn check(&self, keys: &Keys<'_>) -> Result<()> {
        for layer in &self.layers {
            if matches!(layer.mixer, Mixer::Attention | Mixer::Both) {
                self.check_heads(keys, layer)?;
            }
        }
        let differ = self.layers.windows(2).any(|pair| pair[0].heads.count != pair[1].heads.count);
        if self.alibi.is_some() && differ {
            let what = "blocks of different numbers of heads, with scores by distance";
            return Err(Error::unsupported(keys.key("attention.head_count"), what));
        }
        if !(self.rope.base.is_finite() && self.rope.base > 1.0) {
            return Err(keys.wrong("rope.freq_base", self.rope.base));
        }
        match &self.local_rope {
            Some(rope) if !(rope.base.is_finite() && rope.base > 1.0) => {
                Err(keys.wrong("rope.freq_base_swa", rope.base))
            }
            _ => Ok(()),
        }
    }
}
