//! What `config.json` says of an encoder.

use super::families::{self, Family, FirstPosition};
use super::folder::{Folder, Settings};
use crate::error::{Error, Result};
use crate::ops::elementwise::Unary;

/// The file it is in.
pub(super) const CONFIG: &str = "config.json";

/// The sizes and choices of an encoder.
#[derive(Debug, Clone)]
pub struct EncoderSpec {
    /// What errors call the settings.
    pub file: String,
    /// `model_type`: `bert`, `roberta`, ...
    pub model_type: String,
    pub(super) family: &'static Family,
    /// Elements of a token's vector.
    pub width: usize,
    /// Elements of a feed-forward network's inner vector.
    pub inner: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Blocks.
    pub blocks: usize,
    /// Rows of the table of tokens.
    pub vocabulary: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    /// Rows of the table of token types; 0 for families that have none.
    pub token_types: usize,
    /// Buckets of relative positions; 0 for families that have none.
    pub buckets: usize,
    /// The number of the padding token.
    pub pad: usize,
    /// The function between the two products of a feed-forward network.
    pub activation: Unary,
    /// What is added to variances.
    pub epsilon: f32,
}

impl EncoderSpec {
    /// Reads `config.json`.
    pub(super) fn read(folder: &Folder) -> Result<Self> {
        match folder.settings(CONFIG)? {
            Some(settings) => Self::from_settings(&settings),
            None => Err(Error::Io {
                path: folder.file(CONFIG),
                source: std::io::ErrorKind::NotFound.into(),
            }),
        }
    }

    fn from_settings(config: &Settings) -> Result<Self> {
        let model_type = config.maybe_text("model_type")?;
        let model_type = model_type.ok_or_else(|| config.error("model_type", "missing"))?;
        let family = families::find(model_type).ok_or_else(|| {
            let known = families::known().join(", ");
            config.unsupported("model_type", format_args!("{model_type:?}; supported: {known}"))
        })?;
        refuse_others(config)?;
        let keys = &family.keys;
        let spec = EncoderSpec {
            file: config.file.clone(),
            model_type: model_type.into(),
            family,
            width: config.count(keys.width)?,
            inner: config.count(keys.inner)?,
            heads: config.count(keys.heads)?,
            blocks: config.count(keys.blocks)?,
            vocabulary: config.count("vocab_size")?,
            positions: config.count("max_position_embeddings")?,
            token_types: match family.names.token_type.is_some() {
                true => config.maybe_count("type_vocab_size")?.unwrap_or(2),
                false => 0,
            },
            buckets: match keys.buckets {
                Some(key) => config.maybe_count(key)?.unwrap_or(32),
                None => 0,
            },
            pad: pad(config, family.first_position)?,
            activation: activation(config, keys.activation)?,
            epsilon: epsilon(config, keys.epsilon)?,
        };
        if !spec.width.is_multiple_of(spec.heads) {
            let what = format!("{} heads do not share a width of {}", spec.heads, spec.width);
            return Err(config.error(keys.heads, what));
        }
        if spec.first_position() >= spec.positions {
            let what = format!("{} leaves no position for a token", spec.positions);
            return Err(config.error("max_position_embeddings", what));
        }
        Ok(spec)
    }

    /// The position of the first token.
    pub(super) fn first_position(&self) -> usize {
        self.family.first_position.number(self.pad)
    }

    /// The most tokens of a text.
    pub fn most_tokens(&self) -> usize {
        self.positions - self.first_position()
    }
}

/// What changes the computation and is not done here.
fn refuse_others(config: &Settings) -> Result<()> {
    if let Some(kind) = config.maybe_text("position_embedding_type")?
        && kind != "absolute"
    {
        return Err(config.unsupported(
            "position_embedding_type",
            format_args!("{kind:?}; supported: \"absolute\""),
        ));
    }
    for key in ["is_decoder", "add_cross_attention"] {
        if config.flag(key)? == Some(true) {
            return Err(config.unsupported(key, "true; supported: false"));
        }
    }
    Ok(())
}

