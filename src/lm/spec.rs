//! What a decoder-only language model is, as data read from a GGUF file.

use super::architecture::{Architecture, KNOWN, LogitScale, Parallel, Unrotated, Windows};
use super::experts::Experts;
use super::rope::scaling;
use super::tensors;
use crate::error::{Error, Result};
use crate::formats::gguf::{GgufFile, Metadata, Value};
use crate::ops::elementwise::Unary;
use crate::ops::rotary::tables::{RopeScaling, RopeSpec};

/// The architectures this version knows, by their GGUF name.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name)
}

/// The largest head read; models in use stay below 600. Tables of cosines and
/// sines grow with it, for a context that needs no byte of the file.
const MAX_HEAD: u64 = 1 << 10;

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
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// The size of a query and key head.
    pub key_size: usize,
    /// The size of a value head.
    pub value_size: usize,
    /// The width between the two halves of the feed-forward layer.
    pub feed_forward: usize,
    /// Rows of the embedding table and of the output head.
    pub vocabulary: usize,
    /// The longest sequence the model was made for, in tokens.
    pub context: usize,
    /// How values are normalised.
    pub norm: Norm,
    /// Added to the mean square, or to the variance, in normalisation.
    pub norm_epsilon: f32,
    /// Whether attention and feed-forward read normalised values.
    pub pre_norms: bool,
    /// Rotary position embedding.
    pub rope: RopeSpec,
    /// That of blocks with a window, where it is another.
    pub local_rope: Option<RopeSpec>,
    /// What each block sees and how it rotates.
    pub layers: Vec<Layer>,
    /// Applied to the gate of the feed-forward layer.
    pub activation: Unary,
    /// Whether the result of the activation is multiplied with itself.
    pub squared: bool,
    /// Whether the feed-forward layer has a gate.
    pub gated: bool,
    /// Whether attention and feed-forward read the same residual stream.
    pub parallel: bool,
    /// Networks that a router chooses from, in the blocks that have one.
    pub experts: Option<Experts>,
    /// Whether one tensor holds the rows of q, k and v.
    pub fused_qkv: bool,
    /// Whether one tensor holds the rows of the gate and of `up`.
    pub fused_gate: bool,
    /// Whether query and key heads are normalised.
    pub qk_norm: bool,
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

/// How values are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// By the root of the mean square, then weights.
    Rms,
    /// By mean and variance, then weights and, where the file has one, a bias.
    Layer,
    /// By mean and variance alone.
    Bare,
}

/// What is particular to one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// How many of the latest keys a query sees; `None` for all.
    pub window: Option<u32>,
    /// How queries and keys are rotated.
    pub rotation: Rotation,
}

/// How a block rotates queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// As [`DecoderSpec::rope`] says.
    Global,
    /// As [`DecoderSpec::local_rope`] says.
    Local,
    /// Not at all.
    None,
}

