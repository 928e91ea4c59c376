//! What a decoder-only language model is, as data read from a GGUF file.

use super::architecture::{
    Alibi, Architecture, ENCODERS, HeadNorms, LocalRope, LogitScale, Parallel, Windows, decoders,
    why_refused,
};
use super::experts::Experts;
use super::heads::AllHeads;
pub use super::heads::Heads;
use super::keys::Keys;
use super::latent::Latent;
pub use super::layers::{Layer, Mixer, Rotation};
use super::layers::{blocks, layers};
pub use super::limits::Limits;
use super::recurrent::{Recurrent, Recurring};
use super::rope::scaling;
use super::streams::{Streams, Told};
use super::tensors;
use super::xielu::{Xielu, curves};
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::ops::elementwise::Unary;
use crate::ops::rotary::tables::{RopeScaling, RopeSpec};

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
    /// How many blocks.
    pub blocks: usize,
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
    /// What blocks are told of tokens, where they are.
    pub told: Option<Told>,
    /// Whether values are normalised without weights.
    pub values_normed: bool,
    /// Several residual streams, where there are some.
    pub streams: Option<Streams>,
    /// Sizes of blocks with a recurrent state, where there are some.
    pub recurrent: Option<Recurrent>,
    /// Whether queries come with a gate for what attention gives.
    pub gated_attention: bool,
    /// How many tokens a convolution reaches over, itself included.
    pub convolution: usize,
    /// Whether embeddings are normalised.
    pub embedding_norm: bool,
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
}

