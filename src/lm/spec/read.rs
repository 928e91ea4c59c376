//! Reading what a decoder is from the keys and tensors of a GGUF file.

use super::{
    Cycles, DecoderSpec, EMBEDDING_NORM, Norm, Switch, Temperature, architectures, encoders,
};
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::lm::architecture::{
    Alibi, Architecture, FixedScales, HeadNorms, LocalRope, LogitScale, Parallel, Windows,
    why_refused,
};
use crate::lm::experts::Experts;
use crate::lm::heads::AllHeads;
use crate::lm::keys::Keys;
use crate::lm::latent::Latent;
use crate::lm::layers::{LOCAL_BASE, Layer, Mixer, blocks, layers};
use crate::lm::limits::Limits;
use crate::lm::parts::{Part, Source};
use crate::lm::recurrent::{Recurrent, Recurring, least_decay};
use crate::lm::relative::Relative;
use crate::lm::rope::scaling;
use crate::lm::streams::{Streams, Told};
use crate::lm::tensors;
use crate::lm::xielu::curves;
use crate::ops::elementwise::Unary;
use crate::ops::rotary::tables::{RopeScaling, RopeSpec};

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
        let mut spec = Self::of_part(file, name, architecture, architecture.part)?;
        if spec.part == Part::Decoder {
            let keys = Keys::new(meta, name, false);
            spec.source = Some(Source::read(&keys, spec.vocabulary)?);
            let encoder = Self::of_part(file, name, architecture, Part::Encoder)?;
            spec.encoder = Some(Box::new(encoder));
        }
        tensors::check(file, &spec)?;
        Ok(spec)
    }

    /// One part of what the file has.
    fn of_part(
        file: &GgufFile,
        name: &str,
        architecture: &Architecture,
        part: Part,
    ) -> Result<Self> {
        let meta = file.metadata();
        let recurring = architecture.recurrence.map(|(_, recurring)| recurring);
        let zeros_allowed = architecture.convolves || recurring == Some(Recurring::WithoutKeys);
        let keys = Keys::new(meta, name, zeros_allowed);
        let width = keys.size("embedding_length", 1 << 20)?;
        let blocks = match (part, blocks(&keys)?) {
            (Part::Decoder, blocks) => keys.size_or("decoder_block_count", 1 << 12, blocks)?,
            (Part::Whole | Part::Encoder, blocks) => blocks,
        };
        let cycles = match architecture.cycles {
            true => Some(Cycles::read(&keys, blocks)?),
            false => None,
        };
        let blocks = cycles.map_or(blocks, Cycles::blocks);
        let mut heads = AllHeads::read(&keys, architecture, blocks, width)?;
        let [rotary_dim, local_dim] = heads.rotary_dims;
        let context = keys.size("context_length", 1 << 27)?;
        // As much is written as is read.
        let context = if part == Part::Decoder { 2 * context } else { context };
        let latent = Latent::read(&keys, file, architecture, rotary_dim)?;
        if let Some(latent) = &latent {
            for heads in heads.global.iter_mut().chain(&mut heads.local) {
                *heads = latent.cached(heads.count);
            }
        }
        let has = |name: &str| file.tensor_info(name).is_some();
        let layers = layers(&keys, architecture, blocks, &heads)?;
        let attends = |layer: &Layer| matches!(layer.mixer, Mixer::Attention | Mixer::Both);
        // Other blocks may have tensors of the same names for something else.
        let first = layers.iter().position(attends).unwrap_or(0);
        let attention_has = |name: &str| has(&part.tensor(first, name));
        let first = layers.get(first).map_or(heads.global[0], |layer| layer.heads);
        let base = base(&keys, architecture, first.key_size)?;
        let fixed = scales(&keys, architecture)?;
        let default = architecture.default_scales;
        let norm = norm(&keys, architecture);
        // Of a model in two parts the file shows which form it is.
        let gated = match part {
            Part::Whole => architecture.gated,
            Part::Encoder | Part::Decoder => has(&part.tensor(0, "ffn_gate.weight")),
        };
        let spec = DecoderSpec {
            file: file.name().into(),
            architecture: name.into(),
            part,
            blocks,
            rounds: match architecture.looped {
                true => keys.size_or("num_loops", (MOST_ROUNDS / blocks as u64).max(1), 1)?,
                false => 1,
            },
            cycles,
            round_norms: !meta.opt_bool(&keys.key("skip_loop_final_norm"))?.unwrap_or(false),
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
            norm_epsilon: epsilon(&keys, norm)?,
            sees_behind: match (part, keys.meta.opt_bool(&keys.key("attention.causal"))?) {
                (Part::Encoder, _) => true,
                (Part::Decoder, _) => false,
                (Part::Whole, Some(causal)) => !causal,
                (Part::Whole, None) => architecture.sees_behind,
            },
            stream_norms: architecture.stream_norms,
            pre_norms: architecture.pre_norms,
            rope: RopeSpec {
                rotary_dim,
                base,
                scaling: scaling(&keys, file, rotary_dim, context)?,
            },
            local_rope: local_rope(&keys, file, architecture, (local_dim, context, base))?,
            layers,
            activation: match part {
                Part::Encoder | Part::Decoder if !gated => Unary::Relu,
                _ => architecture.activation,
            },
            clamp: architecture.clamp,
            limits: Limits::read(&keys, blocks)?,
            limited_before: architecture.limited_before,
            squared: architecture.squared,
            gated,
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
            source: None,
            encoder: None,
            relative: match part {
                Part::Whole => None,
                Part::Encoder => Some(Relative::read(&keys, true)?),
                Part::Decoder => Some(Relative::read(&keys, false)?),
            },
            switch: match architecture.switched {
                true => Some(Switch::read(&keys, vocabulary(file)?)?),
                false => None,
            },
            told: Told::read(&keys, architecture, blocks)?,
            values_normed: architecture.unscaled,
            streams: Streams::read(&keys, architecture, blocks)?,
            recurrent: Recurrent::read(&keys, architecture)?,
            least_decay: least_decay(&keys, architecture)?,
            halved_each: halved(&keys)?,
            gated_attention: architecture.gated_attention,
            gate: architecture.gate,
            needs_gate: architecture.needs_gate,
            convolution: match architecture.convolves {
                true => keys.size("shortconv.l_cache", 1 << 8)?,
                false => 0,
            },
            embedding_norm: has(EMBEDDING_NORM) && !architecture.convolves,
            embedding_norm_bare: architecture.bare_embedding_norm,
            // Some have the norm at the end under the name of one at the beginning.
            output_norm: match architecture.convolves && !has("output_norm.weight") {
                _ if part == Part::Encoder => "enc.output_norm",
                _ if part == Part::Decoder => "dec.output_norm",
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
            post_epsilon: architecture.post_epsilon,
            skips: architecture.skips,
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
                // The published model does so where the head is the table of embeddings.
                (None, None) if part == Part::Decoder && !has("output.weight") => {
                    Some(1.0 / (width as f32).sqrt())
                }
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
                None if architecture.unscaled || part != Part::Whole => Some(1.0),
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
            rope_interleaved: architecture.interleaved
                && !(architecture.sections_apart && sectioned(&keys)?),
        };
        spec.check(&keys)?;
        Ok(spec)
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

/// What is added where values are normalised. Some files have it under the name of the
/// other kind of norm only.
fn epsilon(keys: &Keys<'_>, norm: Norm) -> Result<f32> {
    let (square, variance) = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon");
    let [own, other] = match norm {
        Norm::Rms | Norm::RmsBiased | Norm::BareRms => [square, variance],
        Norm::Layer | Norm::Bare => [variance, square],
    };
    let has = |name: &str| keys.meta.get(&keys.key(name)).is_some();
    keys.positive(if !has(own) && has(other) { other } else { own })
}

/// Scales that are not the file's. Some old files leave them to the program.
fn scales(keys: &Keys<'_>, architecture: &Architecture) -> Result<Option<FixedScales>> {
    let Some(missing) = architecture.missing_scales else { return Ok(architecture.fixed_scales) };
    let names = ["embedding_scale", "residual_scale", "logit_scale"];
    if names.iter().all(|name| keys.meta.get(&keys.key(name)).is_none()) {
        log::info!("{} is not given: {missing:?}", names.map(|name| keys.key(name)).join(", "));
        return Ok(Some(missing));
    }
    for name in names {
        keys.positive(name)?;
    }
    Ok(None)
}

/// How blocks with a window rotate, where it is another way.
fn local_rope(
    keys: &Keys<'_>,
    file: &GgufFile,
    architecture: &Architecture,
    (rotary_dim, context, global): (usize, usize, f64),
) -> Result<Option<RopeSpec>> {
    let default = match architecture.local_rope {
        LocalRope::Same if keys.meta.get(&keys.key(LOCAL_BASE)).is_none() => return Ok(None),
        LocalRope::Same | LocalRope::Unscaled => global,
        LocalRope::Base(base) => base,
    };
    let base = keys.number_or(LOCAL_BASE, default)?;
    let scaling = match architecture.local_rope {
        LocalRope::Same => scaling(keys, file, rotary_dim, context)?,
        LocalRope::Unscaled | LocalRope::Base(_) => RopeScaling::None,
    };
    Ok(Some(RopeSpec { rotary_dim, base, scaling }))
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

/// Whether a file tells which parts of a head are rotated by rows and columns of a
/// picture. All parts are rotated by the same positions in text.
fn sectioned(keys: &Keys<'_>) -> Result<bool> {
    let sections = keys.meta.opt_i64s(&keys.key("rope.dimension_sections"))?;
    Ok(sections.is_some_and(|sections| sections.take(2).filter(|&size| size > 0).count() == 2))
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

/// The most blocks that tokens go through in all rounds.
const MOST_ROUNDS: u64 = 1 << 12;

/// The name of the table of embeddings.
fn embedding(file: &GgufFile) -> &'static str {
    match ["token_embd.weight", "output.weight"] {
        [own, head] if file.tensor_info(own).is_none() && file.tensor_info(head).is_some() => head,
        [own, _] => own,
    }
}

/// Every how many blocks the residual stream is halved; 0 is never.
fn halved(keys: &Keys<'_>) -> Result<Option<usize>> {
    let name = "rescale_every_n_layers";
    match keys.meta.opt_u64(&keys.key(name))?.filter(|&each| each > 0) {
        Some(each) => keys.in_range(name, each, 1 << 12).map(Some),
        None => Ok(None),
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