impl DecoderSpec {
    /// Reads the description from a file's metadata and checks it for sense.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown architecture, naming the known
    /// ones; [`Error::Format`] naming the key that is missing or impossible.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let meta = file.metadata();
        let name = meta.str_of("general.architecture")?;
        let Some(architecture) = Architecture::named(name) else {
            let known = architectures().collect::<Vec<_>>().join(", ");
            let what = format!("architecture '{}' (known: {known})", name.escape_debug());
            return Err(Error::unsupported(file.name(), what));
        };
        let keys = Keys { meta, architecture: name };
        let width = keys.size("embedding_length", 1 << 20)?;
        let heads = keys.size("attention.head_count", 1 << 14)?;
        let kv_heads = keys.size_or("attention.head_count_kv", 1 << 14, heads)?;
        let key_size = keys.size_or("attention.key_length", MAX_HEAD, width / heads)?;
        let value_size = keys.size_or("attention.value_length", MAX_HEAD, width / heads)?;
        let context = keys.size("context_length", 1 << 27)?;
        let rotary_dim = keys.size_or("rope.dimension_count", MAX_HEAD, key_size)?;
        let blocks = blocks(&keys)?;
        let has = |name: &str| file.tensor_info(name).is_some();
        if architecture.scales_required {
            // Older files leave them to the program, each version to its own.
            for name in ["embedding_scale", "residual_scale", "logit_scale"] {
                keys.positive(name)?;
            }
        }
        let layers = layers(&keys, architecture, blocks)?;
        let base = keys.number_or("rope.freq_base", architecture.rope_base)?;
        let spec = DecoderSpec {
            file: file.name().into(),
            architecture: name.into(),
            blocks,
            width,
            heads,
            kv_heads,
            key_size,
            value_size,
            feed_forward: keys.size("feed_forward_length", 1 << 22)?,
            vocabulary: vocabulary(file)?,
            context,
            norm: architecture.norm,
            norm_epsilon: keys.positive(match architecture.norm {
                Norm::Rms => "attention.layer_norm_rms_epsilon",
                Norm::Layer | Norm::Bare => "attention.layer_norm_epsilon",
            })?,
            pre_norms: architecture.pre_norms,
            rope: RopeSpec {
                rotary_dim,
                base,
                scaling: scaling(&keys, file, rotary_dim, context)?,
            },
            local_rope: local_rope(&keys, architecture, rotary_dim)?,
            layers,
            activation: architecture.activation,
            squared: architecture.squared,
            gated: architecture.gated,
            parallel: parallel(&keys, architecture, has("blk.0.ffn_norm.weight"))?,
            experts: Experts::read(&keys, file, architecture)?,
            fused_qkv: has("blk.0.attn_qkv.weight"),
            fused_gate: architecture.fused_gate,
            qk_norm: architecture.qk_norm || has("blk.0.attn_q_norm.weight"),
            qk_norm_rotated: architecture.qk_norm_rotated,
            clamp_qkv: keys.softcap("attention.clamp_kqv", None)?,
            post_norms: architecture.post_norms,
            embedding_scale: match architecture.scaled_embedding {
                true => Some((width as f32).sqrt()),
                false => keys.scale("embedding_scale")?,
            },
            positions: architecture.positions,
            residual_scale: keys.scale("residual_scale")?,
            logit_scale: keys.scale("logit_scale")?.map(|scale| match architecture.logit_scale {
                LogitScale::Factor => scale,
                LogitScale::Divisor => 1.0 / scale,
            }),
            attention_scale: match architecture.width_scaled_blocks == Some(blocks) {
                true => Some((heads as f32 / width as f32).sqrt()),
                false => keys.scale("attention.scale")?,
            },
            attention_softcap: keys
                .softcap("attn_logit_softcapping", architecture.attention_softcap)?,
            final_softcap: keys.softcap("final_logit_softcapping", architecture.final_softcap)?,
            rope_interleaved: architecture.interleaved,
        };
        spec.check(&keys)?;
        tensors::check(&keys, file, spec.norm, blocks)?;
        Ok(spec)
    }

    fn check(&self, keys: &Keys<'_>) -> Result<()> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            let what = format!("{} does not divide {} heads", self.kv_heads, self.heads);
            return Err(keys.wrong("attention.head_count_kv", what));
        }
        let explicit = keys.meta.get(&keys.key("attention.key_length")).is_some();
        if !explicit && !self.width.is_multiple_of(self.heads) {
            let what = format!("{} does not divide width {}", self.heads, self.width);
            return Err(keys.wrong("attention.head_count", what));
        }
        if self.rope.rotary_dim > self.key_size || !self.rope.rotary_dim.is_multiple_of(2) {
            let what = format!("{} of {} elements", self.rope.rotary_dim, self.key_size);
            return Err(keys.wrong("rope.dimension_count", what));
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

/// The blocks that give the next token. Files may count those that predict the
/// tokens after it, which come last.
fn blocks(keys: &Keys<'_>) -> Result<usize> {
    let all = keys.size("block_count", 1 << 12)?;
    let name = "nextn_predict_layers";
    let further = keys.meta.opt_u64(&keys.key(name))?.unwrap_or(0);
    let blocks = (all as u64).checked_sub(further).filter(|&blocks| blocks > 0);
    match blocks {
        Some(blocks) => Ok(blocks as usize),
        None => Err(keys.wrong(name, format!("{further} of {all} blocks"))),
    }
}

/// Whether attention and feed-forward are side by side.
fn parallel(keys: &Keys<'_>, architecture: &Architecture, norm: bool) -> Result<bool> {
    Ok(match architecture.parallel {
        Parallel::Never => false,
        Parallel::Always => true,
        Parallel::ByKey => keys.meta.opt_bool(&keys.key("use_parallel_residual"))?.unwrap_or(true),
        Parallel::WithoutNorm => !norm,
    })
}

fn layers(keys: &Keys<'_>, architecture: &Architecture, blocks: usize) -> Result<Vec<Layer>> {
    let name = "attention.sliding_window";
    let given = keys.meta.opt_u64(&keys.key(name))?;
    let window = match (architecture.windows, given) {
        (Windows::Nowhere, _) => None,
        // Files of models without a window may say 0.
        (_, Some(0)) => None,
        (_, Some(window)) => Some(keys.in_range(name, window, 1 << 31)? as u32),
        (_, None) => {
            let default = architecture.window;
            let shown = default.map_or("no window".into(), |window| window.to_string());
            log::info!("{} is not given: {shown}", keys.key(name));
            default.map(|window| window as u32)
        }
    };
    let pattern = pattern(keys, blocks)?;
    let nth = |block: usize, every: usize| (block + 1).is_multiple_of(every);
    let window_of_others = window;
    let layer = |block: usize| {
        let window = match (&pattern, architecture.windows) {
            (Some(Pattern::Each(windowed)), _) => window.filter(|_| windowed[block]),
            (Some(Pattern::AllBut(every)), _) if nth(block, *every) => None,
            (None, Windows::AllBut(every)) if nth(block, every) => None,
            _ => window,
        };
        let others = window_of_others.is_some();
        let rotation = match architecture.unrotated {
            Unrotated::Everywhere => Rotation::None,
            Unrotated::Each(every) if nth(block, every) => Rotation::None,
            Unrotated::Unwindowed if others && window.is_none() => Rotation::None,
            _ if window.is_some() && architecture.local_rope_base.is_some() => Rotation::Local,
            _ => Rotation::Global,
        };
        Layer { window, rotation }
    };
    Ok((0..blocks).map(layer).collect())
}

/// What a file says of which blocks have a window.
enum Pattern {
    Each(Vec<bool>),
    AllBut(usize),
}

fn pattern(keys: &Keys<'_>, blocks: usize) -> Result<Option<Pattern>> {
    let name = "attention.sliding_window_pattern";
    let Some(value) = keys.meta.get(&keys.key(name)) else { return Ok(None) };
    let Value::Array(array) = value else {
        return Ok(Some(Pattern::AllBut(keys.size(name, 1 << 12)?)));
    };
    let truth = |value: Value<'_>| match value {
        Value::Bool(value) => Some(value),
        other => other.as_integer().map(|number| number != 0),
    };
    match array.iter().map(truth).collect::<Option<Vec<bool>>>() {
        Some(windowed) if windowed.len() == blocks => Ok(Some(Pattern::Each(windowed))),
        _ => Err(keys.wrong(name, format!("not {blocks} truth values"))),
    }
}

