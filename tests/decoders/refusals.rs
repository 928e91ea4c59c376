//! What is no model that can be computed is refused, by the name of what is wrong with it.

use crate::rewritten;
use libtest_mimic::Failed;
use wginfer::formats::gguf::{GgufFile, GgufWriter, MetaValue};
use wginfer::lm::spec::DecoderSpec;
use wginfer::lm::{LanguageModel, ModelOptions};
use wginfer::{Error, Tensor};

/// Tensors without which a model would compute something else.
pub fn lacks() -> Result<(), Failed> {
    let needed = [
        ("talkie", "blk.1.layer_output_scale.weight"),
        ("talkie", "blk.1.attn_q_norm.weight"),
        ("hrm_text", "blk.3.attn_gate.weight"),
        ("hrm_text", "hrm.z_l_init"),
        ("spark2_5", "blk.0.attn_gate.weight"),
        ("muse-glimmer", "blk.2.attn_gate.weight"),
        ("bailingmoe3", "blk.2.attn_gate.weight"),
        ("graniteswitch", "blk.0.ffn_up.lora_b"),
    ];
    for (model, gone) in needed {
        let file = rewritten(model, &[], |name, tensor| {
            Ok((name != gone).then(|| (name.to_string(), tensor)).into_iter().collect())
        })?;
        refused_for(file, gone).map_err(|error| format!("{model} without {gone}: {error:?}"))?;
    }
    // And some that nothing would read.
    let further = [
        ("talkie", "blk.0.attn_norm.weight"),
        ("hrm_text", "output_norm.weight"),
        ("hrm_text", "blk.4.attn_q.weight"),
        ("llama", "blk.0.vis_gate.weight"),
        ("llama", "blk.0.attn_q.lora_a"),
    ];
    for (model, more) in further {
        let file = rewritten(model, &[], |name, tensor| {
            let own = (name.to_string(), tensor);
            let more = match name {
                "token_embd.weight" => Some((more.into(), Tensor::from_f32(&[2], &[1.0; 2])?)),
                _ => None,
            };
            Ok([own].into_iter().chain(more).collect())
        })?;
        refused_for(file, more).map_err(|error| format!("{model} with {more}: {error:?}"))?;
    }
    Ok(())
}

/// Numbers of blocks, turns and bounds that make no model.
pub fn unfit_keys() -> Result<(), Failed> {
    let cases: [(&str, &str, MetaValue); 5] = [
        ("hrm_text", "block_count", 13u32.into()),
        ("hrm_text", "hrm.h_cycles", 0u32.into()),
        ("bailingmoe3", "kda.gate_lower_bound", 0.5f32.into()),
        ("bailingmoe3", "kda.safe_gate", false.into()),
        ("graniteswitch", "adapters.token_ids_activate", vec![20i32, 264].into()),
    ];
    for (model, key, value) in cases {
        let key = format!("{model}.{key}");
        let file = rewritten(model, &[(&key, value)], |name, tensor| {
            Ok(vec![(name.to_string(), tensor)])
        })?;
        refused_for(file, &key)?;
    }
    Ok(())
}

/// A file is refused, by its name and that of a tensor or key.
fn refused_for(file: GgufFile, name: &str) -> Result<(), Failed> {
    let runner = wginfer::Backend::Cpu;
    let options = ModelOptions::default();
    let loaded = runner.block_on(LanguageModel::load(file, &runner, &options, &mut |_, _| {}));
    let error = loaded.err().ok_or_else(|| format!("{name}: it was taken"))?;
    let told = error.to_string();
    let known = matches!(error, Error::Format { .. } | Error::Unsupported { .. });
    match known && told.contains(name) && told.contains("rewritten.gguf") {
        true => Ok(()),
        false => Err(format!("{name}: {error:?}").into()),
    }
}

/// Files that people take for a language model by mistake.
pub fn refuses() -> Result<(), Failed> {
    let files: [(&[(&str, &str)], &str); 7] = [
        (&[("general.type", "wginfer.snapshot")], "--session"),
        (&[("general.architecture", "clip")], "mmproj"),
        (&[("general.type", "mmproj"), ("general.architecture", "clip")], "mmproj"),
        (&[("general.type", "adapter"), ("general.architecture", "llama")], "adapter"),
        (&[("general.type", "imatrix")], "not a model"),
        (&[("general.architecture", "dream")], "denoises"),
        (&[("general.architecture", "zorbium")], "known: llama, "),
    ];
    for (keys, told) in files {
        let mut writer = GgufWriter::new();
        for (key, value) in keys {
            writer.metadata(key, *value)?;
        }
        let file = GgufFile::parse(writer.to_bytes()?, "m.gguf")?;
        let error = DecoderSpec::from_gguf(&file).err().ok_or("a model of nothing")?;
        let right = matches!(error, Error::Unsupported { .. }) && error.to_string().contains(told);
        if !right {
            return Err(format!("{keys:?}: {error}").into());
        }
    }
    Ok(())
}
