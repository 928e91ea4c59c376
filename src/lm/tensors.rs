//! What a file may hold: a tensor that the decoder would pass over changes
//! what a model computes, so it is refused by name.

use super::cycles::START;
use super::ranker;
use super::spec::{DecoderSpec, EMBEDDING_NORM, Norm, Part};
use super::switch::SWITCHED;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;

/// Tensors outside of blocks.
const WHOLE: [&str; 14] = [
    "token_embd.weight",
    EMBEDDING_NORM,
    "token_embd_norm.bias",
    "position_embd.weight",
    "output.weight",
    "output.bias",
    "output.scale",
    "altup_proj.weight",
    "altup_unembd_proj.weight",
    "per_layer_token_embd.weight",
    "per_layer_model_proj.weight",
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

/// Tensors outside of blocks that only encoders have.
const WHOLE_ENCODER: [&str; 4] =
    ["token_types.weight", "enc.output_norm.weight", "dense_2.weight", "dense_3.weight"];

/// Norms of a block and of the output, with `.weight` and `.bias`.
const NORMS: [&str; 22] = [
    "attn_q_a_norm",
    "attn_kv_a_norm",
    "output_norm",
    "attn_norm",
    "attn_norm_2",
    "attn_q_norm",
    "attn_k_norm",
    "post_attention_norm",
    "ffn_norm",
    "ffn_norm_exps",
    "post_ffw_norm",
    "attn_sub_norm",
    "ffn_sub_norm",
    "laurel_post_norm",
    "altup_router_norm",
    "per_layer_proj_norm",
    "post_norm",
    "attn_output_norm",
    "layer_output_norm",
    "pre_ffw_norm_2",
    "post_ffw_norm_1",
    "post_ffw_norm_2",
];

/// Matrices of a block, with `.weight`, `.bias` and `.scale`.
const MATRICES: [&str; 26] = [
    "ffn_gate_up_exps",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_down_exps",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ffn_gate_inp",
    "ffn_latent_down",
    "ffn_latent_up",
    "attn_gate",
    "ffn_gate_shexp",
    "ffn_up_shexp",
    "ffn_down_shexp",
    "laurel_l",
    "laurel_r",
    "altup_router",
    "altup_predict_coef",
    "altup_correct_coef",
    "inp_gate",
    "proj",
];

/// Matrices of latent attention that may have a `.scale`.
const SHORT: [&str; 4] = ["attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b"];

/// What else a block may have.
const OTHERS: [&str; 20] = [
    "attn_q_a.weight",
    "attn_q_b.weight",
    "attn_kv_a_mqa.weight",
    "attn_kv_b.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
    "attn_sinks.weight",
    "shortconv.conv.weight",
    "shortconv.in_proj.weight",
    "shortconv.out_proj.weight",
    "ffn_gate_inp_shexp.weight",
    "exp_probs_b.bias",
    "exp_probs_b",
    "ffn_gate_chexps.weight",
    "ffn_up_chexps.weight",
    "ffn_down_chexps.weight",
    "post_attention_norm",
    "post_ffw_norm",
    "altup_correct_scale.weight",
    "layer_output_scale.weight",
];

/// Matrices of recurrent blocks, with `.weight`, `.bias` and `.scale`.
const RECURRENT: [&str; 11] = [
    "ssm_alpha",
    "ssm_ba",
    "ssm_beta",
    "ssm_dt",
    "ssm_f_a",
    "ssm_f_b",
    "ssm_g_a",
    "ssm_g_b",
    "ssm_in",
    "ssm_out",
    "ssm_x",
];

/// What else models with recurrent blocks may have.
const OTHERS_RECURRENT: [&str; 15] = [
    "ffn_norm",
    "ssm_a",
    "ssm_b_norm",
    "ssm_b_norm.weight",
    "ssm_c_norm",
    "ssm_c_norm.weight",
    "ssm_conv1d.bias",
    "ssm_conv1d.weight",
    "ssm_conv1d_k.weight",
    "ssm_conv1d_q.weight",
    "ssm_conv1d_v.weight",
    "ssm_d",
    "ssm_dt_norm",
    "ssm_dt_norm.weight",
    "ssm_norm.weight",
];

/// Matrices of blocks of RWKV, with `.weight`, `.bias` and `.scale`.
const RWKV: [&str; 21] = [
    "time_mix_receptance",
    "time_mix_key",
    "time_mix_value",
    "time_mix_gate",
    "time_mix_output",
    "time_mix_decay_w1",
    "time_mix_decay_w2",
    "time_mix_w1",
    "time_mix_w2",
    "time_mix_a1",
    "time_mix_a2",
    "time_mix_v1",
    "time_mix_v2",
    "time_mix_g1",
    "time_mix_g2",
    "channel_mix_key",
    "channel_mix_value",
    "channel_mix_receptance",
    "time_mix_decay",
    "time_mix_first",
    "time_mix_ln",
];

/// What else they may have.
const OTHERS_RWKV: [&str; 15] = [
    "time_mix_w0.weight",
    "time_mix_a0.weight",
    "time_mix_v0.weight",
    "time_mix_k_k.weight",
    "time_mix_k_a.weight",
    "time_mix_r_k.weight",
    "time_mix_lerp_fused.weight",
    "time_mix_lerp_x.weight",
    "time_mix_lerp_w.weight",
    "time_mix_lerp_k.weight",
    "time_mix_lerp_v.weight",
    "time_mix_lerp_r.weight",
    "time_mix_lerp_g.weight",
    "channel_mix_lerp_k.weight",
    "channel_mix_lerp_r.weight",
];

/// What nothing that is computed depends on: frequencies that the keys give too.
const PASSED_OVER: [&str; 2] = ["attn_rot_embd.weight", "rope_freqs.weight"];

/// The matrices that only pictures go through (CogVLM).
const OF_PICTURES: [&str; 5] =
    ["vis_attn_qkv", "vis_attn_output", "vis_gate", "vis_down", "vis_up"];

/// What of a model decides which tensors it may have.
#[derive(Debug, Clone, Copy)]
struct Kind {
    norm: Norm,
    recurrent: bool,
    rwkv: bool,
    encoder: bool,
    ranks: bool,
    cycles: bool,
    switched: bool,
    pictures: bool,
}

/// Checks that nothing in a file is passed over. Blocks behind those of the spec
/// predict tokens further ahead and are not used.
///
/// # Errors
/// [`Error::Unsupported`] naming the tensor.
pub(super) fn check(file: &GgufFile, spec: &DecoderSpec) -> Result<()> {
    let kind = Kind {
        norm: spec.norm,
        recurrent: spec.recurrent.is_some(),
        rwkv: spec.is_rwkv(),
        encoder: spec.sees_behind,
        ranks: ranker::ranks(file, &spec.architecture)?,
        cycles: spec.cycles.is_some(),
        switched: spec.switch.is_some(),
        pictures: spec.architecture == "cogvlm",
    };
    let known = |name: &str| match spec.part {
        Part::Whole => known(name, kind, spec.blocks),
        Part::Encoder | Part::Decoder => {
            known_of_part(name, spec) || known_of_part(name, spec.reader())
        }
    };
    for info in file.tensors() {
        if !known(info.name()) {
            let at = format!("{}: tensor '{}'", file.name(), info.name().escape_debug());
            return Err(Error::unsupported(at, "nothing here uses it"));
        }
    }
    Ok(())
}

/// What blocks of a model in two parts have, with `.weight`.
const OF_PARTS: [&str; 9] = [
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_o",
    "attn_rel_b",
    "ffn_norm",
    "ffn_up",
    "ffn_down",
];

/// What only those that write have. Nothing is read by distance there: the last one is not
/// used.
const OF_WRITERS: [&str; 6] = [
    "cross_attn_norm",
    "cross_attn_q",
    "cross_attn_k",
    "cross_attn_v",
    "cross_attn_o",
    "cross_attn_rel_b",
];

/// What a part has, outside of blocks and in them.
fn known_of_part(name: &str, spec: &DecoderSpec) -> bool {
    if name == "token_embd.weight" || name == "output.weight" {
        return true;
    }
    let Some(name) = name.strip_prefix(spec.part.prefix()) else { return false };
    let Some((block, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'))
    else {
        return name == "output_norm.weight";
    };
    let there = block.parse().is_ok_and(|block: usize| block < spec.blocks);
    let known = |stem: &str| match stem {
        // Only where the first block has one, too.
        "ffn_gate" => spec.gated,
        _ => OF_PARTS.contains(&stem) || (spec.part == Part::Decoder && OF_WRITERS.contains(&stem)),
    };
    there && part.strip_suffix(".weight").is_some_and(known)
}

/// Whether a norm of this kind has such a tensor.
fn is_of_norm(stem: &str, end: &str, kind: Kind) -> bool {
    match (end, kind.norm) {
        // Queries may have a factor for each head.
        ("weight", Norm::BareRms) => stem == "attn_q_norm" && !kind.cycles,
        ("weight", norm) => norm != Norm::Bare,
        // A norm by the mean square adds nothing.
        ("bias", norm) => !matches!(norm, Norm::Rms | Norm::BareRms),
        _ => false,
    }
}

fn known(name: &str, kind: Kind, blocks: usize) -> bool {
    let part = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((block, part)) => match block.parse::<usize>() {
            // Of stacks that take turns all blocks are run.
            Ok(block) if block >= blocks => return !kind.cycles,
            Ok(_) => part,
            Err(_) => return false,
        },
        None => name,
    };
    if kind.encoder && WHOLE_ENCODER.contains(&part) {
        return true;
    }
    // A vector by itself does not go through a classifier that a file has beside it.
    if (kind.ranks || kind.encoder) && ranker::TENSORS.contains(&part) {
        return true;
    }
    if kind.recurrent && OTHERS_RECURRENT.contains(&part) {
        return true;
    }
    if kind.rwkv && OTHERS_RWKV.contains(&part) {
        return true;
    }
    if kind.cycles && part == START {
        return true;
    }
    let (stem, end) = part.rsplit_once('.').unwrap_or((part, ""));
    if kind.pictures && OF_PICTURES.contains(&stem) && end == "weight" {
        return true;
    }
    if kind.switched && SWITCHED.contains(&stem) && (end == "lora_a" || end == "lora_b") {
        return true;
    }
    let matrix = MATRICES.contains(&stem)
        || (kind.recurrent && RECURRENT.contains(&stem))
        || (kind.rwkv && RWKV.contains(&stem));
    let normed = NORMS.contains(&stem) && is_of_norm(stem, end, kind);
    // What activations are divided by where they are products in few bits.
    let passed_over = end == "input_scale" && (matrix || stem == "output");
    normed
        || (matrix && (end == "weight" || end == "bias"))
        || (end == "scale" && (matrix || SHORT.contains(&stem)))
        || passed_over
        || [&WHOLE[..], &OTHERS, &PASSED_OVER].iter().any(|names| names.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_decoder_reads_is_known_and_nothing_else() {
        let kind = |norm| Kind {
            norm,
            recurrent: false,
            rwkv: false,
            encoder: false,
            ranks: false,
            cycles: false,
            switched: false,
            pictures: false,
        };
        let known = |name: &str| known(name, kind(Norm::Rms), 2);
        let there = [
            "token_embd.weight",
            "blk.1.attn_q.bias",
            "blk.0.ffn_gate_exps.weight",
            "blk.1.exp_probs_b",
        ];
        for name in there {
            assert!(known(name), "{name}");
        }
        // Predicts tokens further ahead.
        assert!(known("blk.2.nextn.eh_proj.weight"));
        let others =
            ["blk.0.attn_tail.weight", "blk.1.attn_norm.bias", "blk.x.attn_q.weight", "cls"];
        for name in others {
            assert!(!known(name), "{name}");
        }
        assert!(super::known("blk.1.attn_norm.bias", kind(Norm::Layer), 2));
        let name = "cls.output.weight";
        assert!(!known(name));
        assert!(super::known(name, Kind { ranks: true, ..kind(Norm::Rms) }, 2));
        for name in ["blk.1.ssm_a", "blk.0.ssm_out.weight", "blk.0.ssm_norm.weight"] {
            assert!(!known(name), "{name}");
            let kind = Kind { recurrent: true, ..kind(Norm::Rms) };
            assert!(super::known(name, kind, 2), "{name}");
        }
    }
}