fn local_rope(
    keys: &Keys<'_>,
    architecture: &Architecture,
    rotary_dim: usize,
) -> Result<Option<RopeSpec>> {
    let Some(default) = architecture.local_rope_base else { return Ok(None) };
    let base = keys.number_or("rope.freq_base_swa", default)?;
    Ok(Some(RopeSpec { rotary_dim, base, scaling: RopeScaling::None }))
}

/// Metadata under the architecture's prefix.
pub(super) struct Keys<'a> {
    pub(super) meta: Metadata<'a>,
    pub(super) architecture: &'a str,
}

impl Keys<'_> {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(super) fn wrong(&self, name: &str, what: impl std::fmt::Display) -> Error {
        self.meta.error(&self.key(name), what)
    }

    pub(super) fn size(&self, name: &str, most: u64) -> Result<usize> {
        match self.number(name)? {
            Some(value) => self.in_range(name, value, most),
            None => Err(self.wrong(name, "missing")),
        }
    }

    pub(super) fn size_or(&self, name: &str, most: u64, default: usize) -> Result<usize> {
        match self.number(name)? {
            Some(value) => self.in_range(name, value, most),
            None => {
                log::info!("{} is not given: {default}", self.key(name));
                Ok(default)
            }
        }
    }

    /// A whole number, or an array that gives all blocks the same.
    fn number(&self, name: &str) -> Result<Option<u64>> {
        let key = self.key(name);
        if !matches!(self.meta.get(&key), Some(Value::Array(_))) {
            return self.meta.opt_u64(&key);
        }
        let mut numbers = self.meta.i64s_of(&key)?;
        let first = numbers.next();
        if numbers.any(|number| Some(number) != first) {
            return Err(Error::unsupported(&key, "blocks of different sizes"));
        }
        let number = first.and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(name, "no number from 0"))
    }

    pub(super) fn in_range(&self, name: &str, value: u64, most: u64) -> Result<usize> {
        if (1..=most).contains(&value) {
            return Ok(value as usize);
        }
        Err(self.wrong(name, format!("{value} is not between 1 and {most}")))
    }

    pub(super) fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        Ok(self.meta.opt_f32(&self.key(name))?.map_or(default, f64::from))
    }

    pub(super) fn positive(&self, name: &str) -> Result<f32> {
        let value = self.meta.f32_of(&self.key(name))?;
        self.above_zero(name, f64::from(value)).map(|_| value)
    }

    pub(super) fn positive_or(&self, name: &str, default: f64) -> Result<f64> {
        self.above_zero(name, self.number_or(name, default)?)
    }

    /// A factor; a file says 0 or 1 for none.
    pub(super) fn scale(&self, name: &str) -> Result<Option<f32>> {
        match self.meta.opt_f32(&self.key(name))? {
            None => Ok(None),
            Some(scale) if scale == 0.0 || scale == 1.0 => Ok(None),
            Some(scale) => self.above_zero(name, scale.into()).map(|_| Some(scale)),
        }
    }

    /// A bound of scores or logits; a file says 0 for none.
    fn softcap(&self, name: &str, default: Option<f64>) -> Result<Option<f32>> {
        let given = self.meta.opt_f32(&self.key(name))?.map(f64::from);
        match given.or(default) {
            None | Some(0.0) => Ok(None),
            Some(cap) => self.above_zero(name, cap).map(|cap| Some(cap as f32)),
        }
    }

    pub(super) fn above_zero(&self, name: &str, value: f64) -> Result<f64> {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(self.wrong(name, format!("{value} is not a positive number")))
    }
}

/// The rows of the embedding table say how many tokens there are.
fn vocabulary(file: &GgufFile) -> Result<usize> {
    let name = "token_embd.weight";
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