impl DecoderSpec {
    /// Reads the description from a file's metadata and checks it for sense.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown architecture, naming the known
    /// ones; [`Error::Format`] naming the key that is missing or impossible.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let meta = file.metadata();
        let kind = meta.opt_str("general.type")?;
        if let Some(why) = why_refused(kind, meta.opt_str("general.architecture")?) {
            return Err(Error::unsupported(file.name(), why));
        }
        let name = meta.str_of("general.architecture")?;
        let Some(architecture) = Architecture::named(name) else {
            let known = architectures().chain(encoders()).collect::<Vec<_>>().join(", ");
            let what = format!("architecture '{}' (known: {known})", name.escape_debug());
            return Err(Error::unsupported(file.name(), what));
        };
        let recurring = architecture.recurrence.map(|(_, recurring)| recurring);
        let zeros_allowed = architecture.convolves || recurring == Some(Recurring::WithoutKeys);
        let keys = Keys::new(meta, name, zeros_allowed);
        let width = keys.size("embedding_length", 1 << 20)?;
        let blocks = blocks(&keys)?;
        let mut heads = AllHeads::read(&keys, architecture, blocks, width)?;
        let [rotary_dim, local_dim] = heads.rotary_dims;
        let context = keys.size("context_length", 1 << 27)?;
        let latent = Latent::read(&keys, file, architecture, rotary_dim)?;
        if let Some(latent) = &latent {
            for heads in heads.global.iter_mut().chain(&mut heads.local) {
                *heads = latent.cached(heads.count);
            }
        }
        let has = |name: &str| file.tensor_info(name).is_some();
        if architecture.scales_required {
            // Older files leave them to the program, each version to its own.
            for name in ["embedding_scale", "residual_scale", "logit_scale"] {
                keys.positive(name)?;
            }
        }
        let layers = layers(&keys, architecture, blocks, &heads)?;
        let attends = |layer: &Layer| matches!(layer.mixer, Mixer::Attention | Mixer::Both);
        // Other blocks may have tensors of the same names for something else.
        let first = layers.iter().position(attends).unwrap_or(0);
        let attention_has = |name: &str| has(&format!("blk.{first}.{name}"));
        let first = layers.get(first).map_or(heads.global[0], |layer| layer.heads);
        let base = base(&keys, architecture, first.key_size)?;
        let fixed = architecture.fixed_scales;
        let default = architecture.default_scales;
        let norm = norm(&keys, architecture);
        let spec = DecoderSpec {
            file: file.name().into(),
            architecture: name.into(),
            blocks,
            width,
            feed_forward: match recurring {
                Some(Recurring::Everywhere) => 0,
                _ => keys.largest_or("feed_forward_length", 1 << 22, 4 * width)?,
            },
            vocabulary: vocabulary(file)?,
            context,
            norm,
            embedding: embedding(file),
            xielu: match architecture.xielu {
                true => curves(&keys, blocks)?,
                false => Vec::new(),
            },
            norm_epsilon: keys.positive(match norm {
                Norm::Rms | Norm::RmsBiased => "attention.layer_norm_rms_epsilon",
                Norm::Layer | Norm::Bare => "attention.layer_norm_epsilon",
            })?,
            sees_behind: match keys.meta.opt_bool(&keys.key("attention.causal"))? {
                Some(causal) => !causal,
                None => architecture.sees_behind,
            },
            stream_norms: architecture.stream_norms,
            pre_norms: architecture.pre_norms,
            rope: RopeSpec {
                rotary_dim,
                base,
                scaling: scaling(&keys, file, rotary_dim, context)?,
            },
            local_rope: local_rope(&keys, architecture, local_dim, base)?,
            layers,
            activation: architecture.activation,
            clamp: architecture.clamp,
            limits: Limits::read(&keys, blocks)?,
            squared: architecture.squared,
            gated: architecture.gated,
            parallel: parallel(&keys, architecture, has("blk.0.ffn_norm.weight"))?,
            experts: Experts::read(&keys, file, architecture)?,
            alibi: keys.softcap(
                "attention.max_alibi_bias",
                match architecture.alibi {
                    Alibi::Always(exponent) => Some(exponent),
                    Alibi::WithBlocks(of, exponent) => Some(exponent).filter(|_| of == blocks),
                    Alibi::Never => None,
                },
            )?,
            told: Told::read(&keys, architecture, blocks)?,
            values_normed: architecture.unscaled,
            streams: Streams::read(&keys, architecture, blocks)?,
            recurrent: Recurrent::read(&keys, architecture)?,
            gated_attention: architecture.gated_attention,
            convolution: match architecture.convolves {
                true => keys.size("shortconv.l_cache", 1 << 8)?,
                false => 0,
            },
            embedding_norm: has(EMBEDDING_NORM) && !architecture.convolves,
            // Some have the norm at the end under the name of one at the beginning.
            output_norm: match architecture.convolves && !has("output_norm.weight") {
                true => "token_embd_norm",
                false if has("enc.output_norm.weight") => "enc.output_norm",
                false => "output_norm",
            },
            fused_qkv: attention_has("attn_qkv.weight"),
            // Encoders of either form have one name.
            fused_gate: architecture.fused_gate
                && !(architecture.sees_behind && has("blk.0.ffn_gate.weight")),
            qk_norm: architecture.qk_norm == HeadNorms::Weighted
                || attention_has("attn_q_norm.weight"),
            qk_norm_bare: match architecture.qk_norm {
                HeadNorms::BareUnless(count) => {
                    keys.meta.opt_u64(&keys.key("expert_count"))? != Some(count as u64)
                }
                _ => false,
            },
            temperature: temperature(&keys, architecture)?,
            qk_norm_rotated: architecture.qk_norm_rotated,
            clamp_qkv: keys.softcap("attention.clamp_kqv", None)?,
            post_norms: architecture.post_norms,
            embedding_scale: match architecture.scaled_embedding {
                true => Some((width as f32).sqrt()),
                false => match fixed {
                    Some(scales) => Some(scales.embedding),
                    None => {
                        keys.scale_or("embedding_scale", default.map(|scales| scales.embedding))?
                    }
                },
            },
            positions: architecture.positions,
            residual_scale: match fixed {
                Some(scales) => Some(scales.depth / (blocks as f32).sqrt()),
                None => keys.scale("residual_scale")?,
            },
            logit_scale: match (
                fixed,
                keys.scale_or("logit_scale", default.map(|scales| scales.logits))?,
            ) {
                (Some(scales), _) => Some(scales.base / width as f32),
                (None, scale) => scale.map(|scale| match architecture.logit_scale {
                    LogitScale::Factor => scale,
                    LogitScale::Divisor => 1.0 / scale,
                }),
            },
            attended_scale: keys.scale("attention.value_scale")?,
            attention_scale: match &latent {
                Some(latent) => Some(latent.scale),
                None if architecture.width_scaled_blocks == Some(blocks) => {
                    Some((first.count as f32 / width as f32).sqrt())
                }
                None if architecture.unscaled => Some(1.0),
                None if architecture.head_scaled => Some(1.0 / first.key_size as f32),
                None => match default {
                    Some(scales) => keys.scale_or("attention.output_scale", Some(scales.scores))?,
                    None => keys.scale("attention.scale")?,
                },
            },
            latent,
            attention_softcap: keys
                .softcap("attn_logit_softcapping", architecture.attention_softcap)?,
            final_softcap: keys.softcap("final_logit_softcapping", architecture.final_softcap)?,
            rope_interleaved: architecture.interleaved,
        };
        spec.check(&keys)?;
        tensors::check(file, &spec)?;
        Ok(spec)
    }

    /// Whether a sequence can go on from any of its tokens: what blocks keep of them is
    /// a row for each. Recurrent blocks keep one state, which only goes on.
    pub fn goes_back(&self) -> bool {
        self.recurrent.is_none()
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

/// How values are normalised.
fn norm(keys: &Keys<'_>, architecture: &Architecture) -> Norm {
    let has = |name: &str| keys.meta.get(&keys.key(name)).is_some();
    let by_square = has("attention.layer_norm_rms_epsilon") && !has("attention.layer_norm_epsilon");
    if architecture.either_norm && by_square { Norm::Rms } else { architecture.norm }
}

/// Whether attention and feed-forward are side by side.
fn parallel(keys: &Keys<'_>, architecture: &Architecture, norm: bool) -> Result<bool> {
    Ok(match architecture.parallel {
        Parallel::Never => false,
        Parallel::Always => true,
        Parallel::ByKey => {
            let name = "use_parallel_residual";
            let given = keys.meta.opt_bool(&keys.key(name))?;
            given.unwrap_or_else(|| keys.default(name, true))
        }
        Parallel::WithoutNorm => !norm,
    })
}

fn local_rope(
    keys: &Keys<'_>,
    architecture: &Architecture,
    rotary_dim: usize,
    global: f64,
) -> Result<Option<RopeSpec>> {
    let default = match architecture.local_rope {
        LocalRope::Same => return Ok(None),
        LocalRope::Unscaled => global,
        LocalRope::Base(base) => base,
    };
    let base = keys.number_or("rope.freq_base_swa", default)?;
    Ok(Some(RopeSpec { rotary_dim, base, scaling: RopeScaling::None }))
}

/// The base of rotary frequencies. Some files have it for the context of their first
/// training, and a factor for longer ones beside it: `base * alpha^(size / (size - 2))`.
fn base(keys: &Keys<'_>, architecture: &Architecture, size: usize) -> Result<f64> {
    let base = keys.number_or("rope.freq_base", architecture.rope_base)?;
    let name = "rope.scaling.alpha";
    match keys.scale_of(name)? {
        None => Ok(base),
        Some(alpha) if architecture.stretched && size > 2 => {
            let size = size as f64;
            Ok(base * f64::from(alpha).powf(size / (size - 2.0)))
        }
        Some(alpha) => Err(keys.wrong(name, format!("{alpha}, which nothing here uses"))),
    }
}

/// How scores of distant queries grow.
fn temperature(keys: &Keys<'_>, architecture: &Architecture) -> Result<Option<Temperature>> {
    let name = "attention.temperature_scale";
    let (own, trained) = ("attention.temperature_length", "rope.scaling.original_context_length");
    let has = |name: &str| keys.meta.get(&keys.key(name)).is_some();
    if let Windows::Chunks(chunk) = architecture.windows {
        let scale = keys.positive_or(name, CHUNKS_SCALE)? as f32;
        let length = if has(own) { keys.size(own, 1 << 24)? } else { chunk };
        return Ok(Some(Temperature { scale, length, ahead: 1, unrotated: true }));
    }
    let Some(scale) = keys.scale_of(name)? else { return Ok(None) };
    let length = keys.size(if has(own) { own } else { trained }, 1 << 24)?;
    Ok(Some(Temperature { scale, length, ahead: 0, unrotated: false }))
}

/// The growth of scores in blocks that see more than a chunk, in published models.
const CHUNKS_SCALE: f64 = 0.1;

/// The name of the table of embeddings.
fn embedding(file: &GgufFile) -> &'static str {
    match ["token_embd.weight", "output.weight"] {
        [own, head] if file.tensor_info(own).is_none() && file.tensor_info(head).is_some() => head,
        [own, _] => own,
    }
}

/// The rows of the embedding table say how many tokens there are.
fn vocabulary(file: &GgufFile) -> Result<usize> {
    let name = embedding(file);
    let info = file
        .tensor_info(name)
        .ok_or_else(|| Error::format(file.name(), format!("tensor '{name}'"), "missing"))?;
    match info.extents() {
        [rows, _] => Ok(*rows),
        other => {
            let what = format!("extents {other:?}, expected two");
            Err(Error::format(file.name(), format!("tensor '{name}'"), what))
        }
    }
}