/// The number of the padding token and the position of the first token, for any
/// encoder, also one of a family that is not known here.
pub(super) fn padding(config: &Settings) -> Result<(usize, usize)> {
    let family = config.maybe_text("model_type")?.and_then(families::find);
    let first = family.map_or(FirstPosition::Zero, |family| family.first_position);
    let pad = pad(config, first)?;
    Ok((pad, first.number(pad)))
}

fn pad(config: &Settings, first: FirstPosition) -> Result<usize> {
    const KEY: &str = "pad_token_id";
    let usual = match first {
        FirstPosition::Zero => 0,
        FirstPosition::AfterPadding => 1,
    };
    match config.get(KEY) {
        None => Ok(usual),
        Some(value) => match value.as_u64() {
            Some(pad) if pad < 1 << 31 => Ok(pad as usize),
            _ => Err(config.error(KEY, format_args!("expected a token's number, got {value}"))),
        },
    }
}

fn activation(config: &Settings, key: &str) -> Result<Unary> {
    let name = config.maybe_text(key)?.unwrap_or("gelu");
    Ok(match name {
        "gelu" => Unary::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => Unary::GeluTanh,
        "relu" => Unary::Relu,
        "silu" | "swish" => Unary::Silu,
        "tanh" => Unary::Tanh,
        _ => {
            let known = "gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish, tanh";
            return Err(config.unsupported(key, format_args!("{name:?}; supported: {known}")));
        }
    })
}

fn epsilon(config: &Settings, key: Option<&str>) -> Result<f32> {
    const USUAL: f32 = 1e-12;
    let Some((key, value)) = key.and_then(|key| Some((key, config.get(key)?))) else {
        return Ok(USUAL);
    };
    let epsilon = value.as_f64().map(|value| value as f32);
    epsilon
        .filter(|epsilon| *epsilon > 0.0 && epsilon.is_finite())
        .ok_or_else(|| config.error(key, format_args!("expected a number above 0, got {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(changes: &[(&str, serde_json::Value)]) -> Result<EncoderSpec> {
        let mut value = json!({
            "model_type": "roberta", "hidden_size": 24, "intermediate_size": 40,
            "num_attention_heads": 3, "num_hidden_layers": 2, "vocab_size": 100,
            "max_position_embeddings": 42, "layer_norm_eps": 1e-5, "pad_token_id": 1,
        });
        for (key, change) in changes {
            value[*key] = change.clone();
        }
        EncoderSpec::from_settings(&Settings { file: "config.json".into(), value })
    }

    #[test]
    fn positions_begin_behind_padding() {
        let spec = read(&[]).unwrap();
        assert_eq!((spec.first_position(), spec.most_tokens()), (2, 40));
        let spec = read(&[("model_type", json!("bert"))]).unwrap();
        assert_eq!((spec.first_position(), spec.most_tokens()), (0, 42));
        assert_eq!((spec.token_types, spec.activation, spec.epsilon), (2, Unary::Gelu, 1e-5));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let cases = [
            ("model_type", json!("t5"), "distilbert"),
            ("model_type", json!(7), "model_type"),
            ("hidden_size", json!(-1), "hidden_size"),
            ("hidden_size", json!(25), "num_attention_heads"),
            ("num_hidden_layers", json!(null), "num_hidden_layers"),
            ("vocab_size", json!(1u64 << 40), "vocab_size"),
            ("max_position_embeddings", json!(2), "max_position_embeddings"),
            ("pad_token_id", json!(-3), "pad_token_id"),
            ("hidden_act", json!("gelu_fast"), "gelu_pytorch_tanh"),
            ("layer_norm_eps", json!(0), "layer_norm_eps"),
            ("position_embedding_type", json!("relative_key"), "absolute"),
            ("is_decoder", json!(true), "is_decoder"),
        ];
        for (key, value, named) in cases {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(named) && error.starts_with("config.json: "), "{error}");
        }
    }
}
