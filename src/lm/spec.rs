//! What a decoder-only language model is, as data read from a GGUF file.

use crate::error::{Error, Result};
use crate::formats::gguf::{GgufFile, Metadata};
use crate::ops::rotary::tables::{RopeScaling, RopeSpec};
use crate::tensor::DType;

/// The architectures this version knows, by their GGUF name.
pub const ARCHITECTURES: &[&str] = &["llama"];

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
    /// Added to the mean square in RMS normalisation.
    pub norm_epsilon: f32,
    /// Rotary position embedding.
    pub rope: RopeSpec,
    /// Whether rotated pairs are neighbours (`2i`, `2i+1`) rather than half a
    /// head apart.
    pub rope_interleaved: bool,
}

impl DecoderSpec {
    /// Reads the description from a file's metadata and checks it for sense.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown architecture, naming the known
    /// ones; [`Error::Format`] naming the key that is missing or impossible.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let meta = file.metadata();
        let architecture = meta.str_of("general.architecture")?;
        if !ARCHITECTURES.contains(&architecture) {
            let known = ARCHITECTURES.join(", ");
            let what = format!("architecture '{}' (known: {known})", architecture.escape_debug());
            return Err(Error::unsupported(file.name(), what));
        }
        let keys = Keys { meta, architecture };
        let width = keys.size("embedding_length", 1 << 20)?;
        let heads = keys.size("attention.head_count", 1 << 14)?;
        let kv_heads = keys.size_or("attention.head_count_kv", 1 << 14, heads)?;
        let key_size = keys.size_or("attention.key_length", MAX_HEAD, width / heads)?;
        let value_size = keys.size_or("attention.value_length", MAX_HEAD, width / heads)?;
        let context = keys.size("context_length", 1 << 27)?;
        let rotary_dim = keys.size_or("rope.dimension_count", MAX_HEAD, key_size)?;
        let spec = DecoderSpec {
            file: file.name().into(),
            architecture: architecture.into(),
            blocks: keys.size("block_count", 1 << 12)?,
            width,
            heads,
            kv_heads,
            key_size,
            value_size,
            feed_forward: keys.size("feed_forward_length", 1 << 22)?,
            vocabulary: vocabulary(file)?,
            context,
            norm_epsilon: keys.positive("attention.layer_norm_rms_epsilon")?,
            rope: RopeSpec {
                rotary_dim,
                base: keys.number_or("rope.freq_base", 10_000.0)?,
                scaling: scaling(&keys, file, rotary_dim)?,
            },
            rope_interleaved: true,
        };
        spec.check(&keys)?;
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
        Ok(())
    }
}

/// Metadata under the architecture's prefix.
struct Keys<'a> {
    meta: Metadata<'a>,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn wrong(&self, name: &str, what: impl std::fmt::Display) -> Error {
        self.meta.error(&self.key(name), what)
    }

    fn size(&self, name: &str, most: u64) -> Result<usize> {
        let value = self.meta.u64_of(&self.key(name))?;
        self.in_range(name, value, most)
    }

    fn size_or(&self, name: &str, most: u64, default: usize) -> Result<usize> {
        match self.meta.opt_u64(&self.key(name))? {
            Some(value) => self.in_range(name, value, most),
            None => {
                log::info!("{} is not given: {default}", self.key(name));
                Ok(default)
            }
        }
    }

    fn in_range(&self, name: &str, value: u64, most: u64) -> Result<usize> {
        if (1..=most).contains(&value) {
            return Ok(value as usize);
        }
        Err(self.wrong(name, format!("{value} is not between 1 and {most}")))
    }

    fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        Ok(self.meta.opt_f32(&self.key(name))?.map_or(default, f64::from))
    }

    fn positive(&self, name: &str) -> Result<f32> {
        let value = self.meta.f32_of(&self.key(name))?;
        self.above_zero(name, f64::from(value)).map(|_| value)
    }

    fn positive_or(&self, name: &str, default: f64) -> Result<f64> {
        self.above_zero(name, self.number_or(name, default)?)
    }

    fn above_zero(&self, name: &str, value: f64) -> Result<f64> {
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

fn scaling(keys: &Keys<'_>, file: &GgufFile, rotary_dim: usize) -> Result<RopeScaling> {
    // Llama 3 files carry per-frequency divisors as a tensor instead of keys.
    if let Some(factors) = rope_factors(file, rotary_dim / 2)? {
        return Ok(RopeScaling::Factors { factors });
    }
    let factor = keys.positive_or("rope.scaling.factor", 1.0)?;
    match keys.meta.opt_str(&keys.key("rope.scaling.type"))? {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor }),
        Some("yarn") => Ok(RopeScaling::Yarn {
            factor,
            original_context: keys.size("rope.scaling.original_context_length", 1 << 27)?,
            beta_fast: keys.positive_or("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: keys.positive_or("rope.scaling.yarn_beta_slow", 1.0)?,
            attention_factor: None,
        }),
        Some(other) => {
            let what =
                format!("rotary scaling '{}' (known: none, linear, yarn)", other.escape_debug());
            let at = format!("{}: key '{}'", file.name(), keys.key("rope.scaling.type"));
            Err(Error::unsupported(at, what))
        }
    }
}

/// A divisor for each rotated pair, where the file has them.
fn rope_factors(file: &GgufFile, pairs: usize) -> Result<Option<Vec<f64>>> {
    let name = "rope_freqs.weight";
    let Some(info) = file.tensor_info(name) else { return Ok(None) };
    let wrong = |what: String| Err(Error::format(file.name(), format!("tensor '{name}'"), what));
    // Before anything is read: the tensor can be as large as the file.
    if info.extents() != [pairs] {
        return wrong(format!("extents {:?}, expected [{pairs}]", info.extents()));
    }
    if info.dtype() != Some(DType::F32) {
        return wrong(format!("{}, expected F32", info.ggml_type()));
    }
    let factors = info.load()?.to_f32()?;
    if let Some(factor) = factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        return wrong(format!("{factor} is not a positive number"));
    }
    Ok(Some(factors.into_iter().map(f64::from).collect()))
}
